"""The page and the figure of one trained tokenizer: `report/report.html` and `report.png`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_bytes
from reports.html import visible


def write_page(folder: Path, report: dict[str, Any], per_text: Sequence[float], kinds: Sequence[str]) -> None:
    """Write report.html and report.png; `per_text` is bytes per token of each text, `kinds` the order of the bars."""
    _plot(report, per_text, kinds, folder / "report.png")
    write_bytes(folder / "report.html", _page(report).encode("utf-8", "replace"))


def _plot(report: dict[str, Any], per_text: Sequence[float], kinds_of_entry: Sequence[str], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.hist(per_text, bins=min(30, max(5, len(per_text) // 2)), color="#3b6ea5")
    left.yaxis.get_major_locator().set_params(integer=True)
    left.axvline(report["bytes_per_token"], color="#c0392b", label=f"all text: {report['bytes_per_token']:.2f}")
    left.set(xlabel="bytes per token", ylabel="documents", title=f"Held-out text ({report['measured_on']['origin']})")
    left.legend()
    kinds = [kind for kind in kinds_of_entry if report["entries_by_kind"].get(kind)]
    right.barh(kinds, [report["entries_by_kind"][kind] for kind in kinds], color="#3b6ea5")
    right.invert_yaxis()
    right.set(xlabel="entries", title=f"Vocabulary of {report['vocabulary']:,}")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _shares(rows: dict[str, list[int]]) -> str:
    """The largest groups of the sample and what was taken of each."""
    largest = sorted(rows.items(), key=lambda row: (-row[1][1], row[0]))
    shown = [f"{name} {taken / 1e6:,.1f} of {there / 1e6:,.1f} MB" for name, (there, taken) in largest[:12]]
    return ", ".join(shown) + (f" and {len(largest) - 12:,} more" if len(largest) > 12 else "")


def _page(report: dict[str, Any]) -> str:
    facts = report["trained_on"]
    rows = {
        "vocabulary": f"{report['vocabulary']:,} entries",
        "trained on": f"{facts['documents']:,} documents, {facts['text_bytes'] / 1e6:,.1f} MB",
        **{f"sample by {kind}": _shares(rows) for kind, rows in facts["bytes_there_and_sampled"].items()},
        "measured on": f"{report['measured_on']['origin']}: {report['measured_on']['documents']:,} documents, "
        f"{report['measured_on']['bytes'] / 1e6:,.2f} MB",
        "bytes per token": f"{report['bytes_per_token']:.3f}",
        "LaTeX commands kept whole": f"{report['commands_whole']:.2%} of {report['commands']:,}",
        "tokens per word": f"{report['tokens_per_word']:.3f}",
        "entries used": f"{report['entries_used']:,}",
        "commands most often split": ", ".join(f"{c} ({n})" for c, n in report["commands_most_often_split"].items())
        or "none",
    }
    table = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>\n" for k, v in rows.items())
    formulas = "".join(
        "<p>" + "".join(f"<span>{html.escape(visible(piece))}</span>" for piece in line) + "</p>\n"
        for line in report["examples"]
    )
    longest = " ".join(f"<span>{html.escape(visible(piece))}</span>" for piece in report["longest_entries"])
    style = (
        "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 "
        "1em}th{text-align:left;padding-right:2em;"
        "vertical-align:top}img{max-width:100%}span{font-family:monospace;background:#eef3f9;border:1px solid #b9cbe0;"
        "border-radius:3px;padding:0 2px;margin:1px;display:inline-block;white-space:pre}"
    )
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Tokenizer report</title>'
        f"<style>{style}</style>\n<h1>Tokenizer report</h1>\n<table>\n{table}</table>\n"
        '<img src="report.png" alt="bytes per token; entries by kind">\n'
        f"<h2>Formulas as tokens</h2>\n{formulas}<h2>Longest entries</h2>\n<p>{longest}</p>\n</html>\n"
    )
