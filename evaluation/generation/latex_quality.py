r"""Is a text well-formed LaTeX, as far as it goes, and does it repeat itself? Pure functions of a text. Imported,
not run.

A generated text is cut off somewhere: what is open at its end is no fault then. A fault is what no continuation could
mend: a brace too many, an `\end` that does not fit its `\begin`, a blank line in inline mathematics.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data_prep.latex.scanner import MATH_ENVIRONMENTS, opaque_spans

# What can be wrong; "unclosed" only in a text that has come to its own end.
FAULTS = {
    "brace": "a closing brace without an opening one, or one within another pair",
    "environment": r"an \end that does not fit the last open \begin",
    "mathematics": "a delimiter of mathematics that does not fit, or a blank line in inline mathematics",
    "left_right": r"\left and \right that do not fit each other",
    "unclosed": "something is open at the text's own end",
}
TOKEN = re.compile(
    r"\\(?P<edge>begin|end)[ \t]*\{(?P<name>[^{}\n]{1,40})\}|\\(?P<side>left|right)(?![A-Za-z])[ \t]*(?:\\.|.)?"
    r"|\\(?P<bracket>[()\[\]])|\\(?:[A-Za-z]+|.|\Z)|(?P<dollars>\$\$?)|(?P<brace>[{}])|(?P<blank>\n[ \t]*\n)",
    re.DOTALL,
)
OPENERS = {"(": ")", "[": "]"}
REPEATED_NGRAM = 4


@dataclass(frozen=True)
class Balance:
    """The first fault of a text (a key of FAULTS) and where it is, or None; what is open at its end, innermost last."""

    fault: str | None
    position: int
    open: tuple[str, ...]


def balance(text: str) -> Balance:
    """Read a text as TeX would pair its braces, environments and delimiters, up to the first fault."""
    # Each entry: what closes it. `$` and `$$` close themselves.
    stack: list[str] = []
    for match in _tokens(text):
        kind, closing = match.lastgroup, ""
        fault: str | None = None
        if match["edge"]:
            name = match["name"].strip()
            closing = rf"\end{{{name}}}"
            if match["edge"] == "begin":
                stack.append(closing)
                continue
            fault = "environment"
        elif match["side"] == "left":
            stack.append(r"\right.")
            continue
        elif match["side"] == "right":
            fault, closing = "left_right", r"\right."
        elif match["bracket"]:
            if match["bracket"] in OPENERS:
                if _in_mathematics(stack):
                    return Balance("mathematics", match.start(), tuple(stack))
                stack.append("\\" + OPENERS[match["bracket"]])
                continue
            fault, closing = "mathematics", "\\" + match["bracket"]
        elif kind == "brace":
            if match["brace"] == "{":
                stack.append("}")
                continue
            fault, closing = "brace", "}"
        elif kind == "dollars":
            mark = match["dollars"]
            if mark == "$$" and stack[-1:] == ["$"]:  # the end of one formula and the start of the next
                continue
            if stack[-1:] != [mark]:
                if _in_mathematics(stack):
                    return Balance("mathematics", match.start(), tuple(stack))
                stack.append(mark)
                continue
            fault, closing = "mathematics", mark
        elif kind == "blank":
            if "$" in stack or r"\)" in stack:
                return Balance("mathematics", match.start(), tuple(stack))
            continue
        if fault is None:
            continue
        if stack[-1:] != [closing]:
            return Balance(fault, match.start(), tuple(stack))
        stack.pop()
    return Balance(None, len(text), tuple(stack))


def _tokens(text: str) -> Iterator[re.Match[str]]:
    """Tokens outside of comments and of what stands verbatim."""
    done = 0
    for _, start, end in opaque_spans(text):
        yield from TOKEN.finditer(text, done, start)
        done = end
    yield from TOKEN.finditer(text, done)


def _in_mathematics(stack: Sequence[str]) -> bool:
    r"""Whether mathematics is open with nothing between that leads out of it: in `\text{..}` a dollar may stand."""
    for closing in reversed(stack):
        if closing == "}":
            return False
        if closing in ("$", "$$", r"\)", r"\]"):
            return True
        if closing.startswith(r"\end{"):
            return closing[5:-1].rstrip("*") in MATH_ENVIRONMENTS
    return False


def fault_after(prompt: str, text: str, ended: bool) -> tuple[str | None, int]:
    """The first fault of a text that continues a prompt, and where in both together; None where there is none.

    Args:
        ended: the text came to its own end, and is not just cut off.
    """
    found = balance(prompt + text)
    if found.fault is not None and found.position >= len(prompt):
        return found.fault, found.position
    if found.fault is None and ended and found.open:
        return "unclosed", len(prompt) + len(text)
    return None, -1


def closed(text: str) -> str:
    """The text with what is open at its end closed, the innermost first."""
    return text + "".join(f"\n{end}" if end.startswith("\\end") else end for end in reversed(balance(text).open))


def repetition(tokens: Sequence[int] | Sequence[str], n: int = REPEATED_NGRAM) -> float | None:
    """Share of the n-grams that occurred earlier in the text: "seq-rep-n" (Welleck et al., Neural Text Generation with
    Unlikelihood Training, 2020). None for a text without an n-gram."""
    ngrams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else None


def compression(text: str) -> float | None:
    """Bytes that zlib leaves of a text's; a text that repeats itself leaves little. None for an empty one."""
    data = text.encode("utf-8", "replace")
    return len(zlib.compress(data, 9)) / len(data) if data else None
