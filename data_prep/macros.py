"""Author macros replaced by the standard LaTeX that they stand for, so that one symbol has one spelling.

    python data_prep/macros.py FILE.tex

prints the file with its macros expanded, and on stderr what was defined, expanded and left alone.

What TeX does with macros, done on text: definitions take effect where they stand and end with their group; arguments,
optional and delimited ones among them, are taken as TeX takes them; a body is read again together with what follows.
Where plain text needs it, a blank keeps a control word apart from a letter, and braces keep a body together after `^`,
`_`, and commands that take one token.

What stays under its name: macros that program or draw (boxes, kerning, counters: the name says more than its body),
redefinitions of LaTeX's own structure (`\\section`, `\\title`), and calls that exceed a limit of size or depth, which
are counted. `\\begin{thm}` becomes `\\begin{theorem}` where `thm` was declared as a Theorem.
"""

from __future__ import annotations

import argparse
import re
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/macros.py`
    sys.path.insert(0, str(ROOT))

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.branches import NEWIF, decide
from data_prep.latex_commands import PROTECTED_COMMANDS, PROTECTED_ENVIRONMENTS, STANDARD_COMMANDS
from data_prep.macro_definitions import (
    Macro,
    Parameter,
    cut_body,
    def_parameters,
    document_parameters,
    is_hack,
    newcommand_parameters,
    theorem_name,
    tidy_body,
    without_frame,
)
from data_prep.tex_scan import (
    Edit,
    Groups,
    apply_edits,
    environment_end,
    hide_verbatim,
    inside,
    math_spans,
    show_verbatim,
    strip_comments,
)

_MAX_DEPTH = 40  # macros within macros
_CALL_CHARS = 50_000  # what one call may produce, besides 20 times its own length
_ARGUMENT_CHARS = 5_000  # the longest delimited argument
_FAILURES = 50  # calls without their arguments after which a macro is left alone for good
_TOTAL_FACTOR = 8  # what all calls may produce, in lengths of the text

# What the loop looks up: a control word or symbol, or `begin{name}` as one.
_CONTROL = re.compile(r"\\((?:begin|end)\{[a-zA-Z]+\*?\}|[a-zA-Z@]+|[^a-zA-Z])")
_NAME = re.compile(r"\s*\{?\s*\\([a-zA-Z@]+\*?|[0-9<>?+*])\s*\}?")
_BLANKS = re.compile(r"[ \t]*")
_LINE = re.compile(r"[ \t]*\n?[ \t]*(?!\n)")
_DEFINES = re.compile(
    r"\\(?:(?:re|provide|DeclareRobust|re?new)?[cC]ommand|newcommand|[egx]?def|(?:re|pre)?define(?![a-zA-Z])|let|font(?![a-zA-Z])|excludecomment|Declare|(?:New|Renew|Provide)"
    r"|newif|(?:re)?newenvironment|(?:sp)?newtheorem|declaretheorem|newrobustcmd|usepackage|RequirePackage)"
)
_PREFIXES = re.compile(r"(?:\\(?:long|global|protected|outer)\s*)+\Z")


class _TooLarge(Exception):
    """A call that exceeds its limit of size or depth."""


class _Left(Exception):
    """A call that stays as it is: arguments missing, or a condition that cannot be decided."""


def expand(text: str, styles: Mapping[str, str] | None = None, counters: Counter[str] | None = None) -> str:
    """`text` with its author macros expanded and their definitions taken out.

    Args:
        text: a paper in one piece, comments removed, verbatim text hidden.
        styles: the paper's own files by path; those that it loads as packages or class are read for definitions.
        counters: counts `macros_defined`, `macros_expanded` (calls), `macros_left` (calls that stay for want of
            arguments or a decision), `macro_limit` (calls that exceed a limit).
    """
    if not _DEFINES.search(text):
        return text
    expander = _Expander(text, styles or {}, Counter() if counters is None else counters)
    return expander.run()


Handler = Callable[[str, str, "re.Match[str]", Groups, list[Edit], int], int]


class _Expander:
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
        self.scopes = _Scopes(text)
        self.restores: list[tuple[int, int, str, Handler | Macro | str | None]] = []
        self.failures: Counter[str] = Counter()
        self.unclosed: set[str] = set()  # environments without an end
        self.flags: dict[str, bool] = {}  # of \\newif

    def run(self) -> str:
        return self._expand(self.text, 0)

    def _definers(self) -> dict[str, Handler]:
        definers: dict[str, Handler] = {}
        for names, handler in (
            ("newcommand renewcommand providecommand DeclareRobustCommand newrobustcmd renewrobustcmd", self._command),
            ("def gdef edef xdef define redefine predefine", self._def),
            ("let", self._let),
            ("DeclareMathOperator", self._operator),
            ("DeclarePairedDelimiter DeclarePairedDelimiterX", self._paired),
            (
                "NewDocumentCommand RenewDocumentCommand ProvideDocumentCommand DeclareDocumentCommand "
                "NewExpandableDocumentCommand",
                self._document_command,
            ),
            ("newenvironment renewenvironment", self._environment),
            ("NewDocumentEnvironment RenewDocumentEnvironment", self._document_environment),
            ("newtheorem spnewtheorem newmdtheoremenv newtcbtheorem", self._theorem),
            ("declaretheorem", self._declared_theorem),
            ("newif", self._newif),
            ("font", self._font),
            ("excludecomment", self._exclude),
            ("usepackage RequirePackage documentclass documentstyle LoadClass", self._load),
        ):
            definers |= dict.fromkeys(names.split(), handler)
        return definers

    # -----------------------------------------------------------------------------------------------------------------
    # the loop

    def _expand(self, text: str, depth: int) -> str:
        """`text` with all calls expanded; at depth 0 the paper itself, deeper the body of a macro."""
        if depth > _MAX_DEPTH:
            raise _TooLarge
        edits: list[Edit] = []
        groups = Groups(text)
        table, restores = self.table, self.restores
        position = 0
        for match in _CONTROL.finditer(text):
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
                self.call_left = _CALL_CHARS
            try:
                replacement, end = self._call(match[1], action, text, match.end(), groups, depth)
            except _Left:
                self.counters["macros_left"] += 1
                self.failures[match[1]] += 1
                if self.failures[match[1]] > _FAILURES:
                    self._set(match[1], None)
                continue
            except _TooLarge:
                if depth:
                    raise
                self.counters["macro_limit"] += 1
                self._set(match[1], None)
                continue
            if depth == 0:
                self.counters["macros_expanded"] += 1
            edits.append((start, end, _fitted(text, start, end, replacement, edits)))
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
            except _Left:
                return known, end
            known = known[: tail.start()] + self._body(action.fill(arguments), depth)
        raise _TooLarge

    def _body(self, body: str, depth: int) -> str:
        self._spend(len(body))
        if "\\if" in body or "\\If" in body:
            decided = decide(body, self.flags)
            if decided is None:
                raise _Left
            body = decided
        return self._expand(body, depth + 1) if "\\" in body else body

    def _spend(self, characters: int) -> None:
        self.call_left -= characters
        self.total_left -= characters
        if self.call_left < 0 or self.total_left < 0:
            raise _TooLarge

    @staticmethod
    def _after_word(text: str, position: int) -> int:
        return _BLANKS.match(text, position).end()  # type: ignore[union-attr]

    # -----------------------------------------------------------------------------------------------------------------
    # arguments

    def _arguments(
        self, parameters: Sequence[Parameter], text: str, position: int, groups: Groups
    ) -> tuple[list[str], int]:
        """The arguments of a call, and where they end. Raises _Left where one is missing."""
        arguments: list[str] = []
        for parameter in parameters:
            kind = parameter.kind
            if kind == "m":
                spans = groups.arguments(position, "m")
                if spans is None:
                    raise _Left
                (start, end) = spans[0]
                arguments.append(text[start + 1 : end - 1] if text[start] == "{" else text[start:end])
                position = end
            elif kind == "u":
                argument, position = _until(text, position, parameter.close)
                arguments.append(argument)
            elif kind == "l":
                start = position if text.startswith(parameter.open, position) else groups.skip_blank(position)
                if not text.startswith(parameter.open, start):
                    raise _Left
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
                    raise _Left
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

    # -----------------------------------------------------------------------------------------------------------------
    # definers: each notes a definition, takes it out of the text and answers where to go on

    def _command(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        found = self._named(text, match.end(), groups, "oom")
        if found is None:
            return match.end()
        name, (count, default, body), end = found
        digits = _inner(text, count).strip()
        standard = word == "providecommand" and (name in STANDARD_COMMANDS or name in self.table)
        if not standard and (not digits or digits.isdigit()) and len(digits) < 2:
            given = None if default[0] == default[1] else _inner(text, default)
            parameters = newcommand_parameters(int(digits or 0), given)
            self._define(name, parameters, _inner(text, body), match.start(), depth, False)
        return self._take_out(text, match.start(), end, edits)

    def _named(
        self, text: str, position: int, groups: Groups, spec: str
    ) -> tuple[str, list[tuple[int, int]], int] | None:
        """(name, spans of the arguments that follow it, end) of a definition `*\\name...`."""
        if text.startswith("*", position):
            position += 1
        name = _NAME.match(text, position)
        if not name:
            return None
        spans = groups.arguments(name.end(), spec)
        return (name[1], spans, spans[-1][1]) if spans else None

    def _def(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        name = _CONTROL.match(text, groups.skip_blank(match.end()))
        spans = name and groups.arguments(name.end(), "pg")
        if not name or not spans:
            return match.end()
        (start, end), body = spans
        prefix = _PREFIXES.search(text, max(0, match.start() - 40), match.start())
        content = _inner(text, body)
        if word in ("edef", "xdef") and "\\" in content:
            try:
                self.call_left = _CALL_CHARS if depth == 0 else self.call_left
                content = self._expand(content, depth + 1)
            except (_TooLarge, _Left):
                content = "\\csname"  # left alone
        everywhere = word in ("gdef", "xdef") or (prefix is not None and "global" in prefix[0])
        if _definable(name[1]):
            self._define(name[1], def_parameters(text[start:end]), content, match.start(), depth, everywhere)
        return self._take_out(text, prefix.start() if prefix else match.start(), body[1], edits)

    def _let(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        spans = groups.arguments(match.end(), "c=m")
        if not spans or text[spans[0][0]] != "\\":
            return match.end()
        name, target = text[spans[0][0] + 1 : spans[0][1]], text[spans[2][0] : spans[2][1]]
        if name not in PROTECTED_COMMANDS and _definable(name) and not target.startswith("{"):
            action = self.table.get(target[1:]) if target.startswith("\\") else None
            meaning: Macro | None
            if isinstance(action, Macro):
                meaning = action
            elif action is not None or target in ("\\relax", "\\undefined", "\\@undefined") or target[1:] == name:
                meaning = None
            else:
                meaning = Macro((), (target,), final=True)
            self.counters["macros_defined"] += 1
            self._assign(name, meaning, match.start(), depth, False)
        return self._take_out(text, match.start(), spans[2][1], edits)

    def _operator(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        found = self._named(text, match.end(), groups, "g")
        if found is None:
            return match.end()
        name, (body,), end = found
        star = "*" if text.startswith("*", match.end()) else ""
        body_text = f"\\operatorname{star}{{{_inner(text, body).strip()}}}"
        self._define(name, (), body_text, match.start(), depth, False)
        return self._take_out(text, match.start(), end, edits)

    def _paired(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        extended = word.endswith("X")
        found = self._named(text, match.end(), groups, "oggg" if extended else "mm")
        if found is None:
            return match.end()
        name, spans, end = found
        left, right = (_inner(text, span) for span in (spans[1:3] if extended else spans))
        if name not in PROTECTED_COMMANDS:
            count = _inner(text, spans[0]).strip() if extended else "1"
            body = _inner(text, spans[3]) if extended else "#1"
            arguments = int(count) if count.isdigit() and len(count) == 1 else 1
            # Star: growing delimiters. The size that may follow in brackets is dropped: it is only a look.
            parameters = (Parameter("s", "*"), Parameter("o", "[", "]"), *[Parameter("m")] * arguments)
            inner = cut_body(tidy_body(body).replace("\\delimsize", ""), arguments)
            shifted = tuple(piece + 2 if isinstance(piece, int) else piece for piece in inner)
            pieces: list[str | int] = ["\\IfBooleanTF{", 0, f"}}{{\\left{left} }}{{{left} }}", *shifted]
            pieces += ["\\IfBooleanTF{", 0, f"}}{{\\right{right}}}{{{right}}}"]
            self.counters["macros_defined"] += 1
            self._assign(name, Macro(parameters, tuple(pieces)), match.start(), depth, False)
        return self._take_out(text, match.start(), end, edits)

    def _document_command(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        found = self._named(text, match.end(), groups, "gg")
        if found is None:
            return match.end()
        name, (spec, body), end = found
        if not (word.startswith("Provide") and (name in STANDARD_COMMANDS or name in self.table)):
            parameters = document_parameters(_inner(text, spec))
            self._define(name, parameters, _inner(text, body), match.start(), depth, False)
        return self._take_out(text, match.start(), end, edits)

    def _environment(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        spans = groups.arguments(match.end(), "*googg")
        if spans is None:
            return match.end()
        _, name, count, default, begin, end = spans
        digits = _inner(text, count).strip()
        if (not digits or digits.isdigit()) and len(digits) < 2:
            given = None if default[0] == default[1] else _inner(text, default)
            parameters = newcommand_parameters(int(digits or 0), given)
            self._define_environment(_inner(text, name).strip(), parameters, _inner(text, begin), _inner(text, end))
        return self._take_out(text, match.start(), end[1], edits)

    def _document_environment(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        spans = groups.arguments(match.end(), "gggg")
        if spans is None:
            return match.end()
        name, spec, begin, end = (_inner(text, span) for span in spans)
        parameters = document_parameters(spec)
        if parameters is not None:
            self._define_environment(name.strip(), parameters, begin, end)
        return self._take_out(text, match.start(), spans[-1][1], edits)

    def _define_environment(self, name: str, parameters: tuple[Parameter, ...], begin: str, end: str) -> None:
        if name in PROTECTED_ENVIRONMENTS:
            return
        begin, end = without_frame(begin), without_frame(end)
        alias = _ALIAS.fullmatch(f"{_bare(begin)} {_bare(end)}")
        if alias and not parameters:
            self._alias_environment(name, alias[1] or alias[2])
            return
        if alias:  # what it takes only numbers or names it
            begin, end = f"\\begin{{{alias[1] or alias[2]}}}", f"\\end{{{alias[1] or alias[2]}}}"
        if is_hack(begin) or is_hack(end):
            return
        self.counters["macros_defined"] += 1
        self.environments[name] = (Macro(parameters, cut_body(tidy_body(begin), len(parameters))), tidy_body(end))
        self._watch_environment(name)

    def _alias_environment(self, name: str, meaning: str) -> None:
        self.counters["macros_defined"] += 1
        self.environments[name] = meaning
        self._watch_environment(name)

    def _watch_environment(self, name: str) -> None:
        # Under the bare words too, for `\\begin {name}` and names of other characters than letters.
        meaning = self.environments[name]
        for word, handler in (("begin", self._begin), ("end", self._end)):
            self.table[word] = handler
            renamed = isinstance(meaning, str) and meaning != "comment"
            self.table[f"{word}{{{name}}}"] = f"\\{word}{{{meaning}}}" if renamed else handler

    def _theorem(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        spans = groups.arguments(match.end(), "*gogo" if word != "newtcbtheorem" else "ogggg")
        if spans is None:
            return match.end()
        name, title = (spans[1], spans[3]) if word != "newtcbtheorem" else (spans[1], spans[2])
        self._name_theorem(_inner(text, name).strip(), _inner(text, title))
        end = spans[-1][1]
        if word == "spnewtheorem":  # two more groups: the fonts of heading and text
            fonts = groups.arguments(end, "gg")
            end = fonts[-1][1] if fonts else end
        return self._take_out(text, match.start(), end, edits)

    def _declared_theorem(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        spans = groups.arguments(match.end(), "og")
        if spans is None:
            return match.end()
        title = re.search(r"(?:name|title|heading)\s*=\s*\{?([^,\]}]*)", text[spans[0][0] : spans[0][1]])
        name = _inner(text, spans[1]).strip()
        self._name_theorem(name, title[1] if title else name)
        return self._take_out(text, match.start(), spans[-1][1], edits)

    def _name_theorem(self, name: str, title: str) -> None:
        known = theorem_name(name, title)
        if known != name and name not in PROTECTED_ENVIRONMENTS:
            self._alias_environment(name, known)

    def _begin(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        mark = _ENVIRONMENT.match(text, match.start())
        meaning = self.environments.get(mark[1]) if mark else None
        if not mark or meaning is None:
            return match.end()
        if isinstance(meaning, str):
            _, end = environment_end(text, mark[1], mark.end(), self.unclosed) if meaning == "comment" else (-1, -1)
            if end > 0:  # never typeset
                return self._take_out(text, match.start(), end, edits)
            edits.append((match.start(), mark.end(), f"\\begin{{{meaning}}}"))
            return mark.end()
        macro, _ = meaning
        if depth == 0:
            self.call_left = _CALL_CHARS
        try:
            arguments, end = self._arguments(macro.parameters, text, mark.end(), groups)
            replacement = self._body(macro.fill(arguments), depth)
        except (_Left, _TooLarge):
            self.environments.pop(mark[1])  # its ends stay too
            self.counters["macros_left"] += 1
            return mark.end()
        self.open_environments.append((mark[1], arguments))
        edits.append((match.start(), end, _fitted(text, match.start(), end, replacement, edits)))
        return end

    def _end(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        mark = _ENVIRONMENT.match(text, match.start())
        meaning = self.environments.get(mark[1]) if mark else None
        if not mark or meaning is None:
            return match.end()
        if isinstance(meaning, str):
            edits.append((match.start(), mark.end(), f"\\end{{{meaning}}}"))
            return mark.end()
        arguments: list[str] = []
        if self.open_environments and self.open_environments[-1][0] == mark[1]:
            arguments = self.open_environments.pop()[1]
        if depth == 0:
            self.call_left = _CALL_CHARS
        body = "".join(
            piece if isinstance(piece, str) else arguments[piece] for piece in cut_body(meaning[1], len(arguments))
        )
        try:
            replacement = self._body(body, depth)
        except (_Left, _TooLarge):
            replacement = ""
        edits.append((match.start(), mark.end(), _fitted(text, match.start(), mark.end(), replacement, edits)))
        return mark.end()

    def _exclude(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        mark = _BRACED_NAME.match(text, match.end())
        if not mark:
            return match.end()
        self._alias_environment(mark[1].strip(), "comment")
        return self._take_out(text, match.start(), mark.end(), edits)

    def _font(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        """Plain TeX's `\\font\bigbf=cmbx10`: the switch gets its standard name, whatever its size."""
        font = _FONT.match(text, match.end())
        switch = font and next((switch for file, switch in _FONT_SWITCHES.items() if font[2].startswith(file)), None)
        if not font or switch is None or font[1] in PROTECTED_COMMANDS:
            return match.end()
        self.counters["macros_defined"] += 1
        self._set(font[1], Macro((), (switch,), final=True))
        return font.end()  # the layout pass takes the assignment out

    def _newif(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        flag = NEWIF.match(text, match.start())
        if not flag:
            return match.end()
        self.flags[flag[1]] = False
        self.table[flag[1] + "true"] = self.table[flag[1] + "false"] = self._set_flag
        return self._take_out(text, match.start(), flag.end(), edits)

    def _set_flag(
        self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int
    ) -> int:
        for value in ("true", "false"):
            if word.endswith(value):
                self.flags[word.removesuffix(value)] = value == "true"
        self.plain.clear()
        return self._take_out(text, match.start(), self._after_word(text, match.end()), edits)

    def _load(self, word: str, text: str, match: re.Match[str], groups: Groups, edits: list[Edit], depth: int) -> int:
        """Packages and classes among the paper's own files; the command itself is the cleaner's to take out."""
        spans = groups.arguments(match.end(), "og") if self.styles else None
        if spans is None:
            return match.end()
        names = _inner(text, spans[1])
        if word == "documentstyle":  # LaTeX 2.09: options are styles
            names += "," + _inner(text, spans[0])
        for name in names.split(","):
            suffix = ".cls" if "lass" in word else ".sty"
            if style := self.styles.pop(PurePosixPath(name.strip() + suffix).name.lower(), None):
                self._read_style(style)
        return spans[-1][1]

    def _read_style(self, text: str) -> None:
        """The definitions of a style file. What stands in other definitions, or in its code, is not executed."""
        text = strip_comments(text)
        groups = Groups(text)
        discarded: list[Edit] = []
        position = 0
        for match in _CONTROL.finditer(text):
            action = self.table.get(match[1])
            if action is None or isinstance(action, Macro | str) or match.start() < position:
                continue
            if match[1] not in ("begin", "end"):
                position = action(match[1], text, match, groups, discarded, 1)

    @staticmethod
    def _take_out(text: str, start: int, end: int, edits: list[Edit]) -> int:
        edits.append((start, end, ""))
        return end


_ENVIRONMENT = re.compile(r"\\(?:begin|end)[ \t]*\{([^{}\\]*)\}")
_BRACED_NAME = re.compile(r"[ \t]*\{([^{}\\]*)\}")
_ENDS_IN_WORD = re.compile(r"\\([a-zA-Z@]+)[ \t]*\Z")
# An environment that is another one under a new name: `\\quote` ... `\\endquote`, `\\begin{quote}` ... `\\end{quote}`.
_ALIAS = re.compile(r"\\([a-zA-Z]+) \\end\1|\\begin\s*\{([a-zA-Z]+\*?)\} \\end\s*\{\2\}")
_AROUND = re.compile(r"\A(?:\s|\\par(?![a-zA-Z]))+|(?:\s|\\par(?![a-zA-Z])|\[[a-zA-Z!]*\])+\Z")


def _bare(half: str) -> str:
    return _AROUND.sub("", half)


_FONT = re.compile(r"\s*\\([a-zA-Z@]+)\s*=?\s*([a-z]+)")
# Computer Modern's files, longer names first; other fonts (blackboard bold, Fraktur) carry meaning and keep their name.
_FONT_SWITCHES = {
    "cmbxti": "\\bf", "cmbx": "\\bf", "cmb": "\\bf", "cmti": "\\it", "cmsl": "\\sl", "cmcsc": "\\sc",
    "cmtt": "\\tt", "cmss": "\\sf", "cmr": "\\rm",
}  # fmt: skip
_DEFINABLE = re.compile(r"[a-zA-Z@]+|[0-9<>?+*]")


def _definable(name: str) -> bool:
    return _DEFINABLE.fullmatch(name) is not None


def _inner(text: str, span: tuple[int, int]) -> str:
    """The content of an argument, without its braces or brackets."""
    start, end = span
    return text[start + 1 : end - 1] if text[start : start + 1] in ("{", "[") and start < end else text[start:end]


def _until(text: str, position: int, delimiter: str) -> tuple[str, int]:
    """A delimited argument: (all up to `delimiter` outside braces, the place behind it). Raises _Left without one."""
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
    raise _Left


def _bracket_end(text: str, start: int, parameter: Parameter, groups: Groups) -> int:
    if parameter.open == "[":
        end = groups.optional_end(start)
    elif parameter.open == "{":
        end = groups.end(start)
    else:
        end = text.find(parameter.close, start + 1, start + 1000) + 1
    if end <= 0:
        raise _Left
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


def _fitted(text: str, start: int, end: int, replacement: str, edits: list[Edit]) -> str:
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


_SCOPE = re.compile(
    r"\\(?:(?P<begin>begin\s*\{(?P<env>[^{}]*)\})|(?P<end>end)\s*\{(?!document\})|(?P<open>begingroup|bgroup)(?![a-zA-Z@])"
    r"|(?P<close>endgroup|egroup)(?![a-zA-Z@])|[{}\\])|(?P<brace>[{}])",
    re.DOTALL,
)


class _Scopes:
    """The groups of a text: braces, environments, \\begingroup. A definition ends with the one that it stands in."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.document = text.find("\\begin{document}")
        self.checked = self.balance = 0
        self.boundaries: list[int] | None = None  # where a group opens or closes, and ...
        self.innermost: list[int] = []  # ... the number of the one that is open from there on
        self.ends: list[int] = []  # by number

    def _at_top(self, position: int) -> bool:
        """Whether no group can be open at `position`, by counting alone: most definitions stand outside all groups."""
        if self.checked <= self.document < position:
            self.checked, self.balance = self.document + len("\\begin{document}"), 0
        count, span = self.text.count, (self.checked, position)
        self.balance += count("{", *span) - count("}", *span) - count("\\{", *span) + count("\\}", *span)
        if position > self.document:
            self.balance += count("\\begin{", *span) - count("\\end{", *span)
            self.balance += count("\\begingroup", *span) - count("\\endgroup", *span)
        self.checked = position
        return self.balance == 0

    def _index(self) -> None:
        self.boundaries = []
        opened: list[tuple[int, str]] = []
        for match in _SCOPE.finditer(self.text):
            kind = match.lastgroup
            if kind in ("open", "begin") or match["brace"] == "{":
                if match["env"] == "document":
                    continue
                opened.append((len(self.ends), kind or ""))
                self.ends.append(len(self.text))
            elif kind == "brace":  # ends what was left open within the braces too
                while opened:
                    number, opener = opened.pop()
                    self.ends[number] = match.start()
                    if opener == "brace":
                        break
            elif opened and kind and opened[-1][1] != "brace":
                self.ends[opened.pop()[0]] = match.start()
            else:
                continue
            self.boundaries.append(match.start())
            self.innermost.append(opened[-1][0] if opened else -1)

    def end(self, position: int) -> int:
        """Where the innermost group around `position` ends, or -1: none is open there. Positions must not fall."""
        if self._at_top(position):
            return -1
        if self.boundaries is None:
            self._index()
        index = bisect_left(self.boundaries or [], position) - 1
        number = self.innermost[index] if index >= 0 else -1
        return self.ends[number] if number >= 0 else -1


# ---------------------------------------------------------------------------------------------------------------------
# ensuremath

_ENSURE = re.compile(r"\\(?:ensuremath(?![a-zA-Z@])[ \t]*|xspace(?![a-zA-Z@])[ \t]*)")
_NO_SPACE_BEFORE = frozenset("{}~.!,:;?/'\")]-&$ \n\t\\")


def ensuremath(text: str) -> str:
    """\\ensuremath without its command: bare in mathematics, in dollars outside it; \\xspace as its blank."""
    if "\\ensuremath" not in text and "\\xspace" not in text:
        return text
    in_math = None
    groups = Groups(text)
    edits: list[Edit] = []
    opened_until = -1  # the end of the outer \ensuremath: one inside it is in mathematics
    for match in _ENSURE.finditer(text):
        start, end = match.span()
        if text.startswith("\\xspace", start):
            following = text[end : end + 1]
            control_word = following == "\\" and text[end + 1 : end + 2].isalpha()
            blank = " " if control_word or (following and following not in _NO_SPACE_BEFORE) else ""
            # An edit that deletes may take blanks with it; the blank after \xspace has to stay.
            edits.append((start, end if blank else start + len("\\xspace"), blank))
            continue
        group_end = groups.end(end)
        if group_end < 0:
            continue
        if in_math is None:
            in_math = inside([*math_spans(text)])
        if start < opened_until or in_math(start):
            edits += [(start, end + 1, ""), (group_end - 1, group_end, "")]
        else:
            edits += [(start, end + 1, "$"), (group_end - 1, group_end, "$")]
            opened_until = group_end
    return apply_edits(text, edits)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Print a TeX file with its author macros expanded; on stderr, what was defined and expanded.",
        epilog="example: python data_prep/macros.py paper.tex",
    )
    parser.add_argument("file", type=Path, metavar="FILE.tex")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    from data_prep.extraction import read_text_file

    if not args.file.is_file():
        raise UserError(f"{args.file}: no such file; give the path of a TeX file")
    counters: Counter[str] = Counter()
    text, hidden = hide_verbatim(strip_comments(read_text_file(args.file, settings.data)))
    sys.stdout.write(show_verbatim(ensuremath(expand(text, counters=counters)), hidden))
    print(", ".join(f"{count} {name}" for name, count in sorted(counters.items())), file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
