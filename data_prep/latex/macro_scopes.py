"""Where a definition ends: the groups of a text."""

from __future__ import annotations

import re
from bisect import bisect_left

_SCOPE = re.compile(
    r"\\(?:(?P<begin>begin\s*\{(?P<env>[^{}]*)\})|(?P<end>end)\s*\{(?!document\})|(?P<open>begingroup|bgroup)(?![a-zA-Z@])"
    r"|(?P<close>endgroup|egroup)(?![a-zA-Z@])|[{}\\])|(?P<brace>[{}])",
    re.DOTALL,
)


class Scopes:
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
