"""Which metadata records are in scope: subject, year, withdrawn, licence, abstract. One reason each, or none.

    python data_prep/filters.py --metadata raw/arxiv-metadata-oai-snapshot.json

counts what each rule would keep, alone and in order, over a whole snapshot (2.8 million records: some three minutes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from common.settings.data import DataSettings
from data_prep.papers.metadata import first_year
from data_prep.papers.taxonomy import license_key

# How people spell it: the word, other forms of it, and slips of the fingers.
_WITHDRAWN = (
    r"(?:withdrawn?n?|withdrawan|withdrawen|withdrawed|withdrwan|withdrwawn|withdran|withdrew|withrawn|with[- ]drawn"
    r"|wit?hdrawn|witdrawn|wid?thdrawn|whitdrawn|retracted)"
)
_NOUN = r"(?:paper|article|submission|manuscript|preprint|pre-print|e-?print|note|work|letter|document|entry|thesis)"
# Removal is a withdrawal where the paper itself, and by whom, are named.
_REMOVED = (
    r"(?:removed|deleted)\s+"
    r"(?:from\s+(?:the\s+)?arxiv\b|by\s+(?:the\s+)?(?:authors?\b|author\(s\)|arxiv|moderat|admin))"
)
_AUTHORS = r"(?:(?:the|its|their|one\s+of\s+the)\s+)?(?:corresponding\s+|first\s+|sub(?:mitt|miss)\w+\s+)?"
_WHO = rf"{_AUTHORS}(?:authors?\b|author\(s\)|submitter|arxiv|moderators?|administrat|admin)"
# "This paper has been withdrawn", "the manuscript was retracted". Subject and verb stand together, so that withdrawn
# drugs, funds and troops, and topology's retracts, are left alone.
STATEMENT = re.compile(
    rf"""\b(?:this|the|our)\s+(?:present\s+|arxiv\s+|version\s+of\s+the\s+|whole\s+)?{_NOUN}\s+
        (?:(?:has|have)\s+(?:now\s+|since\s+)?been|was|is(?:\s+being)?|is\s+now|had\s+to\s+be
          |(?:should|needs\s+to|must)\s+be)\s+
        (?:(?:temporarily|voluntarily|hereby|now|formally|superseded\s+by\s+\S+\s+and|replaced\s+by\s+\S+\s+and)\s+)?
        (?:{_WITHDRAWN}\b(?!\s+from\s+(?!(?:the\s+)?arxiv|publication|public|this\s+(?:archive|site)))|{_REMOVED})""",
    re.VERBOSE | re.IGNORECASE,
)
# "withdrawn by the author(s)", "this version withdrawn by arXiv administrators", "we have withdrawn this paper".
BY_WHOM = re.compile(
    rf"""(?:\b{_NOUN}|\bthis\s+version|\A|[.;:,(\[])\s*(?:(?:has\s+been|was|is)\s+)?
        (?:{_WITHDRAWN}\s+by\s+{_WHO}|{_REMOVED})
      | \b(?:authors?|author\(s\)|i|we)\s+
        (?:(?:has|have|hereby|wish(?:es)?\s+to|would\s+like\s+to|must|had\s+to|decided\s+to)\s+)*
        (?:{_WITHDRAWN}|withdraws|retracts?)\s+(?:this|our)\s+{_NOUN}\b
      | \bplease\s+withdraw\s+this\s+{_NOUN}\b""",
    re.VERBOSE | re.IGNORECASE,
)
# The shorthand of comments and titles: "Withdrawn", "Paper withdrawn due to an error", "12 pages, withdrawn".
SHORTHAND = re.compile(
    rf"""\A\W*(?:(?:this|the|our)\s+)?(?:{_NOUN}\s+)?(?:(?:has|have)\s+been\s+|is\s+(?:now\s+)?|was\s+)?
        (?:temporarily\s+)?{_WITHDRAWN}\b(?<!withdraw)(?<!withdrew)
        (?!\s+(?:from\s+(?!(?:the\s+)?arxiv)
          |(?:the\s+|our\s+|a\s+)?(?:papers?|articles?|preprints?|versions?|publications?|orbits?|drugs?|theorems?|claims?|sections?|results?|lemmas?|proofs?|arxiv)\b))""",
    re.VERBOSE | re.IGNORECASE,
)
TITLE_MARK = re.compile(
    r"\A\W*(?:withdrawn|retracted)\s*[:.)\]-]|[(\[]\s*(?:this\s+)?(?:paper\s+)?(?:withdrawn|retracted)\s*[)\]]\s*\Z"
    r"|\A\W*(?:withdrawn|retracted)\W*\Z",
    re.IGNORECASE,
)
# Comments are lists of remarks: "12 pages, 3 figures; withdrawn".
REMARK = re.compile(r"[.;,(\[]\s+|\s-+\s|--+|[(\[]|\n")
# What stands before "this paper" when only a part or another version of it is meant.
PART_OF_IT = re.compile(
    r"\b(?:versions?|parts?|sections?|results?|theorems?|lemmas?|proofs?|claims?|appendix|editions?|drafts?)"
    r"(?:\s+\S+){0,2}\s+(?:of|in|from)\s+\Z",
    re.IGNORECASE,
)


def metadata_reason(record: Mapping[str, Any], settings: DataSettings) -> str | None:
    """Why a snapshot record is out of scope (a key of REASONS), or None: the first rule that refuses it.

    The record is one that `record_problem` finds nothing wrong with.
    """
    for reason, keeps in RULES.items():
        if not keeps(record, settings):
            return reason
    return None


def in_subject(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether a category is in `data.categories`: `math` is every math.XX, `stat.ML` is itself; never a substring."""
    if settings.categories is None:
        return True
    categories = record["categories"].split()
    if settings.primary_category_only:
        categories = categories[:1]
    wanted = frozenset(settings.categories)
    return any(category in wanted or category.partition(".")[0] in wanted for category in categories)


def in_years(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether the first version's year lies in `data.year_min`..`data.year_max`."""
    year = first_year(record)
    return (settings.year_min is None or year >= settings.year_min) and (
        settings.year_max is None or year <= settings.year_max
    )


def not_withdrawn(record: Mapping[str, Any], settings: DataSettings) -> bool:
    return not (settings.drop_withdrawn and is_withdrawn(record))


def in_licenses(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether the licence is one of `data.licenses`; a record without one has none of them."""
    if settings.licenses is None:
        return True
    key = license_key(record.get("license"))
    return key is not None and key in map(license_key, settings.licenses)


def long_abstract(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether the abstract has `data.abstract_min_chars` characters, runs of white space counted as one."""
    return len(" ".join((record.get("abstract") or "").split())) >= settings.abstract_min_chars


# In the order of the funnel (and of REASONS).
RULES: dict[str, Callable[[Mapping[str, Any], DataSettings], bool]] = {
    "subject": in_subject,
    "year": in_years,
    "withdrawn": not_withdrawn,
    "license": in_licenses,
    "short_abstract": long_abstract,
}


def is_withdrawn(record: Mapping[str, Any]) -> bool:
    """Whether title, comments or abstract say that this paper (not a part, a version or a drug) was withdrawn."""
    title, comments, abstract = (record.get(key) or "" for key in ("title", "comments", "abstract"))
    if not any(word in text for text in (title.lower(), comments.lower(), abstract.lower()) for word in WORDS):
        return False
    if TITLE_MARK.search(title) or SHORTHAND.search(comments):
        return True
    remarks = REMARK.split(" ".join(comments.split()))
    if any(SHORTHAND.search(remark) for remark in remarks) and not EARLIER.search(comments):
        return True
    # An abstract that is nothing but the notice is read as a comment is.
    if len(abstract) < 300 and SHORTHAND.search(abstract):
        return True
    return any(_states(text) for text in (comments, abstract, title))


WORDS = ("withd", "witd", "wihd", "with-d", "with d", "withr", "widthd", "whitd", "retract", "removed ", "deleted ")
# A comment that speaks of another version, or of what this paper replaces.
EARLIER = re.compile(
    r"\b(?:supersedes|replaces|previous|earlier|old|first|resubmi\w+|v\d+|version\s+\d)\b", re.IGNORECASE
)


def _states(text: str) -> bool:
    text = " ".join(text.split())
    for pattern in (STATEMENT, BY_WHOM):
        for match in pattern.finditer(text):
            if not PART_OF_IT.search(text[: match.start()]):
                return True
    return False
