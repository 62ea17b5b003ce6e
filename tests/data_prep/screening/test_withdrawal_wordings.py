"""Notices of withdrawal: families of wordings that count, and what long abstracts and comments say of other things."""

import itertools

import pytest

from data_prep.screening import withdrawal
from data_prep.screening.withdrawal import is_notice, is_withdrawn
from tests.helpers.tiny_corpus import record

ABSTRACT = "We prove a theorem on finite groups and give many applications of it to the theory of graphs. " * 5
NOUNS = "paper article submission manuscript preprint pre-print e-print note work letter document entry thesis".split()
AUXILIARIES = (
    "has been|have been|has now been|has since been|was|is|is being|is now|had to be|should be|needs to be|must be"
).split("|")
VERBS = "withdrawn|retracted|withdrwan|withdrew|with-drawn|temporarily withdrawn|replaced by 0801.1234 and withdrawn"
REASONS = [
    "",
    " by the author",
    " due to a crucial error",
    " from arXiv",
    " and replaced by 1202.3456",
    " for revision",
]
WHO = (
    "the author|authors|the authors|its author|the author(s)|the corresponding author|the submitter|arXiv"
    "|arXiv administrators|arXiv admin|moderators|administrators|one of the authors"
).split("|")


def sentences():
    """This paper, the paper: each noun with each auxiliary and verb; every seventh of them."""
    subjects = ["This", "The", "Our", "The version of the"]
    words = itertools.product(subjects, NOUNS, AUXILIARIES, VERBS.split("|"), REASONS)
    yield from (f"{the} {noun} {be} {verb}{why}" for the, noun, be, verb, why in itertools.islice(words, 0, None, 7))


def agents():
    """Who did it, with the noun and without; every third of them."""
    subjects = [the + noun for the in ("", "the ", "this ", "our ") for noun in NOUNS]
    verbs = ["withdrawn", "has been withdrawn", "was retracted", "removed"]
    subjects += ["this version", "12 pages,", "12 pages;", ""]
    words = itertools.product(subjects, verbs, WHO, ["", " due to a gap"])
    for subject, verb, who, why in itertools.islice(words, 0, None, 3):
        # "12 pages, removed by its author" may be of a figure.
        if verb != "removed" or who in WHO[:3] or who.startswith("arXiv"):
            yield f"{subject} {verb} by {who}{why}".strip().capitalize()


def deeds():
    subjects = ["The author", "The authors", "Author", "I", "We", "The author(s)"]
    verbs = "have withdrawn|has withdrawn|withdraw|withdraws|withdrew|hereby withdraw|wish to withdraw|had to withdraw"
    verbs += "|decided to withdraw|would like to withdraw|retract|must withdraw"
    for subject, verb, this, noun in itertools.product(subjects, verbs.split("|"), ["this", "our"], NOUNS[::2]):
        yield f"{subject} {verb} {this} {noun}"


def remarks():
    verbs = ["withdrawn", "temporarily withdrawn", "has been withdrawn", "is now withdrawn", "was retracted"]
    reasons = ["", ".", " due to an error", " pending further work", ", see new version", " until further notice"]
    for the, noun, verb, why in itertools.product(["", "this ", "the ", "our "], NOUNS, verbs, reasons):
        yield f"{the}{noun} {verb}{why}".capitalize()


NEW_NOTICES = """\
The paper withdrawn by the author
The paper withdrawn by the authors due to an error
the manuscript withdrawn by authors
The article withdrawn by arXiv administrators
The present paper withdrawn by its author
The note removed by arXiv admins
It has been withdrawn by the author
Please ignore this paper, it has been withdrawn
The authors have withdrawn their paper
The author has withdrawn his paper
arXiv administrators have withdrawn this paper
arXiv admin has withdrawn this submission
withdrawing this paper due to an error
This draft has been withdrawn
This survey has been withdrawn
This text has been withdrawn
This contribution has been withdrawn
This comment has been withdrawn
These notes have been withdrawn
This is a withdrawn paper
The paper needs major revision and is withdrawn
This paper stands withdrawn
This paper got withdrawn
""".splitlines()

# Each was taken for a notice in an abstract of some hundred words, which costs a good paper.
IN_LONG_ABSTRACTS = """\
The editor asks the author to withdraw the paper.
The editor asks the authors to withdraw this paper.
If the reports are negative the authors will withdraw the submission.
If the reports are negative the authors will withdraw this submission.
Whenever the score is low, the authors withdraw this article.
A rational author would withdraw the manuscript.
An author who fears rejection will withdraw the paper.
The authors can choose to withdraw the paper.
In equilibrium the author withdraws the paper.
When a bug is found, we withdraw the preprint.
When we see a flaw we retract the article.
We simulate what happens when the authors withdraw the manuscript.
We ask how many authors have withdrawn the paper.
The referee reads the paper, the authors withdraw the paper, and the game ends.
The player must withdraw the submission at the end.
In this game the authors have withdrawn their paper.
I retract the thesis, and defend another one.
This letter is deleted at each step of the algorithm.
This entry is deleted because it is redundant.
This note is deleted for each chord.
This work is cancelled at the boundary.
This work was cancelled for lack of funds.
This study was cancelled due to the pandemic.
This document is removed from the index because it is a duplicate.
We describe the retraction of this paper by Nature and its consequences.
We analyze the retraction of this article in the press.
We discuss the withdrawal of this document by the IPCC.
We study reactions to the withdrawal of this report.
We request retraction of the paper by Smith.
We request withdrawal of the paper by Jones.
We show that the authors request withdrawal of this paper in half of the cases.
This study was retracted in 2011; we ask why it is still cited.
This study was withdrawn in 2015 and we replicate it.
This report was retracted by the BBC.
This study was stopped and thus was withdrawn.
This paper models a fund, and it was withdrawn by its investors.
We present withdrawal times. Withdrawn on Mondays.
We follow the sale of stocks. Withdrawn for maintenance.
Withdrawn due to side effects, the drug is sold again.
Retracted because of fraud, the article is still cited.
(Retracted) papers are still cited.
[Withdrawn drugs] are a problem.
Work withdrawn for each cycle is bounded.
Papers withdrawn by authors are studied.
Articles removed by administrators are studied.
We track posts, removed by moderators.
The current version is withdrawn at the next release.
The latest version was withdrawn due to a security hole.
This note is withdrawn from circulation.
It has been withdrawn by the author.
This is a withdrawn paper in our corpus.
The bill needs votes and is withdrawn.
""".splitlines()

IN_COMMENTS = """\
withdrawn from publication in Phys Lett
This paper was withdrawn from publication in Nature and is submitted elsewhere
The paper has been withdrawn from consideration by PRL and submitted to PRE
withdrawn from consideration at PRL
withdrawn from circulation by the bank
Withdrawal: we withdraw Lemma 3
Withdrawal: Theorem 2 and its proof
20 pages; retraction due to an error
20 pages, retraction because of a gap
5 pages; retraction of a claim
Comment on the paper of Smith; we ask for the retraction of the paper
Comment on arXiv:0801.1234; we ask for withdrawal of the paper
Comment on a paper of Jones; the authors have withdrawn their paper
Reply to arXiv:0801.1234, now withdrawn
A proof of Jones, withdrawn by its author, is mended
The editor asked the authors to withdraw the paper
Talk at a workshop that was cancelled due to the pandemic
This paper contains a new proof and the old one is withdrawn
This study was cancelled due to the pandemic
""".splitlines()


def says(**fields):
    return is_withdrawn(record("2301.00001", **fields))


@pytest.mark.parametrize("family", [sentences, agents, deeds, remarks])
def test_families_of_wordings(family):
    texts = list(family())
    assert len(texts) > 450
    assert [text for text in texts if not says(comments=text)] == []
    assert [text for text in texts[::2] if not says(comments=f"12 pages, 3 figures. {text}")] == []
    assert [text for text in texts[1::2] if not says(abstract=f"  {text}\n")] == []


@pytest.mark.parametrize("family", [sentences, deeds])
def test_families_at_the_head_of_an_abstract(family):
    assert [text for text in family() if not says(abstract=f"  {text}. {ABSTRACT}")] == []


def test_notices_of_this_paper_at_the_end_of_an_abstract():
    texts = [text for text in sentences() if text.startswith(("This", "Our"))]
    assert [text for text in texts if not says(abstract=f"  {ABSTRACT}{text}.")] == []


def test_more_notices():
    assert [text for text in NEW_NOTICES if not says(comments=text)] == []
    assert [text for text in NEW_NOTICES if not says(comments=f"12 pages, 3 figures. {text}")] == []


def test_the_paper_by_arxiv_or_for_a_reason_at_the_end_of_an_abstract():
    """Of what "the paper" was, only these are this paper for certain."""
    assert says(abstract=f"{ABSTRACT}The paper was withdrawn by arXiv administrators.")
    assert says(abstract=f"{ABSTRACT}The paper was withdrawn by the authors due to an error in Lemma 2.")
    assert not says(abstract=f"{ABSTRACT}The paper was withdrawn by the authors.")
    assert not says(abstract=f"{ABSTRACT}The paper was withdrawn by the authors due to an error. {ABSTRACT}")


@pytest.mark.parametrize("frame", ["{text} {abstract}", "{abstract}{text}", "{abstract}{text} {abstract}"])
def test_a_long_abstract_on_something_else(frame):
    assert [text for text in IN_LONG_ABSTRACTS if says(abstract=frame.format(text=text, abstract=ABSTRACT))] == []


@pytest.mark.parametrize("frame", ["{}", "12 pages, 3 figures. {}"])
def test_comments_on_something_else(frame):
    assert [text for text in IN_COMMENTS if says(comments=frame.format(text))] == []


def test_short_sources_on_something_else():
    texts = [
        "This entry is deleted because it is zero.",
        "I retract the thesis.",
        "This letter is deleted at each step.",
    ]
    texts += ["A rational author would withdraw the manuscript.", "This study was cancelled due to the pandemic."]
    assert [text for text in texts if is_notice(text)] == []


def test_what_a_record_costs_is_bounded(monkeypatch):
    """20,000 different words that look like the verb: only those at the ends of the text are compared with it."""
    compared: list[str] = []
    slips = withdrawal.slips

    def counted(one: str, other: str, most: int) -> int:
        compared.append(one)
        return slips(one, other, most)

    monkeypatch.setattr(withdrawal, "slips", counted)
    words = ["w" + "".join(letters) for letters in itertools.islice(itertools.product("ithdranes", repeat=7), 20_000)]
    withdrawal.read.cache_clear()
    assert not says(abstract=" ".join(words))
    assert not says(abstract=" ".join([*words, "retract", *words]))
    assert len(compared) < 40_000
    withdrawal.read.cache_clear()
    assert says(comments=" ".join(words) + ". This paper has been withdrwan by the author")


def test_records_that_do_not_speak_of_it_are_not_read(monkeypatch):
    monkeypatch.setattr(withdrawal, "repair", None)
    withdrawal.read.cache_clear()
    monkeypatch.setattr(withdrawal, "slips", lambda *args: 9 if args[1] in withdrawal.NEEDED else pytest.fail(args[0]))
    assert not says(abstract="Without which the latter was written, whether wonderful or weaker, works with windows.")
