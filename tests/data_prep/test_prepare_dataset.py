"""The pipeline from end to end: counts, byte-for-byte equality, kill and resume, what a change makes it redo."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from common.errors import UserError
from common.jsonl import read_jsonl
from common.paths import ROOT
from data_prep import prepare_dataset
from data_prep.papers.ids import order_key
from data_prep.pipeline import stages, summary
from data_prep.screening.reasons import REASONS
from tests.helpers.tiny_corpus import PLANTED, bulk_tar, make_corpus, paper, prose, record, write_snapshot
from tests.helpers.tiny_pipeline import arguments, outputs, run

KEYS = ["id", "text", "title", "categories", "year", "license", "cluster"]


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "raw")


def test_counts_records_and_files(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    manifest = run(corpus, out)
    counts = manifest["counts"]
    assert counts["reasons"] == PLANTED
    sizes = sum(path.stat().st_size for path in corpus[1].iterdir())
    assert 0 < counts["input"].pop("archive_bytes") < sizes
    assert counts["input"] == {"total": 42, "metadata_records": 40, "unclaimed_archives": 2}
    assert counts["written"] == 30 and sum(counts["reasons"].values()) + counts["written"] == 42

    written = {split: list(read_jsonl(out / f"{split}.jsonl")) for split in ("train", "val")}
    for split, records in written.items():
        sizes = manifest["splits"][split]
        data = (out / f"{split}.jsonl").read_bytes()
        assert all(list(r) == KEYS for r in records)
        assert sizes["documents"] == len(records) and sizes["bytes"] == len(data)
        assert sizes["sha256"] == hashlib.sha256(data).hexdigest()
        assert sizes["text_bytes"] == sum(len(r["text"].encode()) for r in records)
    assert written["val"]
    ids = [r["id"] for r in written["train"]]
    assert ids[0].startswith("math/99") and ids == sorted(ids, key=order_key)
    first = written["train"][0]
    assert first["title"] == "On a result" and first["categories"] == ["math.AG"] and first["year"] == 1999
    assert prose(int(ids[0][-3:])).splitlines()[0] in " ".join(first["text"].split("\n"))

    assert {path.stem for path in (out / "rejected").iterdir()} == set(PLANTED)
    (duplicate,) = read_jsonl(out / "rejected" / "exact_duplicate.jsonl")
    assert duplicate["id"] == "2401.00007" and duplicate["detail"].startswith("same text as 23")
    assert not list(out.rglob("*.tmp*"))
    shown = capsys.readouterr().out
    assert "vocabulary that the training text supports" in shown and "tokenizer/train_tokenizer.py" in shown
    assert all(reason in shown for reason in PLANTED)


def test_the_same_bytes_for_any_number_of_workers(corpus, tmp_path):
    run(corpus, tmp_path / "one", workers=1)
    run(corpus, tmp_path / "three", workers=3)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "three")


def test_a_second_run_has_nothing_to_do(corpus, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    run(corpus, out)
    before = outputs(out)
    monkeypatch.setattr(stages, "index_metadata", None)  # would fail if it were reached
    run(corpus, out, workers=2)
    assert "finished already" in capsys.readouterr().out
    assert outputs(out) == before


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "stage", ["third shard", pytest.param("first shard", marks=SLOW), pytest.param("collection", marks=SLOW)]
)
def test_kill_and_run_again(corpus, tmp_path, stage):
    """SIGKILL half-way, then the same command with other workers: the bytes of an uninterrupted run."""
    out = tmp_path / "killed"
    command = [sys.executable, str(ROOT / "data_prep" / "prepare_dataset.py"), *arguments(corpus, out, shard_papers=4)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shards = out / "work" / "shards"
    # Records or markers of so many shards lie there when it is killed.
    moments = {"first shard": ("*.jsonl*", 1), "third shard": ("*.json", 3), "collection": ("*.json", 10)}
    pattern, count = moments[stage]
    try:
        wait_for(lambda: len(list(shards.glob(pattern))) >= count, process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "manifest.json").exists()
    kept = {path.with_suffix(".jsonl.zst"): 0 for path in shards.glob("*.json")}
    kept = {path: path.stat().st_mtime_ns for path in kept}
    run(corpus, out, workers=2, shard_papers=4)
    assert kept == {path: path.stat().st_mtime_ns for path in kept} and len(kept) >= count - 1
    run(corpus, tmp_path / "straight", workers=1, shard_papers=4)
    assert outputs(out) == outputs(tmp_path / "straight")
    assert not list(out.rglob("*.tmp*"))


def shard_times(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "work" / "shards").glob("*.jsonl.zst")}


@pytest.mark.slow
def test_a_changed_knob_redoes_what_depends_on_it(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    first = run(corpus, out)
    shards = shard_times(out)

    second = run(corpus, out, "--set", "data.val_fraction=0.3")
    assert shard_times(out) == shards and second["splits"]["val"]["documents"] > first["splits"]["val"]["documents"]

    run(corpus, out, "--set", "data.max_chars=100000", "--accept-stale", "papers")
    assert shard_times(out) == shards and "made by other code, knobs or input" in capsys.readouterr().out

    middle = sorted(len(r["text"]) for r in read_jsonl(out / "train.jsonl"))[10]
    third = run(corpus, out, "--set", f"data.max_chars={middle}")
    assert not set(shard_times(out).values()) & set(shards.values())
    assert 10 < third["counts"]["reasons"]["too_long"] < 30

    fourth = run(corpus, out, "--set", "data.year_min=2020")
    assert fourth["counts"]["reasons"]["year"] == 10
    fresh = tmp_path / "fresh"
    run(corpus, fresh, "--set", "data.year_min=2020")
    assert outputs(out) == outputs(fresh)


def test_an_index_is_reused_knowingly_but_never_of_another_file(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    run(corpus, out)
    stale = run(corpus, out, "--set", "data.year_min=2020", "--accept-stale", "metadata")
    assert "year" not in stale["counts"]["reasons"] and stale["accepted_stale"] == ["metadata"]
    with open(corpus[0], "a") as file:
        file.write(json.dumps(record("2401.00500")) + "\n")
    with pytest.raises(UserError, match="itself has changed"):
        run(corpus, out, "--accept-stale", "metadata")
    assert run(corpus, out)["counts"]["input"]["metadata_records"] == 41


def test_a_touched_snapshot_is_not_indexed_again(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    run(corpus, out)
    os.utime(corpus[0])
    run(corpus, out)
    assert "metadata: index of 40 lines reused" in capsys.readouterr().out


def test_new_sources_leave_finished_shards_alone(corpus, tmp_path):
    out = tmp_path / "out"
    run(corpus, out)
    shards = shard_times(out)
    bulk_tar(corpus[1] / "arXiv_src_2401_002.tar", [("2401/2401.00003.gz", paper(1003))])
    manifest = run(corpus, out)
    assert "no_source" not in manifest["counts"]["reasons"] and manifest["counts"]["written"] == 31
    changed = [name for name, when in shard_times(out).items() if shards.get(name) != when]
    assert changed == [max(shards)]


def test_an_update_of_the_metadata_redoes_what_it_is_about(corpus, tmp_path):
    out = tmp_path / "out"
    run(corpus, out)
    shards = shard_times(out)
    lines = corpus[0].read_text().splitlines()
    remarks = [line if line.startswith("{not") else json.dumps(json.loads(line) | {"doi": "10.1/1"}) for line in lines]
    corpus[0].write_text("\n".join(remarks) + "\n")
    run(corpus, out)
    assert shard_times(out) == shards
    first = json.loads(remarks[0]) | {"title": "A new title"}
    corpus[0].write_text("\n".join([json.dumps(first), *remarks[1:]]) + "\n")
    run(corpus, out)
    changed = [name for name, when in shard_times(out).items() if shards.get(name) != when]
    assert len(changed) == 1 and changed[0].startswith("20" + first["id"][:4])
    assert "A new title" in {r["title"] for split in ("train", "val") for r in read_jsonl(out / f"{split}.jsonl")}


def test_a_paper_that_comes_late_moves_the_shards_of_its_month_alone(corpus, tmp_path):
    out = tmp_path / "out"
    run(corpus, out, shard_papers=2)
    shards = shard_times(out)
    with open(corpus[0], "a") as file:
        file.write(json.dumps(record("math/9902000")) + "\n")
    bulk_tar(corpus[1] / "arXiv_src_9902_001.tar", [("9902/math9902000.gz", paper(2000))])
    run(corpus, out, shard_papers=2)
    changed = {name for name, when in shard_times(out).items() if shards.get(name) != when}
    assert changed and {name[:6] for name in changed} == {"199902"}


@pytest.mark.parametrize(
    ("flags", "written", "outside"),
    [
        (["--months", "9901:9912"], 10, 29),
        (["--limit", "5"], 5, 34),
        (["--months", "2301:2312", "--limit", "7"], 7, 31),  # one of the seven has an older version, too
        (["--limit", "1000"], 30, 0),
    ],
)
def test_pilots(corpus, tmp_path, flags, written, outside):
    counts = run(corpus, tmp_path / "out", *flags)["counts"]
    # Of the 42, three are refused as lines of the snapshot, before the pilot is chosen.
    assert counts["reasons"].get("outside_pilot", 0) == outside
    assert counts["written"] == written


def test_a_longer_pilot_reuses_the_shards_of_a_shorter_one(corpus, tmp_path):
    out = tmp_path / "out"
    run(corpus, out, "--limit", "16")
    shards = shard_times(out)
    run(corpus, out)
    last = max(shards)  # the pilot ended in its midst
    assert {name: when for name, when in shard_times(out).items() if name in shards and name != last} == {
        name: when for name, when in shards.items() if name != last
    }
    assert len(shards) > 2


def test_a_damaged_bulk_tar_is_reported_and_stops_nothing(corpus, tmp_path, capsys):
    path = corpus[1] / "arXiv_src_9912_001.tar"
    path.write_bytes(path.read_bytes()[:2000])
    manifest = run(corpus, tmp_path / "out")
    assert "problem: arXiv_src_9912_001.tar: damaged" in capsys.readouterr().out
    assert manifest["counts"]["reasons"]["no_source"] > 5 and manifest["inputs"]["source"]["problems"] == 1
    assert sum(manifest["counts"]["reasons"].values()) + manifest["counts"]["written"] == 42


def test_a_folder_of_single_archives(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    names = ["2301.00001v1.tar.gz", "2301.00001v2.tar.gz", "hep-th9901001.gz", "2301.00002"]
    for seed, name in enumerate(names):
        (source / name).write_bytes(paper(seed))
    records = [record(i) for i in ("2301.00001", "hep-th/9901001", "2301.00002")]
    write_snapshot(tmp_path / "snapshot.json", [r | {"categories": "hep-th"} for r in records])
    out = tmp_path / "out"
    manifest = run((tmp_path / "snapshot.json", source), out, "--set", "data.val_fraction=0")
    assert manifest["counts"]["reasons"] == {"duplicate_source": 1}
    records = list(read_jsonl(out / "train.jsonl"))
    assert [r["id"] for r in records] == ["hep-th/9901001", "2301.00001", "2301.00002"]
    assert prose(1).splitlines()[0] in records[1]["text"]  # the higher version


def test_missing_inputs_say_how_to_get_them(corpus, tmp_path):
    metadata, source = corpus
    with pytest.raises(UserError, match="public metadata snapshot"):
        run((tmp_path / "absent.json", source), tmp_path / "out")
    with pytest.raises(UserError, match=r"download\.py sources"):
        run((metadata, tmp_path / "absent"), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no archive there"):
        run((metadata, tmp_path / "empty"), tmp_path / "out")
    with pytest.raises(UserError, match="YYMM:YYMM"):
        run(corpus, tmp_path / "out", "--months", "2301")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_nothing_kept_is_an_error_with_a_report(corpus, tmp_path):
    with pytest.raises(UserError, match="no paper was kept"):
        run(corpus, tmp_path / "out", "--set", "data.year_min=2100")
    assert (tmp_path / "out" / "report" / "report.html").exists()


def test_nothing_kept_leaves_an_earlier_dataset_alone(corpus, tmp_path):
    out = tmp_path / "out"
    run(corpus, out)
    before = {name: (out / name).read_bytes() for name in ("train.jsonl", "val.jsonl", "manifest.json")}
    with pytest.raises(UserError, match=r"no paper was kept \(.*year.*stays as it is"):
        run(corpus, out, "--set", "data.year_min=2100")
    assert before == {name: (out / name).read_bytes() for name in before}


def test_metadata_that_is_none_is_named(corpus, tmp_path):
    metadata = tmp_path / "metadata.json"
    metadata.write_text("[" * 100_000 + "\n" + "not json\n")
    with pytest.raises(UserError, match=r"metadata\.json arXiv's metadata snapshot"):
        run((metadata, corpus[1]), tmp_path / "out")


def test_a_full_disk_leaves_no_half_file_and_can_be_continued(corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    real = os.fsync

    def full(descriptor):
        if "train.jsonl" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="no space left"):
        patch.setattr(os, "fsync", full)
        run(corpus, out)
    assert not (out / "train.jsonl").exists() and not list(out.glob("*.tmp"))
    shards = shard_times(out)
    run(corpus, out)
    assert shard_times(out) == shards


def test_too_little_space_is_told_beforehand(corpus, tmp_path, monkeypatch):
    import shutil

    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(UserError, match="the index needs"):
        run(corpus, tmp_path / "out")


def test_two_runs_in_one_folder_are_refused(corpus, tmp_path):
    import fcntl

    out = tmp_path / "out"
    (out / "work").mkdir(parents=True)
    with open(out / "work" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run"):
            run(corpus, out)


def test_show(corpus, tmp_path, capsys):
    command = [*arguments(corpus, tmp_path / "out"), "--show"]
    assert prepare_dataset.main([*command, "math/9902001"]) == 0
    shown = capsys.readouterr().out
    assert '"id": "math/9902001"' in shown and "\\documentclass" in shown and "outcome: kept" in shown
    assert prepare_dataset.main([*command, "2401.00005"]) == 0
    assert "rejected: pdf_only" in capsys.readouterr().out
    with pytest.raises(UserError, match="neither"):
        prepare_dataset.main([*command, "1001.0001"])
    with pytest.raises(UserError, match="not an arXiv identifier"):
        prepare_dataset.main([*command, "nonsense"])


def test_counts_that_do_not_add_up_stop_the_run():
    from collections import Counter

    summary.check_sum(Counter(subject=2), 3, 5)
    with pytest.raises(RuntimeError, match="do not add up"):
        summary.check_sum(Counter(subject=2), 3, 6)
    with pytest.raises(RuntimeError, match="does not know"):
        summary.check_sum(Counter(no_such_reason=2), 3, 5)


def test_every_reason_of_the_code_is_in_the_closed_list():
    assert set(PLANTED) <= set(REASONS)


def test_what_other_code_has_made_is_kept_by_the_command_that_it_prints(corpus, tmp_path, capsys, monkeypatch):
    from data_prep.pipeline import rerun

    def other_code(roots):
        return {f"{root}.py": "of another layout" for root in roots}

    finished, begun = tmp_path / "finished", tmp_path / "begun"
    with monkeypatch.context() as other:
        for module in (rerun, stages):
            other.setattr(module, "module_hashes", other_code)
        with monkeypatch.context() as of_before:
            of_before.setattr(stages, "dataset_card", lambda _: "# A card without types\n")
            run(corpus, finished)
        run(corpus, begun)
    (begun / "work" / "finished.json").unlink()
    (begun / "manifest.json").unlink()
    (gone := sorted((begun / "work" / "shards").glob("*.json"))[1]).unlink()
    before, times = outputs(finished), shard_times(begun)
    capsys.readouterr()

    run(corpus, finished, "--accept-stale", "all")
    shown = capsys.readouterr().out
    assert "finished already, and nothing but the code has changed" in shown
    # All but the card, by which the dataset is loaded: that of today's code.
    assert f"{finished / 'README.md'}: written anew" in shown
    card = outputs(finished)["README.md"]
    assert b"features:" in card and outputs(finished) == before | {"README.md": card}
    run(corpus, finished, "--accept-stale", "all")
    shown = capsys.readouterr().out
    assert "nothing but the code has changed" in shown and "written anew" not in shown

    one_more = shutil.copytree(begun, tmp_path / "one more")
    run(corpus, one_more)
    hint = next(line for line in capsys.readouterr().out.splitlines() if line.endswith("--accept-stale papers"))
    assert "data_prep/prepare_dataset.py" in hint and f"'{one_more}'" in hint

    run(corpus, begun, "--accept-stale", "all")
    shown = capsys.readouterr().out
    assert "lines reused, though made by other code" in shown and "1 papers to process" not in shown
    again = {name for name, time in shard_times(begun).items() if time != times[name]}
    assert again == {gone.with_suffix(".jsonl.zst").name}
    assert {name: data for name, data in outputs(begun).items() if name.endswith(("l", "tsv")) and "/" not in name} == {
        name: data for name, data in before.items() if name.endswith(("l", "tsv")) and "/" not in name
    }

    assert run(corpus, finished)["accepted_stale"] == []
    shown = capsys.readouterr().out
    command = next(line.strip() for line in shown.splitlines() if line.endswith("--accept-stale all"))
    assert "data_prep/prepare_dataset.py --metadata" in command and str(finished) in command
