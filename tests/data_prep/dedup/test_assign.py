"""Near-duplicates, contamination and appends, through the whole pipeline."""

import gzip
import json
import random
import subprocess
import sys

import pytest

from common.errors import UserError
from common.jsonl import read_jsonl
from common.paths import ROOT
from tests.helpers.tiny_corpus import bulk_tar, record, write_snapshot
from tests.helpers.tiny_pipeline import arguments, outputs, run

VOCABULARY = [f"{a}{b}{c}" for a in "bdfglmnprst" for b in "aeiou" for c in ("l", "n", "r", "st", "th")]


def words(seed: int, count: int = 400) -> list[str]:
    """Words of no language in sentences: papers of different seeds share no 5-gram to speak of."""
    choose = random.Random(seed)
    return [choose.choice(VOCABULARY) for _ in range(count)]


def archive(text: list[str]) -> bytes:
    lines = "\n".join(" ".join(text[i : i + 12]) for i in range(0, len(text), 12))
    return gzip.compress(f"\\documentclass{{article}}\\begin{{document}}\n{lines}\n\\end{{document}}".encode(), mtime=0)


class Library:
    """Papers by id, to which some are added between runs."""

    def __init__(self, folder):
        self.folder = folder
        self.papers = {}

    def add(self, month: str, texts: dict[str, list[str]]):
        (self.folder / "src").mkdir(parents=True, exist_ok=True)
        members = [(f"{month}/{name}.gz", archive(text)) for name, text in texts.items()]
        bulk_tar(self.folder / "src" / f"arXiv_src_{month}_001.tar", members)
        self.papers |= texts
        # Titles and abstracts of their own: they are part of the text.
        records = [
            record(name, title=f"On {name}", abstract=" ".join(words(hash_of(name), 12))) for name in self.papers
        ]
        write_snapshot(self.folder / "snapshot.json", records)

    @property
    def paths(self):
        return self.folder / "snapshot.json", self.folder / "src"


def hash_of(name: str) -> int:
    return int(name.replace(".", ""))


@pytest.fixture
def library(tmp_path):
    library = Library(tmp_path / "raw")
    base = words(1)
    library.add(
        "2301",
        {
            **{f"2301.{i:05d}": words(i) for i in range(1, 25)},
            "2301.00030": [*base[:390], "other", "words"],  # of 2301.00001, and shorter
            "2301.00031": [*words(2), "longer", "than", "the", "first"],
        },
    )
    return library


FLAGS = ("--set", "data.languages=null", "--set", "data.val_fraction=0.3")


def ledger(out):
    rows = [line.split("\t") for line in (out / "clusters.tsv").read_text().splitlines()[1:]]
    return {row[0]: tuple(row[1:]) for row in rows}


def splits(out):
    return {r["id"]: (split, r["cluster"]) for split in ("train", "val") for r in read_jsonl(out / f"{split}.jsonl")}


def test_one_of_a_cluster_survives_and_names_it(library, tmp_path):
    out = tmp_path / "out"
    manifest = run(library.paths, out, *FLAGS)
    assert manifest["counts"]["reasons"] == {"near_duplicate": 2} and manifest["build"] == {"kind": "full"}
    kept = splits(out)
    assert "2301.00030" not in kept and "2301.00002" not in kept
    assert kept["2301.00031"][1] == "2301.00002"  # the longest stays, the earliest names
    samples = {r["id"]: r["detail"] for r in read_jsonl(out / "rejected" / "near_duplicate.jsonl")}
    assert samples["2301.00030"].startswith("similar to 2301.00001 (estimated Jaccard 0.9")
    assert ledger(out)["2301.00030"] == ("2301.00001", kept["2301.00001"][0], "near_duplicate")
    assert set(kept) == {paper for paper, row in ledger(out).items() if row[2] in ("train", "val")}
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["clusters"] == {"2": 2} and report["text_bytes"]["near_duplicate"] > 2000


def test_kept_near_duplicates_are_in_one_split(library, tmp_path):
    out = tmp_path / "out"
    manifest = run(library.paths, out, *FLAGS, "--set", "data.near_duplicates=keep")
    assert manifest["counts"]["reasons"] == {}
    kept = splits(out)
    assert kept["2301.00030"] == kept["2301.00001"] and kept["2301.00031"] == kept["2301.00002"]
    higher = run(library.paths, out, *FLAGS, "--set", "data.near_duplicate_similarity=1")
    assert higher["counts"]["reasons"] == {}


def side(out, wanted: str, but: tuple[str, ...] = ()) -> str:
    return next(p for p, (split, cluster) in splits(out).items() if split == wanted and p == cluster and p not in but)


def test_append_leaves_earlier_papers_where_they_are(library, tmp_path):
    out = tmp_path / "out"
    run(library.paths, out, *FLAGS)
    before, table = splits(out), ledger(out)
    train, val = side(out, "train"), side(out, "val")
    other_train = side(out, "train", but=(train,))
    mixed = library.papers[train][:380] + library.papers[val][:380]
    library.add(
        "2212",  # before all others: a full build would name clusters after these
        {
            "2212.00001": [*library.papers[train], "and", "longer"],
            "2212.00002": [*library.papers[val], "and", "longer"],
            "2212.00003": [*mixed, "left"],  # if this goes to training, most of an earlier validation paper is there
            "2212.00004": library.papers[other_train],
            **{f"2212.{i:05d}": words(1000 + i) for i in range(10, 30)},
            "2212.00040": words(1010),
        },
    )
    flags = FLAGS
    manifest = run(library.paths, out, "--append", *flags)
    build = {"kind": "append", "earlier_documents": len(table), "out_of_scope_by_now": {}}
    assert manifest["build"] == build
    after, now = splits(out), ledger(out)
    assert {paper: after[paper] for paper in before} == before
    assert {paper: now[paper] for paper in table} == table
    assert now["2212.00001"] == (train, "train", "near_duplicate") and now["2212.00002"] == (
        val,
        "val",
        "near_duplicate",
    )
    assert now["2212.00004"][2] in ("exact_duplicate", "near_duplicate")
    assert now["2212.00040"][0] == "2212.00010" and now["2212.00040"][1] == now["2212.00010"][1]
    assert {split for split, _ in (after[f"2212.{i:05d}"] for i in range(11, 30))} == {"train", "val"}

    # The same again, and once more after a kill before the end, changes nothing.
    first = outputs(out)
    run(library.paths, out, "--append", *flags)
    assert outputs(out)["train.jsonl"] == first["train.jsonl"] and ledger(out) == now


def test_a_paper_that_bridges_the_splits_is_dropped(library, tmp_path):
    out = tmp_path / "out"
    run(library.paths, out, *FLAGS)
    train, val = side(out, "train"), side(out, "val")
    a, b = library.papers[train], library.papers[val]
    # From one to the other in small steps: each is similar to the next.
    steps = {f"2312.{k:05d}": a[: 400 - 8 * k] + b[: 8 * k] for k in range(1, 50)}
    library.add("2312", {**steps, "2312.00060": words(99)})
    manifest = run(library.paths, out, "--append", *FLAGS)
    assert manifest["counts"]["reasons"] == {"near_duplicate": 2, "bridges_splits": 49}
    now = ledger(out)
    assert all(now[name][2] == "bridges_splits" for name in steps) and "2312.00060" in splits(out)
    assert now[train][2] == "train" and now[val][2] == "val"
    assert {r["id"] for r in read_jsonl(out / "rejected" / "bridges_splits.jsonl")} <= set(steps)


def test_append_needs_a_dataset_and_all_of_its_papers(library, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="--append: there is no finished dataset"):
        run(library.paths, out, "--append", *FLAGS)
    run(library.paths, out, *FLAGS)
    before = outputs(out)
    longest = max(len(r["text"]) for r in read_jsonl(out / "train.jsonl"))
    with pytest.raises(UserError, match=r"--append: \d+ papers of the dataset are not among the documents"):
        run(library.paths, out, "--append", *FLAGS, "--set", f"data.max_chars={longest - 1}")
    assert {name: data for name, data in outputs(out).items() if name.endswith(".jsonl")} == {
        name: data for name, data in before.items() if name.endswith(".jsonl")
    }


@pytest.mark.slow
def test_an_append_does_without_the_sources_of_earlier_papers(library, tmp_path):
    out = tmp_path / "out"
    run(library.paths, out, *FLAGS)
    before = splits(out)
    whole = {p.name: p.read_bytes() for p in library.paths[1].iterdir()}
    for path in library.paths[1].iterdir():
        path.unlink()
    library.add("2312", {"2312.00001": words(901), "2312.00002": words(902)})
    with pytest.raises(UserError, match=r"1 files that .* was made from have gone.*--append keeps"):
        run(library.paths, out, *FLAGS)
    assert splits(out) == before
    shards = {p: p.stat().st_mtime_ns for p in (out / "work" / "shards").glob("*.jsonl.zst")}
    run(library.paths, out, "--append", *FLAGS)
    now = splits(out)
    assert now.keys() == before.keys() | {"2312.00001", "2312.00002"}
    assert {name: now[name] for name in before} == before
    assert shards == {path: path.stat().st_mtime_ns for path in shards}
    # What becomes of their records does not matter: a title, a category out of scope, a withdrawal.
    changes = [{"title": "Another"}, {"categories": "econ.EM"}, {"comments": "This paper has been withdrawn"}]
    lines = [json.loads(line) for line in library.paths[0].read_text().splitlines()]
    for line, change in zip(lines, [*changes, {"update_date": "2026-01-01"}], strict=False):
        line.update(change)
    write_snapshot(library.paths[0], lines)
    build = run(library.paths, out, "--append", *FLAGS)["build"]
    assert splits(out) == now and shards == {path: path.stat().st_mtime_ns for path in shards}
    assert build["out_of_scope_by_now"] == {"subject": 1, "withdrawn": 1}
    # Where they are needed again, the first of them is named.
    with pytest.raises(UserError, match=r"\.tar: cannot be read: No such file.*put it back"):
        run(library.paths, out, "--append", *FLAGS, "--set", "data.tables=drop")
    run(library.paths, out, "--append", *FLAGS, "--set", "data.tables=drop", "--accept-stale", "papers")
    assert splits(out) == now
    for name, data in whole.items():
        (library.paths[1] / name).write_bytes(data)
    run(library.paths, out, "--append", *FLAGS, "--set", "data.tables=drop")
    assert splits(out) == now


def test_a_kill_while_a_shard_is_replaced_costs_an_append_no_paper(library, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(library.paths, out, *FLAGS)
    before = splits(out)
    lines = [json.loads(line) for line in library.paths[0].read_text().splitlines()]
    lines[0]["title"], lines[1]["comments"] = "Another", "Withdrawn"
    write_snapshot(library.paths[0], lines)
    command = [sys.executable, "-c", KILLED_BEFORE_THE_MARKER, *arguments(library.paths, out, "--append", *FLAGS)]
    assert subprocess.run(command, capture_output=True, cwd=ROOT, timeout=100).returncode != 0
    shards = out / "work" / "shards"
    assert list(shards.glob("*.old")) and len(list(shards.glob("*.json"))) == 3
    assert run(library.paths, out, "--append", *FLAGS)["build"]["out_of_scope_by_now"] == {"withdrawn": 1}
    assert splits(out) == before and not list(shards.glob("*.old"))


# Processes the shards in this process, which dies when the files of the first are replaced, but not its marker.
KILLED_BEFORE_THE_MARKER = """
import os, sys
from common import workers
from data_prep import prepare_dataset
from data_prep.pipeline import shards

def here(jobs, workers, work, on_progress):
    for job in jobs:
        work(job, lambda position, size: None)

workers.run_jobs = here
write = shards.write_bytes
shards.write_bytes = lambda path, data: os._exit(9) if path.suffix == ".json" else write(path, data)
prepare_dataset.main(sys.argv[1:])
"""


@pytest.mark.parametrize("place", [0, 1000])
def test_damaged_signatures_are_told_and_made_anew(library, tmp_path, place):
    out = tmp_path / "out"
    run(library.paths, out, *FLAGS)
    before = outputs(out)
    part = sorted((out / "work" / "shards").glob("*.npy"))[1]
    data = bytearray(part.read_bytes())
    data[place] ^= 1
    part.write_bytes(data)
    (out / "work" / "finished.json").unlink()
    with pytest.raises(UserError, match=rf"{part.name}: damaged .*remove this file"):
        run(library.paths, out, *FLAGS)
    part.unlink()
    run(library.paths, out, *FLAGS)
    assert outputs(out) == before


def test_a_damaged_ledger_is_told(library, tmp_path):
    out = tmp_path / "out"
    run(library.paths, out, *FLAGS)
    path = out / "clusters.tsv"
    path.write_text(path.read_text().replace("train", "trian", 1))
    with pytest.raises(UserError, match=r"clusters\.tsv:\d+: damaged"):
        run(library.paths, out, "--append", *FLAGS)


def test_validation_papers_that_training_holds_are_dropped_or_reported(library, tmp_path):
    out = tmp_path / "out"
    run(library.paths, out, *FLAGS)
    val, other = side(out, "val"), next(p for p, (split, _) in splits(out).items() if split == "val")
    text = library.papers[val]
    # A long paper holds all of a short one: no near-duplicate, but nothing that is left to be predicted.
    library.add("2312", {"2312.00001": [*words(50, 1500), *text, *words(51, 1500)]})
    flags = (*FLAGS, "--set", "data.split_seed=0")
    for i in range(2, 40):  # one of these is in training, whatever the hash says of the first
        library.papers[f"2312.{i:05d}"] = words(60 + i, 100)
    library.add("2312", {name: text for name, text in library.papers.items() if name.startswith("2312")})
    run(library.paths, out, *flags, "--set", "data.contaminated=report", "--set", "data.min_chars=400")
    report = json.loads((out / "report" / "report.json").read_text())["overlaps"]["val"]
    if splits(out)["2312.00001"][0] == "train":
        assert report["above"] == 1 and not report["dropped"] and report["highest"][0][0] == val
        manifest = run(library.paths, out, *flags)
        assert manifest["counts"]["reasons"]["contaminated"] == 1 and val not in splits(out)
        assert ledger(out)[val][1:] == ("val", "contaminated")
    else:
        assert report["above"] == 0
    assert other


def test_benchmark_questions_are_kept_out(library, tmp_path):
    out = tmp_path / "out"
    questions = tmp_path / "questions"
    questions.mkdir()
    asked = " ".join(library.papers["2301.00005"][100:140])
    lines = [json.dumps({"question": asked}), json.dumps({"question": "too short"})]
    (questions / "test.jsonl").write_text("\n".join(lines))
    flags = (*FLAGS, "--set", f"data.benchmarks={questions}")
    manifest = run(library.paths, out, *flags)
    assert manifest["counts"]["reasons"] == {"near_duplicate": 2, "benchmark_overlap": 1}
    assert "2301.00005" not in splits(out)
    overlaps = json.loads((out / "report" / "report.json").read_text())["overlaps"]["benchmarks"]
    assert overlaps["too_short"] == 1 and overlaps["found"] == [["2301.00005", "test.jsonl:1", 1.0]]
    # Other questions are another dataset; the papers are not processed again.
    (questions / "test.jsonl").write_text(lines[1])
    assert run(library.paths, out, *flags)["counts"]["reasons"] == {"near_duplicate": 2}


def test_numbered_and_compressed_files_hold_the_same_records(library, tmp_path):
    from datasets import load_dataset

    out = tmp_path / "out"
    whole = run(library.paths, out, *FLAGS)
    plain = (out / "train.jsonl").read_bytes()
    manifest = run(library.paths, out, *FLAGS, "--set", "data.output_file_bytes=20000", "--set", "data.compress=true")
    files = manifest["splits"]["train"]["files"]
    assert len(files) > 1 and not (out / "train.jsonl").exists()
    assert [f["name"] for f in files] == [f"train-{i:05d}-of-{len(files):05d}.jsonl.zst" for i in range(len(files))]
    records = [r for file in files for r in read_jsonl(out / file["name"])]
    assert records == [json.loads(line) for line in plain.splitlines()]
    assert manifest["splits"]["train"]["sha256"] == whole["splits"]["train"]["sha256"]
    data = load_dataset("json", data_files={"train": str(out / "train*.jsonl*")}, cache_dir=str(tmp_path / "cache"))
    assert data["train"]["id"] == [r["id"] for r in records]
    card = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in card.items()} == {
        "train": len(records),
        "validation": manifest["splits"]["val"]["documents"],
    }
    run(library.paths, out, *FLAGS)
    assert (out / "train.jsonl").read_bytes() == plain and not list(out.glob("*.zst"))


def test_parts_of_a_run_give_the_same_bytes(library, tmp_path, capsys):
    run(library.paths, tmp_path / "whole", *FLAGS, shard_papers=3)
    out = tmp_path / "parts"
    from data_prep import prepare_dataset

    for part in ("2/3", "1/3", "3/3"):
        command = arguments(library.paths, out, *FLAGS, "--only-shards", part, shard_papers=3)
        assert prepare_dataset.main(command) == 0
        assert not (out / "manifest.json").exists()
    assert "papers: the shards of part 3 of 3 are done" in capsys.readouterr().out
    run(library.paths, out, *FLAGS, shard_papers=3)
    assert "9 of 9 shards reused" in capsys.readouterr().out
    assert outputs(out) == outputs(tmp_path / "whole")
    for wrong in ("0/3", "4/3", "3", "a/b"):
        with pytest.raises(UserError, match="expected I/N"):
            run(library.paths, out, "--only-shards", wrong)
