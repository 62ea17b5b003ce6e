"""The one scanner of TeX: comments, verbatim text, groups, arguments, control sequences, mathematics.

Every other module of this folder that looks at TeX uses these functions, so that `\\%`, `\\verb|%|` and
`\\url{a%20b}` are understood once. To see what the scanner takes for comments, verbatim text and mathematics:

    python data_prep/tex_scan.py FILE.tex

Compiled expressions jump from one interesting place to the next; nothing recurses, and hostile input (a million
unclosed braces or environments) costs linear time.
"""

from __future__ import annotations

import argparse
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/tex_scan.py`
    sys.path.insert(0, str(ROOT))

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError

VERBATIM_ENVIRONMENTS = (
    "verbatim verbatim* Verbatim Verbatim* BVerbatim LVerbatim SaveVerbatim verbatimtab boxedverbatim lstlisting "
    "lstlisting* minted minted* alltt pyglist pycode sagesilent sageblock"
).split()
# Their content is never typeset where it stands.
COMMENT_ENVIRONMENTS = "comment filecontents filecontents* CCSXML verbatimwrite VerbatimOut".split()

Edit = tuple[int, int, str]  # text[start:end] becomes the string


def any_of(names: Iterable[str]) -> str:
    """A regular expression for any of `names`, as a trie: a plain alternation of hundreds would be tried one by one."""
    trie: dict[str, dict] = {}
    for name in names:
        node = trie
        for character in name:
            node = node.setdefault(character, {})
        node[""] = {}

    def render(node: dict[str, dict]) -> str:
        branches = [re.escape(character) + render(child) for character, child in sorted(node.items()) if character]
        if not branches:
            return ""
        body = branches[0] if len(branches) == 1 else "(?:" + "|".join(branches) + ")"
        return f"(?:{body})?" if "" in node else body

    return render(trie)


def control_words(names: Iterable[str]) -> re.Pattern[str]:
    """Matches `\\name` for any of `names`, the name as group 1, never the beginning of a longer name.

    The caller checks `is_escaped`: in `\\\\label` the second backslash starts no control word.
    """
    return re.compile(rf"\\({any_of(names)})(?![a-zA-Z@])")


def is_escaped(text: str, position: int) -> bool:
    """Whether an odd number of backslashes stands right before `position`."""
    start = position
    while start and text[start - 1] == "\\":
        start -= 1
    return (position - start) % 2 == 1


# Without `%`: an expression that begins with one character is searched twice as fast, and `%` by itself faster still.
_OPAQUE = re.compile(
    r"\\(?:"
    r"begin[ \t]*\{(?P<env>" + any_of(VERBATIM_ENVIRONMENTS + COMMENT_ENVIRONMENTS) + r")\}"
    r"|(?P<verb>verb\*?|Verb\*?|lstinline|mintinline|spverb)(?![a-zA-Z@])"
    r"|(?P<url>url|nolinkurl|path|href|hyperref)(?![a-zA-Z@]))"
)
_INLINE_OPTIONS = re.compile(r"(?:\[[^\]\n]*\])?[ \t]*(?:\{[\w+.-]*\}(?=[^\sa-zA-Z]))?")
_URL_ARGUMENT = re.compile(r"[ \t]*\n?[ \t]*\{(?:[^{}\\\n]|\\[^\n]|\{[^{}\n]*\})*\}")


def opaque_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """The places where TeX's ordinary rules do not hold, in order and disjoint, as (kind, start, end).

    Kinds: "comment" (from `%` up to but not including the end of its line), "comment_environment", "verbatim" (an
    environment or a `\\verb`, whole), "url" (`\\url{...}` whole), "href" (`\\href` with its first argument).
    An environment or `\\verb` without its end is taken for ordinary text.
    """
    length, search, unclosed = len(text), _OPAQUE.search, set()
    match = search(text)
    position, percent, special = 0, -1, match.start() if match else length
    while True:
        if percent < position:
            percent = text.find("%", position)
            percent = length if percent < 0 else percent
        if special < position:
            match = search(text, position)
            special = match.start() if match else length
        start = min(percent, special)
        if start == length:
            return
        position = start + 1
        if start and text[start - 1] == "\\" and is_escaped(text, start):
            continue
        if start == percent:
            end = text.find("\n", start)
            position = length if end < 0 else end
            yield "comment", start, position
            continue
        assert match is not None
        position = match.end()
        if name := match["env"]:
            closing = f"\\end{{{name}}}"
            end = -1 if name in unclosed else text.find(closing, position)
            if end < 0:
                unclosed.add(name)
                continue
            position = end + len(closing)
            yield ("comment_environment" if name in COMMENT_ENVIRONMENTS else "verbatim"), start, position
        elif match["verb"]:
            end = _verb_end(text, match)
            if end > 0:
                position = end
                yield "verbatim", start, position
        else:
            argument = _URL_ARGUMENT.match(text, position)
            if argument:
                position = argument.end()
                yield ("href" if match["url"] in ("href", "hyperref") else "url"), start, position


def _verb_end(text: str, match: re.Match[str]) -> int:
    """The end of `\\verb|...|` and its kin, or -1: the delimiters must stand on one line."""
    position = match.end()
    if not match["verb"].lower().startswith("verb"):
        options = _INLINE_OPTIONS.match(text, position)
        position = options.end() if options else position
    delimiter = text[position : position + 1]
    if not delimiter or delimiter in " \t\n*" or delimiter.isalpha():
        return -1
    line_end = text.find("\n", position)
    end = text.find("}" if delimiter == "{" else delimiter, position + 1, len(text) if line_end < 0 else line_end)
    return end + 1 if end > 0 else -1


_CONTROL_WORD_TAIL = re.compile(r"\\[a-zA-Z@]+\Z")
_INDENT = re.compile(r"\n[ \t]*")


def strip_comments(text: str) -> str:
    """Comments out, by TeX's rule: `%` eats the end of its line and the blanks that open the next one.

    A blank line after a comment still ends the paragraph. Environments that are never typeset (`comment`,
    `filecontents`) go too; verbatim text and addresses keep their `%`.
    """
    parts, position = [], 0
    for kind, start, end in opaque_spans(text):
        if kind == "comment":
            parts.append(text[position:start])
            indent = _INDENT.match(text, end)
            position = indent.end() if indent else end
            if text[position : position + 1] == "\n":
                position = end
            elif text[position : position + 1].isalpha() and _CONTROL_WORD_TAIL.search(text, max(0, start - 40), start):
                parts.append(" ")  # `\foo%` before `bar` is not `\foobar`
        elif kind == "comment_environment":
            parts.append(text[position:start])
            position = end
    if not position:
        return text
    parts.append(text[position:])
    return "".join(parts)


# Private-use characters stand for hidden verbatim text; `latex_cleaner.unicode_text` removes all others before.
_HIDDEN = re.compile("\ue000([0-9]+)\ue001")


def hide_verbatim(text: str) -> tuple[str, list[str]]:
    """Verbatim text and `\\url{...}` replaced by numbered marks, so that later passes cannot touch them."""
    parts: list[str] = []
    hidden: list[str] = []
    position = 0
    for kind, start, end in opaque_spans(text):
        if kind in ("verbatim", "url"):
            parts += (text[position:start], f"\ue000{len(hidden)}\ue001")
            hidden.append(text[start:end])
            position = end
    parts.append(text[position:])
    return ("".join(parts) if hidden else text), hidden


def show_verbatim(text: str, hidden: Sequence[str]) -> str:
    """Undo `hide_verbatim` for the marks that are still there."""
    return _HIDDEN.sub(lambda match: hidden[int(match[1])], text) if hidden else text


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


def apply_edits(text: str, edits: list[Edit]) -> str:
    """`text` with the edits made. An edit that lies inside an earlier one is void.

    A deletion leaves neither doubled blanks nor, where it was all that a line held, an empty line: an empty line would
    be a new paragraph.
    """
    if not edits:
        return text
    edits.sort()
    parts: list[str] = []
    position = 0  # what of `text` is in `parts`
    reach = 0  # where the last edit ends
    deleted = -1  # where the deletion that reaches to `reach` begins; -1 if the last edit was none
    for start, end, replacement in edits:
        if start < reach:
            continue
        if deleted >= 0:
            if not replacement and (start == reach or not text[reach:start].strip(" \t")):
                reach = max(reach, end)
                continue
            position = _delete(text, deleted, reach, position, parts)
        if replacement:
            if end > position:
                parts += (text[position:start], replacement) if start > position else (replacement,)
                position = end
            deleted = -1
        else:
            deleted = start
        reach = end
    if deleted >= 0:
        position = _delete(text, deleted, reach, position, parts)
    parts.append(text[position:])
    return "".join(parts)


def _delete(text: str, start: int, end: int, position: int, parts: list[str]) -> int:
    """Add what stands between `position` and a deletion, with the blank that must take its place; answer its end."""
    start, end = _widen(text, start, end)
    if end <= position:
        return position
    start = max(start, position)
    parts.append(text[position:start])
    # `\\foo\noindent bar` must not become `\\foobar`
    if text[end : end + 1].isalpha() and text[start - 1 : start].isalpha():
        if _CONTROL_WORD_TAIL.search(text, max(0, start - 40), start):
            parts.append(" ")
    return end


_BLANKS = re.compile(r"[ \t]*")


def _widen(text: str, start: int, end: int) -> tuple[int, int]:
    """A deletion with the blanks around it that would be left over."""
    before = start
    while before and text[before - 1] in " \t":
        before -= 1
    after = end
    following = text[end : end + 1]
    if following == " " or following == "\t":
        after = _BLANKS.match(text, end).end()  # type: ignore[union-attr]
        following = text[after : after + 1]
    if not before or text[before - 1] == "\n":
        return (before, after + 1) if following == "\n" else (before, after)
    if before < start and (after > end or following in "\n,.;:)]}"):
        return before, end
    return start, end


def edit_commands(
    text: str, pattern: re.Pattern[str], handle: Callable[[re.Match[str], Groups, list[Edit]], int]
) -> str:
    """Call `handle(match, groups, edits)` for each unescaped match; it adds edits and answers where to go on."""
    position, search, groups = 0, pattern.search, Groups(text)
    edits: list[Edit] = []
    while match := search(text, position):
        start = match.start()
        if start and text[start - 1] == "\\" and is_escaped(text, start):
            position = start + 1
            continue
        position = max(handle(match, groups, edits), start + 1)
    return apply_edits(text, edits)


def environment_end(text: str, name: str, position: int, unclosed: set[str]) -> tuple[int, int]:
    """(start, end) of the `\\end{name}` that closes an environment whose body begins at `position`; (-1, -1) if none.

    `unclosed` remembers, over the calls for one text, the names that have no end: each is searched in vain once.
    """
    if name in unclosed:
        return -1, -1
    depth = 1
    for match in _environment_marks(name).finditer(text, position):
        depth += 1 if match[1] == "begin" else -1
        if not depth:
            return match.start(), match.end()
    unclosed.add(name)
    return -1, -1


def _environment_marks(name: str) -> re.Pattern[str]:
    return re.compile(r"\\(begin|end)[ \t]*\{" + re.escape(name) + r"\}")  # `re` caches what was compiled before


MATH_ENVIRONMENTS = (
    "equation align gather multline eqnarray displaymath math flalign alignat xalignat dmath empheq array subequations "
    "IEEEeqnarray split aligned gathered cases matrix pmatrix bmatrix CD tikzcd diagram prooftree"
).split()
_MATH = re.compile(
    r"\\[\\$%]|(?P<dollars>\$\$?)|\\(?P<bracket>[(\[])|\\begin[ \t]*\{(?P<env>"
    + any_of(name + star for name in MATH_ENVIRONMENTS for star in ("", "*"))
    + r")\}"
)
_DOLLAR = re.compile(r"\\.|(\$)|\n[ \t]*\n", re.DOTALL)
_DISPLAY_LIMIT = 5_000  # characters; a display longer than that is a stray `$$` or `\[`


def math_spans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of mathematics, delimiters included, in order and disjoint.

    Inline mathematics ends at a blank line at the latest: a stray dollar costs one paragraph, not the paper.
    """
    position, search = 0, _MATH.search
    unclosed: set[str] = set()
    while match := search(text, position):
        start, position = match.span()
        end = -1
        if mark := match["dollars"]:
            if mark == "$":
                for dollar in _DOLLAR.finditer(text, position):
                    if dollar[1]:
                        end = dollar.end()
                        break
                    if dollar[0][0] == "\n":
                        break
            else:
                end = text.find("$$", position, position + _DISPLAY_LIMIT) + 2
        elif bracket := match["bracket"]:
            end = text.find("\\)" if bracket == "(" else "\\]", position, position + _DISPLAY_LIMIT) + 2
        elif name := match["env"]:
            end = environment_end(text, name, position, unclosed)[1]
        if end > position:
            yield start, end
            position = end


def inside(spans: Sequence[tuple[int, int]]) -> Callable[[int], bool]:
    """A test of whether a position lies in one of the sorted, disjoint spans."""
    starts = [start for start, _ in spans]

    def test(position: int) -> bool:
        index = bisect_left(starts, position + 1) - 1
        return index >= 0 and position < spans[index][1]

    return test


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="List what the scanner takes for comments, verbatim text and mathematics.",
        epilog="example: python data_prep/tex_scan.py paper.tex",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tex")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    from data_prep.extraction import read_text_file  # extraction needs nothing of this module; kept lazy for --help

    for path in args.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file; give the path of a TeX file")
        text = read_text_file(path, settings.data)
        spans = [*opaque_spans(text), *(("mathematics", *span) for span in math_spans(text))]
        for kind, start, end in sorted(spans, key=lambda span: span[1]):
            line = text.count("\n", 0, start) + 1
            print(f"{path}:{line}: {kind}: {' '.join(text[start : min(end, start + 80)].split())}")
    return 0


if __name__ == "__main__":
    run_command(main)
