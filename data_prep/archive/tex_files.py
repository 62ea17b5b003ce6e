"""A paper's TeX files: their text without comments, which of them a name means, and where commands are none.

Used by `includes.py`, `main_file.py` and `flatten.py`.

A name means `a.tex` before `a`; the case of letters matters only where two files differ in nothing else (archives are
packed on systems that do not tell them apart).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence

from data_prep.latex.scanner import VERBATIM_ENVIRONMENTS, any_of, inside, is_escaped, opaque_spans, strip_comments

TEXT_SUFFIXES = ("", ".tex", ".ltx", ".latex", ".txt")
# What a paper may name that is no part of its text: packages and classes, in the archive or of TeX's installation.
SUPPORT_SUFFIXES = {".sty", ".cls", ".clo", ".def", ".bst", ".fd", ".cfg"}

CLASS = re.compile(r"\\document(?:class|style)\s*(?:\[[^\]]*\]\s*)?\{\s*([^{}\s]*)")
BEGIN = re.compile(r"\\begin\s*\{document\}|\\document(?![a-zA-Z])")  # LaTeX, AMS-TeX
END = re.compile(r"\\end\s*\{document\}|\\enddocument(?![a-zA-Z])")
PLAIN_END = re.compile(r"\\(?:bye|end)(?![a-zA-Z@])(?!\s*[{\\])")  # plain TeX

_VERBATIM = re.compile(
    r"\\(?:begin[ \t]*\{(?:"
    + any_of(VERBATIM_ENVIRONMENTS)
    + r")\}|(?:verb|Verb|lstinline|mintinline|spverb)(?![b-zB-Z]))"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_IF = re.compile(
    r"\\(?:"
    r"(?:newif|let|[gex]?def)\s*\\if[a-zA-Z@]*(?:\s*=?\s*\\if(?:true|false))?"  # a declaration, no conditional
    r"|(?P<if>if[a-zA-Z@]*)[ \t]*(?P<zero>0)?|(?P<else>else)(?![a-zA-Z@])|(?P<fi>fi)(?![a-zA-Z@]))"
)
_FI = re.compile(r"\\fi(?![a-zA-Z@])")
# Commands that begin like a conditional and have no `\fi`.
_NO_IF = set(
    "iff ifthenelse ifdef ifundef ifcsdef ifcsundef ifdefmacro ifdefempty ifdefvoid ifdefequal ifdefstring ifcsstring "
    "ifstrequal ifstrempty ifblank ifnotblank ifboolexpr ifbool iftoggle ifnumcomp ifnumequal ifnumgreater ifnumless "
    "ifnumodd ifdimcomp ifinlist ifstreqcase ifpackageloaded iflanguage ifoot ifootpageref".split()
)


class PaperFiles:
    """A paper's files by path, comments removed when first asked for."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.raw = files
        self._read: dict[str, str] = {}
        self._lower: dict[str, str] | None = None

    def text(self, path: str) -> str:
        """The file without its comments."""
        text = self._read.get(path)
        if text is None:
            text = self._read[path] = strip_comments(self.raw[path])
        return text

    def find(self, name: str, folders: Sequence[str]) -> str | None:
        """The path that `name` means, looked for in `folders` in turn; None where no file fits."""
        if not name:
            return None
        # A path may be named by several folders, as where all files lie in one.
        bases = [posixpath.normpath(posixpath.join(folder, name)) for folder in dict.fromkeys(folders)]
        # TeX tries `a.tex` before `a`, and `a.tex.tex` not at all where there is `a.tex`.
        given = posixpath.splitext(name)[1].lower() in TEXT_SUFFIXES[1:]
        suffixes = TEXT_SUFFIXES if given else (".tex", *TEXT_SUFFIXES)
        for base in bases:
            for suffix in suffixes:
                if base + suffix in self.raw:
                    return base + suffix
        if self._lower is None:
            self._lower = {path.lower(): path for path in sorted(self.raw, reverse=True)}
        for base in bases:
            for suffix in suffixes:
                if path := self._lower.get((base + suffix).lower()):
                    return path
        return None


def verbatim_test(text: str) -> Callable[[int], bool]:
    """A test of whether a position lies in verbatim text, where commands are none."""
    spans: Callable[[int], bool] | None = None
    clean = 0  # no verbatim text begins before this position

    def test(position: int) -> bool:
        nonlocal spans, clean
        if spans is None:
            if not _VERBATIM.search(text, clean, position):
                clean = max(clean, position)
                return False
            spans = inside([(start, end) for kind, start, end in opaque_spans(text) if kind == "verbatim"])
        return spans(position)

    return test


def _never(position: int) -> bool:
    return False


def conditional_tests(text: str) -> tuple[Callable[[int], bool], Callable[[int], bool]]:
    """Two tests of a position: whether it lies between an `\\if` and its `\\fi`, and in a branch that is never read.

    Never read are the first branch of \\iffalse and \\if0 and the second one of \\iftrue; how the paper's own flags are
    set is not looked at. An `\\if` without its `\\fi` counts for nothing.
    """
    if not _FI.search(text):
        return _never, _never
    conditionals: list[tuple[int, int]] = []
    dead: list[tuple[int, int]] = []
    opened: list[tuple[int, str, int]] = []  # start, name, position of the \else
    for match in _IF.finditer(text):
        name = match["if"]
        if name:
            if name not in _NO_IF and not is_escaped(text, match.start()):
                opened.append((match.start(), name + "0" if name == "if" and match["zero"] else name, -1))
        elif match["else"] and opened:
            start, name, other = opened[-1]
            opened[-1] = (start, name, match.start() if other < 0 else other)
        elif match["fi"] and opened:
            start, name, other = opened.pop()
            _add_outer(conditionals, start, match.end())
            if name in ("iffalse", "if0"):
                _add_outer(dead, start, match.end() if other < 0 else other)
            elif name == "iftrue" and other >= 0:
                _add_outer(dead, other, match.end())
    return inside(conditionals) if conditionals else _never, inside(dead) if dead else _never


def _add_outer(spans: list[tuple[int, int]], start: int, end: int) -> None:
    """Add a span that ends behind all others; those inside it go."""
    while spans and spans[-1][0] >= start:
        spans.pop()
    spans.append((start, end))


def group_test(text: str) -> Callable[[int], bool]:
    """A test of whether a position lies in a group, that is, mostly, in a definition."""
    groups: list[tuple[int, int]] = []
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            _add_outer(groups, opened.pop(), match.end())
    return inside(groups)
