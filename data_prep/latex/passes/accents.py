"""The pass `accents`: accents written as commands become Unicode."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from data_prep.latex.scanner import any_of, inside, is_escaped, math_spans

_COMBINING = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307"}
_COMBINING |= {
    "u": "\u0306",
    "v": "\u030c",
    "H": "\u030b",
    "r": "\u030a",
    "c": "\u0327",
    "d": "\u0323",
    "b": "\u0331",
    "k": "\u0328",
}
_LETTERS = {
    "ss": "ß", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å",
    "AA": "Å",
    "i": "ı", "j": "ȷ", "dh": "ð", "DH": "Ð", "th": "þ", "TH": "Þ", "dj": "đ", "DJ": "Đ",
}  # fmt: skip
_SYMBOLIC = r"(?P<mark>['`^\"~=.])\s*(?:\{\s*(?P<in>\\[ij](?![a-zA-Z])|[A-Za-z])\s*\}"
_SYMBOLIC += r"|(?P<bare>\\[ij](?![a-zA-Z@])[ ]?|[A-Za-z]))"
_ALPHABETIC = r"(?P<hook>[uvHrcdbk])(?:\s*\{\s*(?P<hooked>\\[ij](?![a-zA-Z])|[A-Za-z])\s*\}"
_ALPHABETIC += r"|[ ]+(?P<after>\\[ij](?![a-zA-Z])|[A-Za-z]))"
_SPECIAL = rf"(?P<letter>{any_of(_LETTERS)})(?![a-zA-Z@])(?:\{{\}}|[ \t]*(?:\n(?![ \t]*\n))?)"
_ACCENT = re.compile(rf"\\(?:{_SYMBOLIC}|{_ALPHABETIC}|{_SPECIAL})")
CONTROL_WORD_TAIL = re.compile(r"\\[a-zA-Z@]+\*?(?:\{[^{}]*\}|\[[^\]]*\])?\Z")
_TABBING = re.compile(r"\\begin\{tabbing\}.*?\\end\{tabbing\}", re.DOTALL)


def accents(text: str, accents: Literal["unicode", "keep"] = "unicode") -> str:
    """Accented and special letters as Unicode, outside mathematics and `tabbing` (where `\\=` sets a stop)."""
    if accents == "keep":
        return text
    found = [match for match in _ACCENT.finditer(text) if not is_escaped(text, match.start())]
    if not found:
        return text
    in_math = _paragraph_test(text)
    in_tabbing = inside([m.span() for m in _TABBING.finditer(text)] if "\\begin{tabbing}" in text else [])
    parts: list[str] = []
    position = 0
    for match in found:
        start, end = match.span()
        letter = _accented(match)
        if start < position or not letter or in_tabbing(start):
            continue
        # Marks such as `\'` mean nothing else in mathematics; letters such as `\v` are authors' macros there.
        if not match["mark"] and in_math(start):
            continue
        # `Poincar{\'e}` needs no braces any more, `\emph{\'e}` does.
        if text[start - 1 : start] == "{" and text[end : end + 1] == "}" and start > position:
            if not CONTROL_WORD_TAIL.search(text, max(0, start - 61), start - 1):
                start, end = start - 1, end + 1
        parts += (text[position:start], letter)
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _paragraph_test(text: str) -> Callable[[int], bool]:
    """A test of whether a position lies in mathematics, which looks at the paragraphs asked about alone."""
    start = end = -1
    test = inside([])

    def in_math(position: int) -> bool:
        nonlocal start, end, test
        if not start <= position < end:
            start = max(text.rfind("\n\n", 0, position), 0)
            end = text.find("\n\n", position)
            end = len(text) if end < 0 else end
            test = inside([*math_spans(text[start:end])])
        return test(position - start)

    return in_math


def _accented(match: re.Match[str]) -> str | None:
    """The one character that an accent command stands for, or None if Unicode has none."""
    if match["letter"]:
        return _LETTERS[match["letter"]]
    base = match["in"] or match["bare"] or match["hooked"] or match["after"]
    base = {"\\i": "i", "\\j": "j"}.get(base.strip(), base)
    letter = unicodedata.normalize("NFC", base + _COMBINING[match["mark"] or match["hook"]])
    return letter if len(letter) == 1 else None
