r"""Passages that show what a tokenizer does to LaTeX, cut into its tokens.

Imported by the pages that show them; not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from data_prep.latex.scanner import math_spans
from tokenizer.measure.adapters import AnyTokenizer
from tokenizer.measure.segments import is_inline

STATEMENT = re.compile(
    r"\\begin\{(theorem|lemma|proposition|corollary|definition|thm|lem|prop)\}.+?\\end\{\1\}", re.DOTALL
)
ALIGNED = re.compile(r"\\begin\{(align|aligned|eqnarray|gather|multline|split)(\*?)\}.+?\\end\{\1\2\}", re.DOTALL)
DISPLAYED = re.compile(r"\\begin\{(equation)(\*?)\}.+?\\end\{\1\2\}|\\\[.+?\\\]|\$\$.+?\$\$", re.DOTALL)
ENVIRONMENT = re.compile(r"\\(?:begin|end)\{")
# Characters of a passage: enough to see something, little enough to see several tokenizers beside each other.
LEAST, MOST = 160, 520


def find_passages(texts: Sequence[str]) -> list[tuple[str, str]]:
    """(what it is, passage): prose, a theorem and a displayed formula, of each the first that the texts hold."""
    found = []
    for title, *searches in PASSAGES:
        candidates = (passage for search in searches for text in texts for passage in search(text))
        passage = next((passage for passage in candidates if LEAST <= len(passage) <= MOST), None)
        if passage:
            found.append((title, passage))
    return found


def find_formulas(texts: Iterable[str], limit: int) -> list[str]:
    """Formulas of the texts, of each the first that is long enough to show something."""
    found: list[str] = []
    for text in texts:
        spans = (text[start:end] for start, end in math_spans(text))
        formula = next((span for span in spans if 24 <= len(span) <= 120 and "\\" in span), None)
        if formula:
            found.append(formula)
        if len(found) == limit:
            break
    return found


def slices(tokenizer: AnyTokenizer, text: str) -> list[tuple[str, int]]:
    """The text in the pieces between which its tokens are cut, and how many tokens each is (bytes of one character)."""
    _, begins = tokenizer.cut(text)
    places = sorted({0, *begins})
    ends = [*places[1:], len(text)]
    return [(text[start:end], begins.count(start)) for start, end in zip(places, ends, strict=True) if start < end]


def _prose(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if LEAST <= len(paragraph) <= MOST and paragraph[0].isalpha() and not ENVIRONMENT.search(paragraph):
            starts = [start for start, _ in math_spans(paragraph)]
            if len(starts) >= 2 and all(is_inline(paragraph, start) for start in starts):
                yield paragraph


def _matching(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    return (match[0] for match in pattern.finditer(text))


# What is shown, and where it is looked for: in all texts the first way, then in all the second.
PASSAGES: tuple[tuple[Any, ...], ...] = (
    ("Prose with formulas", _prose),
    ("A theorem, or its like", partial(_matching, STATEMENT)),
    ("A displayed formula", partial(_matching, ALIGNED), partial(_matching, DISPLAYED)),
)
