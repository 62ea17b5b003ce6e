"""`--show`: what became of a paper in the finished dataset, and what is said of a paper alone."""

import json
import os
import shutil

import pytest

from common.errors import UserError
from data_prep import prepare_dataset
from data_prep.dedup import assignments
from data_prep.pipeline.show import NEVER_THERE
from tests.helpers.tiny_corpus import bulk_tar, make_corpus, paper, record, write_snapshot
from tests.helpers.tiny_pipeline import arguments, run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus with one paper that is nearly another one, and its dataset."""
    folder = tmp_path_factory.mktemp("made")
    corpus = make_corpus(folder / "raw")
    lines = (folder / "raw/snapshot.json").read_text().splitlines()
    write_snapshot(folder / "raw/snapshot.json", [*lines, record("2402.00001"), record("2402.00002")])
    papers = [("2402/2402.00001.gz", paper(50, 40)), ("2402/2402.00002.gz", paper(50, 43))]
    bulk_tar(folder / "raw/src/arXiv_src_2402_001.tar", papers)
    run(corpus, folder / "out")
    return corpus, folder / "out"


@pytest.fixture
def copied(made, tmp_path):
    """The same, to be spoilt."""
    shutil.copytree(made[1], tmp_path / "out")
    return made[0], tmp_path / "out"


@pytest.fixture
def shown(capsys):
    def show(made, paper_id, *more):
        corpus, out = made
        capsys.readouterr()
        assert prepare_dataset.main([*arguments(corpus, out, *more), "--show", paper_id]) == 0
        return capsys.readouterr().out

    return show


def outcomes(text):
    """What is printed after the text: of the paper alone, in the dataset, and notes."""
    lines = text.splitlines()
    alone = next(line for line in lines if line.startswith("======== outcome: "))
    within = [line.partition(": ")[2] for line in lines if line.startswith("======== in the dataset of ")]
    return alone.removeprefix("======== outcome: "), *within, *[line for line in lines if line.startswith("note: ")]


def ledger(out):
    return {line.split("\t")[0]: line.split("\t")[1:] for line in (out / "clusters.tsv").read_text().splitlines()[1:]}


ALONE = ", by this paper alone, with the settings and the code of today"


def test_a_duplicate_is_not_kept(made, shown):
    rows = ledger(made[1])
    cluster, _, outcome = rows["2401.00007"]
    assert outcome == "exact_duplicate" and cluster.startswith("23")
    kept = f"{cluster} ({rows[cluster][2]})"
    told = f"exact_duplicate of {kept}, cluster {cluster} of 2 papers"
    assert outcomes(shown(made, "2401.00007")) == ("kept" + ALONE, told)
    near = "near_duplicate of 2402.00002 (train), cluster 2402.00001 of 2 papers"
    assert rows["2402.00001"][1] == "train"
    assert outcomes(shown(made, "2402.00001")) == ("kept" + ALONE, near)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_paper_of_a_split(made, shown, split):
    rows = ledger(made[1])
    clusters = [cluster for cluster, _, _ in rows.values()]
    paper_id = next(name for name, row in rows.items() if row[2] == split and clusters.count(row[0]) == 1)
    assert outcomes(shown(made, paper_id)) == ("kept" + ALONE, f"{split}, alone in its cluster")


@pytest.mark.parametrize(
    "paper_id, alone, within",
    [
        ("2401.00001", "subject", NEVER_THERE),
        ("2401.00002", "withdrawn", NEVER_THERE),
        ("2401.00003", "no_source", NEVER_THERE),
        ("2401.00099", "no_metadata", NEVER_THERE),
        ("2401.00005", "pdf_only", "pdf_only"),
    ],
)
def test_a_paper_that_was_left_out(made, shown, paper_id, alone, within):
    told, inside = outcomes(shown(made, paper_id))
    assert told.startswith(alone) and told.endswith(ALONE) and inside.startswith(within)


def test_without_a_finished_dataset_it_says_that_it_looked_at_the_paper_alone(copied, shown):
    (copied[1] / "manifest.json").unlink()  # as a run does before it writes the splits anew
    text = shown(copied, "2401.00007")
    assert outcomes(text) == ("kept" + ALONE,)
    assert f"{copied[1]} holds no finished dataset: duplicates, split and contamination are decided when it" in text


def test_what_is_left_out_in_the_end(copied, shown):
    table = copied[1] / "clusters.tsv"
    lines = table.read_text().splitlines()
    changed = lines[1].split("\t")
    table.write_text("\n".join([lines[0], "\t".join([*changed[:2], "val", "contaminated"]), *lines[2:], ""]))
    assert outcomes(shown(copied, changed[0]))[1] == "contaminated, alone in its cluster (split: val)"
    entry = {"id": changed[0], "reason": "contaminated", "detail": "91% of its 13-grams occur in training"}
    (copied[1] / "rejected" / "contaminated.jsonl").write_text(json.dumps(entry) + "\n")
    told = "contaminated (91% of its 13-grams occur in training), alone in its cluster (split: val)"
    assert outcomes(shown(copied, changed[0]))[1] == told


def test_of_several_that_stay_the_one_of_the_same_text_is_named(copied, shown):
    """As with data.near_duplicates=keep: a cluster of which several papers stay."""
    rows = ledger(copied[1])
    original = rows["2401.00007"][0]
    with open(copied[1] / "clusters.tsv", "a") as table:
        table.write(f"2403.00001\t{original}\ttrain\ttrain\n")
    told = outcomes(shown(copied, "2401.00007"))[1]
    assert told == f"exact_duplicate of {original} ({rows[original][2]}), cluster {original} of 3 papers"
    shutil.rmtree(copied[1] / "work")
    told = outcomes(shown(copied, "2401.00007"))[1]
    assert told.startswith(f"exact_duplicate of one of {original} ({rows[original][2]}), 2403.00001 (train), cluster")


def test_a_dataset_of_other_settings_says_so(copied, shown):
    text = shown(copied, "math/9902001", "--set", "data.max_chars=5000", "--set", "data.year_min=2005")
    alone, within, *notes = outcomes(text)
    assert alone == "year" + ALONE and within == "train, alone in its cluster"
    assert notes == [
        "note: that dataset was made with data.max_chars=5000000, now 5000",
        "note: that dataset was made with data.year_min=null, now 2005",
    ]
    path = copied[1] / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["modules"]["papers"] = {"data_prep/pipeline/shards.py": "of another day"}
    manifest["inputs"]["metadata"]["sha256"] = manifest["packages"]["numpy"] = "another"
    manifest["inputs"]["source"]["archives"] = 7
    path.write_text(json.dumps(manifest))
    notes = "\n".join(outcomes(shown(copied, "math/9902001"))[2:])
    assert "by other code than today's" in notes and "from another snapshot.json (" in notes
    assert "with other packages: " in notes and "from 7 archives, of 4" in notes


def test_a_shard_that_was_made_after_the_dataset_is_told_from_it(copied, shown):
    marker = next(path for path in (copied[1] / "work/shards").glob("202401*.json") if "pdf_only" in path.read_text())
    later = (copied[1] / "manifest.json").stat().st_mtime + 10
    os.utime(marker, (later, later))
    told = outcomes(shown(copied, "2401.00005"))[1]
    assert told.startswith(f"not in it; {marker}, which is newer than it, has pdf_only")


def test_a_paper_that_only_the_dataset_has(copied, tmp_path, shown):
    """Its sources were deleted when it was made, and today's metadata does not have the paper."""
    (tmp_path / "src").mkdir()
    bulk_tar(tmp_path / "src/arXiv_src_2402_001.tar", [("2402/2402.00002.gz", paper(50, 43))])
    write_snapshot(tmp_path / "snapshot.json", [record("2402.00002")])
    elsewhere = (tmp_path / "snapshot.json", tmp_path / "src"), copied[1]
    _, within, *notes = outcomes(shown(elsewhere, "2402.00001"))
    assert within == "near_duplicate of 2402.00002 (train), cluster 2402.00001 of 2 papers"
    assert [note.partition(" made ")[2][:12] for note in notes] == ["from another", "from 40 arch"]
    assert "has gone since it was listed" in shown(elsewhere, "math/9902001")


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("clusters.tsv", None, "not known: it has no clusters.tsv"),
        ("clusters.tsv", "id\tcluster\n", "not a table of clusters"),
        ("clusters.tsv", f"{assignments.HEADER}x\ty\tz\n", "clusters.tsv:2: damaged"),
        ("manifest.json", "{", "in a way that its manifest does not tell"),
        ("manifest.json", '{"format": 1}', "in a way that its manifest does not tell"),
    ],
)
def test_an_older_or_damaged_dataset_is_no_crash(copied, shown, name, text, told):
    path = copied[1] / name
    path.unlink() if text is None else path.write_text(text)
    assert told in "\n".join(outcomes(shown(copied, "math/9902001")))


def test_a_paper_that_nobody_has(made):
    with pytest.raises(UserError, match=r"neither .* nor a dataset in"):
        prepare_dataset.main([*arguments(*made), "--show", "1001.0001"])
