"""The page and the plots of evaluate_generations.py. Imported, not run."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from reports.html import details, image, page, paragraph, table, write_page


class Text(Protocol):
    """A text of a group ("human" or a model), and what was found in it."""

    group: str
    name: str
    prompt: str
    text: str
    found: dict[str, Any]


# Samples of each kind, and characters around a fault.
SHOWN, AROUND = 5, 200
DEFINITIONS = (
    "Well-formed: braces, environments, \\left and \\right, and delimiters of mathematics fit each other as far as the "
    "text goes; what is open where it was cut off is no fault. Compile: by the TeX engine, its open ends closed, its "
    "environments defined; commands that only its paper's preamble would know are not counted.",
    "seq-rep-4: share of the 4-grams of tokens that stood earlier in the text (Welleck et al., 2020). Left by "
    "compression: bytes that zlib leaves.",
    "Copy: a run of tokens that stands in the training split word for word, 16 tokens at least. A model that copies no "
    "more than people do, who also repeat definitions and phrases of others, memorizes nothing that this finds; 50 "
    "tokens are the usual line (Carlini et al., 2023).",
)


def write_report(
    out: Path,
    result: dict[str, Any],
    texts: Sequence[Text],
    rows: Sequence[tuple[str, Sequence[str]]],
    meanings: Mapping[str, str],
) -> Path:
    """report.html and its figures; returns the page's path.

    `rows` are the figures of each group under their titles, `meanings` those of the faults.
    """
    figures = {}
    if result["looked_for_copies"]:
        figures["copies"] = _copies(texts)
    return write_page(out, "report.html", _page(result, texts, figures, rows, meanings), figures)


def _page(
    result: dict[str, Any],
    texts: Sequence[Text],
    figures: dict[str, bytes],
    groups: Sequence[tuple[str, Sequence[str]]],
    meanings: Mapping[str, str],
) -> str:
    knobs = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in result["settings"].items())
    parts = [
        paragraph(f"{result['model'] or 'Texts made elsewhere'}. {knobs}. TeX engine: {result['engine'] or 'none'}."),
        table(["", *result["groups"]], [[title, *cells] for title, cells in groups]),
    ]
    faults = list(dict.fromkeys(fault for group in result["groups"].values() for fault in group["faults"]))
    if faults:
        parts.append("<h2>What is not well-formed</h2>")
        rows = [
            [fault, meanings[fault], *(f"{group['faults'].get(fault, 0):,}" for group in result["groups"].values())]
            for fault in faults
        ]
        parts.append(table(["fault", "meaning", *result["groups"]], rows, left=(0, 1)))
        parts += [_fault(text) for text in [text for text in texts if text.found["fault"]][:SHOWN]]
    errors = [text for text in texts if text.found.get("error")]
    if errors:
        parts.append("<h2>What does not compile</h2>")
        parts += [
            details(f"{text.group}, {text.name}: {text.found['error']}", text.prompt + text.text)
            for text in errors[:SHOWN]
        ]
    if figures:
        parts += ["<h2>Copies from training</h2>", image("Longest copies", figures["copies"])]
        copied = sorted(
            (text for text in texts if text.found.get("longest_copy")), key=lambda text: -text.found["longest_copy"]
        )
        for text in [text for text in copied if text.group != "human"][:SHOWN]:
            title = f"{text.group}, {text.name}: {text.found['longest_copy']:,} tokens of {text.found['copied_from']}"
            parts.append(details(title, text.found["copy"]))
    looping = sorted(
        (text for text in texts if text.found.get("repetition")), key=lambda text: -text.found["repetition"]
    )
    if looping:
        parts.append("<h2>What repeats itself most</h2>")
        parts += [
            details(f"{text.group}, {text.name}: {text.found['repetition']:.1%} of its 4-grams", text.text)
            for text in [text for text in looping if text.group != "human"][:SHOWN]
        ]
    parts += ["<h2>What is measured</h2>", *(paragraph(text) for text in DEFINITIONS)]
    return page("What the model writes", parts)


def _fault(text: Text) -> str:
    """A passage around a fault, which is marked."""
    whole, at = text.prompt + text.text, text.found["fault_at"]
    before, after = whole[max(0, at - AROUND) : at], whole[at : at + AROUND]
    marked = f"{html.escape(before)}<b>⟨here⟩</b>{html.escape(after)}"
    title = html.escape(f"{text.group}, {text.name}: {text.found['fault']}")
    return f"<details><summary>{title}</summary><pre>{marked}</pre></details>"


def _copies(texts: Sequence[Text]) -> bytes:
    """Share of the texts whose longest copy is at least so long, for each group."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(11, 4), layout="constrained")
    most = max([16, *(text.found["longest_copy"] for text in texts)])
    for group in dict.fromkeys(text.group for text in texts):
        lengths = sorted(text.found["longest_copy"] for text in texts if text.group == group)
        shares = [sum(length >= at for length in lengths) / len(lengths) for at in range(16, most + 2)]
        panel.step(range(16, most + 2), shares, where="mid", label=f"{group} ({len(lengths):,} texts)")
    panel.axvline(50, color="#888888", lw=0.9, ls="--")
    panel.set(xlabel="tokens", ylabel="share of texts", ylim=(0, 1.02))
    panel.set_title(
        "Longest run in common with the training split: share of texts with at least so many tokens", loc="left"
    )
    panel.grid(color="#eeeeee")
    panel.legend(fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()
