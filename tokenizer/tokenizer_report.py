"""What a tokenizer does to text that it has not seen: `report/report.json`, `.html` and `.png`.

The measures are those of `evaluate_tokenizer.py`, which compares tokenizers and tells more. Written by
`train_tokenizer.py` at its end; imported, not run.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_bytes, write_json
from tokenizer.any_tokenizer import load_tokenizer
from tokenizer.latex_pieces import pretokens
from tokenizer.measures import Tally
from tokenizer.passages import find_formulas, slices, visible
from tokenizer.text_units import take_apart

KINDS = (
    "LaTeX command",
    "word after a space",
    "letters",
    "several words or symbols",
    "digit",
    "punctuation",
    "white space",
    "mixed",
    "byte",
    "special",
)
SPACE = "\u2581"
FORMULAS = 8


def kind_of(piece: str, index: int) -> str:
    """Which of KINDS an entry is; `piece` writes spaces as SentencePiece does."""
    body = piece.lstrip(SPACE)
    if index < 4:
        return "special"
    if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
        return "byte"
    if not body.strip():
        return "white space"
    if body.isdigit():
        return "digit"
    # With the parts of longer units, as `\begin{ali` and `gn*}` are.
    if re.fullmatch(r"\\[A-Za-z]+\*?(?:\{[A-Za-z]*\*?\}?)?", body):
        return "LaTeX command"
    if re.fullmatch(r"\{?[A-Za-z]+\*?[{}]|\{[A-Za-z]+\*?", piece):
        return "mixed"
    # Superwords, which hold no digits.
    if len(pretokens(piece.replace(SPACE, " "))) > 1 and not any(c.isdigit() for c in body):
        return "several words or symbols"
    if body.isalpha():
        return "letters" if body == piece else "word after a space"
    return "punctuation" if not any(c.isalnum() for c in body) else "mixed"


def write_report(folder: Path, texts: Sequence[str], origin: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the tokenizer of `folder` on `texts` (which come from `origin`) and write `folder`/report."""
    tokenizer = load_tokenizer(folder)
    tally = Tally()
    for text in texts:
        tally.add(take_apart(text), *tokenizer.cut(text), tokenizer.unknown)
    measured = tally.results(tokenizer.size)
    commands = measured["commands"]
    pieces = tokenizer.pieces()
    report = {
        "vocabulary": tokenizer.size,
        "entries_by_kind": dict(Counter(kind_of(piece, i) for i, piece in enumerate(pieces))),
        "trained_on": facts,
        "measured_on": {"origin": origin, **{key: measured[key] for key in ("documents", "bytes", "tokens")}},
        "bytes_per_token": measured["bytes_per_token"] or 0.0,
        "commands": commands["occurrences"],
        "commands_whole": 1.0 if commands["whole"] is None else commands["whole"],
        "tokens_per_word": measured["tokens_per_word"] or 0.0,
        "entries_used": tokenizer.size - measured["entries"]["never_used"],
        "commands_most_often_split": commands["most_often_cut"],
        "longest_entries": sorted(pieces[4:], key=lambda p: (-len(p), p))[:40],
        "examples": [[part for part, _ in slices(tokenizer, formula)] for formula in find_formulas(texts, FORMULAS)],
    }
    target = folder / "report"
    target.mkdir(exist_ok=True)
    write_json(target / "report.json", report)
    _plot(report, [size / tokens for size, tokens in tally.per_document if tokens], target / "report.png")
    write_bytes(target / "report.html", _page(report).encode("utf-8", "replace"))
    return report


def _plot(report: dict[str, Any], per_text: Sequence[float], path: Path) -> None:
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
    kinds = [kind for kind in KINDS if report["entries_by_kind"].get(kind)]
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
