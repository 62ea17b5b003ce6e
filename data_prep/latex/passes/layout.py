"""The pass `layout`: commands and environments out that only place, measure or name things (`\\todo` among them)."""

from __future__ import annotations

import re
from typing import Literal

from data_prep.latex.commands import APPARATUS, DEFINITIONS, FRAMES, INITIALS, LAYOUT, RENAMED, Rule
from data_prep.latex.edits import Edit, edit_commands
from data_prep.latex.groups import SIMPLE_GROUP, Groups
from data_prep.latex.passes.accents import CONTROL_WORD_TAIL
from data_prep.latex.scanner import any_of, environment_end


def _apply(rule: Rule, match: re.Match[str], groups: Groups, edits: list[Edit], whole: bool = False) -> int:
    """Edit one command by its rule; with `whole`, one that lacks its arguments stays as it is."""
    text = groups.text
    start, end = match.span()
    spec, keep, replacement = rule
    if not spec:  # a control word eats the blanks after it
        edits.append((start, _BLANKS.match(text, end).end(), replacement))  # type: ignore[union-attr]
        return end
    if keep is None and (spec == "m" or spec == "g") and (simple := SIMPLE_GROUP.match(text, end)):
        edits.append((start, simple.end(), replacement))
        return simple.end()
    spans = groups.arguments(end, spec)
    if spans is None:
        if not whole:
            edits.append((start, end, ""))
        return end
    if keep is None:
        edits.append((start, spans[-1][1], replacement))
        return spans[-1][1]
    kept_start, kept_end = spans[keep]
    # `{\tt mathlib}` keeps its braces: without them the font would go on.
    braces = int(text[kept_start] == "{" and not _FONT_SWITCH.match(text, kept_start + 1))
    edits.append((start, kept_start + braces, ""))
    if kept_end - braces < spans[-1][1]:
        edits.append((kept_end - braces, spans[-1][1], ""))
    return kept_start + braces


_BLANKS = re.compile(r"[ \t]*")
_FONT_SWITCH = re.compile(r"\s*\\(?:tt|bf|it|em|sl|sc|rm|sf|cal|[a-z]{2}(?:family|series|shape))(?![a-zA-Z@])")


_LENGTHS = (
    "parindent parskip baselineskip hsize vsize hoffset voffset textwidth textheight topmargin oddsidemargin "
    "evensidemargin pageno tolerance hbadness vbadness hfuzz vfuzz overfullrule abovedisplayskip belowdisplayskip "
    "itemsep topsep leftmargin columnsep headheight headsep footskip footheight unitlength tabcolsep arraycolsep "
    "fboxsep mathsurround predisplaypenalty postdisplaypenalty hyphenpenalty exhyphenpenalty widowpenalty clubpenalty "
    "displaywidowpenalty interlinepenalty jot lineskip normalbaselineskip"
).split()
_SKIPS = "vskip hskip kern mskip mkern vglue hglue penalty spaceskip".split()
_DIMENSIONED = {*_LENGTHS, *_SKIPS, "font", "catcode", "magnification", "global"}
_DIMENSION = re.compile(
    r"\\(?:font\s*\\[a-zA-Z@]+\s*=?\s*[\w-]+(?:[ \t]+(?:scaled|at)[ \t]*(?:\\?[\w.]+))?"
    r"|catcode\s*`?\\?.\s*=?\s*\d+|magnification\s*=?\s*(?:\\magstep)?\w*"
    r"|(?:global\s*\\)?" + any_of([*_LENGTHS, *_SKIPS]) + r"(?![a-zA-Z@])\s*=?\s*-?\s*"
    r"(?:[\d.,]+\s*(?:true\s*)?(?:pt|em|ex|cm|mm|in|bp|sp|pc|mu)?|[\d.]*[ \t]*\\[a-zA-Z]+)"
    r"(?:\s*plus\s*-?[\d.]+\s*[a-z]+)?(?:\s*minus\s*-?[\d.]+\s*[a-z]+)?)[ \t]*"
)
_FLOATS = {
    name + star for name in "figure table algorithm wraptable sidewaystable listing".split() for star in ("", "*")
}
_LAYOUT = re.compile(
    rf"\\(?:(?P<word>{any_of([*LAYOUT, *DEFINITIONS, *_DIMENSIONED, *INITIALS])})(?![a-zA-Z@])"
    rf"|(?P<mark>begin|end)[ \t]*\{{(?P<env>{any_of([*FRAMES, *_FLOATS, *RENAMED, *APPARATUS])})\}}|(?P<symbol>[@/-]))"
)
_FLOAT_OPTION = re.compile(r"[ \t]*\[[^\]\n]{0,20}\]")
_ROW_SPACE = re.compile(r"\\\\(?:\*?[ \t]*\[[ \t]*-?[\d.]+[ \t]*(?:pt|ex|em|mm|cm|in|\\[a-z]+)[ \t]*\]|\*(?=[ \t]*\n))")


def layout(text: str, authors: Literal["drop", "keep"] = "drop") -> str:
    """Commands and environments that only place or measure things out; what they format stays.

    Authors, addresses and thanks count as layout of the title page, and so do the definitions of lengths, counters and
    styles that `macros` leaves. `\\par` and page breaks become paragraphs.
    """
    unclosed: set[str] = set()

    def handle(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
        if word := match["word"]:
            if word in _DIMENSIONED:
                dimension = _DIMENSION.match(text, match.start())
                if dimension:
                    edits.append((match.start(), dimension.end(), ""))
                return dimension.end() if dimension else match.end()
            if word == "author" and authors == "keep":
                return match.end()
            if word == "color" and (group_end := _coloured_group(match, groups)):
                edits += [(match.start() - 1, match.start(), ""), (group_end - 1, group_end, "")]
            if word in INITIALS:
                return _initial(match, groups, edits)
            rule = LAYOUT.get(word)
            return _apply(rule or DEFINITIONS[word], match, groups, edits, whole=rule is None)
        start, end = match.span()
        if (name := match["env"]) in _FLOATS:
            if match["mark"] == "begin" and (option := _FLOAT_OPTION.match(text, end)):
                edits.append((end, option.end(), ""))
            return end
        if name in RENAMED:
            edits.append((start, end, f"\\{match['mark']}{{{RENAMED[name]}}}"))
            return end
        if name in APPARATUS:
            end = environment_end(text, name, end, unclosed)[1] if match["mark"] == "begin" else -1
            edits.append((start, max(end, match.end()), ""))
            return max(end, match.end())
        if name and match["mark"] == "begin" and (spec := FRAMES[name]):
            spans = groups.arguments(end, spec)
            end = spans[-1][1] if spans else end
        edits.append((start, end, ""))
        return end

    return _ROW_SPACE.sub(r"\\\\", edit_commands(text, _LAYOUT, handle))


def _coloured_group(match: re.Match[str], groups: Groups) -> int:
    """The end of `{\\color{blue} text}` if its braces stand for the colour alone, else 0."""
    text, start = groups.text, match.start()
    if text[start - 1 : start] != "{" or text[max(0, start - 2) : start - 1] in ("}", "]", "\\"):
        return 0
    if text[max(0, start - 2) : start - 1].isalpha() and CONTROL_WORD_TAIL.search(text, max(0, start - 40), start - 1):
        return 0
    return max(0, groups.end(start - 1))


def _initial(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
    """`\\IEEEPARstart{T}{his}` as `This`."""
    spans = groups.arguments(match.end(), "ogg")
    if spans is None:
        return match.end()
    (_, _), (first, first_end), (second, second_end) = spans
    text = groups.text
    edits.append((match.start(), second_end, text[first + 1 : first_end - 1] + text[second + 1 : second_end - 1]))
    return second_end
