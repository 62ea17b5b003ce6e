"""What one definition says: the parameters of a macro, its body, and whether it is worth expanding.

Read by `data_prep/macros.py`, which has the command to try it. The forms understood:

    \\newcommand{\\R}[2][d]{..}   and its kin (renew, provide, robust; starred; without braces)
    \\def\\pair(#1,#2){..}        and gdef, edef, xdef with delimited parameters (The TeXbook, chapter 20)
    \\let\\a=\\b
    \\DeclareMathOperator, \\DeclarePairedDelimiter (amsmath, mathtools)
    \\NewDocumentCommand{\\pd}{s O{d} m}{..} and its kin (xparse; argument types m o O s t d D r R g G)
    \\newenvironment, \\NewDocumentEnvironment, \\newtheorem and its kin
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TypeVar

from data_prep.latex.groups import Groups
from data_prep.latex.scanner import any_of

_T = TypeVar("_T")
NO_VALUE = "-NoValue-"  # xparse's own mark of an absent argument


_ENDS_IN_WORD = re.compile(r"\\[a-zA-Z@]+\Z")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One piece of the parameter text of a macro.

    Kinds: "m" one token or group; "o" an optional argument between `open` and `close`, else `default`; "r" the same,
    required; "s" an optional token `open`, which gives \\BooleanTrue or \\BooleanFalse; "u" all up to `close`;
    "l" the literal `open`, which gives no argument.
    """

    kind: str
    open: str = ""
    close: str = ""
    default: str = NO_VALUE


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro's parameters and its body, cut at the places of its arguments: text, or the number of an argument."""

    parameters: tuple[Parameter, ...]
    body: tuple[str | int, ...]
    final: bool = False  # an alias of what is no macro: the body is not expanded again

    def fill(self, arguments: list[str]) -> str:
        """The body with the arguments in their places; a letter never runs into a control word before it."""
        if len(self.body) == 1 and isinstance(self.body[0], str):
            return self.body[0]
        pieces: list[str] = []
        for piece in self.body:
            added = piece if isinstance(piece, str) else arguments[piece]
            if pieces and added[:1].isalpha() and _ENDS_IN_WORD.search(pieces[-1]):
                pieces.append(" ")
            if added:
                pieces.append(added)
        return "".join(pieces)


_ARGUMENT = re.compile(r"##?([1-9])")
_EDGE_BLANKS = re.compile(r"\A\s+|\s+\Z")


def cut_body(body: str, arguments: int, doubled: bool = False) -> tuple[str | int, ...]:
    """A body cut at `#1`..`#9`; a number above `arguments` counts as text. `##` is one `#` in what is defined."""
    if "#" not in body:
        return (body,)
    pieces: list[str | int] = []
    position = 0
    for match in _ARGUMENT.finditer(body):
        number = int(match[1])
        if match[0].startswith("##") or number > arguments:
            continue
        pieces += (body[position : match.start()].replace("##", "#"), number - 1)
        position = match.end()
    pieces.append(body[position:].replace("##", "#"))
    return tuple(piece for piece in pieces if piece != "")


_COLOURED = re.compile(r"\{\s*\\color\s*(?:\[[^\]]*\])?\s*\{[^{}]*\}\s*(#1\s*)\}")


_BRACED = re.compile(
    r"\{\s*(\\(?!(?:bf|it|rm|sf|sl|sc|tt|em|cal|[a-z]+(?:family|series|shape))\b)[a-zA-Z]+(?:\{[^{}]*\})?)\s*\}"
)
# Whether limits stand above or beside an operator is typography; its spelling is one.
_OPERATOR = re.compile(
    r"\{?\s*\\mathop\s*\{\s*(?:\{?\s*\\rm(?![a-zA-Z])|\\(?:mathrm|text|textrm|operatorname|mbox|hbox)\s*\{)"
    r"\s*([a-zA-Z ]+?)\s*\}?\s*\}"
    r"\s*(?:\\(?:no)?limits)?\s*\}?"
)
_SPACING = re.compile(
    r"(?:\s|\\[,;:!>/]|\\(?:vskip|hskip|kern|mkern|mskip)(?![a-zA-Z@])\s*-?[\d.]*\s*(?:\\[a-zA-Z]+|[a-z]{2})?"
    r"(?:\s*(?:plus|minus)\s*-?[\d.]+\s*[a-z]+)*|\\[vh]space\*?\s*\{[^{}]*\}"
    r"|\\(?:noindent|smallskip|medskip|bigskip|par|newpage|clearpage|relax|leavevmode)(?![a-zA-Z@]))+"
)


def _remembered(function: Callable[[str], _T]) -> Callable[[str], _T]:
    """`function` with its answers kept for short bodies: authors define the same macros."""
    known = lru_cache(maxsize=4096)(function)
    return wraps(function)(lambda body: known(body) if len(body) < 200 else function(body))


@_remembered
def tidy_body(body: str) -> str:
    """A body as it is worth reading: no line breaks at its ends, pure spacing gone, a colour around the whole off."""
    body = _EDGE_BLANKS.sub(lambda blanks: " " if "\n" not in blanks[0] else "", body)
    if "\\" in body and _SPACING.fullmatch(body):
        return "\n\n" if "\\par" in body or "page" in body else " "
    if operator := _OPERATOR.fullmatch(body):
        return f"\\operatorname{{{operator[1].strip()}}}"
    simple = _COLOURED.fullmatch(body) or _BRACED.fullmatch(body)
    return simple[1] if simple else body


# A body that programs TeX or draws a symbol out of boxes says less than the macro's name: the name stays.
_HACKS = (
    "csname expandafter futurelet catcode mathpalette mathchoice ooalign rlap llap clap mathrlap mathllap mathclap "
    "halign valign setbox box copy unhbox unvbox hbox vbox vtop raise lower moveleft moveright special write read "
    "openin immediate char mathchar mathaccent delimiter radical advance multiply divide loop repeat tikz pgfmathparse "
    "pgfkeys afterassignment aftergroup usefont fontencoding the number romannumeral raisebox "
    "scalebox rotatebox resizebox reflectbox put picture rule vrule noalign omit span multispan lasy DeclareFontShape "
    "everypar everymath trivlist list settowidth settoheight newcount newdimen newsavebox savebox sbox usebox "
    "leavevmode hsize textwidth linewidth kern mkern @ifnextchar @ifstar @for @whilenum @tempcnta foreach "
    "addcontentsline addtocounter stepcounter refstepcounter setcounter @startsection @makefnmark newif "
    "ExplSyntaxOn protected@edef typeout PackageWarning message errmessage ifundefined @ifundefined input "
    "joinrel tikzpicture scriptfont textfont fontdimen skew accent"
).split()
_HACK = re.compile(
    rf"\\(?:{any_of(_HACKS)})(?![a-zA-Z@])|\\[a-zA-Z]*@[a-zA-Z]|\\[a-z]+_[a-z_]+:[a-zA-Z]*|\\begin\s*\{{(?:tikzpicture|picture|list)\}}"
)


_FRAME = re.compile(
    r"\\(?:rule\s*\{[^{}]*\}\s*\{[^{}]*\}|[vh]space\*?\s*\{[^{}]*\}|setlength\s*(?:\{[^{}]*\}|\\[a-zA-Z]+)\s*\{[^{}]*\}"
    r"|(?:noindent|centering|hrule|hfill|vfill|smallskip|medskip|bigskip|itshape|upshape|slshape|normalfont|rmfamily"
    r"|bfseries|small|footnotesize|scriptsize|large|begingroup|endgroup|leavevmode|ignorespaces|ignorespacesafterend"
    r"|unskip|relax|sffamily|nobreak|raggedright|boldmath|singlespacing|em|it|sl|rm|ttfamily)(?![a-zA-Z@])"
    r"|(?:vskip|hskip|kern|parskip|parindent|baselineskip)(?![a-zA-Z@])\s*=?\s*-?[\d.]*\s*(?:\\[a-zA-Z]+|[a-z]{2})"
    r"|renewcommand\s*\{?\s*\\the[a-zA-Z]+\s*\}?\s*\{[^{}]*\})[ \t]*"
)


def without_frame(body: str) -> str:
    """One half of an environment's definition without what only places, spaces or sets it."""
    return _FRAME.sub("", body)


@_remembered
def is_hack(body: str) -> bool:
    """Whether the body programs or draws rather than writes."""
    return _HACK.search(body) is not None


def newcommand_parameters(count: int, default: str | None) -> tuple[Parameter, ...]:
    first = () if default is None else (Parameter("o", "[", "]", default),)
    return (*first, *[Parameter("m")] * (count - len(first)))


_PARAMETER_MARK = re.compile(r"#([1-9])")


def def_parameters(text: str) -> tuple[Parameter, ...] | None:
    """The parameter text of \\def, e.g. `(#1,#2)`; None for what is not understood (`#{`, numbers out of order)."""
    if not text.strip():
        return ()
    marks = list(_PARAMETER_MARK.finditer(text))
    if [int(mark[1]) for mark in marks] != [*range(1, len(marks) + 1)] or text.count("#") != len(marks):
        return None
    start = marks[0].start() if marks else len(text)
    parameters = [Parameter("l", text[:start].strip())] if text[:start].strip() else []
    ends = [mark.start() for mark in marks[1:]] + [len(text)] if marks else []
    for mark, end in zip(marks, ends, strict=True):
        delimiter = text[mark.end() : end]
        # A delimiter of blanks alone (`\def\a#1 {..}`) means the next blank.
        parameters.append(Parameter("u", close=delimiter.strip() or " ") if delimiter else Parameter("m"))
    return tuple(parameters)


_SPEC_SKIP = re.compile(r"[\s+!]*(?:>\s*\{[^{}]*\}[\s+!]*)*")


def document_parameters(spec: str) -> tuple[Parameter, ...] | None:
    """xparse's argument specification, e.g. `s O{2} m`; None for types that are not understood."""
    parameters: list[Parameter] = []
    groups = Groups(spec)
    position = _SPEC_SKIP.match(spec).end()  # type: ignore[union-attr]
    while position < len(spec):
        letter = spec[position]
        position += 1
        marks = {"d": 2, "D": 2, "r": 2, "R": 2, "t": 1}.get(letter, 0)
        given = spec[position : position + marks]
        open_mark, close_mark = (given or "[")[0], (given or "[]")[-1]
        position += marks
        default = NO_VALUE
        if letter in "ODGR":
            end = groups.end(groups.skip_blank(position))
            if end < 0:
                return None
            default = spec[groups.skip_blank(position) + 1 : end - 1]
            position = end
        if letter == "m":
            parameters.append(Parameter("m"))
        elif letter in "oOdD":
            parameters.append(Parameter("o", open_mark, close_mark, default))
        elif letter in "rR":
            parameters.append(Parameter("r", open_mark, close_mark, default))
        elif letter in "gG":
            parameters.append(Parameter("o", "{", "}", default))
        elif letter in "st":
            parameters.append(Parameter("s", "*" if letter == "s" else open_mark))
        else:
            return None
        position = _SPEC_SKIP.match(spec, position).end()  # type: ignore[union-attr]
    return tuple(parameters) if len(parameters) <= 9 else None


# Titles under which a theorem-like environment is known to every reader, and the environment that has its name.
_THEOREMS = (
    "theorem lemma proposition corollary definition remark example conjecture claim fact question problem exercise "
    "notation assumption hypothesis observation property convention construction condition axiom note warning "
    "situation principle criterion"
).split()
_TITLES = {title: title for title in _THEOREMS}
_TITLES |= {f"{title}s": title for title in _THEOREMS} | {"corollaries": "corollary", "hypotheses": "hypothesis"}
_TITLE_NOISE = re.compile(r"\\[a-zA-Z@]+|[{}~.:\s]+")


def theorem_name(name: str, title: str) -> str:
    """The environment to write for the theorem-like environment `name` that is headed `title`.

    `thm`, headed "Theorem", becomes `theorem`; one whose title is no common one keeps its name. A final star stays.
    """
    star = "*" if name.endswith("*") else ""
    known = _TITLES.get(_TITLE_NOISE.sub(" ", title).strip().lower())
    return known + star if known else name
