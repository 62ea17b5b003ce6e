"""Whether a metadata record says that its paper was withdrawn: spelling is repaired, then a small grammar is applied.

A notice is one of five kinds of sentence, in title, comments or abstract:

    STATEMENT   this paper + auxiliaries, adverbs + withdrawn        "This paper had since been withdrawn"
    BY_WHOM     withdrawn + by its authors or arXiv                  "12 pages, withdrawn by arXiv admins"
    ACTIVE      the authors + auxiliaries, wishes + withdraw + this paper     "We wish to withdraw this paper"
    REQUEST     the withdrawal + of this paper                       "I seek withdrawal of this paper"
    SHORTHAND   a remark that begins with it                         "Paper withdrawn due to an error", "Withdrawn"

What is withdrawn must be this paper, so that drugs, funds, troops, needles and theorems, parts, other versions and
other papers, and papers about withdrawals are left alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

# The forms of the verb; a word is read as the one that it differs least from, in at most two slips of the fingers.
FORMS = {
    "withdrawn": "withdrawn",
    "withdrawed": "withdrawn",
    "withdraw": "withdraw",
    "withdraws": "withdraws",
    "withdrew": "withdrew",
    "withdrawing": "withdrawing",
    "withdrawal": "withdrawal",
    "withdrawl": "withdrawal",
    "withdrawals": "withdrawals",
    "withdrawls": "withdrawals",
}
SLIPS = 2
NOUNS = (
    *("paper", "article", "submission", "manuscript", "preprint", "e-print", "eprint", "document", "thesis", "report"),
    *("note", "work", "letter", "entry", "study"),
)
# Words that the grammar needs, read in spite of one slip; and the words that one slip makes of them.
NEEDED = ("this", "has", "have", "been", "being", "was", "author", "authors", "administrators", *NOUNS[:10])
ORDINARY = frozenset(
    "articled bean beef beep beer bees beet bern bien bing boeing bring documenta had hade hag hale halve ham han hare "
    "hash hasn hast hat hate haven hay hays haze heave his hive hove pager pamper papery pauper paver payer resort "
    "retort theses thin thus wad wag wan war wars wash wasn wax way ways".split()
)
# Words run together, and what they stand for.
GLUED = re.compile(
    r"\b(paper|has|have|been|being|is|was|be)(?=been|being|with-?dr[ae])|(?<=withdrawn)(?=by|due|because)"
)
SPLIT = re.compile(r"with[-\s]\s*(?=dr(?:aw|ew))")
# Words that another word tells: "paper as been", "has bean withdrawn".
HAS_BEEN = re.compile(r"\b(?:as|his) (?=be+(?:n|ing)\b)")
BEEN = re.compile(r"\b(ha[sved]+) be[a-z]{0,3}(?= with-?dr)")
WORD = re.compile(r"[a-z]+(?:-[a-z]+)?")


def is_withdrawn(record: Mapping[str, Any]) -> bool:
    """Whether title, comments or abstract say that this paper (not a part, a version or a drug) was withdrawn."""
    raw = [(record.get(key) or "").lower() for key in ("title", "comments", "abstract")]
    if not _speaks_of_it("\n".join(raw)):
        return False
    title, comments, abstract = map(repair, raw)
    if TITLE_MARK.search(title) or SHORTHAND.search(comments) or any(map(NOMINAL.search, REMARK.split(comments))):
        return True
    remarks = [remark for remark in REMARK.split(comments) if not OF_ANOTHER.search(remark)]
    if any(map(SHORTHAND.search, remarks)) and not EARLIER.search(comments):
        return True
    # An abstract that is nothing but the notice is read as a comment is; of others, the first sentence and the last.
    is_short = len(abstract) < SHORT_ABSTRACT
    if SHORTHAND.search(abstract) and (is_short or abstract[:1] in "[(-*"):
        return True
    if any(map(BARE.search, (abstract, abstract.rpartition(". ")[2]))) and not (is_short and EARLIER.search(abstract)):
        return True
    return any(_states(text) for text in (comments, abstract, title))


def is_notice(text: str) -> bool:
    """Whether a short text on a paper, such as its source is replaced by, says that it was withdrawn."""
    text = text.lower()
    return _speaks_of_it(text) and bool(SHORTHAND.search(text := repair(text)) or _states(text))


SHORT_ABSTRACT = 300
HINTS = ("withdr", "with-dr", "retract", "removed", "deleted", "cancel", "revoked")
MAYBE_MISSPELT = re.compile(r"w[a-z]{6,12}")


def _speaks_of_it(text: str) -> bool:
    """Whether a word of the verb's family stands in the text, whatever it is said of."""
    return (
        any(hint in text for hint in HINTS)
        or any(read(word) in FORMS for word in MAYBE_MISSPELT.findall(text))
        or bool(SPLIT.search(text))
    )


def repair(text: str) -> str:
    """`text` (lower case) with the words of the grammar spelled as it spells them, and single blanks."""
    text = SPLIT.sub("with", GLUED.sub(r"\g<0> ", " ".join(text.split())))
    text = BEEN.sub(r"\1 been", HAS_BEEN.sub("has ", text)).replace("(s)", "s")
    return WORD.sub(lambda match: read(match[0]), text)


@functools.lru_cache(maxsize=1 << 16)
def read(word: str) -> str:
    """The word of the grammar that `word` is meant to be, or `word` itself.

    >>> [read(word) for word in ("withdrwan", "beeing", "auhtors", "withdrawal", "without", "bean", "particle")]
    ['withdrawn', 'being', 'authors', 'withdrawal', 'without', 'bean', 'particle']
    """
    if word in ORDINARY or len(word) > 15:
        return word
    bare = word.replace("-", "")
    if 6 <= len(bare) <= 13 and bare[0] in "wi":
        most = SLIPS if bare == word else 0
        form = min(FORMS, key=lambda form: slips(bare, form, most))  # of equals the first
        if slips(bare, form, most) <= most:
            return FORMS[form]
    for needed in NEEDED:
        if word[0] == needed[0] and slips(word, needed, 1) <= 1:
            return word if word == needed + "s" else needed
    return word


def slips(one: str, other: str, most: int) -> int:
    """Letters to insert, delete, exchange, or swap with their neighbor between two words; `most` + 1 for more than
    `most` (the restricted Damerau-Levenshtein distance)."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        two_before, before, row = before, row, [i]
        for j, its in enumerate(other, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != its))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                cost = min(cost, two_before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


# The grammar, over repaired text.
_NOUN = rf"(?:(?:{'|'.join(map(re.escape, NOUNS))}|pre-print)s?)"
_PAPER = r"(?:paper|article|submission|manuscript|preprint|pre-print|e-?print|thesis)"
_PRESENT = r"(?:(?:present|current|following|above|arxiv|whole|entire|said)\s+)?"
# "The note", "the work" and "the entry" are of banks, thermodynamics and matrices.
_THIS, _THE = rf"(?:this|our|my)\s+{_PRESENT}", rf"the\s+{_PRESENT}"
_OF_IT = r"(?:version\s+of\s+(?:the|this)\s+)?"
# Adverbs, but for those that tell of another time or of no time; and what has happened besides.
_NOW = (
    r"(?:now|hereby|(?!previously|formerly|originally|initially|nearly|possibly|probably|only|wrongly|mistakenly"
    r"|erroneously|accidentally|inadvertently|hardly|rarely|usually|generally|typically|commonly)[a-z]+ly)"
)
_ADVERB = (
    rf"(?:{_NOW}|since|also|already|just|therefore|thus|hence|soon|again"
    r"|(?:superseded|replaced|merged)\s+(?:by|with)\s+\S+\s+and)"
)
# What may happen (may, can, could, might) or does not (not, never) is no notice.
_BE = r"(?:is|was|are|be|been|being)"
_PASSIVE = rf"(?:(?:{_BE}|has|have|had|will|shall|should|must|needs?|ought|to|{_ADVERB})\s+)"
# It is withdrawn from arXiv or from the public, not from a market or a journal; and not if something happens.
_OUT_OF = r"(?:the\s+)?arxiv|publication|public|consideration|circulation|this\s+(?:archive|site|server)"
_UNLESS = rf"(?!-)(?!\s+from\s+(?!{_OUT_OF})|\s+(?:if|once|when|unless|until|in\s+case)\b)"
_AUTHOR = (
    r"(?:corresponding\s+|first\s+|sub(?:mitt|miss)\w+\s+)?(?:authors?\b|submitter|arxiv|moderat|administrat|admin)"
)
_WHO = rf"(?:(?:the|its|their|one\s+of\s+the|all)\s+)*{_AUTHOR}"
# Removal is a withdrawal where the paper itself, and by whom, from where or why, are named.
_REMOVED = r"(?:removed|deleted|cancell?ed|revoked)"
_REMOVED_BY = rf"{_REMOVED}\s+(?:from\s+(?:the\s+)?arxiv\b|by\s+{_WHO})"
_END_OR_WHY = r"(?=\s*(?:[.;,:)\]]|\Z|\s(?:due|because|as|since|at|on|for|in\s+order|until)\b))"
# A passive: "has been withdrawn", "had to be retracted", and "has been withdraw"; or an active that is meant as one:
# "this paper has withdrawn by the authors".
_DONE = rf"(?:withdrawn|retracted)\b{_UNLESS}"
_WITHDRAWN = (
    rf"(?:{_PASSIVE}{{0,5}}{_BE}\s+(?:{_ADVERB}\s+){{0,2}}(?:{_DONE}|(?:withdraws?|withdrew|withdrawal)\b{_UNLESS})"
    rf"|{_PASSIVE}{{1,6}}(?:withdrawn|retracted)(?:\s+by\s+{_WHO}|{_END_OR_WHY}))"
)

STATEMENT = re.compile(
    rf"""\b{_THIS}{_OF_IT}{_NOUN}(?:\s*\([^()]*\))?\s+
        (?:{_WITHDRAWN} | {_DONE} | {_PASSIVE}{{1,6}}(?:{_REMOVED_BY}|{_REMOVED}{_END_OR_WHY}))
      | \b(?P<the>{_THE}){_OF_IT}{_PAPER}(?:\s*\([^()]*\))?\s+
        (?:{_WITHDRAWN} | {_PASSIVE}{{1,6}}{_REMOVED_BY})
      | \b(?:this|the\s+(?:present|current|latest))\s+version\s+{_WITHDRAWN}
      # a consequence: "this paper has unverified claims, and therefore needs to be withdrawn"
      | \bthis\s+{_NOUN}\s[^.;]{{0,200}}?\b(?:and|so)\s+(?:therefore|thus|hence|it)\s+{_WITHDRAWN}""",
    re.VERBOSE,
)
BY_WHOM = re.compile(
    rf"(?:\A|[.;:,(\[-]\s*|\b(?:this|our|my|arxiv)\s+)(?:{_NOUN}|this\s+version|version)\s+{_PASSIVE}{{0,4}}"
    rf"(?:(?:withdrawn?|withdrew|retracted)\s+by\s+{_WHO}|{_REMOVED_BY})"
    rf"|(?:\A|[.;:,(\[-])\s*(?:(?:has|have)\s+been\s+|was\s+|is\s+)?"
    rf"(?:(?:withdrawn?|withdrew|retracted)\s+by\s+(?:(?:the|all)\s+)?{_AUTHOR}|{_REMOVED_BY})"
)
_INTENT = (
    r"(?:have|has|had|are|is|am|will|would|must|shall|hereby|now|therefore|thus|regretfully|respectfully|voluntarily|to"
    r"|like|(?:need|want|ask|request|regret|prefer|intend|wishe?|decide|choose)s?|decided|chose|forced|obliged|been|going)"
)
ACTIVE = re.compile(
    rf"""(?:\b(?:authors|author|i|we)|\bplease|\bkindly)\s+(?:{_INTENT},?\s+){{0,6}}
        (?:withdrawn|withdraws?|withdrew|withdrawing|retract(?:s|ed|ing)?)\s+
        (?:(?:this|our|my)\s+(?:\w+\s+)?{_NOUN}\b(?!') | (?:the\s+)?{_PAPER}\b{_END_OR_WHY})""",
    re.VERBOSE,
)
REQUEST = re.compile(
    rf"\b(?:withdrawal|retraction)\s+of\s+(?:this|our|my)\s+{_NOUN}\b"
    rf"|\b(?:seek|request|ask|apply)\w*\s+(?:for\s+)?(?:the\s+|a\s+)?(?:withdrawal|retraction)\s+of\s+the\s+{_PAPER}\b"
)
_OTHER_THINGS = (
    r"papers?(?=\s+\w)|articles?|preprints?|versions?|publications?|orbits?|drugs?|theorems?|claims?|sections?|results?"
    r"|lemmas?|proofs?|arxiv"
)
# The shorthand of comments and titles: "Withdrawn", "Paper withdrawn due to an error", "12 pages, withdrawn".
SHORTHAND = re.compile(
    rf"""\A\W*(?: (?:(?:{_THIS})?{_NOUN}\s+)?(?:{_NOW}\s+)?
          | (?:(?:{_THIS})?{_NOUN}\s+|{_THE}{_PAPER}\s+|this\s+)?{_PASSIVE}{{0,5}}{_BE}\s+(?:{_ADVERB}\s+){{0,2}})
        (?:{_DONE}(?!\s+(?:the\s+|our\s+|a\s+)?(?:{_OTHER_THINGS})\b) | (?:withdraw|withdrew)\b{_END_OR_WHY})""",
    re.VERBOSE,
)
OF_ANOTHER = re.compile(r"\s+by\s+(?:its|their|his|her)\b")
# The same as a sentence of an abstract, where "withdrawn water" may be the subject of it.
BARE = re.compile(
    rf"\A\W*(?:(?:{_THIS})?{_NOUN}\s+{_PASSIVE}{{0,6}}|{_THE}{_PAPER}\s+{_PASSIVE}{{1,6}}|{_PASSIVE}{{0,5}})"
    rf"(?:withdrawn|retracted){_END_OR_WHY}"
)
_ERROR = r"(?:error|mistake|flaw|gap|bug|plagiaris|overlap|copyright|problem|issue|inconsisten)"
NOMINAL = re.compile(
    rf"\A\W*(?:notice\s+of\s+|paper\s+)?(?:(?:withdrawal|retraction)(?:\s+notice)?\W*\Z|withdrawal(?:\s+notice)?:"
    rf"|(?:withdrawal|retraction)\s+(?:due\s+to|because\s+of)\s+(?:\w+\s+){{0,3}}{_ERROR})"
)
TITLE_MARK = re.compile(
    r"\A\W*(?:withdrawn|retracted)\s*[:.)\]-]|[(\[]\s*(?:this\s+)?(?:paper\s+)?(?:withdrawn|retracted)\s*[)\]]\s*\Z"
    r"|\A\W*(?:withdrawn|retracted)\W*\Z"
)
# Comments are lists of remarks: "12 pages, 3 figures; withdrawn".
REMARK = re.compile(r"[.;,(\[]\s+|\s-+\s|--+|[(\[]")
# A comment that speaks of another version, or of what this paper replaces.
EARLIER = re.compile(
    r"\b(?:supersedes|replaces|replacement|previous(?:ly)?|earlier|old|first|resubmi\w+|rewrite|proceedings|v\d+"
    r"|version\s+\d)\b"
)
# What stands before "this paper" when only a part or another version of it is meant, a condition, or a quotation.
PART_OF_IT = re.compile(
    r"\b(?:versions?|parts?|sections?|results?|theorems?|lemmas?|proofs?|claims?|appendix|editions?|drafts?)"
    r"(?:\s+\S+){0,2}\s+(?:of|in|from)\s+\Z"
)
IF_IT_IS = re.compile(r"(?:\b(?:if|whether|why|when|unless|until)\s+|[\"\u201c\u2018`])\Z")
# "The paper" is another one where a clause depends on it, and in the midst of an abstract where it is in the past.
ABOUT_ANOTHER = re.compile(r"\b(?:that|after|before|once|where|how|although|because|since|whenever|and|but|of|in)\s+\Z")
IN_THE_PAST = re.compile(r"\b(?:was|had|retracted|removed|deleted)\b")


def _states(text: str) -> bool:
    for pattern in (STATEMENT, BY_WHOM, ACTIVE, REQUEST):
        for match in pattern.finditer(text):
            before = text[: match.start()]
            if PART_OF_IT.search(before) or IF_IT_IS.search(before):
                continue
            if pattern is STATEMENT and match["the"]:
                told = len(text) >= SHORT_ABSTRACT and before and IN_THE_PAST.search(match[0])
                if told or ABOUT_ANOTHER.search(before):
                    continue
            return True
    return False
