"""Captions of figures and tables, which stay when what they describe goes."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.latex.groups import Groups
from data_prep.latex.scanner import control_words, is_escaped

_CAPTION = control_words(["caption", "captionof", "subcaption", "figcaption", "topcaption", "subfloat", "subfigure"])


def find_captions(text: str, start: int, end: int, groups: Groups) -> Iterator[str]:
    position = start
    while match := _CAPTION.search(text, position, end):
        if match[1] in ("subfloat", "subfigure"):  # its caption is the option
            spans = groups.arguments(match.end(), "o")
            position = match.end()
            if spans and spans[0][0] < spans[0][1]:
                yield f"\\subcaption{{{text[spans[0][0] + 1 : spans[0][1] - 1]}}}"
            continue
        spans = groups.arguments(match.end(), "gog" if match[1] == "captionof" else "*og")
        position = match.end()
        if spans and spans[-1][1] <= end and not is_escaped(text, match.start()):
            content = text[spans[-1][0] : spans[-1][1]]
            position = spans[-1][1]
            if content.strip("{} \n"):
                yield "\\caption" + content
