"""The one scanner of TeX: comments, verbatim text, environments, mathematics.

Every other module that looks at TeX uses these functions, those of `groups.py` and those of `edits.py`, so that
`\\%`, `\\verb|%|` and `\\url{a%20b}` are understood once.

Compiled expressions jump from one interesting place to the next; nothing recurses, and hostile input (a million
unclosed braces or environments) costs linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

VERBATIM_ENVIRONMENTS = (
    "verbatim verbatim* Verbatim Verbatim* BVerbatim LVerbatim SaveVerbatim verbatimtab boxedverbatim lstlisting "
    "lstlisting* minted minted* alltt pyglist pycode sagesilent sageblock"
).split()
# Their content is never typeset where it stands.
COMMENT_ENVIRONMENTS = "comment filecontents filecontents* CCSXML verbatimwrite VerbatimOut".split()


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


CONTROL_WORD_TAIL = re.compile(r"\\[a-zA-Z@]+\Z")
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
            elif text[position : position + 1].isalpha() and CONTROL_WORD_TAIL.search(text, max(0, start - 40), start):
                parts.append(" ")  # `\foo%` before `bar` is not `\foobar`
        elif kind == "comment_environment":
            parts.append(text[position:start])
            position = end
    if not position:
        return text
    parts.append(text[position:])
    return "".join(parts)


# Private-use characters stand for hidden verbatim text; the pass `unicode_text` removes all others before.
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
