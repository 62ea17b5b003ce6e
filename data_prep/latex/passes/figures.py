"""The pass `figures`: drawings and images out, captions kept."""

from __future__ import annotations

import re

from data_prep.latex.commands import FIGURE_ENVIRONMENTS, PICTURE_ENVIRONMENTS, PICTURE_RULES
from data_prep.latex.edits import Edit, apply_edits, edit_commands
from data_prep.latex.groups import Groups
from data_prep.latex.passes.captions import find_captions
from data_prep.latex.scanner import any_of, environment_end

_PICTURE = re.compile(
    rf"\\(?:(?P<word>{any_of(PICTURE_RULES)})(?![a-zA-Z@])|begin\s*\{{(?P<env>{any_of(PICTURE_ENVIRONMENTS)})\}})"
)
_FIGURE = re.compile(rf"\\begin\s*\{{(?P<env>{any_of(FIGURE_ENVIRONMENTS)})\}}")
_DRAWN = "\ue002"  # stands where a drawing was


def figures(text: str) -> str:
    """Drawings and images out. Of a figure that held one, its captions stay; a figure of text alone stays whole."""
    unclosed: set[str] = set()

    def drop_picture(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
        start, end = match.span()
        if name := match["env"]:
            end = environment_end(text, name, end, unclosed)[1]
        else:
            spans = groups.arguments(end, PICTURE_RULES[match["word"]][0])
            end = spans[-1][1] if spans else -1
        if end < 0:
            return match.end()
        edits.append((start, end, _DRAWN))
        return end

    def keep_captions(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
        name = match["env"]
        inner_end, end = environment_end(marked, name, match.end(), open_figures)
        if inner_end < 0 or _DRAWN not in marked[match.end() : inner_end]:
            return match.end()
        captions = "\n".join(find_captions(marked, match.end(), inner_end, groups)).replace(_DRAWN, "")
        edits.append((match.start(), end, f"\\begin{{{name}}}\n{captions}\n\\end{{{name}}}" if captions else ""))
        return end

    marked = edit_commands(text, _PICTURE, drop_picture)
    if marked is text or _DRAWN not in marked:
        return text
    open_figures: set[str] = set()
    marked = edit_commands(marked, _FIGURE, keep_captions)
    return apply_edits(marked, [(m.start(), m.end(), "") for m in re.finditer(_DRAWN, marked)])
