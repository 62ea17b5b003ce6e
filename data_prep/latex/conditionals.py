"""Conditionals decided: dead branches go, live ones stay without their `\\if` and `\\fi`.

`conditionals` is a pass of `clean.py` over a whole paper; `decide` does the same for the body of a macro whose
arguments are in their places, where more can be told (`\\ifx`, `\\ifthenelse{\\equal..}`, xparse's \\IfNoValueTF).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from data_prep.latex.commands import DEFINITIONS
from data_prep.latex.edits import Edit, apply_edits
from data_prep.latex.groups import Groups
from data_prep.latex.macro_definitions import NO_VALUE

_PRIMITIVE_IFS = frozenset(
    (
        "if ifcat ifnum ifdim ifodd ifvmode ifhmode ifmmode ifinner ifvoid ifhbox ifvbox ifx ifeof iftrue iffalse "
        "ifcase ifdefined ifcsname iffontchar ifincsname ifpdf ifxetex ifluatex ifPDFTeX ifXeTeX ifLuaTeX"
    ).split()
)
# The engine is pdfTeX.
_KNOWN_IFS = {"iftrue": True, "iffalse": False, "ifpdf": True, "ifPDFTeX": True}
_KNOWN_IFS |= dict.fromkeys(("ifxetex", "ifluatex", "ifXeTeX", "ifLuaTeX"), False)
NEWIF = re.compile(r"\\newif\s*\\if([a-zA-Z@]+)")
_DECIDABLE = re.compile(
    r"\\(?:newif|iftrue|iffalse|if\s*[01]|ifpdf|ifPDFTeX|if(?:xe|lua)tex|if(?:Xe|Lua)TeX)(?![a-zA-Z@])"
)
_CONTROL = re.compile(r"\\([a-zA-Z@]+|[^a-zA-Z])")
_BLANKS = re.compile(r"[ \t]*")


def conditionals(text: str) -> str:
    """`\\iffalse ... \\fi` and its kin resolved in a paper.

    Decided: \\iftrue, \\iffalse, `\\if0`, flags of \\newif as they are set (`\\longtrue`) up to that place, and which
    engine runs (pdfTeX). Other conditionals stay as they are. What stands inside a definition is not executed there;
    the declarations of flags stay for `macros.py`, which takes them out.
    """
    if not _DECIDABLE.search(text):
        return text
    return _walk(text, {}, {name: False for name in NEWIF.findall(text)}, in_body=False)


_BODY_COMMANDS = {  # arguments; a command that decides between its last two
    "IfBooleanTF": "mgg", "IfBooleanT": "mg", "IfBooleanF": "mg", "IfNoValueTF": "mgg", "IfNoValueT": "mg",
    "IfNoValueF": "mg", "IfValueTF": "mgg", "IfValueT": "mg", "IfValueF": "mg", "ifthenelse": "ggg",
    "ifstrempty": "ggg", "ifblank": "ggg", "ifstrequal": "gggg",
}  # fmt: skip
_BODY_IF = re.compile(r"\\(?:[iI]f[a-zA-Z@]*|else|fi)(?![a-zA-Z@])")
_IFMMODE = re.compile(
    r"(?:\\relax\s*)?\\ifmmode(?![a-zA-Z@])[ \t]*((?:(?!\\(?:if[a-zA-Z@]*|fi|else)(?![a-zA-Z@])).)*)"
    r"(?:\\else(?![a-zA-Z@])(?:(?!\\(?:if[a-zA-Z@]*|fi)(?![a-zA-Z@])).)*)?\\fi(?![a-zA-Z@])",
    re.DOTALL,
)
_EQUAL = re.compile(r"\s*\\equal\s*\{([^{}\\]*)\}\s*\{([^{}\\]*)\}\s*\Z")


def decide(body: str, flags: Mapping[str, bool]) -> str | None:
    """A filled body with its conditionals resolved, or None where one cannot be decided."""
    if not _BODY_IF.search(body):
        return body
    # In mathematics or out of it: the same formula.
    body = _IFMMODE.sub(lambda match: f"\\ensuremath{{{match[1].strip()}}}", body)
    for _ in range(20):  # a branch may hold another choice
        chosen = _choose(body)
        if chosen == body:
            break
        body = chosen
    body = _walk(body, flags, {}, in_body=True)
    left = (match[0][1:] for match in _BODY_IF.finditer(body))
    if any(name in _PRIMITIVE_IFS or name in ("else", "fi") or name in _BODY_COMMANDS for name in left):
        return None
    return body


def _choose(body: str) -> str:
    """Commands that choose between groups, outermost first."""
    groups = Groups(body)
    edits: list[Edit] = []
    for match in _CONTROL.finditer(body):
        spec = _BODY_COMMANDS.get(match[1])
        spans = groups.arguments(match.end(), spec) if spec else None
        if not spans:
            continue
        inner = [body[s + 1 : e - 1] if body[s] == "{" else body[s:e] for s, e in spans]
        name = match[1]
        if name.startswith("IfBoolean"):
            value = {"\\BooleanTrue": True, "\\BooleanFalse": False}.get(inner[0].strip())
        elif name.startswith("IfNoValue"):
            value = inner[0] == NO_VALUE
        elif name.startswith("IfValue"):
            value = inner[0] != NO_VALUE
        elif name == "ifthenelse":
            equal = _EQUAL.match(inner[0])
            value = equal[1].strip() == equal[2].strip() if equal else None
        elif name == "ifstrequal":
            value = inner.pop(0) == inner[0]
        else:
            value = not inner[0].strip() if name == "ifblank" else not inner[0]
        if value is None:
            continue
        then = inner[1] if not name.endswith("F") or name.endswith("TF") else ""
        otherwise = inner[-1] if name.endswith("F") or len(inner) > 2 else ""
        edits.append((match.start(), spans[-1][1], then if value else otherwise))
    return apply_edits(body, edits)


def _walk(text: str, given: Mapping[str, bool], declared: dict[str, bool], in_body: bool) -> str:
    flags = {**given, **declared}
    setters = {name + value: (name, value == "true") for name in declared for value in ("true", "false")}
    openers = _PRIMITIVE_IFS | {"if" + name for name in flags}
    groups = Groups(text)
    edits: list[Edit] = []
    stack: list[bool | None] = []  # the value of each open conditional; None is undecided
    dead_from, dead_depth = -1, 0  # where the dead branch begins, and how many conditionals were open there
    skip_to = 0
    for match in _CONTROL.finditer(text):
        start, position = match.span()
        if start < skip_to:
            continue
        word = match[1]
        dead = dead_from >= 0
        if word in openers:
            value, test_end = (None, position) if dead else _value(word, text, position, flags, in_body)
            stack.append(value)
            if value is not None:
                if value:
                    edits.append((start, _after_blanks(text, test_end), ""))
                else:
                    dead_from, dead_depth = start, len(stack)
                skip_to = test_end
        elif word in ("else", "fi"):
            if not stack:
                continue
            after = _after_blanks(text, position)
            if dead and len(stack) == dead_depth:
                edits.append((dead_from, after, ""))
                dead_from = -1
            elif not dead and stack[-1] is not None:
                if word == "else":
                    dead_from, dead_depth = start, len(stack)
                else:
                    edits.append((start, after, ""))
            if word == "fi":
                stack.pop()
        elif dead:
            continue
        elif word == "newif":
            flag = NEWIF.match(text, start)
            skip_to = flag.end() if flag else position
        elif word in setters:
            name, flags[name] = setters[word]
        elif not in_body and word in DEFINITIONS:
            spans = groups.arguments(position, DEFINITIONS[word][0])
            skip_to = spans[-1][1] if spans else position
    return apply_edits(text, edits)


def _after_blanks(text: str, position: int) -> int:
    return _BLANKS.match(text, position).end()  # type: ignore[union-attr]


_TWO_DIGITS = re.compile(r"\s*([01])\s*(.?)")
_TWO_TOKENS = re.compile(r"\s*(\\(?:[a-zA-Z@]+[ \t]*|.)|[^\\\s])\s*(\\(?:[a-zA-Z@]+[ \t]*|.)|[^\\\s])", re.DOTALL)
_TWO_NUMBERS = re.compile(r"\s*(-?\d+)\s*([<=>])\s*(-?\d+)(?:[ \t]|(?=\\)|$)")
# Control sequences that mean the same as no author's argument does.
_SENTINELS = {"\\\\", "\\relax", "\\empty", "\\@empty", "\\undefined", "\\@nil", "\\end"}


def _value(word: str, text: str, position: int, flags: Mapping[str, bool], in_body: bool) -> tuple[bool | None, int]:
    """What a conditional comes to (None: not known), and where its test ends."""
    if word == "if" and not in_body:  # `\if0`: is the next token a 0 too?
        digits = _TWO_DIGITS.match(text, position)
        if not digits:
            return None, position
        equal = digits[1] == digits[2]
        return equal, digits.end() if equal else digits.end(1)
    if in_body and word in ("if", "ifx"):
        tokens = _TWO_TOKENS.match(text, position)
        if tokens:
            first, second = tokens[1].strip(), tokens[2].strip()
            if first == second:
                return True, tokens.end()
            words = first.startswith("\\") + second.startswith("\\")
            if (words < 2 and word == "ifx") or not words or {first, second} & _SENTINELS:
                return False, tokens.end()
        return None, position
    if in_body and word == "ifnum":
        numbers = _TWO_NUMBERS.match(text, position)
        if not numbers:
            return None, position
        first, second = int(numbers[1]), int(numbers[3])
        return {"<": first < second, "=": first == second, ">": first > second}[numbers[2]], numbers.end()
    return flags.get(word[2:], _KNOWN_IFS.get(word)), position
