"""The pass `bibliography`: lists of references out."""

from __future__ import annotations

import re

from data_prep.latex.commands import BIBLIOGRAPHY_RULES
from data_prep.latex.edits import Edit, edit_commands
from data_prep.latex.groups import Groups
from data_prep.latex.scanner import any_of, environment_end

_BIBLIOGRAPHY = re.compile(
    r"\\(?:(?P<word>" + any_of(BIBLIOGRAPHY_RULES) + r")(?![a-zA-Z@])"
    r"|begin\s*\{(?P<env>"
    + any_of("thebibliography references biblist biblist* bibdiv bibsection refs".split())
    + r")\}"
    r"|(?P<refs>Refs|bibitem)(?![a-zA-Z@]))"
)
_NEXT_PART = re.compile(r"\\(?:appendix|section|chapter|part|newsec|beginsection|end\s*\{document\})(?![a-zA-Z@])")
_ITEM_END = re.compile(r"\n[ \t]*\n|\\(?:bibitem|section|appendix|chapter|end\s*\{)")
_REFS_END = re.compile(r"\\endRefs(?![a-zA-Z@])")
_REFERENCES_HEADING = re.compile(
    r""
    r"(?:\\(?:section|chapter|subsection|begin\s*\{center\}|centerline)\*?\s*\{?|\{\s*\\(?:bf|large|Large)\s*)[^a-zA-Z\\]*"
    r"(?:\\[a-z]+\s*)*\{?\s*(?:references|bibliography|literature|références|literatur)\.?\s*\}*"
    r"(?:\s*\\end\s*\{center\})?\s*\Z",
    re.IGNORECASE,
)


def bibliography(text: str) -> str:
    """Lists of references and the commands that make them out, with a heading that stood for nothing else.

    An appendix after them stays. A list that never ends goes up to the next section or the end of the text.
    """
    unclosed: set[str] = set()
    last_refs = max((match.start() for match in _REFS_END.finditer(text)), default=-1)

    def handle(match: re.Match[str], groups: Groups, edits: list[Edit]) -> int:
        start, end = match.span()
        if word := match["word"]:
            spans = groups.arguments(end, BIBLIOGRAPHY_RULES[word][0])
            end = spans[-1][1] if spans else end
        elif name := match["env"]:
            end = environment_end(text, name, end, unclosed)[1]
            if end < 0:
                following = _NEXT_PART.search(text, match.end())
                end = following.start() if following else len(text)
        elif match["refs"] == "Refs":
            end = end if end > last_refs else _REFS_END.search(text, end).end()  # type: ignore[union-attr]
        else:
            following = _ITEM_END.search(text, end)
            end = following.start() if following else len(text)
        if match["word"] not in ("nocite", "bibliographystyle"):
            while edits and not text[edits[-1][1] : start].strip():  # `\\bibliographystyle` before `\\bibliography`
                start = edits.pop()[0]
            heading = _REFERENCES_HEADING.search(text, max(0, start - 120), start)
            if heading and not (edits and edits[-1][1] > heading.start()):
                start = heading.start()
        edits.append((start, end, ""))
        return end

    return edit_commands(text, _BIBLIOGRAPHY, handle)
