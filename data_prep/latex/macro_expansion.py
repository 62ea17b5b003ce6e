"""The loop that expands macros: calls, their arguments, limits, and how a body is fitted into the text."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from pathlib import PurePosixPath

from data_prep.latex.commands import PROTECTED_COMMANDS
from data_prep.latex.conditionals import decide
from data_prep.latex.edits import Edit, apply_edits
from data_prep.latex.groups import Groups
from data_prep.latex.macro_definitions import Macro, Parameter, cut_body, is_hack, tidy_body
from data_prep.latex.macro_scopes import Scopes

_MAX_DEPTH = 40  # macros within macros
CALL_CHARS = 50_000  # what one call may produce, besides 20 times its own length
_ARGUMENT_CHARS = 5_000  # the longest delimited argument
_FAILURES = 50  # calls without their arguments after which a macro is left alone for good
_TOTAL_FACTOR = 8  # what all calls may produce, in lengths of the text

# What the loop looks up: a control word or symbol, or `begin{name}` as one.
CONTROL = re.compile(r"\\((?:begin|end)\{[a-zA-Z]+\*?\}|[a-zA-Z@]+|[^a-zA-Z])")
_BLANKS = re.compile(r"[ \t]*")


class TooLarge(Exception):
    """A call that exceeds its limit of size or depth."""


class Unexpandable(Exception):
    """A call that stays as it is: arguments missing, or a condition that cannot be decided."""


Handler = Callable[[str, str, "re.Match[str]", Groups, list[Edit], int], int]


class Expansion(ABC):
    """The state of one paper: what is defined, in which scope, and how much has been produced."""

    def __init__(self, text: str, styles: Mapping[str, str], counters: Counter[str]) -> None:
        self.text = text
        self.styles: dict[str, str] = {}  # by the name that loads them, each once
        for path in sorted(styles, reverse=True):
            self.styles[PurePosixPath(path).name.lower()] = styles[path]
        self.counters = counters
        self.total_left = _TOTAL_FACTOR * len(text) + 1_000_000
        self.call_left = 0
        # One table for what is looked at: definers (fixed) and macros (as defined so far).
        self.table: dict[str, Handler | Macro | str] = dict(self._definers())
        self.environments: dict[str, tuple[Macro, str] | str] = {}
        self.open_environments: list[tuple[str, list[str]]] = []
        # Full expansions of macros without parameters and the word that they end in, until the next definition.
        self.plain: dict[str, tuple[str, str]] = {}
        self.scopes = Scopes(text)
        self.restores: list[tuple[int, int, str, Handler | Macro | str | None]] = []
        self.failures: Counter[str] = Counter()
        self.unclosed: set[str] = set()  # environments without an end
        self.flags: dict[str, bool] = {}  # of \\newif

    def run(self) -> str:
        return self._expand(self.text, 0)

    @abstractmethod
    def _definers(self) -> dict[str, Handler]:
        """The commands that define, with what handles them."""

    # -----------------------------------------------------------------------------------------------------------------
    # the loop

    def _expand(self, text: str, depth: int) -> str:
        """`text` with all calls expanded; at depth 0 the paper itself, deeper the body of a macro."""
        if depth > _MAX_DEPTH:
            raise TooLarge
        edits: list[Edit] = []
        groups = Groups(text)
        table, restores = self.table, self.restores
        position = 0
        for match in CONTROL.finditer(text):
            action = table.get(match[1])
            if action is None:
                continue
            start = match.start()
            if start < position:
                continue
            if depth == 0:
                while restores and start >= restores[0][0]:
                    self._restore(heappop(restores))
                    action = table.get(match[1])
                if action is None:
                    continue
            if isinstance(action, str):  # an environment under its other name
                edits.append((start, match.end(), action))
                continue
            if not isinstance(action, Macro):
                position = action(match[1], text, match, groups, edits, depth)
                continue
            if depth == 0:
                self.call_left = CALL_CHARS
            try:
                replacement, end = self._call(match[1], action, text, match.end(), groups, depth)
            except Unexpandable:
                self.counters["macros_left"] += 1
                self.failures[match[1]] += 1
                if self.failures[match[1]] > _FAILURES:
                    self._set(match[1], None)
                continue
            except TooLarge:
                if depth:
                    raise
                self.counters["macro_limit"] += 1
                self._set(match[1], None)
                continue
            if depth == 0:
                self.counters["macros_expanded"] += 1
            edits.append((start, end, fitted(text, start, end, replacement, edits)))
            position = end
        return apply_edits(text, edits)

    def _call(self, name: str, macro: Macro, text: str, after: int, groups: Groups, depth: int) -> tuple[str, int]:
        """(what a call gives, fully expanded, and where it ends)."""
        if not macro.parameters:
            end = after
            following = text[after : after + 1]
            if (following == " " or following == "\t") and (name[0].isalpha() or name[0] == "@"):
                end = self._after_word(text, after)
            plain = self.plain.get(name)
            if plain is None:
                known = macro.fill([]) if macro.final else self._body(macro.fill([]), depth)
                tail = None if macro.final else _ENDS_IN_WORD.search(known)
                plain = self.plain[name] = known, tail[1] if tail else ""
            known, last_word = plain
            self._spend(len(known))
            if following == "{" and text.startswith("{}", after) and last_word in ("", "xspace") and not macro.final:
                return known, after + 2  # `\GNU{} is`: the braces only end the name
            if not last_word:
                return known, end
        else:
            arguments, end = self._arguments(macro.parameters, text, after, groups)
            self.call_left += 20 * (end - after)
            known = self._body(macro.fill(arguments), depth)
        # A body that ends in a macro with parameters takes them from what follows the call.
        for _ in range(_MAX_DEPTH):
            tail = _ENDS_IN_WORD.search(known)
            action = self.table.get(tail[1]) if tail else None
            if not tail or not isinstance(action, Macro) or not action.parameters:
                return known, end
            try:
                arguments, end = self._arguments(action.parameters, text, end, groups)
            except Unexpandable:
                return known, end
            known = known[: tail.start()] + self._body(action.fill(arguments), depth)
        raise TooLarge

    def _body(self, body: str, depth: int) -> str:
        self._spend(len(body))
        if "\\if" in body or "\\If" in body:
            decided = decide(body, self.flags)
            if decided is None:
                raise Unexpandable
            body = decided
        return self._expand(body, depth + 1) if "\\" in body else body

    def _spend(self, characters: int) -> None:
        self.call_left -= characters
        self.total_left -= characters
        if self.call_left < 0 or self.total_left < 0:
            raise TooLarge

    @staticmethod
    def _after_word(text: str, position: int) -> int:
        return _BLANKS.match(text, position).end()  # type: ignore[union-attr]

    # -----------------------------------------------------------------------------------------------------------------
    # arguments

    def _arguments(
        self, parameters: Sequence[Parameter], text: str, position: int, groups: Groups
    ) -> tuple[list[str], int]:
        """The arguments of a call, and where they end. Raises Unexpandable where one is missing."""
        arguments: list[str] = []
        for parameter in parameters:
            kind = parameter.kind
            if kind == "m":
                spans = groups.arguments(position, "m")
                if spans is None:
                    raise Unexpandable
                (start, end) = spans[0]
                arguments.append(text[start + 1 : end - 1] if text[start] == "{" else text[start:end])
                position = end
            elif kind == "u":
                argument, position = _until(text, position, parameter.close)
                arguments.append(argument)
            elif kind == "l":
                start = position if text.startswith(parameter.open, position) else groups.skip_blank(position)
                if not text.startswith(parameter.open, start):
                    raise Unexpandable
                position = start + len(parameter.open)
            else:
                start = groups.skip_blank(position)
                present = text.startswith(parameter.open, start)
                if kind == "s":
                    arguments.append("\\BooleanTrue" if present else "\\BooleanFalse")
                    position = start + len(parameter.open) if present else position
                elif present:
                    end = _bracket_end(text, start, parameter, groups)
                    arguments.append(text[start + 1 : end - 1])
                    position = end
                elif kind == "r":
                    raise Unexpandable
                else:
                    arguments.append(parameter.default)
        return arguments, position

    # -----------------------------------------------------------------------------------------------------------------
    # the table and its scopes

    def _set(self, name: str, meaning: Macro | None) -> None:
        self.plain.clear()
        if meaning is None:
            self.table.pop(name, None)
        else:
            self.table[name] = meaning

    def _restore(self, saved: tuple[int, int, str, Handler | Macro | str | None]) -> None:
        _, _, name, meaning = saved
        self._set(name, meaning if isinstance(meaning, Macro) else None)

    def _define(
        self, name: str, parameters: tuple[Parameter, ...] | None, body: str, start: int, depth: int, everywhere: bool
    ) -> None:
        """Note what `\\name` means from `start` on; None for parameters that are not understood."""
        if name in PROTECTED_COMMANDS or (name in self.table and not isinstance(self.table[name], Macro)):
            return
        self.counters["macros_defined"] += 1
        body = tidy_body(body)
        count = sum(parameter.kind != "l" for parameter in parameters or ())
        macro = None
        if parameters is not None and not is_hack(body):
            macro = Macro(parameters, cut_body(body, count))
        self._assign(name, macro, start, depth, everywhere)

    def _assign(self, name: str, meaning: Macro | None, start: int, depth: int, everywhere: bool) -> None:
        if depth == 0 and not everywhere:
            end = self.scopes.end(start)
            if end >= 0:
                old = self.table.get(name)
                heappush(self.restores, (end, -len(self.restores), name, old))
        self._set(name, meaning)


_ENDS_IN_WORD = re.compile(r"\\([a-zA-Z@]+)[ \t]*\Z")


def _until(text: str, position: int, delimiter: str) -> tuple[str, int]:
    """A delimited argument: (all up to `delimiter` outside braces, the place behind it); raises Unexpandable."""
    word = r"(?![a-zA-Z@])" if delimiter[-1].isalpha() and delimiter[0] == "\\" else ""
    marks = re.compile(rf"({re.escape(delimiter)}){word}|\\.|[{{}}]|\n[ \t]*\n", re.DOTALL)  # `re` keeps the last ones
    depth = 0
    for mark in marks.finditer(text, position, position + _ARGUMENT_CHARS):
        if mark[1] and not depth:
            argument = text[position : mark.start()]
            if argument.startswith("{") and Groups(argument).end(0) == len(argument):
                argument = argument[1:-1]
            return argument, mark.end()
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth < 0 or mark[0][0] == "\n":
            break
    raise Unexpandable


def _bracket_end(text: str, start: int, parameter: Parameter, groups: Groups) -> int:
    if parameter.open == "[":
        end = groups.optional_end(start)
    elif parameter.open == "{":
        end = groups.end(start)
    else:
        end = text.find(parameter.close, start + 1, start + 1000) + 1
    if end <= 0:
        raise Unexpandable
    return end


_TAKES_ONE = (
    "sqrt hat widehat tilde widetilde bar overline underline vec dot ddot check breve acute grave mathring mathbb "
    "mathcal mathbf mathrm mathit mathsf mathtt mathfrak mathscr boldsymbol bm text operatorname"
)
_NAKED = re.compile(
    rf"\\(?:[dtc]?frac|[dt]?binom|stackrel|overset|underset|{'|'.join(_TAKES_ONE.split())})[ \t]*\Z"
    r"|\\(?:[dtc]?frac|[dt]?binom|stackrel|overset|underset)[ \t]*(?:\{[^{}]*\}|[^\\{}\s])[ \t]*\Z"
)  # the second argument of a fraction
_ONE_TOKEN = re.compile(r"\s*(?:\\(?:[a-zA-Z@]+|.)|[^\\{}\s])?\s*\Z")
_WORD_BEFORE = re.compile(r"\\[a-zA-Z@]+\Z")


def fitted(text: str, start: int, end: int, replacement: str, edits: list[Edit]) -> str:
    """`replacement` as it must be written between what stands before `start` and from `end` on."""
    if not replacement:
        return ""
    last = text[start - 1] if start else ""
    if edits and edits[-1][1] == start:  # right behind other replacements
        before, at = "", start
        for first, last_end, previous in reversed(edits[-20:]):
            if last_end != at or len(before) > 40:
                break
            before, at = previous + before, first
        before = text[max(0, at - 80) : at] + before
        last = before[-1:]
    elif last in "}^_ " or last.isalnum():
        before = text[max(0, start - 80) : start]
    else:
        before = ""
    if last in ("^", "_"):
        braced = not _ONE_TOKEN.match(replacement)
    else:
        braced = "\\" in before and not _ONE_TOKEN.match(replacement) and bool(_NAKED.search(before))
    if braced:
        whole = replacement.startswith("{") and Groups(replacement).end(0) == len(replacement)
        return replacement if whole else f"{{{replacement}}}"
    if replacement[0].isalpha() and last.isalpha() and _WORD_BEFORE.search(before):
        replacement = " " + replacement
    if text[end : end + 1].isalpha() and replacement[-1].isalpha() and _ENDS_IN_WORD.search(replacement):
        replacement += " "
    return replacement
