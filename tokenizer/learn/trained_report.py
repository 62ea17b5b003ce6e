"""What a tokenizer does to text that it has not seen, measured at the end of its training.

The measures are those of `evaluate_tokenizer.py`, which compares tokenizers and tells more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_json
from reports.tokenizer.trained import write_page
from tokenizer.learn.pretokenizer import pretokens
from tokenizer.measure.adapters import load_tokenizer
from tokenizer.measure.metrics import Tally
from tokenizer.measure.passages import find_formulas, slices
from tokenizer.measure.segments import take_apart

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
    write_page(target, report, [size / tokens for size, tokens in tally.per_document if tokens], KINDS)
    return report
