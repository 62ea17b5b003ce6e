"""Runs beside each other: what differed, ranks, seeds, several splits and tokenizers, damaged runs."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path

import pytest

from common.errors import UserError
from evaluation.compare_runs import colours, labels, main
from evaluation.run_data.data import read_run
from reports.comparison import LINES, validation_places
from tests.evaluation.test_report_run import PNG, change, text_of
from tests.helpers.run_factory import make_run


def compare(runs: Path, *arguments: str) -> tuple[dict, str]:
    """comparison.json and the page's text of the runs in a folder."""
    assert main([*arguments, "--set", f"train.runs={runs}"]) == 0
    out = runs / "comparison"
    assert (out / "curves.png").read_bytes().startswith(PNG)
    page = (out / "comparison.html").read_text(encoding="utf-8")
    return json.loads((out / "comparison.json").read_text()), text_of(page)


def with_bits(folder: Path, *bits: float) -> Path:
    """Give the validations of a run these bits per byte."""
    left = iter(bits)
    change(folder, lambda record: "val_loss" in record and record.update(val_bits_per_byte=next(left)))
    return folder


def test_the_table_is_sorted_by_best_bits_per_byte(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with_bits(make_run(tmp_path / "a", "train.learning_rate=0.001", steps=100), 4.0, 1.25, 1.5)
    with_bits(make_run(tmp_path / "b", "train.learning_rate=0.003", steps=100), 4.0, 1.3, 1.125)
    with_bits(make_run(tmp_path / "c", "train.learning_rate=0.002", steps=100), 4.0, 1.4, 1.375)
    make_run(tmp_path / "d", "train.learning_rate=0.004", steps=100, val_every=0)
    found, shown = compare(tmp_path)
    assert [(row["rank"], row["run"], row["best_bits_per_byte"]) for row in found["runs"]] == [
        (1, "b", 1.125),
        (2, "a", 1.25),
        (3, "c", 1.375),
        (None, "d", None),
    ]
    a = found["runs"][1]
    assert (a["best_step"], a["final_bits_per_byte"], a["state"], a["tokens"]) == (50, 1.5, "finished", 409_600)
    assert a["differs"] == {"train.learning_rate": 0.001} and found["groups"] == [] and found["notes"] == []
    assert "1 | b | 0.003 | finished | 100 | 410k | 1.1250 | 100 | 1.1250 | 10.74 (aaaa1111) |" in shown
    assert "Perplexities are of: tokenizer aaaa1111, 4,096 entries." in shown
    page = (tmp_path / "comparison/comparison.html").read_text()
    assert '<td class="n best">1.1250</td>' in page and page.count("best>") + page.count('best">') == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["rank", "run", "train.learning_rate"] and lines[1].split()[:3] == [
        "1",
        "b",
        "0.003",
    ]
    with (tmp_path / "comparison/comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["b", "a", "c", "d"]
    assert float(rows[0]["best_bits_per_byte"]) == 1.125 and rows[3]["best_bits_per_byte"] == ""
    assert (
        float(rows[0]["train.learning_rate"]) == 0.003 and rows[0]["tokenizer"] == "tokenizer aaaa1111, 4,096 entries"
    )


def test_seeds_are_averaged_and_the_unfinished_are_not(tmp_path: Path) -> None:
    for rate, bits in ((0.001, (1.0, 1.1, 1.3)), (0.002, (0.9, 0.8, 0.5))):
        for seed, best in enumerate(bits):
            unfinished = rate == 0.002 and seed == 2
            folder = make_run(
                tmp_path / f"{rate}-{seed}",
                f"train.learning_rate={rate}",
                steps=50,
                seed=seed,
                finished=not unfinished,
                git_commit=f"{seed}{rate}",  # committed run by run
            )
            with_bits(folder, 4.0, best)
            (folder / "results.json").write_text(json.dumps({"proofs": 0.5 + best, "seen": {"by": "hand"}}))
    make_run(tmp_path / "alone", "train.learning_rate=0.005", steps=50)
    found, shown = compare(tmp_path)
    groups = {group["settings"]["train.learning_rate"]: group for group in found["groups"]}
    assert set(groups) == {0.001, 0.002}
    first = groups[0.001]
    assert first["seeds"] == [0, 1, 2] and first["ended"] == 3 and first["settings"] == {"train.learning_rate": 0.001}
    mean, deviation = 3.4 / 3, statistics.stdev([1.0, 1.1, 1.3])
    assert first["best_bits_per_byte"] == pytest.approx({"mean": mean, "deviation": deviation, "runs": 3})
    assert first["results.proofs"]["mean"] == pytest.approx(0.5 + mean) and first["results.seen.by"] is None
    assert groups[0.002]["ended"] == 2
    assert groups[0.002]["best_bits_per_byte"]["mean"] == pytest.approx(0.85)
    assert "0.001-0, 0.001-1, 0.001-2 | 3 of 3 | 0, 1, 2 | 1.1333 ± 0.1528 |" in shown
    assert "train.learning_rate 0.002 | 0.002-0, 0.002-1, 0.002-2 | 2 of 3 |" in shown
    assert "Not at their end: 0.002-2." in shown
    assert {row["run"]: row["results"].get("proofs") for row in found["runs"]}["0.001-1"] == pytest.approx(1.6)
    assert set(found["runs"][0]["differs"]) == {"train.learning_rate", "train.seed", "git_commit"}


def test_other_processes_or_data_are_no_other_seed(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps=20, seed=0)
    make_run(tmp_path / "b", steps=20, seed=1, processes=4)
    make_run(tmp_path / "c", steps=20, seed=2, train_sha256="d" * 64)
    assert compare(tmp_path)[0]["groups"] == []


def test_tokenizers_are_named_and_their_perplexities_not_ranked(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps=20)
    make_run(tmp_path / "b", "vocab_size=8192", steps=20, tokenizer="eeee" * 16)
    found, shown = compare(tmp_path)
    assert {row["rank"] for row in found["runs"]} == {1, 2}
    assert any("are not ranked; bits per byte are" in note for note in found["notes"])
    assert "10.74 (aaaa1111)" in shown and "11.57 (eeeeeeee)" in shown
    assert "tokenizer aaaa1111, 4,096 entries; tokenizer eeeeeeee, 8,192 entries" in shown
    for sort in ("perplexity", "loss"):
        with pytest.raises(UserError, match=rf"--sort {sort}: the runs have 2 tokenizers .*take --sort bits_per_byte"):
            main(["--sort", sort, "--set", f"train.runs={tmp_path}"])
    fast = compare(tmp_path, "--sort", "tokens_per_second")[0]["runs"]
    assert fast[0]["tokens_per_second"] >= fast[1]["tokens_per_second"]


def test_one_tokenizer_ranks_by_perplexity(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps=20)
    make_run(tmp_path / "b", "train.weight_decay=0.2", steps=20, quality=0.3)
    assert [row["run"] for row in compare(tmp_path, "--sort", "perplexity")[0]["runs"]] == ["b", "a"]


def test_validation_splits_are_ranked_apart(tmp_path: Path) -> None:
    for name, bits, split in (("a", 1.0, "c"), ("b", 0.5, "d"), ("c", 1.2, "c"), ("d", 0.9, "c"), ("e", 0.4, "d")):
        with_bits(make_run(tmp_path / name, steps=50, val_sha256=split * 64, git_commit=name), 4.0, bits)
    found, shown = compare(tmp_path)
    assert [(row["rank"], row["run"]) for row in found["runs"]] == [(1, "d"), (2, "a"), (3, "c"), (1, "e"), (2, "b")]
    assert any("2 validation splits" in note and "not comparable" in note for note in found["notes"])
    assert shown.index("Validation split sha256 cccccccc") < shown.index("Validation split sha256 dddddddd")


def test_a_split_that_was_not_noted_is_known_by_the_training_split_beside_it(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps=20, old=True)
    make_run(tmp_path / "b", steps=20, old=True, train_sha256="d" * 64)
    found, _ = compare(tmp_path)
    assert {row["validation_split"] for row in found["runs"]} == {
        "beside training split bbbb2222",
        "beside training split dddddddd",
    }
    # Another training split beside the same validation split can be compared.
    make_run(tmp_path / "two/a", steps=20)
    make_run(tmp_path / "two/b", steps=20, train_sha256="d" * 64)
    found, _ = compare(tmp_path / "two")
    assert [row["rank"] for row in found["runs"]] == [1, 2] and found["notes"] == []


def test_other_parts_of_a_split_are_told(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps=20)
    make_run(tmp_path / "b", "train.val_sequences=7", steps=20)
    (note,) = compare(tmp_path)[0]["notes"]
    assert "sha256 cccc3333 the runs read 2 different parts" in note


def test_keys_that_older_runs_lack_are_no_difference(tmp_path: Path) -> None:
    make_run(tmp_path / "new", steps=20, val_sha256=None)
    make_run(tmp_path / "old", steps=20, old=True)
    found, shown = compare(tmp_path)
    assert found["runs"][0]["differs"] == {} and "train.loss_kernel" in found["noted_by_some_only"]
    assert "Noted by some of the runs only, with one value:" in shown


def test_what_makes_no_other_run_is_told_where_it_differs(tmp_path: Path) -> None:
    make_run(tmp_path / "a", steps=20)
    make_run(tmp_path / "b", "train.gradient_checkpointing=all", steps=20, device="NVIDIA H200")
    differs = compare(tmp_path)[0]["runs"][0]["differs"]
    assert set(differs) == {"train.gradient_checkpointing", "device"}


def test_damaged_runs_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_run(tmp_path / "good", steps=20)
    (make_run(tmp_path / "torn", steps=20) / "run.json").write_text("{")
    (make_run(tmp_path / "mixed", steps=20) / "metrics.jsonl").write_text("{}\n")
    (make_run(tmp_path / "bare", steps=20) / "run.json").unlink()
    found, shown = compare(tmp_path)
    assert [row["run"] for row in found["runs"]] == ["good"] and len(found["left_out"]) == 3
    for part in ("torn/run.json: cannot be read", "mixed/metrics.jsonl:1: not a record", "bare: not a run"):
        assert part in " ".join(found["left_out"]) and part in shown
    assert capsys.readouterr().out.count("left out: ") == 3
    with pytest.raises(UserError, match=r"no run to compare: .*torn/run\.json"):
        main([str(tmp_path / "torn"), "--out", str(tmp_path / "out")])


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in it; train one first"):
        main(["--set", f"train.runs={tmp_path}"])


def test_runs_by_name_and_json_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("a", "b", "c"):
        make_run(tmp_path / name, steps=20, planned=30 if name == "c" else 20)
    arguments = ["a", str(tmp_path / "c"), "a", "--out", str(tmp_path / "out"), "--json"]
    assert main([*arguments, "--set", f"train.runs={tmp_path}"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {row["run"] for row in printed["runs"]} == {"a", "c"}
    assert printed == json.loads((tmp_path / "out/comparison.json").read_text())


def test_runs_without_a_step(tmp_path: Path) -> None:
    make_run(tmp_path / "empty", steps=0, planned=10, val_every=0)
    found, _ = compare(tmp_path)
    assert found["runs"][0]["rank"] is None and found["runs"][0]["steps"] == 0
    make_run(tmp_path / "some", steps=20, planned=30)
    assert [row["run"] for row in compare(tmp_path, "--x", "step")[0]["runs"]] == ["some", "empty"]


def test_24_runs_have_24_looks_and_labels(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / f"r{i:02d}", f"train.adam_beta2={0.9 + i / 1000:.3f}", steps=20) for i in range(24)]
    found, _ = compare(tmp_path)
    runs = [read_run(folder) for folder in folders]
    assert len(set(colours(runs))) == 24 and max(line for _, line in colours(runs)) < len(LINES)
    assert len(set(labels(found))) == 24 and all(len(label) < 80 for label in labels(found))
    assert labels(found)[0].endswith("adam_beta2 0.9") and labels(found)[0].startswith("1. r00  0.9784")
    seeds = [read_run(make_run(tmp_path / f"seeds/{i}", steps=4, seed=i)) for i in range(3)]
    assert colours(seeds) == [(0, 0), (0, 1), (0, 2)]


def test_validations_stand_at_the_tokens_of_their_steps(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", steps=100, val_every=50))
    assert validation_places(run, by_tokens=True).tolist() == [0, 50 * 4096, 100 * 4096]
    assert validation_places(run, by_tokens=False).tolist() == [0, 50, 100]


def test_forgetting_is_a_column_where_a_run_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_run(tmp_path / "on", forgetting=0.4)
    make_run(tmp_path / "plain", seed=1)
    found, text = compare(tmp_path)
    title = "bits per byte, pretraining's, last"
    assert title in text and title in capsys.readouterr().out
    assert {row["run"]: row["final_pretraining_bits_per_byte"] is None for row in found["runs"]} == {
        "on": False,
        "plain": True,
    }
    shutil.rmtree(tmp_path / "on")
    assert title not in compare(tmp_path)[1]


def test_the_screen_has_few_figures_of_evaluations_and_the_page_all(tmp_path: Path, capsys) -> None:
    folder = make_run(tmp_path / "a", steps=20)
    results = {
        "perplexity": {"bits_per_byte": 0.7, "kinds": {"prose": 0.8}},
        "generations": {"human": {"balanced": 1.0}},
        "benchmarks": {"sciq": {"acc": 0.5, "acc_stderr": 0.1}},
        "own": {"score": 3},
    }
    (folder / "results.json").write_text(json.dumps(results))
    _, text = compare(tmp_path)
    shown = capsys.readouterr().out
    for key in ("perplexity.bits_per_byte", "benchmarks.sciq.acc ", "own.score"):
        assert key in shown and key.strip() in text
    for key in ("perplexity.kinds.prose", "generations.human.balanced", "benchmarks.sciq.acc_stderr"):
        assert key not in shown and key in text
