"""The commands that include: how the next one is found, and which file it names."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from data_prep.archive.tex_files import BEGIN, CLASS, END, PaperFiles, conditional_tests, group_test, verbatim_test
from data_prep.latex.groups import Groups
from data_prep.latex.scanner import any_of, is_escaped

MOVING = {"import", "subimport", "inputfrom", "subinputfrom", "includefrom", "subincludefrom"}
_NAME_CHARS = 300  # the longest name of a file
_NAMES = [
    *MOVING,
    *"endinput input @input include subfile subfileinclude InputIfFileExists IfFileExists includeonly".split(),
]
_BARE = re.compile(r'[ \t]*\n?[ \t]*(?:"([^"\n]+)"|(?=[^\s{}%"$&]))')
_BARE_PIECE = re.compile(r'[^\s{}\\%"$#&]+|#\d|\\([a-zA-Z@]+)[ ]?')
_GROUP = re.compile(rf"\s{{0,9}}\{{((?:[^{{}}]|\{{\}}){{0,{_NAME_CHARS}}})\}}")
_NAME_MACRO = re.compile(r"\\([a-zA-Z@]+)(?:\{\}|[ ]?)")
_SUBFIX = re.compile(r"\\subfix\s*\{?([^{}]*)\}?")
_STRING = re.compile(
    r"\\(?:(?:re|provide)?(?:new)?command\*?|[gex]?def)\s*\{?\s*\\([a-zA-Z@]+)\s*\}?\s*\{\s*([^{}#]{0,200}?)\s*\}"
)
# What stands before a name that is being defined, not called.
_DEFINED = re.compile(r"\\(?:let\s*(?:\\[a-zA-Z@]+\s*=?)?|[gex]?def|(?:re|provide)?(?:new)?command\*?\s*\{?)\s*\Z")
# A definition whose body is open: its name, and the number of its parameters either way.
_DEFINITION = re.compile(
    r"\\(?:(?:re|provide)?(?:new)?command|DeclareRobustCommand)\*?\s*\{?\s*\\(?P<name>[a-zA-Z@]+)\s*\}?\s*"
    r"(?:\[\s*(?P<count>\d)\s*\]\s*(?P<default>\[[^\]]*\])?)?\s*\{(?P<body>(?:[^{}]|\{[^{}]*\})*)\Z"
    r"|\\[gex]?def\s*\\(?P<def>[a-zA-Z@]+)(?P<marks>(?:\s?#\d)*)\s*\{(?P<defbody>(?:[^{}]|\{[^{}]*\})*)\Z"
)
_DEFINER = re.compile(r"\\(?:(?:re|provide)?(?:new)?command|DeclareRobustCommand|[gex]?def)(?![a-zA-Z])")
_SIMPLE = {*MOVING, "input", "@input", "include", "subfile", "subfileinclude"}
_DEFINITION_CHARS = 400  # how far before an inclusion the definition that holds it may begin
_PARAMETER = re.compile(r"#(\d)")
ENDS_IN_WORD = re.compile(r"\\[a-zA-Z@]+\Z")
_MAX_COMMANDS = 100_000  # looked at for one main file; no paper has a hundredth of that. The rest stays as it is.
_MAX_WRAPPERS = 50  # macros that include, in one paper
_MAX_BRANCHES = 20  # of `\IfFileExists` within each other


@dataclass
class Inclusions:
    """A file with all that it includes in its place."""

    text: str = ""
    included: list[str] = field(default_factory=list)  # the file itself first, then in the order of inclusion
    missing: list[str] = field(default_factory=list)  # names for which there is no file
    counters: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)  # for the next call of `include`


@dataclass
class Frame:
    """A text being read: where its next piece begins and where it looks for its own inputs."""

    path: str
    text: str
    folder: str
    after: str = ""  # what is written when it ends
    conditional: bool = False  # whether it was included within a conditional
    position: int = 0
    strings_read: int = 0  # up to where it was searched for macros that are plain strings
    branches: int = 0  # how many branches of `\IfFileExists` it is in

    @cached_property
    def in_verbatim(self) -> Callable[[int], bool]:
        return verbatim_test(self.text)

    @cached_property
    def _conditionals(self) -> tuple[Callable[[int], bool], Callable[[int], bool]]:
        return conditional_tests(self.text)

    def in_conditional(self, position: int, here_only: bool = False) -> bool:
        return (self.conditional and not here_only) or self._conditionals[0](position)

    def in_dead_branch(self, position: int) -> bool:
        return self._conditionals[1](position)

    @cached_property
    def in_group(self) -> Callable[[int], bool]:
        return group_test(self.text)

    @cached_property
    def groups(self) -> Groups:
        return Groups(self.text)


@dataclass(frozen=True)
class Call:
    """One command that includes: text[start:end] of its frame."""

    command: str
    start: int
    end: int
    folder: str = ""
    name: str = ""
    branches: tuple[str, str] = ("", "")  # what to read where the file is there, and where it is not
    written: str = ""  # what a macro includes, as its `\input` commands; the call itself stays before it


@dataclass
class _Wrapper:
    """A macro of the paper that includes files: how its arguments are taken, and its `\\input` commands with `#1`.."""

    spec: str
    default: str
    inputs: list[str] = field(default_factory=list)


class CallReader:
    """The state of an expansion, and how it finds the next command that includes."""

    def __init__(self, files: PaperFiles, main: str, max_chars: int, seen: Counter[str]) -> None:
        self.files, self.main, self.max_chars, self.seen = files, main, max_chars, seen
        self.root = posixpath.dirname(main)
        self.result = Inclusions(included=[main], seen=seen)
        self.parts: list[str] = []
        self.total = 0
        self.stack: list[Frame] = []
        self.open: Counter[str] = Counter()  # paths of the files on the stack
        self.only: set[str] | None = None  # of \includeonly
        self.class_seen = False
        self.class_read = 0  # parts searched for it
        self.pattern = _CALLS
        self.wrappers: dict[str, _Wrapper] = {}
        self.wrapper_starts: dict[str, int] = {}
        self.strings: dict[str, str] = {}  # macros that are plain strings
        self.strings_read = 0  # parts searched for them
        self.looked_at = 0  # commands
        self.here = 0  # where in its text the command stands that is being read

    # -----------------------------------------------------------------------------------------------------------------
    # finding the next command

    def _next_call(self, frame: Frame) -> Call | None:
        text = frame.text
        position = frame.position
        while match := self.pattern.search(text, position):
            start, position = match.start(), match.end()
            self.looked_at += 1
            if self.looked_at > _MAX_COMMANDS:
                self.result.counters["input_limit"] = 1
                return None
            if is_escaped(text, start) or _DEFINED.search(text, max(0, start - 60), start) or frame.in_verbatim(start):
                continue
            if match[1] == "endinput":
                if not frame.path or frame.in_conditional(start, here_only=True) or frame.in_group(start):
                    continue
                return Call("", start, len(text))
            self.here = start
            if wrapper := self.wrappers.get(match[1]):
                call = self._wrapper_call(wrapper, frame, start, match.end())
            else:
                call = self._call(match[1], frame, start, match.end())
            if call is None:
                continue
            if frame.in_dead_branch(start):
                self.result.counters["input_dead"] += 1
                return Call("", start, call.end)
            definition = None if call.written else _definition(text, start)
            if definition and call.command in _SIMPLE and len(self.wrappers) < _MAX_WRAPPERS:
                written = text[call.start : call.end]
                self._learn(definition, written if "{" in written else f"\\input{{{call.name}}}")
                return Call("", start, call.end)
            # What stands deeper in a definition is left alone: what it means depends on its arguments.
            if "#" not in call.name + call.folder and not definition:
                return call
        return None

    def _call(self, command: str, frame: Frame, start: int, end: int) -> Call | None:
        text = frame.text
        if command in ("InputIfFileExists", "IfFileExists"):
            spans = frame.groups.arguments(end, "ggg") if frame.branches < _MAX_BRANCHES else None
            if not spans:
                return None
            name, yes, no = (text[s + 1 : e - 1] for s, e in spans)
            return Call(command, start, spans[-1][1], "", self._resolved(name), (yes, no))
        if command in MOVING:
            folder = _GROUP.match(text, end)
            group = _GROUP.match(text, folder.end()) if folder else None
            if not folder or not group:
                return None
            return Call(command, start, group.end(), self._resolved(folder[1]), self._resolved(group[1]))
        if group := _GROUP.match(text, end):
            return Call(
                command, start, group.end(), "", group[1] if command == "includeonly" else self._resolved(group[1])
            )
        return self._bare_call(command, text, start, end) if command in ("input", "@input") else None

    def _bare_call(self, command: str, text: str, start: int, end: int) -> Call | None:
        """`\\input name`, which ends at a blank or at a macro that is no string."""
        opening = _BARE.match(text, end)
        if not opening:
            return None
        if opening[1]:
            return Call(command, start, opening.end(), "", opening[1].strip())
        name, end = "", opening.end()
        while piece := _BARE_PIECE.match(text, end):
            value = piece[0] if piece[1] is None else self._string(piece[1])
            if value is None:
                break
            name, end = name + value, piece.end()
        return Call(command, start, end, "", name) if name else None

    # -----------------------------------------------------------------------------------------------------------------
    # names

    def _resolved(self, name: str) -> str:
        """A name with its macros replaced by the strings that they stand for; unknown ones stay."""
        if "\\" in name:
            name = _SUBFIX.sub(r"\1", name)
            name = _NAME_MACRO.sub(lambda match: self._known_string(match), name)
        return name.strip().strip('"').strip()

    def _known_string(self, match: re.Match[str]) -> str:
        value = self._string(match[1])
        return match[0] if value is None else value

    def _string(self, macro: str, depth: int = 0) -> str | None:
        """What a macro stands for as last defined before this place, if that is a plain string."""
        if macro == "jobname":
            return posixpath.splitext(posixpath.basename(self.main))[0]
        if macro == "space":
            return " "
        while self.strings_read < len(self.parts):
            for match in _STRING.finditer(self.parts[self.strings_read]):
                self.strings[match[1]] = match[2]
            self.strings_read += 1
        frame = self.stack[-1]
        # What this file has defined since its last inclusion is not among the parts yet.
        for match in _STRING.finditer(frame.text, max(frame.position, frame.strings_read), self.here):
            self.strings[match[1]] = match[2]
        frame.strings_read = self.here
        value = self.strings.get(macro)
        if value is None or "\\" not in value:
            return value
        if depth > 5:
            return None
        pieces = [self._string(match[1], depth + 1) for match in _NAME_MACRO.finditer(value)]
        if None in pieces:
            return None
        rest = iter(pieces)
        return _NAME_MACRO.sub(lambda match: str(next(rest)), value)

    # -----------------------------------------------------------------------------------------------------------------
    # macros that include

    def _learn(self, definition: re.Match[str], written: str) -> None:
        """Note what a macro includes; the definition itself loses it."""
        if name := definition["name"]:
            count, default = int(definition["count"] or 0), definition["default"]
            spec = "m" * count if default is None else "o" + "m" * (count - 1)
            wrapper = _Wrapper(spec, (default or "[]")[1:-1])
        else:
            name, wrapper = definition["def"], _Wrapper("m" * definition["marks"].count("#"), "")
        known = self.wrappers.get(name)
        if known and definition.start() == self.wrapper_starts.get(name):
            known.inputs.append(written)
            return
        wrapper.inputs.append(written)
        self.wrapper_starts[name] = definition.start()
        self.wrappers[name] = wrapper
        if not known:
            self.pattern = _calls_of(self.wrappers)

    def _wrapper_call(self, wrapper: _Wrapper, frame: Frame, start: int, end: int) -> Call | None:
        spans = frame.groups.arguments(end, wrapper.spec)
        if spans is None:
            return None
        arguments = [frame.text[s:e] for s, e in spans]
        arguments = [argument[1:-1] if argument[:1] in ("{", "[") else argument for argument in arguments]
        if wrapper.spec.startswith("o") and spans[0][0] == spans[0][1]:
            arguments[0] = wrapper.default

        def argument(match: re.Match[str]) -> str:
            number = int(match[1])
            return arguments[number - 1] if 0 < number <= len(arguments) else ""

        if any(len(a) > _NAME_CHARS or "{" in a for i, a in enumerate(arguments) if f"#{i + 1}" in str(wrapper.inputs)):
            return None  # no file's name
        written = "\n".join(_PARAMETER.sub(argument, inputs) for inputs in wrapper.inputs)
        return Call("", start, spans[-1][1] if spans else end, written=written)


def _calls_of(wrappers: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"\\({any_of([*_NAMES, *wrappers])})(?![a-zA-Z@])\*?")


_CALLS = _calls_of(())


def _definition(text: str, start: int) -> re.Match[str] | None:
    """The definition in whose body `start` lies, if it is one of the last that begin not far before it."""
    for begin in reversed(
        [match.start() for match in _DEFINER.finditer(text, max(0, start - _DEFINITION_CHARS), start)][-3:]
    ):
        if definition := _DEFINITION.match(text, begin, start):
            return definition
    return None


def body_of(text: str) -> str:
    """What an included file that is a document of its own (`\\subfile`, standalone) contributes."""
    if not CLASS.search(text):
        return text
    begin = BEGIN.search(text)
    if not begin:
        return text
    ends = END.search(text, begin.end())
    return text[begin.end() : ends.start() if ends else len(text)]
