"""Which of a paper's files is the paper, and which others belong to it: response letters and templates do not.

Used by `flatten.py`; data_prep/flatten.py shows the result.

The main file, first rule that decides:

1. The top-level files that `00README` names, if any; else all files that begin or end a document. Files that `00README`
   says to ignore and those of `anc/` (ancillary files, which arXiv does not compile) are out, and so is a file that
   another one includes. A file without `\\documentclass` that includes the main file stands above it.
2. A class and a beginning of the document, in it or in what it includes; else one of the two; else `\\bye` or plain
   TeX's `\\end`; else any text.
3. Not one whose name, class or first words say supplement, reply, cover letter, difference, template, slides, poster.
4. With an ordered 00README (JSON, YAML, TOML), the first one that it names.
5. One with a `.bbl` of its own name; the highest version (`paper_v2`); the most prose; the most text; the nearest to
   the top; the first by name.

Other top-level files that are appended, as arXiv itself compiles each and joins the results (see `choose`): those that
00README names, or without it those beside the main file, and supplements by name in any folder; never letters,
templates, slides and the like, fragments without prose, or another version of the same text. In the order of an
ordered 00README, else by name.

00README (https://info.arxiv.org/help/00README.html): lines `file directive` in `00README.XXX` (toplevelfile, ignore,
include, append, landscape, keepcomments, fontmap; nostamp and nohypertex stand alone), or `sources` with `filename` and
`usage` (toplevel, ignore, include, append) in JSON, YAML or TOML; there a source without any other key is top-level.
The newer formats win.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_prep.archive.include_calls import Inclusions
from data_prep.archive.includes import DRAWINGS, include
from data_prep.archive.tex_files import BEGIN, CLASS, PLAIN_END, SUPPORT_SUFFIXES, PaperFiles
from data_prep.screening.reasons import Rejected

_MAX_CANDIDATES = 50  # expanded to be compared; the others have less text of their own
_MAX_ABOVE = 5  # files that may include the main one, tried
_MAX_OTHERS = 20  # supplements that may be appended
_MAX_EXPANDED = 4  # lengths of the whole paper that are expanded for that, and at least the limit of one paper

_BOUNDED = r"(?:^|[^a-z])(?:{})(?:[^a-z]|$)"
_SUPPLEMENT_NAME = re.compile(
    _BOUNDED.format(r"sup|supp\w*|si|sm|esm|esi|som|appendi\w*|online\w*|supporting\w*|supmat\w*")
)
_UNWANTED_NAME = re.compile(
    _BOUNDED.format(
        r"response\w*|reply|replies|rebuttal|referees?\w*|reviewers?\w*|coverletter\w*|cover|letter_to\w*|diff|latexdiff"
        r"|template|sample|example|slides|talk|poster|readme|howto|old|backup|bak|copy|test|demo|guide|instructions?"
        r"|bare_(?:jrnl|conf)\w*|(?:neurips|nips|icml|iclr|aaai|ijcai|acl|emnlp|cvpr|iccv|eccv|wacv)_?(?:19|20)\d\d\w*"
    )
)
_UNWANTED_CLASS = {
    "beamer", "letter", "standalone", "subfiles", "a0poster", "slides", "tikzposter", "beamerposter", "minimal",
    "ltxdoc", "scrlttr2", "moderncv", "sciposter", "seminar",
}  # fmt: skip
_LETTER = re.compile(
    r"(?:dear|to) (?:the )?(?:\w+ )?editors?\b|dear (?:sir|dr|prof)|point-by-point"
    r"|we (?:would like to )?thank (?:the |both |all )?(?:\w+ )?(?:referees?|reviewers?)"
    r"|(?:response|reply|answers?) to (?:the )?(?:\w+ )?(?:referee|reviewer)"
)
_LETTER_CHARS = 1_500  # of its body; a paper thanks its referees at its end
_VERSION = re.compile(r"(?:^|[^a-z])(?:v|ver|version|rev|r)[_-]?(\d{1,3})$")
# Five plain words in a row, the first one capitalised: that is prose, in any file.
_OPENING = re.compile(r"[A-Z](?<![a-zA-Z\\][A-Z])[a-z]*(?:\s{1,9}[a-z]{1,30}[,.;:]?){4}")
_SAMPLE = 30_000  # characters in which the prose of two candidates is compared
_MIN_OPENINGS = 8  # a supplement has more than that; figures and title pages do not
_SAME_SHARE = 0.25  # of a file's openings that stand in the main text too: another version of it


@dataclass(frozen=True)
class Choice:
    """A paper's main file, and others that may be appended to it, in order; `is_supplement` has the last word."""

    main: str
    others: tuple[str, ...] = ()
    whole: Inclusions | None = None  # the main file with all that it includes, if that had to be known


def choose(files: PaperFiles, max_chars: int) -> Choice:
    """The main file, and the other top-level files, by the rules at the top of this module.

    Args:
        files: the paper.
        max_chars: candidates that have more characters with all that they include are judged by their own text.

    Raises:
        Rejected: `no_main_file`.
    """
    directives = read_directives(files.raw)
    eligible = [path for path in files.raw if _is_eligible(path, files.raw[path], directives.ignored)]
    listed = [path for name in directives.toplevel if (path := files.find(name, [""]))]
    listed = [path for path in dict.fromkeys(listed) if files.raw[path].strip()]
    if len(listed) == 1:
        return Choice(listed[0])
    if not listed and len(eligible) == 1:
        return Choice(eligible[0])
    heads = listed or [path for path in eligible if _is_document(files.text(path))] or eligible
    if not heads:
        raise Rejected("no_main_file", f"none of {len(files.raw)} TeX files is a document")
    if len(heads) == 1:
        return Choice(_above(files, heads[0], eligible, max_chars))
    candidates = _Candidates(files, heads, listed if directives.ordered else [], max_chars)
    main = candidates.best()
    whole = candidates.wholes.get(main)
    reached = whole.included if whole else []
    if candidates.tier(main) > 1:
        return Choice(main, (), whole)
    others = [path for path in candidates.roots if path != main and not is_unwanted(files, path)]
    if listed:
        others.sort(key=listed.index if directives.ordered else str)
        return Choice(main, tuple(others[:_MAX_OTHERS]), whole)
    folder = posixpath.dirname(main)
    others = [path for path in others if posixpath.dirname(path) == folder or _SUPPLEMENT_NAME.search(_stem(path))]
    above = _above(files, main, [path for path in eligible if path not in reached], max_chars)
    return Choice(above, tuple(sorted(others)[:_MAX_OTHERS]), whole if above == main else None)


def is_unwanted(files: PaperFiles, path: str) -> bool:
    """Whether a document is no part of the paper, by its name, its class or its first words."""
    text = files.text(path)
    document_class = CLASS.search(text)
    if _UNWANTED_NAME.search(_stem(path)) or (document_class and document_class[1].lower() in _UNWANTED_CLASS):
        return True
    begin = BEGIN.search(text)
    body_at = begin.end() if begin else 0
    return _LETTER.search(" ".join(text[body_at : body_at + _LETTER_CHARS].lower().split())) is not None


def openings(text: str) -> set[str]:
    """The beginnings of a text's sentences, as far as they are plain words; what two versions of it have in common."""
    return {" ".join(match[0].split()) for match in _OPENING.finditer(text)}


def is_supplement(text: str, main_text: str) -> bool:
    """Whether `text` is prose, and not another version of the main text."""
    own = openings(text)
    return len(own) >= _MIN_OPENINGS and len(own & openings(main_text)) < _SAME_SHARE * len(own)


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0].lower()


def _is_eligible(path: str, text: str, ignored: set[str]) -> bool:
    suffix = posixpath.splitext(path)[1].lower()
    return (
        suffix not in SUPPORT_SUFFIXES
        and suffix not in DRAWINGS
        and suffix != ".bbl"
        and not posixpath.basename(path).lower().startswith("00readme")
        and not path.lower().startswith("anc/")
        and path.lower() not in ignored
        and text != ""
        and not text.isspace()
    )


def _is_document(text: str) -> bool:
    return bool(BEGIN.search(text) or CLASS.search(text) or PLAIN_END.search(text))


def _above(files: PaperFiles, main: str, others: Sequence[str], max_chars: int) -> str:
    """The file without a class of its own that includes `main`, if there is one, else `main`."""
    stem = posixpath.splitext(posixpath.basename(main))[0]
    names = [path for path in others if path != main and stem in files.raw[path] and "\\input" in files.raw[path]]
    names = [path for path in names if not CLASS.search(files.text(path)) and not BEGIN.search(files.text(path))]
    if not names:
        return main
    try:
        below = include(files, main, max_chars).included
        for path in names[:_MAX_ABOVE]:
            if path not in below and main in include(files, path, max_chars).included:
                return path
    except Rejected:  # too much text, which is said when the main file is read
        pass
    return main


class _Candidates:
    """Files that could be the main one, each read once with all that it includes."""

    def __init__(self, files: PaperFiles, paths: Sequence[str], order: Sequence[str], max_chars: int) -> None:
        self.files, self.order = files, order
        self.lower = {path.lower() for path in files.raw}
        self.wholes: dict[str, Inclusions] = {}
        limit = max(max_chars, _MAX_EXPANDED * sum(map(len, files.raw.values())))
        included: set[str] = set()
        for path in sorted(paths, key=lambda path: (-len(files.raw[path]), path))[:_MAX_CANDIDATES]:
            try:
                self.wholes[path] = whole = include(files, path, min(limit, max_chars))
            except Rejected:  # its own text must do
                continue
            limit -= len(whole.text)
            included.update(whole.included[1:])
        # Files that include each other have no root; then all are as good.
        self.roots = [path for path in paths if path not in included] or list(paths)

    def best(self) -> str:
        """The first root by the rules; how much prose each has is counted only where nothing else decides."""
        if len(self.roots) == 1:
            return self.roots[0]
        ranks = {path: self._rank(path) for path in self.roots}
        first = min(ranks.values())
        return min((path for path in self.roots if ranks[path] == first), key=self._size)

    def text(self, path: str) -> str:
        return self.wholes[path].text if path in self.wholes else self.files.text(path)

    def tier(self, path: str) -> int:
        return _tier(self.text(path))

    def _rank(self, path: str) -> tuple[int, ...]:
        aside = 2 if is_unwanted(self.files, path) else _SUPPLEMENT_NAME.search(_stem(path)) is not None
        place = self.order.index(path) if path in self.order else 0
        no_bbl = posixpath.splitext(path)[0].lower() + ".bbl" not in self.lower
        version = _VERSION.search(_stem(path))
        return self.tier(path), aside, place, no_bbl, -int(version[1]) if version else 0

    def _size(self, path: str) -> tuple[int, int, int, str]:
        text = self.text(path)
        return -len(_OPENING.findall(text, 0, _SAMPLE)), -len(text), path.count("/"), path


def _tier(text: str) -> int:
    has_class, begins = CLASS.search(text) is not None, BEGIN.search(text) is not None
    if has_class and begins:
        return 0
    if has_class or begins:
        return 1
    return 2 if PLAIN_END.search(text) else 3


# ---------------------------------------------------------------------------------------------------------------------
# 00README


@dataclass
class Directives:
    """What 00README says of the files."""

    toplevel: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)  # in lower case
    ordered: bool = False  # whether the order of the top-level files means anything


def read_directives(files: Mapping[str, str]) -> Directives:
    """The directives of a paper's 00README; one that cannot be read directs nothing, as it does at arXiv."""
    found: list[tuple[bool, str, Directives]] = []
    for path, text in files.items():
        folder, base = posixpath.split(path)
        if not base.lower().startswith("00readme"):
            continue
        directives = Directives()
        sources = _sources(text)
        directives.ordered = sources is not None
        for name, usage in _lines(text) if sources is None else sources:
            name = posixpath.normpath(posixpath.join(folder, name))
            if usage in ("toplevel", "toplevelfile"):
                directives.toplevel.append(name)
            elif usage == "ignore":
                directives.ignored.add(name.lower())
        found.append((sources is None, path, directives))
    return min(found, key=lambda entry: entry[:2])[2] if found else Directives()


def _lines(text: str) -> list[tuple[str, str]]:
    """(file, directive) of each line of 00README.XXX; names may hold blanks, and a lone word names no file."""
    pairs = [line.rsplit(None, 1) for line in text.splitlines() if not line.lstrip().startswith(("#", "%"))]
    return [(pair[0].strip(), pair[1].lower()) for pair in pairs if len(pair) == 2]


def _sources(text: str) -> list[tuple[str, str]] | None:
    """(file, usage) of each source of a JSON, YAML or TOML 00README, or None for text in another format."""
    if text.lstrip().startswith("{"):
        try:
            sources = json.loads(text).get("sources", [])
        except (ValueError, RecursionError):
            return []
        entries = [entry for entry in sources if isinstance(entry, dict)] if isinstance(sources, list) else []
    elif _YAML_OR_TOML.search(text):
        entries = _entries(text)
    else:
        return None
    return [
        (str(entry["filename"]), str(entry.get("usage") or ("" if _KEYS & entry.keys() else "toplevel")).lower())
        for entry in entries
        if entry.get("filename")
    ]


_KEYS = {"usage", "orientation", "keep_comments", "fontmaps"}
_YAML_OR_TOML = re.compile(r"^(?:sources[ \t]*:|\[\[sources\]\])", re.MULTILINE)
_ENTRY = re.compile(r"\s*(?P<new>-\s+)?(?P<key>\w+)\s*[:=]\s*(?P<quote>[\"']?)(?P<value>.*?)(?P=quote)\s*$")


def _entries(text: str) -> list[dict[str, Any]]:
    """The sources of a YAML or TOML 00README: flat keys and values, which is all that they hold."""
    entries: list[dict[str, Any]] = []
    within = False
    for line in text.splitlines():
        if line.strip() == "[[sources]]":
            within = True
            entries.append({})
        elif line[:1].isalpha() or line.startswith("["):  # a key of the whole
            within = line.startswith("sources") or bool(entries and within and "=" in line)
        if within and (match := _ENTRY.match(line)):
            if match["new"]:
                entries.append({})
            if entries:
                entries[-1][match["key"]] = match["value"]
    return entries
