"""Author macros replaced by the standard LaTeX that they stand for, so that one symbol has one spelling.

What TeX does with macros, done on text: definitions take effect where they stand and end with their group; arguments,
optional and delimited ones among them, are taken as TeX takes them; a body is read again together with what follows.
Where plain text needs it, a blank keeps a control word apart from a letter, and braces keep a body together after `^`,
`_`, and commands that take one token.

What stays under its name: macros that program or draw (boxes, kerning, counters: the name says more than its body),
redefinitions of LaTeX's own structure (`\\section`, `\\title`), and calls that exceed a limit of size or depth, which
are counted. `\\begin{thm}` becomes `\\begin{theorem}` where `thm` was declared as a Theorem.

The loop is in `macro_expansion.py`, the commands that define in `macro_definers.py`, where a definition ends in
`macro_scopes.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from data_prep.latex.edits import Edit, apply_edits
from data_prep.latex.groups import Groups
from data_prep.latex.macro_definers import Expander
from data_prep.latex.scanner import inside, math_spans

_DEFINES = re.compile(
    r"\\(?:(?:re|provide|DeclareRobust|re?new)?[cC]ommand|newcommand|[egx]?def|(?:re|pre)?define(?![a-zA-Z])|let|font(?![a-zA-Z])|excludecomment|Declare|(?:New|Renew|Provide)"
    r"|newif|(?:re)?newenvironment|(?:sp)?newtheorem|declaretheorem|newrobustcmd|usepackage|RequirePackage)"
)


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
    expander = Expander(text, styles or {}, Counter() if counters is None else counters)
    return expander.run()


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
