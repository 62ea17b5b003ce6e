"""Cleaned LaTeX out of one flattened paper: ordered, named passes, each a pure function from text to text.

    python data_prep/latex_cleaner.py FILE.tex

prints the cleaned text (`--passes` lists the passes, `--after NAME` stops after one). The text begins with
`\\title{...}` and the abstract, where the source has them; paragraphs are separated by one blank line.

What goes and what stays, and why:

- Comments, preamble, dead conditional branches, definitions, bibliography, drawings and layout commands go: they are
  not the paper's text. Captions, footnotes, tables, theorems, code listings and all mathematics stay.
- Citations and cross-references keep their command and lose their key: `\\citep[see][p.~3]{smith98}` becomes
  `\\citep{}`, `Theorem~\\ref{thm:main}` becomes `Theorem~\\ref{}`. Taken out whole they leave broken sentences ("as
  shown in ,"); kept with keys they make the model learn strings that only their author could know. The empty command
  keeps the sentence, is LaTeX, costs two or three tokens, and shows a user of the model where to fill in.
- Quotes and dashes stay as TeX writes them; accents outside mathematics become Unicode (NFC).

Verbatim text and addresses are hidden behind marks while the passes run, so that none of them can touch a listing.
"""

from __future__ import annotations

import argparse
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/latex_cleaner.py`
    sys.path.insert(0, str(ROOT))

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.settings.data import DataSettings
from data_prep.branches import conditionals
from data_prep.latex_commands import (
    APPARATUS,
    BIBLIOGRAPHY_RULES,
    DEFINITIONS,
    FIGURE_ENVIRONMENTS,
    FRAMES,
    INITIALS,
    LAYOUT,
    PICTURE_ENVIRONMENTS,
    PICTURE_RULES,
    REFERENCE_NAMES,
    RENAMED,
    Rule,
)
from data_prep.macros import ensuremath, expand
from data_prep.tex_scan import (
    SIMPLE_GROUP,
    Edit,
    Groups,
    any_of,
    apply_edits,
    control_words,
    edit_commands,
    environment_end,
    hide_verbatim,
    inside,
    is_escaped,
    math_spans,
    show_verbatim,
    strip_comments,
)

Pass = Callable[..., str]


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

# ---------------------------------------------------------------------------------------------------------------------
# unicode_text

# U+2581 is SentencePiece's own mark for a blank, private-use characters are this package's, the others are never text.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff"
    "\ue000-\uf8ff\ufeff\ufff9-\uffff\U000f0000-\U0010ffff]"
)
_LINE_ENDS = re.compile("\r\n|[\r\x0c\x85\u2028\u2029]")
_UNUSUAL = re.compile(f"{_UNWANTED.pattern}|{_LINE_ENDS.pattern}|[\u2581\xa0]")
_ASCII_WANTED = bytes([*b"\t\n", *range(0x20, 0x7F)])


def unicode_text(text: str) -> str:
    """Control and private-use characters, byte order marks and lone surrogates out; NFC; U+2581 becomes `_`."""
    if text.isascii() and not text.encode().translate(None, _ASCII_WANTED):
        return text
    if _UNUSUAL.search(text):
        text = _UNWANTED.sub("", _LINE_ENDS.sub("\n", text)).replace("\u2581", "_").replace("\xa0", " ")
    return unicodedata.normalize("NFC", text)


# ---------------------------------------------------------------------------------------------------------------------
# document_end and front_matter

_BEGIN = re.compile(r"\\begin\s*\{document\}|\\document(?![a-zA-Z@])")
_END = re.compile(r"\\end\s*\{document\}|\\enddocument(?![a-zA-Z@])|\\bye(?![a-zA-Z@])|\\end(?![a-zA-Z@]|\s*[{\\])")
_CLASS = re.compile(r"\\document(?:class|style)(?![a-zA-Z@])")


def document_end(text: str) -> str:
    """What follows `\\end{document}`, `\\bye` or plain TeX's `\\end` goes."""
    begin = _BEGIN.search(text)
    for match in _END.finditer(text, begin.end() if begin else 0):
        if begin and not match[0].rstrip().endswith(("}", "document")):
            continue  # `\end` and `\bye` end plain TeX alone
        if not is_escaped(text, match.start()):
            return text[: match.start()]
    return text


_TITLE = control_words(["title", "Title", "titre", "icmltitle"])
# Astronomy & Astrophysics: context, aims, methods, results, conclusions, an argument each.
_AA_CLASS = re.compile(r"\\documentclass\s*(?:\[[^\]]*\])?\s*\{aa\}")
_AUTHOR = control_words(["author"])
_END_TITLE = re.compile(r"\\endtitle(?![a-zA-Z@])")
_END_ABSTRACT = re.compile(r"\\endabstract(?![a-zA-Z@])")
_ABSTRACT = re.compile(
    r"\\(?:begin\s*\{(?P<env>[aA]bstract\*?|abstracts|onecolabstract)\}|(?P<word>[aA]bstract)(?![a-zA-Z@]))"
)
# AMS-TeX: \author ... \endauthor
_AMSTEX_FIELD = re.compile(
    r""
    r"\\(author|address|affil|thanks|date|email|curraddr|subjclass|leftheadtext|rightheadtext)(?![a-zA-Z@])"
    r"(?:(?!\\end).){0,1000}"
    r"\\end\1(?![a-zA-Z@])",
    re.DOTALL,
)
_BODY_BEGINS = re.compile(r"\\(?:section|chapter|part|newsec|beginsection|appendix)(?![a-zA-Z@])")
_TITLE_BREAK = re.compile(r"\\\\(?:\s*\[[^\]]*\])?")


def front_matter(text: str, authors: Literal["drop", "keep"] = "drop") -> str:
    """Preamble and class out; title, authors where they are kept, and abstract, wherever they stood, come first.

    Without `\\begin{document}` (plain TeX, fragments) everything is body. An abstract counts before the first section
    alone: a thesis or a collection has others.
    """
    begin = _BEGIN.search(text)
    body_at = begin.end() if begin else 0
    groups = Groups(text)
    edits: list[Edit] = [(0, body_at, "")] if body_at else []
    heads = []
    first_section = _BODY_BEGINS.search(text, body_at)
    front_end = first_section.start() if first_section else len(text)
    edits += _two_columns(text, body_at, front_end)
    if title := _find_title(text, groups, front_end):
        start, end, content = title
        if content:
            heads.append(f"\\title{{{content}}}")
        edits.append((start, end, ""))
    if authors == "keep":
        for match in _AUTHOR.finditer(text, 0, front_end):
            spans = None if is_escaped(text, match.start()) else groups.arguments(match.end(), "og")
            if spans:
                heads.append(text[match.start() : spans[-1][1]])
                edits.append((match.start(), spans[-1][1], ""))
    if abstract := _find_abstract(text, groups, body_at, front_end):
        start, end, content = abstract
        if content:
            heads.append(f"\\begin{{abstract}}\n{content}\n\\end{{abstract}}")
        edits.append((start, end, ""))
    if "\\endtopmatter" in text:
        edits += [(m.start(), m.end(), "") for m in _AMSTEX_FIELD.finditer(text, body_at, front_end)]
    body = apply_edits(text, edits)
    return "\n\n".join([*heads, body]) if heads else body


_TWO_COLUMNS = re.compile(r"\\twocolumn[ \t\n]*(\[)?")
_BRACKETS = re.compile(r"\\.|[{}\[\]]", re.DOTALL)


def _two_columns(text: str, start: int, end: int) -> list[Edit]:
    """`\\twocolumn[title page]` without command and brackets; the title page stays."""
    match = _TWO_COLUMNS.search(text, start, end)
    if not match or not match[1]:
        return [(match.start(), match.end(), "")] if match else []
    depth = 0
    for mark in _BRACKETS.finditer(text, match.end(), match.end() + 20_000):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if mark[0] == "]" and depth <= 0:
            return [(match.start(), match.end(), ""), (mark.start(), mark.end(), "")]
    return []


def _find_title(text: str, groups: Groups, limit: int) -> tuple[int, int, str] | None:
    for match in _TITLE.finditer(text, 0, limit):
        if is_escaped(text, match.start()) or text[: match.start()].endswith(
            ("command", "command*", "command{", "\\def")
        ):
            continue
        if (ends := _END_TITLE.search(text, match.end(), match.end() + 1000)) is not None:
            content, end = text[match.end() : ends.start()], ends.end()
        else:
            spans = (match[1] == "Title" and groups.arguments(match.end(), "gg")) or groups.arguments(match.end(), "og")
            if not spans:
                continue
            (start, end) = spans[-1]
            content = text[start + 1 : end - 1]
        return match.start(), end, " ".join(_TITLE_BREAK.sub(" ", content).split())
    return None


def _find_abstract(text: str, groups: Groups, body_at: int, limit: int) -> tuple[int, int, str] | None:
    unclosed: set[str] = set()
    last_end = text.rfind("\\endabstract")
    topmatter = "\\topmatter" in text  # AMS-TeX, where the body begins behind it
    for match in _ABSTRACT.finditer(text, 0, limit):
        start = match.start()
        if is_escaped(text, start):
            continue
        if name := match["env"]:
            inner_end, end = environment_end(text, name, match.end(), unclosed)
            if inner_end >= 0:
                return start, end, text[match.end() : inner_end].strip()
        elif spans := (_AA_CLASS.search(text) and groups.arguments(match.end(), "ggggg")) or groups.arguments(
            match.end(), "g"
        ):
            parts = (text[inner_start + 1 : end - 1].strip() for inner_start, end in spans)
            return start, spans[-1][1], "\n".join(filter(None, parts))
        elif (body_at <= start or topmatter) and start < last_end and (ends := _END_ABSTRACT.search(text, match.end())):
            return start, ends.end(), text[match.end() : ends.start()].strip()
    return None


# ---------------------------------------------------------------------------------------------------------------------
# bibliography

_BIBLIOGRAPHY = re.compile(
    r"\\(?:(?P<word>" + any_of(BIBLIOGRAPHY_RULES) + r")(?![a-zA-Z@])"
    r"|begin\s*\{(?P<env>"
    + any_of("thebibliography references biblist biblist* bibdiv bibsection refs".split())
    + r")\}"
    r"|(?P<refs>Refs|bibitem)(?![a-zA-Z@]))"
)
_NEXT_PART = re.compile(r"\\(?:appendix|section|chapter|part|newsec|beginsection|end\s*\{document\})(?![a-zA-Z@])")
_ITEM_END = re.compile(r"\n[ \t]*\n|\\(?:bibitem|section|appendix|chapter|end\s*\{)")
_REFS_END = re.compile(r"\\endRefs(?![a-zA-Z@])")
_REFERENCES_HEADING = re.compile(
    r""
    r"(?:\\(?:section|chapter|subsection|begin\s*\{center\}|centerline)\*?\s*\{?|\{\s*\\(?:bf|large|Large)\s*)[^a-zA-Z\\]*"
    r"(?:\\[a-z]+\s*)*\{?\s*(?:references|bibliography|literature|références|literatur)\.?\s*\}*"
    r"(?:\s*\\end\s*\{center\})?\s*\Z",
    re.IGNORECASE,
)


def bibliography(text: str) -> str:
    """Lists of references and the commands that make them out, with a heading that stood for nothing else.

    An appendix after them stays. A list that never ends goes up to the next section or the end of the text.
    """
    unclosed: set[str] = set()
    last_refs = max((match.start() for match in _REFS_END.finditer(text)), default=-1)

    def handle(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
        start, end = match.span()
        if word := match["word"]:
            spans = groups.arguments(end, BIBLIOGRAPHY_RULES[word][0])
            end = spans[-1][1] if spans else end
        elif name := match["env"]:
            end = environment_end(text, name, end, unclosed)[1]
            if end < 0:
                following = _NEXT_PART.search(text, match.end())
                end = following.start() if following else len(text)
        elif match["refs"] == "Refs":
            end = end if end > last_refs else _REFS_END.search(text, end).end()  # type: ignore[union-attr]
        else:
            following = _ITEM_END.search(text, end)
            end = following.start() if following else len(text)
        if match["word"] not in ("nocite", "bibliographystyle"):
            while edits and not text[edits[-1][1] : start].strip():  # `\\bibliographystyle` before `\\bibliography`
                start = edits.pop()[0]
            heading = _REFERENCES_HEADING.search(text, max(0, start - 120), start)
            if heading and not (edits and edits[-1][1] > heading.start()):
                start = heading.start()
        edits.append((start, end, ""))
        return end

    return edit_commands(text, _BIBLIOGRAPHY, handle)


# ---------------------------------------------------------------------------------------------------------------------
# figures

_PICTURE = re.compile(
    rf"\\(?:(?P<word>{any_of(PICTURE_RULES)})(?![a-zA-Z@])|begin\s*\{{(?P<env>{any_of(PICTURE_ENVIRONMENTS)})\}})"
)
_FIGURE = re.compile(rf"\\begin\s*\{{(?P<env>{any_of(FIGURE_ENVIRONMENTS)})\}}")
_CAPTION = control_words(["caption", "captionof", "subcaption", "figcaption", "topcaption", "subfloat", "subfigure"])
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
        captions = "\n".join(_captions(marked, match.end(), inner_end, groups)).replace(_DRAWN, "")
        edits.append((match.start(), end, f"\\begin{{{name}}}\n{captions}\n\\end{{{name}}}" if captions else ""))
        return end

    marked = edit_commands(text, _PICTURE, drop_picture)
    if marked is text or _DRAWN not in marked:
        return text
    open_figures: set[str] = set()
    marked = edit_commands(marked, _FIGURE, keep_captions)
    return apply_edits(marked, [(m.start(), m.end(), "") for m in re.finditer(_DRAWN, marked)])


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
        captions = "\n".join(_captions(text, match.end(), inner_end, groups))
        edits.append((match.start(), end, f"\\begin{{{name}}}\n{captions}\n\\end{{{name}}}" if captions else ""))
        return end

    return edit_commands(text, _TABLE, keep_captions)


def _captions(text: str, start: int, end: int, groups: Groups) -> Iterator[str]:
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


# ---------------------------------------------------------------------------------------------------------------------
# references

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


# ---------------------------------------------------------------------------------------------------------------------
# layout

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
    if text[max(0, start - 2) : start - 1].isalpha() and _CONTROL_WORD_TAIL.search(text, max(0, start - 40), start - 1):
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


# ---------------------------------------------------------------------------------------------------------------------
# accents

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
_CONTROL_WORD_TAIL = re.compile(r"\\[a-zA-Z@]+\*?(?:\{[^{}]*\}|\[[^\]]*\])?\Z")
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
            if not _CONTROL_WORD_TAIL.search(text, max(0, start - 61), start - 1):
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


# ---------------------------------------------------------------------------------------------------------------------
# blank_lines

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


# The order matters: conditionals before anything is taken for text; the preamble goes before definitions are looked
# for; captions are found before layout unwraps what surrounds them.
PASSES: tuple[tuple[str, Pass], ...] = (
    ("conditionals", conditionals),
    ("macros", expand),
    ("ensuremath", ensuremath),
    ("document_end", document_end),
    ("front_matter", front_matter),
    ("bibliography", bibliography),
    ("figures", figures),
    ("tables", tables),
    ("references", references),
    ("layout", layout),
    ("accents", accents),
    ("blank_lines", blank_lines),
)


def passes(
    settings: DataSettings | None = None,
    styles: Mapping[str, str] | None = None,
    counters: Counter[str] | None = None,
) -> list[tuple[str, Pass]]:
    """The passes as `settings` want them (None: as a fresh config.json has them); other arguments as for `clean`."""
    given: dict[str, dict[str, Any]] = {"macros": {"styles": styles, "counters": counters}}
    if settings is not None:
        given |= {
            "front_matter": {"authors": settings.authors},
            "tables": {"tables": settings.tables},
            "references": {"references": settings.references},
            "layout": {"authors": settings.authors},
            "accents": {"accents": settings.accents},
        }
    return [(name, partial(function, **given[name]) if name in given else function) for name, function in PASSES]


def steps(
    text: str,
    settings: DataSettings | None = None,
    styles: Mapping[str, str] | None = None,
    counters: Counter[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """(name of a pass, text after it) for each pass, over a text whose comments are gone; arguments as for `clean`."""
    text = unicode_text(text)
    yield "unicode_text", text
    text, hidden = hide_verbatim(text)
    for name, function in passes(settings, styles, counters):
        text = function(text)
        yield name, show_verbatim(text, hidden)


def clean(
    text: str,
    settings: DataSettings | None = None,
    styles: Mapping[str, str] | None = None,
    counters: Counter[str] | None = None,
) -> str:
    """The cleaned text of a paper in one piece, comments removed (`flatten` and `strip_comments` do that).

    Args:
        text: the paper.
        settings: what stays of authors, tables, references and accents; None is the default of each.
        styles: the paper's files by path; macros are read from the packages and the class among them.
        counters: what `macros.expand` counts.
    """
    text, hidden = hide_verbatim(unicode_text(text))
    for _, function in passes(settings, styles, counters):
        text = function(text)
    return show_verbatim(text, hidden)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Print the cleaned text of a TeX file (included files are not followed: see data_prep/paper.py).",
        epilog="example: python data_prep/latex_cleaner.py paper.tex",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.tex")
    parser.add_argument("--after", metavar="NAME", help="print the text as it is after this pass")
    parser.add_argument("--passes", action="store_true", help="list the passes and what each does")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    from data_prep.extraction import read_text_file

    described = (("comments", strip_comments), ("unicode_text", unicode_text), *PASSES)
    if args.passes:
        for name, function in described:
            print(f"{name}: {(function.__doc__ or '').strip().splitlines()[0]}")
        return 0
    names = [name for name, _ in described]
    if args.after and args.after not in names:
        raise UserError(f"--after {args.after}: no such pass; the passes are {', '.join(names)}")
    if args.file is None or not args.file.is_file():
        raise UserError(f"{args.file or 'no file given'}: no such file; give the path of a TeX file")
    text = strip_comments(read_text_file(args.file, settings.data))
    if args.after:
        if args.after != "comments":
            text = next(after for name, after in steps(text, settings.data) if name == args.after)
    else:
        text = clean(text, settings.data)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    run_command(main)
