r"""What a text is made of, whatever the tokenizer: kinds of text, commands, words, numbers, and the borders between.

Used by `metrics.py`, and by the evaluations of models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.latex.scanner import math_spans, opaque_spans

if TYPE_CHECKING:
    import numpy as np

# Every character of a text is of exactly one kind; where two would claim it, the later one has it.
KINDS = ("prose", "markup", "inline mathematics", "displayed mathematics", "verbatim and bibliography")
PROSE, MARKUP, INLINE, DISPLAYED, VERBATIM = range(len(KINDS))
KIND_MEANINGS = (
    "everything that is none of the following",
    r"commands outside mathematics, with braces and ~ &; the whole of \begin{..}, \end{..}, \label, \ref, \cite",
    r"$..$ and \(..\), delimiters included",
    r"$$..$$, \[..\] and environments such as align, delimiters included",
    r"\verb, verbatim environments and listings, \url, thebibliography",
)
# Two characters at a time: in `\\alpha` the second backslash ends a line, and no command begins.
UNIT = re.compile(r"\\(?:(?P<command>[A-Za-z]+)|.)|(?P<word>[^\W\d_]+)|(?P<number>[0-9]+)", re.DOTALL)
NAMES = r"begin|end|label|[A-Za-z]*ref|cite[A-Za-z]*"
MARKUP_TEXT = re.compile(
    rf"\\(?:{NAMES})\*?(?:\[[^\]\n]*\])?\{{[^{{}}\n]*\}}|\\[A-Za-z]+\*?|\\[^A-Za-z\s]|[{{}}~&]", re.DOTALL
)
BIBLIOGRAPHY = re.compile(r"\\begin\{thebibliography\}.*?\\end\{thebibliography\}", re.DOTALL)


@dataclass
class TextUnits:
    """One text taken apart. Positions are characters; spans are pairs of arrays, starts and ends.

    Attributes:
        kinds: of each character, an index of KINDS.
        sizes: of each character, its bytes in UTF-8.
        inside: for each position, and the end, whether it lies within a word, a command or a number.
        names: of the commands, in the order of `commands`.
    """

    text: str
    kinds: np.ndarray
    sizes: np.ndarray
    inside: np.ndarray
    commands: tuple[np.ndarray, np.ndarray]
    names: list[str]
    words: tuple[np.ndarray, np.ndarray]
    numbers: tuple[np.ndarray, np.ndarray]


def take_apart(text: str) -> TextUnits:
    """The units of a text without lone surrogates."""
    import numpy as np

    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = (1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)).astype(np.int64)
    kinds = character_kinds(text)
    inside = np.zeros(len(text) + 1, bool)
    found: dict[str, list[tuple[int, int]]] = {"command": [], "word": [], "number": []}
    for match in UNIT.finditer(text):
        start, end = match.span()
        inside[start + 1 : end] = True
        # What looks like a command in a listing is a program's.
        if match.lastgroup and not (match.lastgroup == "command" and kinds[start] == VERBATIM):
            found[match.lastgroup].append((start, end))
    return TextUnits(
        text=text,
        kinds=kinds,
        sizes=sizes,
        inside=inside,
        commands=_spans(found["command"]),
        names=[text[start:end] for start, end in found["command"]],
        words=_spans(found["word"]),
        numbers=_spans(found["number"]),
    )


def _spans(found: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    both = np.array(found, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def character_kinds(text: str) -> np.ndarray:
    """The kind of each character, an index of KINDS: uint8 [characters]."""
    import numpy as np

    kinds = np.full(len(text), PROSE, np.uint8)
    for match in MARKUP_TEXT.finditer(text):
        kinds[match.start() : match.end()] = MARKUP
    for start, end in math_spans(text):
        kinds[start:end] = INLINE if is_inline(text, start) else DISPLAYED
    for kind, start, end in opaque_spans(text):
        if kind in ("verbatim", "url"):
            kinds[start:end] = VERBATIM
    for match in BIBLIOGRAPHY.finditer(text):
        kinds[match.start() : match.end()] = VERBATIM
    return kinds


def is_inline(text: str, start: int) -> bool:
    """Whether the mathematics that begins at `start` stands in its line."""
    return text.startswith((r"\(", r"\begin{math}"), start) or (text[start] == "$" and not text.startswith("$$", start))
