"""The page and the plots of perplexity.py. Imported, not run."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.html import image, page, paragraph, table, write_page

Result = dict[str, Any]

# Groups in a figure and in a table: those with most text.
MAX_BARS, MAX_ROWS = 16, 60
GREY = "#eeeeee"
GROUPS = (("by_kind", "kind of text"), ("by_category", "primary category"), ("by_year", "year"))
DEFINITIONS = (
    "Bits per byte: cross-entropy of all tokens, in bits, divided by the bytes of the text in UTF-8; it does not "
    "depend on the tokenizer. ± is the standard error over documents (of a ratio: Cochran, 1977). Perplexity per token "
    "is that of the tokenizer named beside it, and tells nothing about a model with another one.",
    "A token, and the bytes that it stands for, belong to the kind of text at which it begins, so that kinds sum up to "
    "the whole. Markup: commands outside mathematics, with their braces. Code: verbatim, listings and URLs.",
)


def write_report(out: Path, whole: Result) -> Path:
    """report.html and its figures; returns the page's path."""
    figures = _figures(whole["models"])
    return write_page(out, "report.html", _page(whole, figures), figures)


def _page(whole: Result, figures: dict[str, bytes]) -> str:
    models, data = whole["models"], whole["data"]
    first = models[0]
    limited = f", the first {whole['limit']:,}" if whole["limit"] else ""
    parts = [
        paragraph(
            f"{data[0]}{' …' if data[1:] else ''}: {first['documents']:,} documents{limited}, {first['bytes']:,} "
            "bytes. "
            f"Windows of {first['context']:,} tokens that move on by {first['stride']:,}; before each document "
            + ", ".join(dict.fromkeys(model["before_each_document"] for model in models))
            + "."
        ),
        table(
            ["model", "bits per byte", "±", "perplexity per token", "tokenizer", "bytes per token", "tokens"],
            [
                [
                    model["name"],
                    f"{model['bits_per_byte']:.4f}",
                    _error(model["standard_error"]),
                    f"{model['perplexity_per_token']:.3f}",
                    model["tokenizer"],
                    f"{model['bytes_per_token']:.3f}",
                    f"{model['tokens']:,}",
                ]
                for model in models
            ],
            left=(0, 4),
            best=[(min(range(len(models)), key=lambda number: models[number]["bits_per_byte"]), 1)],
        ),
    ]
    if whole["differences_from_first"]:
        parts += [
            f"<h2>Differences from {html.escape(first['name'])}</h2>",
            paragraph("Of bits per byte, document by document: what is hard for both models cancels out."),
            table(
                ["model", "difference", "±"],
                [
                    [other["model"], f"{other['less']:+.4f}", _error(other["standard_error"])]
                    for other in whole["differences_from_first"]
                ],
            ),
        ]
    for key, title in GROUPS:
        names = list(dict.fromkeys(name for model in models for name in model[key]))
        if not names or (len(names) == 1 and key != "by_kind"):
            continue
        parts.append(f"<h2>By {title}</h2>")
        if key in figures:
            parts.append(image(f"Bits per byte by {title}", figures[key]))
        parts.append(_group_table(models, key, title, names))
    if "positions" in figures:
        parts += ["<h2>By position in the context</h2>", image("Bits per byte by position", figures["positions"])]
        parts.append(paragraph(_positions_text(models)))
    for model in models:
        if model.get("without_kinds"):
            parts.append(
                paragraph(
                    f"{model['name']}: tokens of {model['without_kinds']:,} documents could not be laid over their "
                    "text; they count everywhere but in the kinds of text.",
                    "warning",
                )
            )
    parts += ["<h2>What is measured</h2>", *(paragraph(text) for text in DEFINITIONS)]
    return page("Bits per byte and perplexity", parts)


def _group_table(models: Sequence[Result], key: str, title: str, names: Sequence[str]) -> str:
    header = [title, "documents", "bytes"]
    for model in models:
        header += [f"{model['name']}: bits per byte", "±"]
        header += ["share of all bits"] if key == "by_kind" else ["perplexity per token"]
    rows = []
    for name in names[:MAX_ROWS]:
        first = next(model[key][name] for model in models if name in model[key])
        row = [name, f"{first['documents']:,}", f"{first['bytes']:,}"]
        for model in models:
            found = model[key].get(name)
            if found is None:
                row += ["–"] * 3
                continue
            row += [f"{found['bits_per_byte']:.4f}", _error(found["standard_error"])]
            row.append(f"{found['share_of_bits']:.1%}" if key == "by_kind" else f"{found['perplexity_per_token']:.2f}")
        rows.append(row)
    return table(header, rows)


def _positions_text(models: Sequence[Result]) -> str:
    parts = []
    for model in models:
        found = model["positions"]
        trained = model["trained_at"]
        text = f"{model['name']}: {found['windows']:,} windows of {found['context']:,} tokens"
        if trained and trained < found["context"]:
            within, beyond = _around(found, trained)
            if within and beyond:
                text += (
                    f"; {within:.4f} bits per byte just before position {trained:,}, the length it was trained at, "
                    f"{beyond:.4f} at the end"
                )
        parts.append(text)
    return (
        "; ".join(parts)
        + ". Whole windows of single documents alone, so every position is averaged over the same text; the bars are "
        "standard errors over windows. A model that uses its context falls to the right; one that does not stand "
        "positions beyond those of its training rises there."
    )


def _around(found: Result, trained: int) -> tuple[float | None, float | None]:
    """Bits per byte of the last range before the position `trained`, and of the last of all."""
    before = [row for row in found["positions"] if row["end"] <= trained]
    return (before[-1]["bits_per_byte"] if before else None), found["positions"][-1]["bits_per_byte"]


def _figures(models: Sequence[Result]) -> dict[str, bytes]:
    """PNG images by name."""
    found = {}
    for key, title in GROUPS:
        names = list(dict.fromkeys(name for model in models for name in model[key]))
        if len(names) > 1:
            found[key] = _bars(models, key, title, names)
    if all("positions" in model for model in models):
        found["positions"] = _positions(models)
    return found


def _bars(models: Sequence[Result], key: str, title: str, names: Sequence[str]) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = sorted(names) if key == "by_year" else names[:MAX_BARS]
    figure, panel = plt.subplots(figsize=(11, 4), layout="constrained")
    width = 0.84 / len(models)
    for number, model in enumerate(models):
        rows = [model[key].get(name) for name in shown]
        places = [place + (number - (len(models) - 1) / 2) * width for place in range(len(shown))]
        heights = [row["bits_per_byte"] if row else 0.0 for row in rows]
        errors = [math.nan if not row or row["standard_error"] is None else row["standard_error"] for row in rows]
        bars = panel.bar(
            places, heights, width * 0.94, yerr=errors, capsize=2, error_kw={"lw": 0.9}, label=model["name"]
        )
        if len(models) * len(shown) <= 40:
            panel.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
        panel.axhline(model["bits_per_byte"], color=bars[0].get_facecolor(), lw=0.9, ls="--")
    panel.set_xticks(range(len(shown)), shown, rotation=20 if len(shown) > 8 else 0, fontsize=8)
    panel.set_ylabel("bits per byte")
    more = f", the {MAX_BARS} with most text" if len(names) > len(shown) else ""
    panel.set_title(f"Bits per byte by {title}{more} (dashed: all text)", loc="left", fontsize=11)
    panel.grid(axis="y", color=GREY)
    panel.set_axisbelow(True)
    if len(models) > 1:
        panel.legend(fontsize=8)
    return _png(figure)


def _positions(models: Sequence[Result]) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(11, 4.2), layout="constrained")
    # Bits per byte where the tokens of all models could be laid over their text, else nats per token.
    key, error = "bits_per_byte", "standard_error"
    if any(row[key] is None for model in models for row in model["positions"]["positions"]):
        key, error = "nats_per_token", "nats_standard_error"
    for number, model in enumerate(models):
        rows = model["positions"]["positions"]
        middle = [(row["start"] * max(row["start"], row["end"] - 1)) ** 0.5 for row in rows]
        panel.errorbar(
            middle,
            [row[key] for row in rows],
            yerr=[row[error] or 0.0 for row in rows],
            color=f"C{number}",
            lw=1.5,
            marker="o",
            ms=3,
            elinewidth=0.8,
            label=model["name"],
        )
    for number, trained in enumerate(dict.fromkeys(model["trained_at"] for model in models if model["trained_at"])):
        label = f"trained at {trained:,} tokens"
        panel.axvline(trained, color="#555555", ls=("--", ":", "-.")[number % 3], lw=1, label=label)
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.set_xlabel("position in the context (tokens before the one predicted)")
    panel.set_ylabel(key.replace("_", " "))
    panel.set_title("Loss by position in the context", loc="left", fontsize=11)
    panel.grid(color=GREY)
    panel.legend(fontsize=8)
    return _png(figure)


def _png(figure: Any) -> bytes:
    import matplotlib.pyplot as plt

    out = io.BytesIO()
    # Without the library's version in it, the same figures give the same bytes.
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()


def _error(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
