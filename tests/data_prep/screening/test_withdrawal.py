"""Notices of withdrawal: wordings and slips that are recognized, and sentences that are about something else."""

import itertools
import json
import string

import pytest

from common.paths import ROOT
from data_prep.screening.withdrawal import is_notice, is_withdrawn, read, slips
from tests.helpers.tiny_corpus import record

REAL = ROOT.parent / "shared" / "corpus" / "real-metadata-200.json"
ABSTRACT = "We prove a theorem on finite groups and give many applications of it to the theory of graphs. " * 5

NOTICES = """\
This paper has been withdrawn by the author
This paper has beeing withdrawn by the authors
This paper has being withdrawn by the authors due to an error in Section 2
This paper was withdrawn
This paper is being withdrawn by the authors
This papers have been withdraw by the authors
This paper have been withdraw
This paper had been withdrawn because Theorem 1 is false
This paper ha been withdrawn
This paper hase been withdrawn by author
This paper as been withdrawn
This paper his been withdrawn by the author
This paper has ben withdrawn by the author
This paper has be withdrawn
This paper has bene withdrawn
This paper has beenwithdrawn by the author
This paper hasbeen withdrawn
This paper has been withdrawnby the authors
This paper has been withdrawndue to an error
This paper has been withrdawn by the author
This paper has been wihtdrawn
This paper has been wtihdrawn
This paper has been withdarwn by the authors
This paper has been withdrowned by the authors
This paper has been witdhrawn
This paper has been withdrawn by the auhtor
This paper has been witthdrawn
This papre has been withdrawn
Thsi paper has been withdrawn
This manuscipt has been withdrawn due to a flaw
This artcle has been withdrawn
This submissions has been withdrawn by arXiv administrators because of its license
This submission had been removed by arXiv admins
This submission had been retracted by arXiv admins
This submission has been removed because the submitter had no right to post it
This paper will be withdrawn
This paper should be withdrawn
This paper must be withdrawn, the key estimate fails
This paper needs to be withdrawn due to a gap
This paper has to be withdrawn
This paper has had to be withdrawn
This paper has since been withdrawn
This paper is hereby withdrawn
This paper is now being withdrawn
This paper (math/0301001) has been withdrawn by the author
The following paper has been withdrawn from consideration since Theorem 3.9 fails
[This paper has been withdrawn by the author, see arXiv:1811.01918] As the web grows, so do its graphs
- Paper withdrawn by the author - Sensors for charged particles
Paper is withdrawn due to further studies
Paper withdrawn
paper being withdrawn
This paper withdrawn due to error
Withdrawn
Withdrawn.
Withdrawn. Never submitted
withdrawn due to a crucial sign error in equation 1
Withdrawn for revision: more experiments are needed
Withdrawn because of an error in Lemma 4.2
Withdrawn by authors
Withdrawn by the author's request
Withdrawn at the request of the authors
Withdrawed
Withdrew due to errors
12 pages, has been withdrawn
6 pages; Withdrawn pending further analysis
The authors withdraw this paper
The author withdrew this article
The authors have withdrawn this manuscript because of missing permission
We are withdrawing this submission due to a bug in the evaluation
I am withdrawing this paper
We withdraw this submission since a part of the analysis is faulty
We have withdrawn this paper
We have decided to withdraw this manuscript
After careful thought we have decided to withdraw the manuscript
We would like to withdraw this paper
The authors wish to withdraw this preprint
The author wants to withdraw this paper
We regret to withdraw this paper
I hereby withdraw this paper
The authors retract this paper
We retract this article due to an error in the data
The authors are forced to withdraw this paper
Please withdraw this submission
Author withdrew paper
Authors have withdrawn the paper due to an error
Therefore I seek withdrawal of this paper as it misleads
I am writing to request the withdrawal of my submission
The authors request the withdrawal of this paper
Accordingly I ask that this work be withdrawn
Withdrawal due to errors: the entropy is wrong
Withdrawal
Retraction notice
Retracted
Retracted by the author
This paper is retracted
This version is withdrawn by arXiv administrators because of a copyright claim
Therefore the current version is being withdrawn to prevent harm
The manuscript is withdrawn pending more experiments
The paper is withdrawn as errors were noticed
This paper has unverified claims, and therefore needs to be withdrawn
This paper includes an error and thus has been withdrawn
arXiv admin note: this paper has been withdrawn by arXiv due to disputed authorship
This paper has been withdrawn effective November 18
This e-print has been withdrawn
This preprint was withdrawn by arXiv admin
This work has been withdrawn
This report has been withdrawn by the author
This study has been withdrawn
Our paper has been withdrawn
My paper has been withdrawn
This article has been deleted by the author
This paper has been removed due to copyright
This paper has been cancelled by the authors
This paper is withdrawn, see the erratum
This entire paper has been withdrawn
This arXiv submission has been withdrawn
THIS PAPER HAS BEEN WITHDRAWN BY THE AUTHORS
this paper has been     withdrawn
The paper has been officially withdrawn
This paper has been permanently withdrawn
This paper is temporarily withdrawn for revision
The paper was retracted by the authors
Withdraw due to an error
Paper withdraw
This paper has been withdrawn and will be replaced
Paper temporarily withdrawn
This letter is withdrawn
""".splitlines()

# Of money, drugs, troops and needles; of retracts; of parts, other papers and other versions; of papers on withdrawals.
OTHERS = """\
Money was withdrawn from the account in three steps
Cash withdrawals at ATMs are modeled by a point process
Funds are withdrawn by depositors during a bank run
The drug was withdrawn from the market in 2004
Many drugs have been withdrawn worldwide at a cost of billions
Drug withdrawal and relapse in mice
Withdrawal due to side effects was rare among patients
Opioid withdrawal is hard
The space X retracts onto its boundary
A retract of a contractible space is contractible
We show that every absolute retract is contractible, and that a deformation retract of it is one
The subcomplex is retracted onto the core
The withdrawn paper [12] has the same gap
We mend the withdrawn paper of Smith
We fill a gap in the withdrawn paper arXiv:2407.18191
A withdrawn theorem of Smith is proved
This paper proves a withdrawn theorem of Smith
This paper is about papers that were withdrawn from arXiv
This paper studies why papers are withdrawn
This paper studies withdrawn papers
This paper studies how papers get withdrawn by their authors
This paper considers funds that have been withdrawn by investors
This paper studies the withdrawal of water from wells
In this paper water is withdrawn from a reservoir
In this work the plate is withdrawn from a bath at constant speed
In this work, energy is withdrawn from the cavity mode
In this note the needle is withdrawn at constant speed
In this paper the electrode is withdrawn by the operator
We bound the work withdrawn from a quantum battery
A dataset of withdrawn preprints
A study of 14,000 papers that were withdrawn
Papers are withdrawn from journals for many reasons
When a submission has been withdrawn, reviewers change their priors
We study whether a paper has been withdrawn from a benchmark
We ask whether this paper has been withdrawn
We show how a paper that has been retracted goes on being cited
After the article was retracted, citations fell
Once the paper has been retracted it is cited less
We ask why the paper was withdrawn
If this paper is withdrawn, the authors are notified
Arms are withdrawn by the robot after each grasp
A player withdraws from the tournament
When a player withdraws mid-tournament the organizers decide
States that withdraw from the union
The authors withdraw Theorem 2
The authors withdraw their objection
We withdraw the claim made in version 1
We withdraw our conjecture
We have withdrawn the assumption of smoothness
We withdraw the condition of this paper's earlier section
The author withdrew from the debate
I withdraw from the account
This is a replacement for the previously withdrawn paper
It corrects arXiv:2105.14712, which was recently withdrawn
This manuscript supersedes the earlier, withdrawn preprint arXiv:2504.15607
Section 6 is withdrawn. Lemma 6.1 is better now
v3: the central claims of v2 are withdrawn
v2: the envelope coupling is withdrawn; amplitude fixed
Accepted at a workshop; withdrawn from the proceedings as the author could not attend
12 pages. A complete rewrite of v1. Withdrawn as erroneous: Definition 4
52 pages. A merger of version 1 with the withdrawn paper arXiv:2407.18191
A previous version of this manuscript was withdrawn due to an error
An earlier version of this paper had been withdrawn
A part of this paper has been withdrawn
The first version of this paper was withdrawn by the authors
This paper has not been withdrawn
This paper was never withdrawn
This paper may be withdrawn
It could be withdrawn if accepted
This paper will be withdrawn if it is accepted by the journal
This paper was previously withdrawn; the gap is filled now
This paper was withdrawn from the journal before review
This paper withdraws the claim of an earlier one
This paper withdraws nothing
This paper was removed from the special issue
The background of this paper has been removed by the editor
In this paper the singularity has been removed by a blow-up
In this article noise is removed by the authors' filter
The edges of this letter are removed by thinning
The letter was removed by the scanner
The last letter of the word is deleted by the automaton
A note is deleted from the score
In this paper the divergence is removed
This work removed the need for tuning
This node has been removed
This entry is deleted from the table
This entry of the matrix has been deleted from the list
The entry is removed because it is zero
The work was retracted along the path
Electron-withdrawing groups speed up the reaction
Electron withdrawing substituents
Water withdrawn from aquifers is replaced
Troops were withdrawn by the government
The beam is withdrawn and the shutter closed
The taper is withdrawn from the fiber
Hand-drawn sketches
We wonder whether the noise would be withdrawn
A proof of the conjecture, and why two earlier proofs were withdrawn
We do not withdraw this paper
The withdrawal of this drug from the market
Social withdrawal and its network
Without loss of generality, and with drawn figures
Within withdrawing rooms
Retracted papers cite each other
Retraction of a space onto a graph
Retraction: a functor
Withdrawal times in hospitals
Withdrawing water from a lake
Retractions in the literature
Comment on the paper by Smith, which its author has withdrawn
Comment on "A proof of RH", since withdrawn by its author
In a paper withdrawn by the authors, a proof was claimed
Smith's proof, withdrawn by its author, had a gap
The paper withdrawn in 2010 had a gap
The paper [3] was withdrawn
The paper by Smith was withdrawn
Their paper was withdrawn by the authors
His paper has been withdrawn
That paper was later withdrawn
A paper of Jones has been withdrawn by the author
Most preprints withdrawn by authors contain errors
The note was withdrawn by the central bank
The notes were withdrawn from circulation
The work was withdrawn from the engine
It was withdrawn by the authors of [4]
This work was done before the authors withdrew
The results of this paper were retracted in [4] by others
We prove that this paper clip is withdrawn
This work shows how heat is withdrawn
This work, in which heat is withdrawn from a bath, is about engines
This paper and its withdrawn companion
This letter explains why the bill was withdrawn
This report, on funds which were withdrawn
This study has withdrawn animals under watch
This study has withdrawn participants, who are compared with others
We withdrew blood from mice
We withdrew this plate from the bath
We withdraw the needle
We withdraw the paper strip from the solution
We request the withdrawal of troops
We are withdrawing the fiber
The moderators removed posts
Posts removed by moderators
Posts that were removed by administrators on Reddit
Content removed by moderators of a forum
Comments deleted by their authors
Tweets deleted by the author
Wikipedia entries deleted by administrators
""".splitlines()


def says(**fields):
    return is_withdrawn(record("2301.00001", **fields))


def test_notices():
    assert [text for text in NOTICES if not says(comments=text)] == []
    assert [text for text in NOTICES if not says(comments=f"12 pages, 3 figures. {text}")] == []


def test_notices_in_abstracts():
    """Alone, and before or after what was there; not shorthand and headings, which may be of a sentence there."""
    notices = [text for text in NOTICES if not text.startswith(("With", "with", "12", "6", "Retr", "Paper withdraw"))]
    assert len(notices) > 100
    assert [text for text in notices if not says(abstract=f"  {text}\n")] == []
    assert [text for text in notices if not says(abstract=f"  {text}. {ABSTRACT}")] == []
    in_the_past = "The paper was retracted by the authors"  # amid other sentences it may be another paper
    assert [text for text in notices if not says(abstract=f"  {ABSTRACT}{text}.\n")] == [in_the_past]


@pytest.mark.parametrize("field", ["comments", "abstract", "title"])
def test_sentences_on_something_else(field):
    assert [text for text in OTHERS if says(**{field: text})] == []


def test_sentences_on_something_else_within_an_abstract():
    assert [text for text in OTHERS if says(abstract=f"  {ABSTRACT}{text}. {ABSTRACT}")] == []


def one_slip(word):
    """Every word that a letter too few, too many, another one, or two that changed places make of it."""
    for i in range(len(word)):
        yield word[:i] + word[i + 1 :]
        yield word[:i] + word[i : i + 2][::-1] + word[i + 2 :]
        for letter in string.ascii_lowercase:
            yield word[:i] + letter + word[i:]
            yield word[:i] + letter + word[i + 1 :]


def test_every_single_slip_in_the_verb():
    words = {word for word in one_slip("withdrawn") if word[0] == "w"}
    assert len(words) > 400
    assert [word for word in sorted(words) if not says(comments=f"This paper has been {word} by the author")] == []


@pytest.mark.parametrize("word", ["been", "has"])
def test_every_single_slip_in_an_auxiliary_beside_a_name(word):
    """By its authors or not: "This paper haz been withdrawn". What is another English word is not read as a slip."""
    words = {slip for slip in one_slip(word) if len(slip) > 2 and slip[0] == word[0] and read(slip) == word}
    told = ["This paper has been withdrawn due to an error".replace(word, slip) for slip in words]
    assert len(words) > 40 and [text for text in told if not says(comments=text)] == []


def test_two_slips_make_no_other_word():
    assert [read(word) for word in ("whithdrawen", "wihtdrawen", "wthdran", "withrwan")] == ["withdrawn"] * 4
    others = (
        "without within whichever withstand windrow wirework whitlow withheld wherein weighted-down well-drawn hand"
    )
    assert [word for word in others.split() if read(word) != word] == []


def test_slips_are_counted_the_same_from_both_sides():
    for one, other in itertools.product(["", "ab", "abc", "acb", "xbc", "abcd"], repeat=2):
        assert slips(one, other, 9) == slips(other, one, 9)
        assert slips(one, other, 1) == min(slips(one, other, 9), 2)
        assert (slips(one, other, 9) == 0) == (one == other)


def test_two_letters_that_changed_places_are_one_slip():
    assert slips("withdrwan", "withdrawn", 2) == 1 and slips("withdrwna", "withdrawn", 2) == 2


def test_what_a_source_is_replaced_by():
    assert is_notice("This paper has beeing withdrwan by the author.\n") and is_notice("Withdrawn.")
    assert not is_notice("\\documentclass{article} Water withdrawn from aquifers.")


@pytest.mark.skipif(not REAL.is_file(), reason="the shared corpus is not here")
def test_real_records():
    """The first 200 of arXiv's own: one was withdrawn, and three others have words of removal."""
    found = [record["id"] for record in map(json.loads, REAL.read_text().splitlines()) if is_withdrawn(record)]
    assert found == ["0704.0156"]
