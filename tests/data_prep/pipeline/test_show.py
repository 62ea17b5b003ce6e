"""`--show`: what became of a paper in the finished dataset, and what is said of a paper alone."""

import json
import os
import shutil

import pytest

from common.errors import UserError
from common.settings.load import load_settings
from data_prep import prepare_dataset
from data_prep.dedup import assignments
from data_prep.pipeline import outcome
from data_prep.pipeline.plan import Job
from data_prep.pipeline.show import of_dataset
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


LISTED = {"archives": 1, "papers": 1, "bytes": 1}


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


LEFT_OUT = {
    "2401.00001": "subject",
    "2401.00002": "withdrawn",
    "2401.00003": "no_source",
    "2401.00099": "no_metadata",
    "2401.00005": "pdf_only",
}


@pytest.mark.parametrize("paper_id, reason", LEFT_OUT.items())
def test_a_paper_that_was_left_out(made, shown, paper_id, reason):
    told, within = outcomes(shown(made, paper_id))
    assert told.startswith(reason) and told.endswith(ALONE) and within.startswith(reason)


@pytest.mark.slow
@pytest.mark.parametrize("paper_id, reason", LEFT_OUT.items())
def test_without_samples_the_shards_and_the_plan_tell(copied, shown, paper_id, reason):
    shutil.rmtree(copied[1] / "rejected")
    assert outcomes(shown(copied, paper_id))[1].startswith(reason)


@pytest.mark.slow
@pytest.mark.parametrize("paper_id, reason", LEFT_OUT.items())
def test_without_shards_the_samples_and_the_plan_tell(copied, shown, paper_id, reason):
    shutil.rmtree(copied[1] / "work")
    _, within, *notes = outcomes(shown(copied, paper_id))
    assert within.startswith(reason) and not notes
    shutil.rmtree(copied[1] / "rejected")
    within = outcomes(shown(copied, paper_id))[1]
    if reason == "pdf_only":
        assert within.startswith("not known why it was left out: no shard in ") and "none of it" in within
    else:
        assert within == reason


@pytest.mark.slow
@pytest.mark.parametrize("paper_id, reason", LEFT_OUT.items())
def test_by_other_records_and_sources_no_reason_is_certain(copied, shown, paper_id, reason):
    shutil.rmtree(copied[1] / "rejected")
    path = copied[1] / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["inputs"]["metadata"]["sha256"] = "another"
    manifest["inputs"]["source"]["bytes"] += 1
    path.write_text(json.dumps(manifest))
    within = outcomes(shown(copied, paper_id))[1]
    if reason == "pdf_only":
        assert within.startswith(reason)
    else:
        assert within.startswith("not in it, not known why: no shard in ")
        assert within.endswith(f"by its knobs, and by records, sources and rules of today, it is {reason}")


@pytest.mark.parametrize("damage", ["cut short", '{"file_bytes": SIZES}', '{"file_bytes": SIZES, "documents": [3]}'])
def test_a_damaged_shard_is_named(copied, shown, damage):
    marker = next(path for path in (copied[1] / "work/shards").glob("202401*.json") if "pdf_only" in path.read_text())
    sizes = json.loads(marker.read_text())["file_bytes"]
    text = marker.read_text()[:-20] if damage == "cut short" else damage.replace("SIZES", json.dumps(sizes))
    marker.write_text(text)
    assert outcomes(shown(copied, "2401.00005"))[1].startswith("pdf_only")  # a sample
    (copied[1] / "rejected/pdf_only.jsonl").write_text('{"id": 1}\n{"id": "2401.00005"')
    told = outcomes(shown(copied, "2401.00005"))[1]
    assert told.startswith("not known why it was left out: ") and f"{marker} is damaged, or its shard is" in told
    assert "rejected/pdf_only.jsonl:2:" in told


@pytest.fixture(scope="module")
def pilot(made, tmp_path_factory):
    """A pilot of the same corpus that keeps no samples, where the shards of a wider run lie."""
    out = tmp_path_factory.mktemp("pilot") / "out"
    shutil.copytree(made[1], out)
    run(made[0], out, *PILOT, "--set", "data.reject_samples=0")
    return made[0], out


PILOT = ("--months", "2302:2401", "--limit", "9")


@pytest.mark.parametrize("paper_id", ["2302.00019", "2401.00005", "2401.00001", "2401.00099", "2402.00001"])
def test_outside_of_a_pilot(pilot, shown, paper_id):
    manifest = json.loads((pilot[1] / "manifest.json").read_text())
    assert manifest["counts"]["reasons"]["outside_pilot"] > 20
    in_pilot = paper_id == "2302.00019"
    alone, within = outcomes(shown(pilot, paper_id, *PILOT, "--set", "data.reject_samples=0"))
    knob = "data.months=2302:2401" if paper_id.startswith("2402") else "data.limit=9"
    assert alone == ("kept" if in_pilot else "outside_pilot") + ALONE
    assert within.startswith("train" if in_pilot else f"outside_pilot ({knob})")


def test_a_pilot_asked_about_without_its_flags(pilot, shown):
    alone, within, *notes = outcomes(shown(pilot, "2401.00007"))
    assert alone == "kept" + ALONE and within == "outside_pilot (data.limit=9)"
    assert "note: that dataset was made with data.limit=9, now null" in notes


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
    assert outcomes(shown(copied, "2401.00005"))[1].startswith("pdf_only: ")  # of the dataset itself, by its samples
    shutil.rmtree(copied[1] / "rejected")
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
        ("clusters.tsv", b"id\tcluster\n", "not a table of clusters"),
        ("clusters.tsv", f"{assignments.HEADER}x\ty\tz\n".encode(), "clusters.tsv:2: damaged"),
        ("clusters.tsv", assignments.HEADER.encode() + b"\xff\xfe\ty\ttrain\ttrain\n", "clusters.tsv:2: damaged"),
        ("clusters.tsv", b"\xff\xfe\x00", "not a table of clusters"),
        ("manifest.json", b"{", "in a way that its manifest does not tell"),
        ("manifest.json", b"\xff\xfe", "in a way that its manifest does not tell"),
        ("manifest.json", b"[" * 100_000, "in a way that its manifest does not tell"),
        ("manifest.json", b"[]", "expected a JSON object, found list"),
        ("manifest.json", b'{"format": 1}', "manifest.json: knobs.metadata is null, expected an object"),
    ],
)
def test_an_older_or_damaged_dataset_is_no_crash(copied, shown, name, text, told):
    path = copied[1] / name
    path.unlink() if text is None else path.write_bytes(text)
    assert told in "\n".join(outcomes(shown(copied, "math/9902001" if name == "clusters.tsv" else "2401.00001")))


PLACES = (
    "inputs inputs.metadata inputs.metadata.bytes inputs.source inputs.source.archives inputs.source.bytes knobs "
    "knobs.metadata knobs.collection knobs.collection.months knobs.collection.limit knobs.metadata.categories modules "
    "modules.metadata packages build accepted_stale"
)


@pytest.mark.parametrize("value", [None, {}, [], 3, "x"], ids=repr)
def test_a_manifest_that_lacks_something_is_no_crash(copied, monkeypatch, value):
    """Of a paper whose reason the plan alone tells."""
    monkeypatch.setattr(outcome, "module_hashes", lambda roots: {})  # it takes a while
    path = copied[1] / "manifest.json"
    whole = path.read_text()
    shutil.rmtree(copied[1] / "rejected")
    (metadata, source), out = copied
    job = Job(load_settings().data, metadata, source, out, accept_stale=(), flags="", command="")
    today = outcome.Today("2401.00001", record("2401.00001", categories="econ.EM"), [], {"name": "a"}, LISTED)
    for place in PLACES.split():
        manifest = target = json.loads(whole)
        *parents, last = place.split(".")
        for parent in parents:
            target = target[parent]
        fits = isinstance(value, type(target[last])) or last in ("metadata", "build", "accepted_stale")
        target[last] = value
        path.write_text(json.dumps(manifest))
        within, notes = of_dataset(job, today)
        assert within and not any("Error" in note for note in notes)
        untold = [note for note in notes if "does not tell" in note]
        assert untold or fits or last in ("months", "limit", "categories"), (place, notes)
        assert not untold or f"manifest.json: {place}" in untold[0] or "'data." in untold[0] or "months is" in untold[0]


def test_a_mixture_is_called_one(copied, shown):
    (copied[1] / "clusters.tsv").unlink()
    (copied[1] / "manifest.json").write_text(json.dumps({"format": 1, "mixture": {}, "inputs": [], "splits": {}}))
    _, within, *notes = outcomes(shown(copied, "math/9902001"))
    assert within.startswith("not known: it is a mixture") and not notes


@pytest.mark.parametrize("text", ["{", "[]\n", '{"detail": 1}\n'])
def test_damaged_samples_are_no_crash(copied, shown, text):
    table = copied[1] / "clusters.tsv"
    lines = table.read_text().splitlines()
    changed = lines[1].split("\t")
    table.write_text("\n".join([lines[0], "\t".join([*changed[:2], "val", "contaminated"]), *lines[2:], ""]))
    (copied[1] / "rejected" / "contaminated.jsonl").write_text(text)
    told = outcomes(shown(copied, changed[0]))[1]
    assert told.startswith("contaminated") and ("details not known" in told) == ("detail" not in text)
    assert told.endswith("alone in its cluster (split: val)")


def test_a_paper_that_nobody_has(made):
    with pytest.raises(UserError, match=r"neither .* nor a dataset in"):
        prepare_dataset.main([*arguments(*made), "--show", "1001.0001"])
