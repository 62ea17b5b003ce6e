"""The pass `references`: keys of citations and cross-references out."""

from __future__ import annotations

import re
from typing import Literal

from data_prep.latex.commands import REFERENCE_NAMES
from data_prep.latex.edits import Edit, edit_commands
from data_prep.latex.groups import SIMPLE_GROUP, Groups
from data_prep.latex.scanner import any_of

_REFERENCE = re.compile(
    rf"\\((?:[cC]ite(?!style|alias|setup|index|field|option)[a-zA-Z]*|{any_of(REFERENCE_NAMES)})(?![a-zA-Z@]))\*?"
)


def references(text: str, references: Literal["placeholder", "keep", "drop"] = "placeholder") -> str:
    """Citations and cross-references keep their command and lose keys, notes and stars (see the top of this module).

    Dropped ones go whole, with the `~` that ties them to the word before.
    """
    if references == "keep":
        return text
    dropped = references == "drop"

    def handle(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
        name = match[1]
        if simple := SIMPLE_GROUP.match(text, match.end()):
            if not name.endswith("range"):
                edits.append(_reference(text, match.start(), simple.end(), name, dropped))
                return simple.end()
        spans = groups.arguments(match.end(), "gg" if name.endswith("range") else "ooog")
        if spans is None:
            return match.end()
        edits.append(_reference(text, match.start(), spans[-1][1], name, dropped))
        return spans[-1][1]

    return edit_commands(text, _REFERENCE, handle)


def _reference(text: str, start: int, end: int, name: str, dropped: bool) -> Edit:
    if not dropped:
        return start, end, f"\\{name}{{}}"
    return (start - 1 if text[start - 1 : start] == "~" else start), end, ""
