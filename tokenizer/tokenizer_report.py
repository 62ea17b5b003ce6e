r"""What a tokenizer does to text that it has not seen: `report/report.json`, `.html` and `.png`.

Written by `train_tokenizer.py` at its end; imported, not run.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.jsonl import write_bytes, write_json
from data_prep.tex_scan import math_spans

COMMAND = re.compile(r"\\[A-Za-z]+")
WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]+")
KINDS = (
    "LaTeX command",
    "word after a space",
    "letters",
    "digit",
    "punctuation",
    "white space",
    "mixed",
    "byte",
    "special",
)


def kind_of(piece: str, index: int) -> str:
    """Which of KINDS an entry is; `piece` writes spaces as SentencePiece does."""
    body = piece.lstrip("\u2581")
    if index < 4:
        return "special"
    if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
        return "byte"
    if not body.strip():
        return "white space"
    if body.startswith("\\") and re.match(r"\\[A-Za-z]", body):
        return "LaTeX command"
    if body.isalpha():
        return "letters" if body == piece else "word after a space"
    if body.isdigit():
        return "digit"
    return "punctuation" if not any(c.isalnum() for c in body) else "mixed"


def measure(tokenizer: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Counts over `texts`: bytes, tokens, commands and words kept whole, entries used, bytes per token of each text."""
    totals: Counter[str] = Counter()
    used: Counter[int] = Counter()
    per_text: list[float] = []
    split_commands: Counter[str] = Counter()
    for text in texts:
        encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        starts = {start for start, _ in encoded["offset_mapping"]}
        used.update(encoded["input_ids"])
        size = len(text.encode("utf-8", "replace"))
        totals["bytes"] += size
        totals["tokens"] += len(encoded["input_ids"])
        if encoded["input_ids"]:
            per_text.append(size / len(encoded["input_ids"]))
        for match in COMMAND.finditer(text):
            cuts = sum(position in starts for position in range(match.start() + 1, match.end()))
            totals["commands"] += 1
            totals["commands_whole"] += not cuts
            if cuts:
                split_commands[match[0]] += 1
        for match in WORD.finditer(text):
            totals["words"] += 1
            totals["word_tokens"] += 1 + sum(position in starts for position in range(match.start() + 1, match.end()))
    return {"totals": totals, "used": used, "per_text": per_text, "split_commands": split_commands}


def examples(tokenizer: Any, texts: Sequence[str], limit: int = 8) -> list[list[str]]:
    """Formulas of the texts, of each the first that is long enough to show something, as the entries they become."""
    found: list[list[str]] = []
    for text in texts:
        spans = (text[start:end] for start, end in math_spans(text))
        formula = next((span for span in spans if 24 <= len(span) <= 120 and "\\" in span), None)
        if formula:
            ids = tokenizer.encode(formula, add_special_tokens=False, split_special_tokens=True)
            found.append(tokenizer.convert_ids_to_tokens(ids))
        if len(found) == limit:
            break
    return found


def write_report(folder: Path, texts: Sequence[str], origin: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Measure the tokenizer of `folder` on `texts` (which come from `origin`) and write `folder`/report."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    measured = measure(tokenizer, texts)
    totals = measured["totals"]
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    report = {
        "vocabulary": len(tokenizer),
        "entries_by_kind": dict(Counter(kind_of(piece, i) for i, piece in enumerate(pieces))),
        "trained_on": facts,
        "measured_on": {
            "origin": origin,
            "documents": len(texts),
            "bytes": totals["bytes"],
            "tokens": totals["tokens"],
        },
        "bytes_per_token": totals["bytes"] / max(1, totals["tokens"]),
        "commands": totals["commands"],
        "commands_whole": totals["commands_whole"] / totals["commands"] if totals["commands"] else 1.0,
        "tokens_per_word": totals["word_tokens"] / max(1, totals["words"]),
        "entries_used": len(measured["used"]),
        "commands_most_often_split": dict(measured["split_commands"].most_common(20)),
        "longest_entries": sorted(pieces[4:], key=lambda p: (-len(p), p))[:40],
        "examples": examples(tokenizer, texts),
    }
    target = folder / "report"
    target.mkdir(exist_ok=True)
    write_json(target / "report.json", report)
    _plot(report, measured["per_text"], target / "report.png")
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


def _page(report: dict[str, Any]) -> str:
    facts = report["trained_on"]
    rows = {
        "vocabulary": f"{report['vocabulary']:,} entries",
        "trained on": f"{facts['documents']:,} documents, {facts['text_bytes'] / 1e6:,.1f} MB",
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
        "<p>" + "".join(f"<span>{html.escape(_visible(piece))}</span>" for piece in line) + "</p>\n"
        for line in report["examples"]
    )
    longest = " ".join(f"<span>{html.escape(_visible(piece))}</span>" for piece in report["longest_entries"])
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


def _visible(piece: str) -> str:
    return piece.replace("\n", "\u23ce").replace("\t", "\u21e5")
