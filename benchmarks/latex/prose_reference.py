"""The reference for prose recall and precision: detex's words of a source without what the cleaner is meant to drop.

Imported by `cleaning.py`. Fixed before the first measurement:

- The source is the flattened paper, comments removed. Out of it go, by the plain code below and none of the cleaner's:
  the preamble (title and abstract apart) and what follows the end of the document, definitions, bibliographies,
  drawings, the author block, notes to the author, and commands whose arguments are keys, files or lengths.
- Both sides then go through `detex -n -l` (Debian: texlive-binaries), which drops mathematics, tables, verbatim text.
- Words are runs of two or more letters, case folded, accents off. Recall is the share of the reference's words, with
  their counts, that are in the cleaned text; precision the share of the cleaned text's words that are in the reference
  or stand in a definition of the paper (what a macro expands to, detex never sees).

One correction since: detex prints the key of `\\hyperref[key]{text}`, which is no prose; it is taken out first. Not
corrected: words that an author's own macro takes and does not print (keys, alternative text of figures) count as lost.
"""

from __future__ import annotations

import re
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Set

_AUTHOR_BLOCK = (
    "author date address email affiliation affil institute thanks curraddr urladdr dedicatory subjclass pacs ead "
    "altaffiliation homepage correspondingauthor cortext fntext tnotetext IEEEauthorblockN preprint orcid markboth "
    "leadauthor authorrunning titlerunning todo marginpar ccsdesc acmConference"
)
_KEYS = (
    "label ref eqref pageref cref Cref autoref nameref cite citep citet citeauthor citeyear nocite bibliography "
    "bibliographystyle includegraphics input include vspace hspace setlength addtolength setcounter addtocounter "
    "pagestyle thispagestyle pagenumbering numberwithin theoremstyle usepackage documentclass documentstyle hypersetup "
    "graphicspath geometry definecolor color index glossary addcontentsline vskip lean uses proves leanok discussion "
    "hyphenation newcounter newlength RequirePackage linespread setstretch enlargethispage phantomsection bibitem"
)
_DROPPED_ENVIRONMENTS = (
    "thebibliography references biblist comment filecontents filecontents* CCSXML tikzpicture pspicture picture asy "
    "pgfpicture circuitikz forest fmffile feynman overpic psmatrix mfpic IEEEbiography IEEEbiographynophoto"
).split()
_DEFINERS = re.compile(
    r"\\(?:(?:re|provide)?newcommand|renewcommand|providecommand|DeclareRobustCommand|newenvironment|renewenvironment"
    r"|(?:New|Renew|Provide|Declare)Document(?:Command|Environment)|DeclareMathOperator|DeclarePairedDelimiter"
    r"|[egx]?def|newtheorem|spnewtheorem|declaretheorem|let|newif|font)(?![a-zA-Z])"
)
_WITH_ARGUMENTS = re.compile(rf"\\(?:{'|'.join((_AUTHOR_BLOCK + ' ' + _KEYS).split())})(?![a-zA-Z])")
_HYPERREF = re.compile(r"\\hyperref\s*\[[^\]]*\]")
_BEGIN_END = re.compile(r"\\(?:begin|end)\s*\{")
_WORD = re.compile(r"[a-z]{2,}")


def words(text: str) -> Counter[str]:
    """The multiset of words of a text."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return Counter(_WORD.findall("".join(c for c in folded if not unicodedata.combining(c))))


def detex(text: str) -> str:
    """What detex leaves of `text`. Raises FileNotFoundError where detex is not installed."""
    apart = _BEGIN_END.sub(lambda match: " " + match[0], text)  # detex runs words together there
    done = subprocess.run(["detex", "-n", "-l"], input=apart.encode(), capture_output=True, timeout=120, check=False)
    return done.stdout.decode("utf-8", "replace")


def _argument_end(text: str, position: int) -> int:
    """Past blanks and one `[..]` or `{..}`, or `position` where neither stands there."""
    start = position
    while start < len(text) and text[start] in " \t\n*":
        start += 1
    pairs = {"{": "}", "[": "]"}
    if text[start : start + 1] not in pairs:
        return position
    opening, closing, depth = text[start], pairs[text[start]], 0
    for index in range(start, min(len(text), start + 20_000)):
        character = text[index]
        if character == "\\":
            continue
        if text[index - 1] == "\\" and text[index - 2] != "\\":
            continue
        if character == opening:
            depth += 1
        elif character == closing:
            depth -= 1
            if not depth:
                return index + 1
    return position


def _without_commands(text: str, pattern: re.Pattern[str], taken: list[str] | None = None) -> str:
    parts, position = [], 0
    for match in pattern.finditer(text):
        if match.start() < position:
            continue
        end = match.end()
        name = re.match(
            r"\s*\*?\s*\\[a-zA-Z@]+[^\\{]{0,60}(?=\{)|\s*\\[a-zA-Z@]+\s*=?\s*\\[a-zA-Z@]+", text[end : end + 120]
        )
        if taken is not None and name:  # \def\a#1{..}, \newcommand\a[1]{..}, \let\a\b
            end += name.end()
        while (after := _argument_end(text, end)) > end:
            end = after
        if taken is not None:
            taken.append(text[match.start() : end])
        parts.append(text[position : match.start()])
        position = end
    return "".join([*parts, text[position:]])


def _without_environments(text: str) -> str:
    for name in _DROPPED_ENVIRONMENTS:
        if name in text:
            escaped = re.escape(name)
            text = re.sub(rf"\\begin\s*\{{{escaped}\}}.*?\\end\s*\{{{escaped}\}}", " ", text, flags=re.DOTALL)
    return text


def reference(source: str) -> tuple[str, set[str]]:
    """(what of a flattened source the cleaner is to keep, the words that its definitions hold)."""
    definitions: list[str] = []
    begin = re.search(r"\\begin\s*\{document\}", source)
    preamble, body = (source[: begin.start()], source[begin.end() :]) if begin else ("", source)
    body = re.split(r"\\end\s*\{document\}|\\bye(?![a-zA-Z])", body)[0]
    kept = []
    if begin:
        title = re.search(r"\\title(?![a-zA-Z])", preamble)
        if title:
            kept.append(preamble[title.end() : _argument_end(preamble, _argument_end(preamble, title.end()))])
        abstract = re.search(r"\\begin\s*\{abstract\}.*?\\end\s*\{abstract\}", preamble, re.DOTALL)
        if abstract:
            kept.append(abstract[0])
        _without_commands(preamble, _DEFINERS, definitions)
    text = "\n".join([*kept, body])
    text = _without_commands(text, _DEFINERS, definitions)
    text = _HYPERREF.sub(" ", _without_commands(_without_environments(text), _WITH_ARGUMENTS))
    return text, set(words(" ".join(definitions)))


def recall_and_precision(source: str, cleaned: str, extra: Set[str] = frozenset()) -> tuple[float, float, int]:
    """(recall, precision, words of the reference); `extra` are words of definitions in the paper's style files."""
    text, defined = reference(source)
    wanted, given = words(detex(text)), words(detex(cleaned))
    both = sum((wanted & given).values())
    surplus = sum(count for word, count in (given - wanted).items() if word in defined or word in extra)
    total, ours = sum(wanted.values()), sum(given.values())
    return both / total if total else 1.0, (both + surplus) / ours if ours else 1.0, total
