"""The commands that define macros, environments, theorems and fonts."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from data_prep.latex.commands import PROTECTED_COMMANDS, PROTECTED_ENVIRONMENTS, STANDARD_COMMANDS
from data_prep.latex.conditionals import NEWIF
from data_prep.latex.edits import Edit
from data_prep.latex.groups import Groups
from data_prep.latex.macro_definitions import (
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
from data_prep.latex.macro_expansion import CALL_CHARS, CONTROL, Expansion, Handler, TooLarge, Unexpandable, fitted
from data_prep.latex.scanner import environment_end, strip_comments

_NAME = re.compile(r"\s*\{?\s*\\([a-zA-Z@]+\*?|[0-9<>?+*])\s*\}?")
_PREFIXES = re.compile(r"(?:\\(?:long|global|protected|outer)\s*)+\Z")


class Expander(Expansion):
    """The commands that define: each notes a definition, takes it out of the text and answers where to go on."""

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
        name = CONTROL.match(text, groups.skip_blank(match.end()))
        spans = name and groups.arguments(name.end(), "pg")
        if not name or not spans:
            return match.end()
        (start, end), body = spans
        prefix = _PREFIXES.search(text, max(0, match.start() - 40), match.start())
        content = _inner(text, body)
        if word in ("edef", "xdef") and "\\" in content:
            try:
                self.call_left = CALL_CHARS if depth == 0 else self.call_left
                content = self._expand(content, depth + 1)
            except (TooLarge, Unexpandable):
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
            self.call_left = CALL_CHARS
        try:
            arguments, end = self._arguments(macro.parameters, text, mark.end(), groups)
            replacement = self._body(macro.fill(arguments), depth)
        except (Unexpandable, TooLarge):
            self.environments.pop(mark[1])  # its ends stay too
            self.counters["macros_left"] += 1
            return mark.end()
        self.open_environments.append((mark[1], arguments))
        edits.append((match.start(), end, fitted(text, match.start(), end, replacement, edits)))
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
            self.call_left = CALL_CHARS
        body = "".join(
            piece if isinstance(piece, str) else arguments[piece] for piece in cut_body(meaning[1], len(arguments))
        )
        try:
            replacement = self._body(body, depth)
        except (Unexpandable, TooLarge):
            replacement = ""
        edits.append((match.start(), mark.end(), fitted(text, match.start(), mark.end(), replacement, edits)))
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
        for match in CONTROL.finditer(text):
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
