"""The pass `blank_lines`: blanks and blank lines."""

from __future__ import annotations

import re

_BLANK_RUN = re.compile(r"  +")
# A line break on a line of its own ends a row of a table or alignment; only between blank lines does it do nothing.
_EMPTY_LINE = re.compile(r"\n(?:\{\}|~|(?<=\n\n)\\\\(?=\n\n))(?=\n)")
_BLANK_LINES = re.compile(r"\n\n\n+")


def blank_lines(text: str) -> str:
    """One blank between words, no blanks at the ends of lines, one blank line between paragraphs, one final newline."""
    text = "\n".join(map(str.strip, text.split("\n"))).replace("\t", " ")
    if "  " in text:
        text = _BLANK_RUN.sub(" ", text)
    if _EMPTY_LINE.search(text):
        text = _EMPTY_LINE.sub("", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    text = text.strip()
    return text + "\n" if text else ""
