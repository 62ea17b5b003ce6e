"""Groups, and the arguments of commands."""

from __future__ import annotations

import re

SIMPLE_GROUP = re.compile(r"\{[^{}\\]{0,200}\}")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BRACKET = re.compile(r"\\.|[{}\[\]]", re.DOTALL)
_BLANK = re.compile(r"[ \t]*(?:\n[ \t]*(?!\n))?[ \t]*")
_CONTROL = re.compile(r"\\(?:[a-zA-Z@]+|.)", re.DOTALL)
_NEAR = 1000  # characters searched for the end of a group before the whole text is indexed


class Groups:
    """Where the groups of one text end. Long searches fall back on an index of the text, made once: linear time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._ends: dict[int, int] | None = None

    def end(self, start: int) -> int:
        """The position after the `}` of the group that opens at `start`, or -1: no group there, or no end."""
        text = self.text
        if simple := SIMPLE_GROUP.match(text, start):
            return simple.end()
        if text[start : start + 1] != "{":
            return -1
        if self._ends is None:
            depth = 0
            for match in _BRACE.finditer(text, start, start + _NEAR):
                brace = match[0]
                if brace == "{":
                    depth += 1
                elif brace == "}":
                    depth -= 1
                    if not depth:
                        return match.end()
            self._ends = self._index()
        return self._ends.get(start, -1)

    def _index(self) -> dict[int, int]:
        ends, opened = {}, []
        for match in _BRACE.finditer(self.text):
            brace = match[0]
            if brace == "{":
                opened.append(match.start())
            elif brace == "}" and opened:
                ends[opened.pop()] = match.end()
        return ends

    def skip_blank(self, position: int) -> int:
        """Past blanks and at most one end of line, never past a blank line."""
        return _BLANK.match(self.text, position).end()  # type: ignore[union-attr]

    def optional_end(self, start: int) -> int:
        """The position after the `]` of the optional argument at `start`, or -1; at most 1,000 characters."""
        if self.text[start : start + 1] != "[" or self.text.find("]", start, start + _NEAR) < 0:
            return -1
        depth = brackets = 0
        for match in _BRACKET.finditer(self.text, start, start + _NEAR):
            mark = match[0]
            if mark == "{":
                depth += 1
            elif mark == "}":
                depth -= 1
                if depth < 0:
                    return -1
            elif mark == "[" and not depth:
                brackets += 1
            elif mark == "]" and not depth:
                brackets -= 1
                if not brackets:
                    return match.end()
        return -1

    def arguments(self, position: int, spec: str) -> list[tuple[int, int]] | None:
        """Spans of the arguments that follow `position`, one for each letter of `spec`; None if one is missing.

        Letters: `*` a star (may be absent), `o` an optional argument in brackets (may be absent), `m` a group or one
        token, `g` a group, `c` a control sequence, bare or in a group, `p` the parameter text of `\\def` up to the
        brace of its body, `=` an equals sign (may be absent), `(` a pair in parentheses (may be absent). An absent
        argument is an empty span.
        """
        spans = []
        for letter in spec:
            start = self.skip_blank(position)
            character = self.text[start : start + 1]
            end = -1
            if letter == "*" or letter == "=":
                end = start + 1 if character == letter else -1
            elif letter == "o":
                end = self.optional_end(start) if character == "[" else -1
            elif letter == "(":
                end = self.text.find(")", start, start + 200) + 1 if character == "(" else -1
            elif letter == "p":
                start = position
                end = self.text.find("{", start, start + 200)
                end = -1 if end < 0 or "\n\n" in self.text[start:end] else end
            elif character == "{":
                end = self.end(start)
            elif letter in "cm" and character == "\\":
                match = _CONTROL.match(self.text, start)
                end = match.end() if match else -1
            elif letter == "m" and character and character not in "}&$ \n":
                # The mark of hidden verbatim text is one token.
                end = self.text.find("\ue001", start) + 1 if character == "\ue000" else start + 1
            if end <= 0:
                if letter not in "*o=(":
                    return None
                start = end = position
            spans.append((start, end))
            position = end
        return spans
