"""The figures of an evaluation of tokenizers, as PNG.

Imported by `evaluate_tokenizer.py`; not run.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from reports.tokenizer.tables import GROUPS, SHORT, Report

# Groups (sources or categories) beside each other: those with most text.
MAX_GROUPS = 14
# A kind of text with less than this share of the bytes is left to the tables.
LEAST_SHARE = 0.005
# Room for so many bars at least, or one of them would fill the figure.
LEAST_ROWS = 4
GREY = "#eeeeee"


def figures(report: Report) -> dict[str, bytes]:
    """PNG images by name."""
    names = [tokenizer["name"] for tokenizer in report["tokenizers"]]
    found = {"compression": compression(report, names), "commands": commands(report, names)}
    if any(_groups(report, texts) for texts in report["texts"]):
        found["groups"] = groups(report, names)
    return found | {"entries": entries(report, names)}


def compression(report: Report, names: Sequence[str]) -> bytes:
    """Bytes per token by kind of text, a panel for each set of texts."""
    figure, panels = _panels(len(report["texts"]), 11, 3.6)
    for panel, texts in zip(panels, report["texts"], strict=True):
        results = report["results"][texts["name"]]
        first = results[names[0]]
        kinds = [kind for kind, of in first["kinds"].items() if of["bytes"] >= LEAST_SHARE * first["bytes"]]
        width = 0.84 / len(names)
        for i, name in enumerate(names):
            by_kind = results[name]["kinds"]
            heights = [results[name]["bytes_per_token"], *(by_kind[kind]["bytes_per_token"] or 0 for kind in kinds)]
            places = [place + (i - (len(names) - 1) / 2) * width for place in range(len(heights))]
            bars = panel.bar(places, heights, width * 0.94, color=_colour(i), label=name)
            # Numbers that would run into each other are left to the tables.
            if len(names) * len(heights) <= 50:
                panel.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
        panel.set_xticks(range(len(kinds) + 1), ["all text", *(SHORT.get(kind, kind) for kind in kinds)])
        panel.set_ylabel("bytes per token")
        panel.set_title(f"{texts['name']}: bytes per token by kind of text", loc="left", fontsize=11)
        panel.grid(axis="y", color=GREY)
    return _png(figure, panels, legend=len(names))


def commands(report: Report, names: Sequence[str]) -> bytes:
    """Commands whole and clean, with Wilson's intervals; tokens per number by its digits."""
    figure, grid = _grid(len(report["texts"]), 2, 11, 1.6 + 0.34 * max(LEAST_ROWS, len(names)))
    for (left, right), texts in zip(grid, report["texts"], strict=True):
        results = report["results"][texts["name"]]
        most = 1
        for row, name in enumerate(names):
            found = results[name]["commands"]
            marks = (("most_frequent_whole", "o", -0.14), ("most_frequent_clean", "D", 0.14))
            if found["whole"] is not None:
                left.barh(row, found["whole"], 0.8, color=_colour(row), alpha=0.35)
            for key, marker, shift in marks:
                if value := found[key]:
                    error = [[value["share"] - value["low"]], [value["high"] - value["share"]]]
                    left.errorbar(
                        value["share"],
                        row + shift,
                        xerr=error,
                        fmt=marker,
                        color=_colour(row),
                        ms=5,
                        capsize=2,
                        mec="#333333",
                    )
            # Side by side where tokenizers do the same; numbers of many digits are of many lengths.
            by_digits = results[name]["numbers"]["by_digits"]
            points = [(int(n) + _beside(row, names, 0.5), tokens) for n, tokens in by_digits.items() if n.isdigit()]
            most = max([most, *(int(n) for n in by_digits if n.isdigit())])
            right.scatter(*zip(*points, strict=True), color=_colour(row), s=22, zorder=3) if points else None
        top = results[names[0]]["commands"]["most_frequent"]
        left.set_yticks(range(len(names)), names)
        left.set_ylim(max(LEAST_ROWS, len(names)) - 0.5, -0.5)
        left.set_xlim(0, 1.01)
        left.xaxis.set_major_formatter("{x:.0%}")
        left.set_title(f"{texts['name']}: commands in one token", loc="left", fontsize=11)
        left.set_xlabel(
            f"bars: occurrences; of the {top:,} most frequent: \u25cf whole, \u25c6 boundary-clean (95 %)", fontsize=9
        )
        left.grid(axis="x", color=GREY)
        right.set(xlabel="digits", ylabel="tokens")
        right.set(xticks=range(1, most + 1), yticks=range(1, most + 1))
        right.set_title("tokens per number", loc="left", fontsize=11)
        right.grid(color=GREY)
    return _png(figure, grid.flat)


def groups(report: Report, names: Sequence[str]) -> bytes:
    """Bytes per token of each source, or of each category where no sources are given."""
    shown = [(texts, *grouped) for texts in report["texts"] if (grouped := _groups(report, texts))]
    rows = max(len(labels) for _, _, labels in shown)
    figure, panels = _panels(len(shown), 11, 1.3 + 0.27 * rows)
    for panel, (texts, group, labels) in zip(panels, shown, strict=True):
        for i, name in enumerate(names):
            by_group = report["results"][texts["name"]][name][f"by_{group}"]
            values = [by_group["groups"][label]["bytes_per_token"] for label in labels]
            places = [place + _beside(i, names, 0.5) for place in range(len(labels))]
            panel.scatter(values, places, s=40, color=_colour(i), label=name, edgecolor="white", zorder=3)
            panel.axvline(by_group["mean"], color=_colour(i), lw=1, ls=":")
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.5, -0.5)
        panel.set_xlabel("bytes per token (dotted: mean of all groups)", fontsize=9)
        panel.set_title(f"{texts['name']}: by {group}, most text first", loc="left", fontsize=11)
        panel.grid(color=GREY)
    return _png(figure, panels, legend=len(names))


def entries(report: Report, names: Sequence[str]) -> bytes:
    """How often the entries of each vocabulary are used, the most used first."""
    figure, panels = _panels(len(report["texts"]), 11, 3.6)
    for panel, texts in zip(panels, report["texts"], strict=True):
        for i, name in enumerate(names):
            used = report["results"][texts["name"]][name]["entries"]
            points = [(rank, uses) for rank, uses in used["uses_by_rank"] if uses]
            panel.plot(*zip(*points, strict=True), color=_colour(i), label=name, lw=1.6)
        panel.axhline(10, color="#999999", lw=0.8, ls="--")
        panel.set(xscale="log", yscale="log", xlabel="entries, most used first", ylabel="uses")
        panel.set_title(f"{texts['name']}: uses of the vocabulary's entries (dashed: 10)", loc="left", fontsize=11)
        panel.grid(color=GREY)
    return _png(figure, panels, legend=len(names))


def _groups(report: Report, texts: Report) -> tuple[str, list[str]] | None:
    """What the documents are grouped by, and the groups with most text."""
    first = report["tokenizers"][0]["name"]
    for group in GROUPS:
        by_group = report["results"][texts["name"]][first][f"by_{group}"]
        if by_group:
            return group, list(by_group["groups"])[:MAX_GROUPS]
    return None


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _panels(rows: int, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    figure, grid = _grid(rows, 1, width, height)
    return figure, [row[0] for row in grid]


def _beside(index: int, names: Sequence[str], width: float) -> float:
    """Where the mark of one of several tokenizers stands, from the middle."""
    return (index / (len(names) - 1) - 0.5) * width if len(names) > 1 else 0.0


def _colour(index: int) -> Any:
    import matplotlib

    return matplotlib.colormaps["tab10" if index < 10 else "tab20b"](index % 20)


def _png(figure: Any, panels: Any, legend: int = 0) -> bytes:
    """The figure; `legend` is the number of its entries."""
    for i, panel in enumerate(panels):
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_axisbelow(True)
        if legend and not i:
            handles, labels = panel.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=min(8, legend), frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
