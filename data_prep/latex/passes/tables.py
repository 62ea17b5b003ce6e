"""The pass `tables`: tables out where the knob says so, captions kept."""

from __future__ import annotations

import re
from typing import Literal

from data_prep.latex.edits import Edit, edit_commands
from data_prep.latex.groups import Groups
from data_prep.latex.passes.captions import find_captions
from data_prep.latex.scanner import any_of, environment_end

_TABLE = re.compile(
    r"\\begin\s*\{(?P<env>"
    + any_of(
        "table table* sidewaystable sidewaystable* wraptable longtable longtable* deluxetable deluxetable* "
        "supertabular "
        "tabular tabular* tabularx tabulary longtabu tabu tblr".split()
    )
    + r")\}"
)


def tables(text: str, tables: Literal["keep", "drop"] = "keep") -> str:
    """Where the knob says so, tables out; their captions stay."""
    if tables == "keep":
        return text
    unclosed: set[str] = set()

    def keep_captions(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
        name = match["env"]
        inner_end, end = environment_end(text, name, match.end(), unclosed)
        if inner_end < 0:
            return match.end()
        captions = "\n".join(find_captions(text, match.end(), inner_end, groups))
        edits.append((match.start(), end, f"\\begin{{{name}}}\n{captions}\n\\end{{{name}}}" if captions else ""))
        return end

    return edit_commands(text, _TABLE, keep_captions)
