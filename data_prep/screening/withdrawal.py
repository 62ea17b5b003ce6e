"""Whether a metadata record says that its paper was withdrawn: spelling is repaired, then a small grammar is applied.

A notice is one of five kinds of sentence, in title, comments or abstract:

    STATEMENT   this paper + auxiliaries, adverbs + withdrawn        "This paper had since been withdrawn"
    BY_WHOM     withdrawn + by its authors or arXiv                  "12 pages, withdrawn by arXiv admins"
    ACTIVE      the authors + auxiliaries, wishes + withdraw + this paper     "We wish to withdraw this paper"
    REQUEST     the withdrawal + of this paper                       "I seek withdrawal of this paper"
    SHORTHAND   a remark that begins with it                         "Paper withdrawn due to an error", "Withdrawn"

What is withdrawn must be this paper, so that drugs, funds, troops, needles and theorems, parts, other versions and
other papers, and papers about withdrawals are left alone.

A comment, and an abstract that is no more than a notice, are read so that little is missed (LOOSE).
A long abstract is read so that no good paper is lost: what may be a sentence of its subject is no notice there, for
the source of a paper that was withdrawn is mostly gone anyway.
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
LETTERS = frozenset("withdraw")
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
    raw = [_ends((record.get(key) or "").lower()) for key in ("title", "comments", "abstract")]
    if not _speaks_of_it("\n".join(raw)):
        return False
    title, comments, abstract = map(repair, raw)
    if TITLE_MARK.search(title) or SHORTHAND.search(comments) or ALONE.search(comments):
        return True
    remarks = REMARK.split(comments)
    if any(map(NOMINAL.search, remarks)):
        return True
    if any(SHORTHAND.search(it) for it in remarks if not OF_ANOTHER.search(it)) and not EARLIER.search(comments):
        return True
    is_short = len(abstract) < SHORT_ABSTRACT
    if is_short and SHORTHAND.search(abstract):
        return True
    if any(map(BARE.search, (abstract, abstract.rpartition(". ")[2]))) and not (is_short and EARLIER.search(abstract)):
        return True
    return _states(comments, True) or _states(abstract, is_short) or _states(title, False)


def is_notice(text: str) -> bool:
    """Whether a short text on a paper, such as its source is replaced by, says that it was withdrawn."""
    text = _ends(text.lower())
    return _speaks_of_it(text) and bool(SHORTHAND.search(text := repair(text)) or _states(text, True))


SHORT_ABSTRACT = 300
LONGEST = 8_000  # characters; four times what arXiv takes
HINTS = ("withdr", "with-dr", "retract", "removed", "deleted", "cancel", "revoked")
MAYBE_MISSPELT = re.compile(r"w[a-z]{6,12}")


def _ends(text: str) -> str:
    """The text, or of one that is longer than any real one its two ends: the time for it is bounded."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} {text[-LONGEST // 2 :]}"


def _speaks_of_it(text: str) -> bool:
    """Whether a word of the verb's family stands in the text, whatever it is said of."""
    for hint in HINTS:
        if hint in text:
            return True
    return not FORMS.keys().isdisjoint(map(read, MAYBE_MISSPELT.findall(text))) or SPLIT.search(text) is not None


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
    # Two slips leave at least five of the seven different letters of the verb.
    if 6 <= len(bare) <= 13 and bare[0] in "wi" and len(LETTERS.intersection(bare)) >= len(LETTERS) - SLIPS:
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
_ARTICLE = r"(?:paper|article|submission|manuscript|preprint|pre-print|e-?print)"
# "The note", "the work" and "the entry" are of banks, thermodynamics and matrices.
_THIS, _THE = rf"(?:this|our|my)\s+{_PRESENT}", rf"the\s+{_PRESENT}"
_OF_IT = r"(?:version\s+of\s+(?:the|this)\s+)?"
# Adverbs, but for those that tell of another time or of no time; and what has happened besides.
_NOW = (
    r"(?:now|hereby|(?!previously|formerly|originally|initially|nearly|possibly|probably|only|wrongly|mistakenly"
    r"|erroneously|accidentally|inadvertently|hardly|rarely|usually|generally|typically|commonly)[a-z]+ly)"
)
# Where a remark or a sentence begins.
_START = r"(?:\A\W*|[.;:,(\[]\s*|(?:^|\s)-+\s*)"
_ADVERB = (
    rf"(?:{_NOW}|since|also|already|just|therefore|thus|hence|soon|again"
    r"|(?:superseded|replaced|merged)\s+(?:by|with)\s+\S+\s+and)"
)
# What may happen (may, can, could, might) or does not (not, never) is no notice.
_BE = r"(?:is|was|are|be|been|being)"
_PASSIVE = rf"(?:(?:{_BE}|has|have|had|will|shall|should|must|needs?|ought|to|{_ADVERB})\s+)"
# It is withdrawn from arXiv or from the public, not from a market or a journal; and not if something happens.
_OUT_OF = (
    r"(?:the\s+)?arxiv|(?:publication|consideration)(?!\s+(?:in|by|at|with)\b)|public(?!ation)"
    r"|this\s+(?:archive|site|server)"
)
_UNLESS = rf"(?!-)(?!\s+from\s+(?!{_OUT_OF})|\s+(?:if|once|when|unless|until(?!\s+further)|in\s+case)\b)"
_AUTHOR = (
    r"(?:corresponding\s+|first\s+|sub(?:mitt|miss)\w+\s+)?"
    r"(?:authors?|submitters?|(?:arxiv\s+)?(?:moderat|administrat|admin)\w*|arxiv)\b"
)
_WHO = rf"(?:(?:the|its|their|one\s+of\s+the|all)\s+)*{_AUTHOR}"
# Removal is a withdrawal where the paper itself, and by whom, from where or why, are named.
_REMOVED = r"(?:removed|deleted|cancell?ed|revoked)"
_REMOVED_BY = rf"{_REMOVED}\s+(?:from\s+(?:the\s+)?arxiv\b|by\s+{_WHO})"
_END_OR_WHY = r"(?=\s*(?:[.;,:)\]]|\Z|\s(?:due|because|as|since|at|on|for|in\s+order|until|pending)\b))"
# A passive: "has been withdrawn", "had to be retracted", and "has been withdraw"; or an active that is meant as one:
# "this paper has withdrawn by the authors".
_DONE = rf"(?:withdrawn|retracted)\b{_UNLESS}"
_BY = rf"\s+by\s+{_WHO}"
_WITHDRAWN = (
    rf"(?:{_PASSIVE}{{0,5}}{_BE}\s+(?:{_ADVERB}\s+){{0,2}}(?:{_DONE}|(?:withdraws?|withdrew|withdrawal)\b{_UNLESS})"
    rf"|{_PASSIVE}{{1,6}}(?:withdrawn|retracted)(?:\s+by\s+{_WHO}|{_END_OR_WHY}))"
)

# Only papers are removed for a reason: studies are cancelled, and letters deleted, by those who write about them.
_HAS_BEEN = rf"(?:(?:has|have|had)\s+(?:{_ADVERB}\s+)*been|is|are)\s+(?:{_ADVERB}\s+)*"
_DATED = r"\s+in\s+(?:19|20)\d\d\b"
# What ends a notice in a long abstract: the sentence, a reason.
_FIRM_END = (
    r"(?=\s*(?:[.;,:)\]]|\Z|\s(?:due\s+to|because|as|since|pending|until\s+further|at\s+the|from\s+(?:the\s+)?arxiv"
    r"|for\s+(?:\w+\s+)?revis\w+|and\s+(?:replaced|will|has))\b))"
)
_NEW = r"(?:study|studies|reports?)"  # of these, what was is told of others
_TROUBLE = (
    r"(?:errors?|mistakes?|flaw\w*|gaps?|bugs?|plagiar\w+|overlap\w*|wrong|incorrect|invalid|false|unverified"
    r"|incomplete|duplicat\w+)"
)
_THIS_VERSION = r"\b(?:this|the\s+(?:present|current|latest))\s+version\s+"
STATEMENT = re.compile(
    rf"""\b{_THIS}{_OF_IT}(?:(?!{_NEW}\b){_NOUN}(?:\s*\([^()]*\))?\s+
          (?:{_WITHDRAWN}(?<!retracted) | {_WITHDRAWN}(?!{_DATED}) | {_DONE}(?:{_BY}|{_FIRM_END}))
        | {_NEW}\s+{_HAS_BEEN}(?:being\s+)?{_DONE}(?:{_BY}|{_FIRM_END})
        | {_NOUN}\s+{_PASSIVE}{{1,6}}{_REMOVED_BY}
        | {_ARTICLE}\s+(?:has|have|had)\s+(?:{_ADVERB}\s+)*been\s+{_REMOVED}{_FIRM_END})
      | \b(?P<the>{_THE}){_OF_IT}{_PAPER}(?:\s*\([^()]*\))?\s+
        (?:{_WITHDRAWN} | {_PASSIVE}{{1,6}}{_REMOVED_BY})
      | \A\W*{_THE}{_OF_IT}{_NOUN}\s+(?:{_WITHDRAWN}(?:{_BY}|{_FIRM_END}) | {_PASSIVE}{{1,6}}{_REMOVED_BY})
      | {_START}{_THE}{_OF_IT}{_PAPER}\s+was\s+(?:withdrawn{_BY}\s+(?:due\s+to|because|as|since)\b[^.;,]*\.?\s*\Z
          | (?:withdrawn|retracted|removed|deleted)\s+by\s+(?:the\s+)?arxiv(?:\s\w+)?{_FIRM_END})
      | {_START}{_THE}{_NOUN}\s+{_HAS_BEEN}(?:(?:{_DONE}|withdr[ae]w){_BY}|{_REMOVED_BY}){_FIRM_END}
      | {_THIS_VERSION}(?:is\s+being\s+withdrawn\b{_UNLESS} | {_WITHDRAWN}{_BY})
      # a consequence: "this paper has unverified claims, and therefore needs to be withdrawn"
      | \bthis\s+{_NOUN}\s[^.;]{{0,200}}?\b{_TROUBLE}\b[^.;]{{0,100}}?\b(?:and|so)\s+(?:therefore|thus|hence)\s+
        (?!was\b|were\b){_WITHDRAWN}""",
    re.VERBOSE,
)
_BY_THEM = (
    r"(?:(?:has|have)\s+been\s+|was\s+|is\s+)?"
    rf"(?:(?:withdrawn?|withdrew|retracted)\s+by\s+(?:(?:the|all)\s+)?{_AUTHOR}|{_REMOVED_BY})"
)
BY_WHOM = re.compile(
    rf"(?:{_START}(?!\S+[^i]s\s)|\b(?:this|our|my|arxiv)\s+)(?:{_NOUN}|this\s+version|version)\s+{_PASSIVE}{{0,4}}"
    rf"(?:(?:withdrawn?|withdrew|retracted){_BY}|{_REMOVED_BY})"
    rf"|{_START}{_THE}{_OF_IT}{_NOUN}\s+(?:(?:withdrawn|withdrew|retracted){_BY}|{_REMOVED_BY}){_FIRM_END}"
    rf"|(?:\A\W*|[.;(\[]\s*|\s-+\s*|:\s+){_BY_THEM}"
)
_INTENT = (
    r"(?:have|has|had|are|is|am|will|would(?=\s+(?:like|want|wish|prefer|rather))|must|shall|hereby|now|therefore|thus"
    r"|regretfully|respectfully|voluntarily|to|like|decided|chose|forced|obliged|been|going"
    r"|(?:need|want|ask|request|regret|prefer|intend|wishe?|decide|choose)s?)"
)
# Not "asks the author to withdraw", nor "a rational author would withdraw".
_SUBJECT = (
    rf"(?:(?:\b(?:i|we)|(?:{_START}|,\s+|\b(?:the|all|both|and|so|that)\s+)(?:authors?|arxiv(?:\s+(?:adm|mod|staff)\w*)?"
    r"|administrators|moderators))\s+(?!to\b)|\b(?:please|kindly)\s+)"
)
_WITHDRAW = r"(?:withdrawn|withdraws?|withdrew|withdrawing|retract(?:s|ed|ing)?)\s+"
ACTIVE = re.compile(
    rf"""{_SUBJECT}(?:{_INTENT},?\s+){{0,6}}{_WITHDRAW}(?:this|our|my)\s+(?:\w+\s+)?{_NOUN}\b(?!')
      | (?:\b(?:i|we)|{_START}(?:the\s+)?authors?)\s+
        (?:(?:have|has)\s+(?:now\s+)?|(?:have|has)\s+(?:decided|chosen|had)\s+to\s+|(?:am|are)\s+)
        (?:withdraw(?:n|ing)?|retracted)\s+the\s+{_ARTICLE}{_FIRM_END}
      | {_START}authors?\s+(?:withdrew|withdraws?)\s+{_ARTICLE}{_FIRM_END}""",
    re.VERBOSE,
)
REQUEST = re.compile(
    rf"(?:\b(?:i|we)|{_START}(?:the\s+)?authors?)\s(?:(?!that\b)\w+\s+){{0,4}}(?:seek|request|ask|apply)\w*\s+"
    rf"(?:for\s+)?(?:the\s+|a\s+)?(?:\w+\s+)?(?:withdrawal|retraction)\s+of\s+(?:this|our|my)\s+{_ARTICLE}\b(?!')"
)
# What is a notice in a comment, and in a text that is no more than that.
_FEW_WORDS = rf"(?:{_BY}(?!\s+of\b)|{_END_OR_WHY})"
LOOSE = re.compile(
    rf"""\b(?:{_THIS}(?:draft|survey|text|contribution|comment|review|chapter)|these\s+(?:lecture\s+)?notes)\s+
        {_WITHDRAWN}{_FEW_WORDS}
      | {_THIS_VERSION}{_WITHDRAWN}
      | {_START}{_THE}{_OF_IT}{_NOUN}\s+(?:{_WITHDRAWN}(?:{_BY}|{_FIRM_END}) | (?:withdrawn|retracted){_FIRM_END}
          | {_PASSIVE}{{0,6}}(?:withdrew|withdraw){_BY} | {_PASSIVE}{{0,6}}{_REMOVED_BY})
      | {_START}{_BY_THEM}
      | (?:\A\W*|[.;(]\s*|\b(?:pages?|pp|figures?|tables?),\s*){_PASSIVE}{{0,3}}(?:withdrawn?|withdrew|retracted)
        \s+by\s+(?:its|one\s+of\s+(?:the|its))\s+{_AUTHOR}(?=\s*(?:[.;)]|,\s+see\b|\Z|\s(?:due|because|as|since)\b))
      | {_START}{_THE}{_NOUN}\s+(?:withdrawn|retracted){_BY}(?!\s+(?:of|has|had|is|was|were|contains?)\b|\s+\[)
      | \b(?:this|the)\s+{_PAPER}\s+(?:stands|got|gets|remains)\s+{_DONE}{_FEW_WORDS}
      | \bthis\s+{_ARTICLE}\s+{_PASSIVE}{{1,6}}{_REMOVED}{_FIRM_END}
      | \bthis\s+{_NOUN}\s[^.;]{{0,200}}?\b(?:and|so)\s+(?:therefore|thus|hence|it)\s+{_WITHDRAWN}
      | {_START}(?:this|the|our)\s+{_PAPER}\s+(?:needs?|requires?|contains?|has|is|was|includes?|lacks?|overlaps?)\s
        [^.;,]{{1,80}}?\sand\s+{_WITHDRAWN}{_FEW_WORDS}
      | {_START}this\s+is\s+a\s+(?:withdrawn|retracted)\s+{_PAPER}(?=\s*(?:[.;,:)\]]|\Z))
      | (?:\A\W*|\b(?:pages?|figures?|tables?)[.;,]\s*
          | \b(?:this|the)\s+{_PAPER}\s*[,.;:]\s*(?:as\s+|since\s+|because\s+)?)
        it\s+(?:has\s+(?:{_ADVERB}\s+)*been|is(?:\s+being)?)\s+(?:{_ADVERB}\s+)*{_DONE}{_FEW_WORDS}
      | {_SUBJECT}(?:{_INTENT},?\s+){{0,6}}{_WITHDRAW}(?:(?:the|their|his|her)\s+)?{_ARTICLE}\b{_END_OR_WHY}
      | {_START}(?:withdrawing|retracting)\s+(?:this|our|my|the)\s+{_ARTICLE}{_FIRM_END}
      | (?:{_START}(?:the\s+|a\s+)?|\b(?:seek|request|ask|apply|regret|announce)\w*\s+(?:for\s+)?(?:the\s+|a\s+)?
          (?:\w+\s+)?)(?:withdrawal|retraction)\s+of\s+(?:this|our|my)\s+{_NOUN}\b(?!'|\s+by\s+(?!{_WHO}))
      | \b(?:seek|request|ask|apply)\w*\s+(?:for\s+)?(?:the\s+|a\s+)?withdrawal\s+of\s+the\s+{_ARTICLE}{_END_OR_WHY}""",
    re.VERBOSE,
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
_ERROR = r"(?:error|mistake|flaw|gap|bug|plagiaris|overlap|copyright|problem|issue|inconsisten)"
# The same as a sentence of an abstract, where "withdrawn water" and "work is withdrawn" may be of its subject.
BARE = re.compile(
    rf"""\A\W*(?:(?:(?:{_THIS})?{_PAPER}\s+{_PASSIVE}{{0,6}}|{_THE}{_PAPER}\s+{_PASSIVE}{{1,6}})
          (?:withdrawn|retracted){_FIRM_END}
        | {_PASSIVE}{{0,5}}(?:withdrawn|retracted)(?:\s+(?:due\s+to|because\s+of)\s+[^.,;]*{_ERROR}[^.,;]*)?
          \s*(?:[.:]|[)\]]?\W*\Z)
        | withdrawn\s+(?:due\s+to|because\s+of)\s+[^.,;]*{_ERROR}[^.,;]*[)\]])""",
    re.VERBOSE,
)
NOMINAL = re.compile(
    rf"\A\W*(?:notice\s+of\s+|paper\s+)?(?:(?:withdrawal|(?:withdrawal|retraction)\s+notice)\W*\Z"
    rf"|withdrawal(?:\s+notice)?:\s*(?:(?:due|this|the\s+{_PAPER}|the\s+authors?)\b|[^.;]*{_ERROR})"
    rf"|withdrawal\s+(?:due\s+to|because\s+of)\s+(?:\w+\s+){{0,3}}{_ERROR})"
)
# The same of the word that is said of theorems and papers of others too: nothing else stands in the comment.
ALONE = re.compile(
    rf"\A\W*(?:notice\s+of\s+|paper\s+)?retraction(?:\W*\Z|\s+(?:due\s+to|because\s+of)\s+(?:\w+\s+){{0,3}}{_ERROR})"
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
    r"|version\s+\d|(?:comment\s+on|reply\s+to|response\s+to)\s[^;]*,\s+now)\b"
)
# What stands before "this paper" when only a part or another version of it is meant, a condition, or a quotation.
PART_OF_IT = re.compile(
    r"\b(?:versions?|parts?|sections?|results?|theorems?|lemmas?|proofs?|claims?|appendix|editions?|drafts?)"
    r"(?:\s+\S+){0,2}\s+(?:of|in|from)\s+\Z"
)
IF_IT_IS = re.compile(r"(?:\b(?:if|whether|why|when|unless|until)\s+|[\"\u201c\u2018`])\Z")
# "The paper" is another one where a clause depends on it, and in the midst of an abstract where it is in the past.
ABOUT_ANOTHER = re.compile(r"\b(?:that|after|before|once|where|how|although|because|since|whenever|and|but|of|in)\s+\Z")
IN_THE_PAST = re.compile(r"\b(?:was|had)\b")
# What an author would do, or another's paper: "Comment on the paper of Smith".
CONDITION = re.compile(r"\b(?:if|whenever|unless|whether)\s[^.;]*\Z")
DISPUTE = re.compile(r"\b(?:comments?\s+(?:on|to|about)|reply\s+to|response\s+to|rebuttal)\b")
VERB = re.compile(r"with-?dr|re(?:trac|mov|vok)|delet|cancel")
THIS = re.compile(r"\b(?:this|these|our|my)\b")


def _states(text: str, is_notice: bool) -> bool:
    """Whether a sentence of the text says it; in a text that `is_notice`, a comment or a bare notice, LOOSE counts."""
    if not VERB.search(text):
        return False
    for pattern in (STATEMENT, BY_WHOM, ACTIVE, REQUEST, *([LOOSE] if is_notice else ())):
        for match in pattern.finditer(text):
            before = text[: match.start()]
            if PART_OF_IT.search(before) or IF_IT_IS.search(before):
                continue
            if pattern in (ACTIVE, LOOSE) and CONDITION.search(before):
                continue
            if pattern is LOOSE and not THIS.search(match[0]) and DISPUTE.search(before):
                continue
            if pattern is STATEMENT and match["the"]:
                told = len(text) >= SHORT_ABSTRACT and before and IN_THE_PAST.search(match[0])
                if told or ABOUT_ANOTHER.search(before):
                    continue
            return True
    return False
