"""Edits of a text, made together; the commands that they are made for."""

from __future__ import annotations

import re
from collections.abc import Callable

from data_prep.latex.groups import Groups
from data_prep.latex.scanner import CONTROL_WORD_TAIL, is_escaped

Edit = tuple[int, int, str]  # text[start:end] becomes the string


def apply_edits(text: str, edits: list[Edit]) -> str:
    """`text` with the edits made. An edit that lies inside an earlier one is void.

    A deletion leaves neither doubled blanks nor, where it was all that a line held, an empty line: an empty line would
    be a new paragraph.
    """
    if not edits:
        return text
    edits.sort()
    parts: list[str] = []
    position = 0  # what of `text` is in `parts`
    reach = 0  # where the last edit ends
    deleted = -1  # where the deletion that reaches to `reach` begins; -1 if the last edit was none
    for start, end, replacement in edits:
        if start < reach:
            continue
        if deleted >= 0:
            if not replacement and (start == reach or not text[reach:start].strip(" \t")):
                reach = max(reach, end)
                continue
            position = _delete(text, deleted, reach, position, parts)
        if replacement:
            if end > position:
                parts += (text[position:start], replacement) if start > position else (replacement,)
                position = end
            deleted = -1
        else:
            deleted = start
        reach = end
    if deleted >= 0:
        position = _delete(text, deleted, reach, position, parts)
    parts.append(text[position:])
    return "".join(parts)


def _delete(text: str, start: int, end: int, position: int, parts: list[str]) -> int:
    """Add what stands between `position` and a deletion, with the blank that must take its place; answer its end."""
    start, end = _widen(text, start, end)
    if end <= position:
        return position
    start = max(start, position)
    parts.append(text[position:start])
    # `\\foo\noindent bar` must not become `\\foobar`
    if text[end : end + 1].isalpha() and text[start - 1 : start].isalpha():
        if CONTROL_WORD_TAIL.search(text, max(0, start - 40), start):
            parts.append(" ")
    return end


_BLANKS = re.compile(r"[ \t]*")


def _widen(text: str, start: int, end: int) -> tuple[int, int]:
    """A deletion with the blanks around it that would be left over."""
    before = start
    while before and text[before - 1] in " \t":
        before -= 1
    after = end
    following = text[end : end + 1]
    if following == " " or following == "\t":
        after = _BLANKS.match(text, end).end()  # type: ignore[union-attr]
        following = text[after : after + 1]
    if not before or text[before - 1] == "\n":
        return (before, after + 1) if following == "\n" else (before, after)
    if before < start and (after > end or following in "\n,.;:)]}"):
        return before, end
    return start, end


def edit_commands(
    text: str, pattern: re.Pattern[str], handle: Callable[[re.Match[str], Groups, list[Edit]], int]
) -> str:
    """Call `handle(match, groups, edits)` for each unescaped match; it adds edits and answers where to go on."""
    position, search, groups = 0, pattern.search, Groups(text)
    edits: list[Edit] = []
    while match := search(text, position):
        start = match.start()
        if start and text[start - 1] == "\\" and is_escaped(text, start):
            position = start + 1
            continue
        position = max(handle(match, groups, edits), start + 1)
    return apply_edits(text, edits)
