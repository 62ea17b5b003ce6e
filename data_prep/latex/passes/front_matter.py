"""The passes `document_end` and `front_matter`: where the paper's text begins and ends, its title and abstract."""

from __future__ import annotations

import re
from typing import Literal

from data_prep.latex.edits import Edit, apply_edits
from data_prep.latex.groups import Groups
from data_prep.latex.scanner import control_words, environment_end, is_escaped

_BEGIN = re.compile(r"\\begin\s*\{document\}|\\document(?![a-zA-Z@])")
_END = re.compile(r"\\end\s*\{document\}|\\enddocument(?![a-zA-Z@])|\\bye(?![a-zA-Z@])|\\end(?![a-zA-Z@]|\s*[{\\])")


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
