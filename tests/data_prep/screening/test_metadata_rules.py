"""Each metadata rule, with the wordings that must and must not count as withdrawn."""

import dataclasses
import json

import pytest

from common.errors import UserError
from common.paths import ROOT
from common.settings.load import load_settings
from data_prep.filters import main
from data_prep.papers.metadata import first_year, read_snapshot, record_problem
from data_prep.papers.taxonomy import CATEGORIES, check_scope
from data_prep.screening.metadata_rules import is_withdrawn, metadata_reason
from data_prep.screening.reasons import REASONS
from tests.helpers.tiny_corpus import record, write_snapshot

SETTINGS = load_settings().data
REAL = ROOT.parent / "shared" / "corpus" / "real-metadata-200.json"


def reason(changes=(), **fields):
    return metadata_reason(record("2301.00001", **fields), dataclasses.replace(SETTINGS, **dict(changes)))


@pytest.mark.parametrize(
    ("wanted", "categories", "kept"),
    [
        (["math"], "math.AG", True),
        (["math"], "cs.LO math.LO", True),
        (["math"], "math-ph", False),
        (["cs"], "econ.EM", False),
        (["cs"], "physics.cs", False),
        (["stat.ML"], "stat.ML", True),
        (["stat.ML"], "stat.MLX stat.AP", False),
        (["math.AG"], "math", False),
        (["hep-th"], "hep-th gr-qc", True),
        (["hep"], "hep-th", False),
        ([], "math.AG", False),
        (None, "econ.EM", True),
    ],
)
def test_subject_is_matched_whole(wanted, categories, kept):
    assert (reason({"categories": wanted}, categories=categories) is None) == kept


def test_primary_category_only():
    knobs = {"categories": ["math"], "primary_category_only": True}
    assert reason(knobs, categories="cs.LO math.LO") == "subject"
    assert reason(knobs, categories="math.LO cs.LO") is None


def test_year_is_that_of_the_first_version():
    versions = [
        {"version": "v1", "created": "Sat, 31 Dec 2011 23:59:00 GMT"},
        {"version": "v2", "created": "Mon, 1 Jan 2018 00:00:00 GMT"},
    ]
    assert first_year(record("1112.0001", versions=versions)) == 2011
    assert reason({"year_min": 2012}, versions=versions) == "year"
    assert reason({"year_min": 2011, "year_max": 2011}, versions=versions) is None
    assert reason({"year_max": 2010}, versions=versions) == "year"


def test_a_date_of_another_shape_still_names_its_year():
    assert first_year(record("2301.00001", versions=[{"created": "2007-04-02"}])) == 2007


def test_license():
    free = "http://creativecommons.org/licenses/by/4.0/"
    assert reason({"licenses": [free]}, license=free) is None
    assert reason({"licenses": [free]}, license=free + "x") == "license"
    assert reason({"licenses": [free]}, license=None) == "license"
    assert reason(license=None) is None
    assert reason({"licenses": ["https://creativecommons.org/licenses/by/4.0"]}, license=free) is None


@pytest.mark.parametrize(
    "knobs, told",
    [
        ({"categories": ["maths"]}, "did you mean 'math'"),
        ({"categories": ["math", "stat.ml"]}, "did you mean 'stat.ML'"),
        ({"categories": ["zoology.XX"]}, "there are: acc-phys"),
        ({"licenses": ["http://creativecommons.org/licenses/by/4.1/"]}, "licenses/by/4.0/'"),
    ],
)
def test_what_arxiv_does_not_have_is_refused_by_name(knobs, told):
    with pytest.raises(UserError, match=told):
        check_scope(dataclasses.replace(SETTINGS, **knobs))


def test_arxivs_own_names_are_taken():
    check_scope(dataclasses.replace(SETTINGS, categories=["math", "math.AG", "cond-mat.str-el", "alg-geom", "q-bio"]))
    check_scope(SETTINGS)


def test_the_first_rule_that_refuses_is_the_reason():
    assert reason({"year_min": 2030}, categories="econ.EM", comments="Withdrawn") == "subject"
    assert reason({"year_min": 2030}, comments="Withdrawn") == "year"
    assert reason({"licenses": []}, comments="Withdrawn") == "withdrawn"
    assert reason({"drop_withdrawn": False}, comments="Withdrawn") is None


@pytest.mark.parametrize(
    "comments",
    [
        "This paper has been withdrawn",
        "This paper has been withdrawn by the author(s) due to a crucial error in equation 3",
        "This paper has been\n  withdrawn by the authors. It will appear elsewhere",
        "this submission has been withdrawn by arXiv administrators because of plagiarism",
        "Withdrawn",
        "withdrawn by the author",
        "Paper withdrawn due to an error in Lemma 3",
        "12 pages; this manuscript is withdrawn",
        "12 pages. Withdrawn by the author",
        "The authors have withdrawn this paper",
        "The author withdraws this paper because of an error",
        "This article has been retracted",
        "RETRACTED",
        "This paper was withdrawn from arXiv",
        "The paper has been temporarily withdrawn",
        "This paper has been withdrawan by the author",
        "This paper has been withdrawen",
        "This paper has been withdrwan by the authors",
        "This paper has been widthdrawn",
        "Witdrawn by author",
        "This paper has been withdrawed",
        "This paper has been withdraw by the author",
        "This paper has been with-drawn",
        "withdrew by the authors",
        "The author withdrew this paper",
        "This submission has been removed by arXiv administrators because the submitter had no right to it",
        "Removed by arXiv administration",
        "This article has been removed by arXiv admin due to text overlap",
        "This paper has been removed by the authors",
        "This paper has been removed from arXiv",
        "This paper has been superseded by arXiv:0704.1234 and withdrawn",
        "Withdrawn; see hep-th/0301001",
        "Withdrawn and replaced by math/0402001",
        "This paper has been withdrawn and replaced by arXiv:1001.0001",
        "This paper is withdrawn; superseded by 0801.1234",
        "Paper withdrawn, replaced by 1202.3456",
        "submission withdrawn",
        "Article withdrawn by author",
        "The paper is being withdrawn",
        "We withdraw this paper because of an error in the proof",
        "The authors wish to withdraw this paper",
        "I withdraw this submission",
        "Paper has been withdrawn",
        "has been withdrawn",
        "Has been withdrawn due to errors",
        "12 pages, withdrawn",
        "4 pages, 2 figures, withdrawn due to error",
        "(withdrawn)",
        "5 pages (withdrawn)",
        "WITHDRAWN BY THE AUTHORS",
        "This version withdrawn by arXiv administrators because the author did not agree",
        "arXiv admin note: withdrawn by arXiv administration",
        "Withdrawn due to a gap in the proof of Theorem 1.2",
        "The paper is withdrawn because the main theorem is false",
        "This paper has been retracted by the author",
        "this paper was withdrawn by its author",
        "This paper has now been withdrawn",
        "This paper has been withdrawn as it has been merged with math/0501001",
        "We have withdrawn this article",
        "Withdrawn by the submitter",
        "withdrawn for further modification",
        "This paper needs to be withdrawn",
        "Please withdraw this paper",
        "The paper has been withdrawn by the author, due to a mistake",
        "this e-print has been withdrawn",
        "Paper withdrawn - error in eq (5)",
        "Withdrawn. Error in Lemma 2",
        "Withdrawn -- superseded",
        "The main result is wrong. Withdrawn.",
        "Error found, paper withdrawn",
        "paper is now withdrawn",
        "This thesis has been withdrawn",
        "This paper has been withdrawn by the corresponding author",
        "The author has decided to withdraw this manuscript",
    ],
)
def test_withdrawn(comments):
    assert is_withdrawn(record("2301.00001", comments=comments))
    assert reason(comments=comments) == "withdrawn"


@pytest.mark.parametrize(
    "fields",
    [
        {"abstract": "  This paper has been withdrawn by the authors.\n"},
        {"abstract": "Withdrawn."},
        {"title": "Withdrawn: on a theorem"},
        {"title": "On a theorem (withdrawn)"},
    ],
)
def test_withdrawn_in_abstract_or_title(fields):
    assert is_withdrawn(record("2301.00001", **fields))


@pytest.mark.parametrize(
    "text",
    [
        "We study drug withdrawal in a population model",
        "The drug was withdrawn from the market in 2004",
        "An earlier version was withdrawn",
        "An earlier version of this paper was withdrawn because of an error, which is mended here",
        "Section 5 of this paper has been withdrawn",
        "Replaces the withdrawn paper math/0301001",
        "Cash withdrawn by the customer follows a Poisson process",
        "Troops were withdrawn by the government",
        "The subspace is retracted onto its boundary; a deformation retract",
        "We show that this space retracts onto a graph",
        "Withdrawn papers and how they are cited",
        "Retracted articles: a bibliometric study",
        "This paper was withdrawn from the Annals and is submitted elsewhere",
        "This paper has been accepted; the talk was withdrawn",
        "v2: withdrawn claim of Theorem 3 restored",
        "We withdraw the claim of uniqueness made in version 1",
        "This paper replaces our withdrawn preprint arXiv:1001.0001",
        "Comment on the retracted paper by other authors",
        "It is shown why the paper [3] has been withdrawn by its authors",
        "Electron withdrawing groups on a ring",
        "Supersedes arXiv:1001.0001, which has been withdrawn",
        "Supersedes the withdrawn arXiv:1001.0001",
        "Resubmission of a paper withdrawn for a formatting error",
        "Version 3 withdrawn, version 4 corrects it",
        "v1 was withdrawn; this is the corrected version",
        "The appendix has been removed by the authors",
        "The divergence is removed by a counterterm",
        "The noise has been removed by filtering",
        "The needle is withdrawn from the tissue at constant speed",
        "The authors withdraw Theorem 2",
        "Section 4 withdrawn",
        "The proof of Lemma 3 is withdrawn",
        "The first author withdrew from the project",
        "Countries that withdrew from the agreement",
        "Withdrawal symptoms and opioid dynamics",
        "Social withdrawal, and its network",
        "Water withdrawn from aquifers is replaced by rain",
        "We examine how a retracted article goes on being cited",
        "Drugs withdrawn by manufacturers",
        "Bank runs: when money is withdrawn early",
        "",
    ],
)
@pytest.mark.parametrize("field", ["comments", "abstract", "title"])
def test_not_withdrawn(text, field):
    assert not is_withdrawn(record("2301.00001", **{field: text}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"id": "0704.1"}, "id"),
        ({"id": 704.0001}, "id"),
        ({"id": "2301.00001v2"}, "id"),
        ({"id": "2301.00001.gz"}, "id"),
        ({"categories": None}, "categories"),
        ({"categories": "  "}, "categories"),
        ({"title": 3}, "title"),
        ({"versions": []}, "versions"),
        ({"versions": None}, "versions"),
        ({"versions": [{"created": "some day"}]}, "versions"),
        ({"comments": None, "license": None}, None),
    ],
)
def test_what_makes_a_record_unusable(changes, problem):
    found = record_problem(record("2301.00001") | changes)
    assert (found is None) if problem is None else (found or "").startswith(problem)


def test_snapshot_lines_carry_offsets_and_problems(tmp_path):
    path = tmp_path / "snapshot.json"
    write_snapshot(path, [record("2301.00001"), "", "[1]", "{cut", record("math/0301002")])
    lines = list(read_snapshot(path))
    assert [line.record and line.record["id"] for line in lines] == ["2301.00001", None, None, "math/0301002"]
    data = path.read_bytes()
    assert all(data[line.offset : line.offset + len(line.data)] == line.data for line in lines)


def test_missing_snapshot_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match="public metadata snapshot"):
        next(read_snapshot(tmp_path / "absent.json"))


def test_command_counts_each_rule_alone_and_in_order(tmp_path, capsys):
    path = tmp_path / "snapshot.json"
    records = [
        record("2301.00001"),
        record("2301.00002", categories="econ.EM", comments="Withdrawn"),
        record("2301.00003", comments="Withdrawn"),
    ]
    write_snapshot(path, [*records, "{cut"])
    assert main(["--metadata", str(path)]) == 0
    out = capsys.readouterr().out
    assert "3 records, 1 malformed lines" in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()[0] in REASONS}
    assert rows["subject"] == ["2", "66.7%", "1", "2", "66.7%"]
    assert rows["withdrawn"] == ["1", "33.3%", "1", "1", "33.3%"]


@pytest.mark.skipif(not REAL.is_file(), reason="the shared corpus is not here")
def test_real_records():
    records = [json.loads(line) for line in REAL.read_text().splitlines()]
    assert all(record_problem(r) is None for r in records)
    assert sum(map(is_withdrawn, records)) == 1


def test_abstract_length_is_that_of_its_words():
    short = "  short\n   one  "
    assert reason({"abstract_min_chars": 9}, abstract=short) is None
    assert reason({"abstract_min_chars": 10}, abstract=short) == "short_abstract"
    assert reason({"abstract_min_chars": 1}, abstract=None) == "short_abstract" and reason(abstract=None) is None


@pytest.mark.skipif(not REAL.exists(), reason="the shared corpus is not here")
def test_the_categories_of_real_records_are_known():
    records = [line.record for line in read_snapshot(REAL) if line.record]
    assert {name for record in records for name in record["categories"].split()} <= CATEGORIES
