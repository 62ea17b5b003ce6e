"""A supplement, which is a document of its own, appended to the paper.

Used by `flatten.py`. The supplement's body goes before the paper's `\\end{document}`, behind `\\appendix`: what
follows the end of the document is no text. The definitions of its preamble go in front of its body, where they take
effect from there on; nothing else of the preamble stays. Its title becomes a heading, for a document has one title.
"""

from __future__ import annotations

import re

from data_prep.archive.tex_files import BEGIN, END, PLAIN_END, verbatim_test
from data_prep.latex.commands import DEFINITIONS
from data_prep.latex.groups import Groups
from data_prep.latex.scanner import any_of, is_escaped

_DEFINING = {
    name: DEFINITIONS[name][0]
    for name in (
        "newcommand renewcommand providecommand DeclareRobustCommand def edef gdef xdef let newtheorem spnewtheorem "
        "newenvironment renewenvironment DeclareMathOperator NewDocumentCommand RenewDocumentCommand "
        "ProvideDocumentCommand DeclareDocumentCommand NewDocumentEnvironment RenewDocumentEnvironment declaretheorem "
        "usepackage RequirePackage"
    ).split()
} | {"newif": "c", "newenvironment": "*googg", "renewenvironment": "*googg"}
_DEFINITION = re.compile(rf"\\(?:(?P<word>{any_of(_DEFINING)})|(?P<flag>[a-zA-Z]+(?:true|false)))(?![a-zA-Z@])")
_TITLE = re.compile(r"\\title(?![a-zA-Z@])")
_BREAKS = re.compile(r"\\\\(?:\s*\[[^\]]*\])?\s*")
_FLAG = re.compile(r"\\newif\s*\\if([a-zA-Z@]+)")


def append(paper: str, supplement: str) -> str:
    """`paper` with the body of `supplement` at its end; both in one piece, comments removed."""
    body_at, end = body_span(supplement)
    preamble, body = supplement[:body_at], supplement[body_at:end]
    title, preamble = _take_title(preamble)
    if title:
        body = f"\n\\section*{{{title}}}\n{body}"
    else:
        title, body = _take_title(body, "\n\n\\section*{{{}}}\n\n")
    begins_appendix = "" if "\\appendix" in paper else "\n\\appendix\n"
    place = body_span(paper)[1]
    return f"{paper[:place]}\n{begins_appendix}{definitions(preamble)}{body}\n{paper[place:]}"


def body_span(text: str) -> tuple[int, int]:
    """Where the body of a document begins and ends; the whole text where nothing says so."""
    begin = BEGIN.search(text)
    start = begin.end() if begin else 0
    in_verbatim = verbatim_test(text)
    for match in (END if begin else PLAIN_END).finditer(text, start):
        if not is_escaped(text, match.start()) and not in_verbatim(match.start()):
            return start, match.start()
    return start, len(text)


def definitions(preamble: str) -> str:
    """The definitions of a preamble, a line each: macros, environments, theorems, flags as set, packages."""
    groups = Groups(preamble)
    flags = set(_FLAG.findall(preamble))
    found: list[str] = []
    position = 0
    for match in _DEFINITION.finditer(preamble):
        start, end = match.span()
        if start < position or is_escaped(preamble, start):
            continue
        if match["flag"]:
            spans = [(start, end)] if match["flag"].removesuffix("true").removesuffix("false") in flags else None
        else:
            spans = groups.arguments(end, _DEFINING[match["word"]])
        if spans:
            position = spans[-1][1]
            found.append(preamble[start:position] + "\n")
    return "".join(found)


def _take_title(text: str, heading: str = "") -> tuple[str, str]:
    """The title that a text declares, on one line, and the text with `heading` in its place."""
    groups = Groups(text)
    for match in _TITLE.finditer(text):
        spans = None if is_escaped(text, match.start()) else groups.arguments(match.end(), "og")
        if spans:
            start, end = spans[-1]
            title = " ".join(_BREAKS.sub(" ", text[start + 1 : end - 1]).split())
            return title, text[: match.start()] + (heading.format(title) if title else "") + text[end:]
    return "", text
