"""learning.py: its tenth, its plan, the figures of runs made here, and (slow) the whole of it in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.training import learning, learning_figures
from common.errors import UserError
from common.jsonl import find_split, read_jsonl
from tests.helpers import tiny_world

WARM, STEPS = 10, 60


def write_run(out: Path, name: str, losses: list[float], validations: dict[int, float], norms: list[float]) -> None:
    """A finished run as train.py leaves it, without a model."""
    folder = out / "runs" / name
    (folder / "export").mkdir(parents=True)
    config = json.loads(tiny_world.make_world(out / "world").read_text())
    config["train"] |= {"warmup_steps": WARM, "max_steps": STEPS}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.json").write_text(json.dumps({"train_sha256": "ab"}))
    cache = out / "world/data/token_cache/train-1/manifest.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"source_sha256": "ab", "num_tokens": 300}))
    records: list[dict] = [{"step": 0, "val_loss": 8.0, "val_bits_per_byte": 4.0}]
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), 1):
        rate = {"learning_rate": 1e-3, "tokens_per_second": 10.0, "tokens": 10 * step}
        records.append({"step": step, "loss": loss, "grad_norm": norm, **rate})
        if step in validations:
            records.append({"step": step, "val_loss": validations[step], "val_bits_per_byte": validations[step] / 2})
    records.append({"step": STEPS, "event": "spike", "loss": 99.0})  # no step of its own
    tiny_world.write_jsonl(folder / "metrics.jsonl", records)


def steady(spike_at: int | None = None) -> tuple[list[float], list[float]]:
    """Losses and gradient norms of one value each, but for a step at which both leap."""
    losses, norms = [3.0] * STEPS, [0.5] * STEPS
    norms[0] = 50.0  # within the warm-up: does not count
    if spike_at is not None:
        losses[spike_at], norms[spike_at] = 9.0, 2.0
    return losses, norms


def test_the_tenth_is_a_tenth_and_always_the_same():
    ids = [f"2401.{index:05d}" for index in range(20_000)]
    chosen = {name for name in ids if learning.in_share(name)}
    assert 1_800 < len(chosen) < 2_200  # 4.7 standard deviations
    assert chosen != {name for name in ids if learning.in_share(name, seed=0)}
    assert chosen < {name for name in ids if learning.in_share(name, share=0.2)}


def test_the_tenth_keeps_all_of_the_validation_split(tmp_path):
    tiny_world.write_jsonl(tmp_path / "data/train.jsonl", [tiny_world.document(i, words=3) for i in range(300)])
    tiny_world.write_jsonl(tmp_path / "data/val.jsonl", [tiny_world.document(i) for i in range(900, 905)])
    learning.write_tenth(learning.find_splits(tmp_path / "data"), tmp_path / "tenth")
    everything = list(read_jsonl(tmp_path / "data/train.jsonl"))
    assert list(read_jsonl(tmp_path / "tenth/train.jsonl")) == [r for r in everything if learning.in_share(r["id"])]
    assert (tmp_path / "tenth/val.jsonl").read_bytes() == (tmp_path / "data/val.jsonl").read_bytes()
    few = [record for record in everything if not learning.in_share(record["id"])]
    tiny_world.write_jsonl(tmp_path / "data/train.jsonl", few)
    with pytest.raises(UserError, match="no document of train falls into the tenth"):
        learning.write_tenth(learning.find_splits(tmp_path / "data"), tmp_path / "other")
    assert not find_split(tmp_path / "other", "train")


def test_regimes_take_turns_and_differ_in_their_data_alone():
    jobs = learning.plan(learning.KINDS, seeds=2)
    assert [job.name for job in jobs] == ["hour", "tenth-seed0", "all-seed0", "tenth-seed1", "all-seed1"]
    tenth, everything = jobs[1], jobs[2]
    assert tenth.overrides == everything.overrides and (tenth.tenth, everything.tenth) == (True, False)
    assert [job.name for job in learning.plan(["all"], seeds=1)] == ["all-seed0"]


def test_figures_of_a_run(tmp_path):
    losses, norms = steady(spike_at=40)
    write_run(tmp_path, "tenth-seed1", losses, {20: 4.0, 40: 3.5, 50: 3.8, 60: 3.6}, norms)
    (found,) = learning_figures.all_figures(tmp_path / "runs")
    assert (found["kind"], found["seed"], found["finished"], found["steps"]) == ("tenth", 1, True, STEPS)
    assert found["epochs"] == 2.0 and found["minutes"] == pytest.approx(1.0) and found["parameters"] > 10_000
    assert found["training_loss"] == pytest.approx(3.1) and found["gap"] == pytest.approx(0.5)
    assert (found["best_step"], found["best_bits_per_byte"], found["spikes"]) == (40, 1.75, 1)
    assert found["setbacks"] == pytest.approx(1 / 2)  # 3.8 and 3.6 after 3.5
    norm = found["gradient_norm"]
    assert norm["above_twice_median"] == pytest.approx(1 / 50) and norm["highest_over_median"] == pytest.approx(4)
    assert norm["mean"] == pytest.approx(0.53) and norm["trend"] == pytest.approx(1.0)


def test_table_means_and_plot_of_unequal_runs(tmp_path, capsys):
    losses, norms = steady()
    for name, value in (("all-seed0", 3.2), ("all-seed1", 3.4), ("hour", 3.0)):
        write_run(tmp_path, name, losses, {20: 4.0, 60: value}, norms)
    write_run(tmp_path, "tenth-seed0", losses[:30], {20: 4.0}, norms[:30])
    (tmp_path / "runs/tenth-seed0/export").rmdir()
    write_run(tmp_path, "tenth-seed1", losses[:5], {}, norms[:5])  # has nothing to say yet
    write_run(tmp_path, "another", losses, {60: 1.0}, norms)
    assert learning.main(["--out", str(tmp_path), "--plot-only"]) == 0
    shown = capsys.readouterr().out
    assert "| hour | tenth-seed0 (step 30) | all-seed0 | all-seed1 | all, 2 seeds |" in shown
    assert "3.300 ± 0.141" in shown and "another" not in shown
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["regimes"]) == {"all"} and results["regimes"]["all"]["seeds"] == 2
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_missing_is_named(tmp_path):
    config = tiny_world.make_world(tmp_path)

    def start(dataset: Path, tokenizer: Path, *more: str) -> None:
        flags = ["--dataset", str(dataset), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out")]
        learning.main([*flags, "--config", str(config), *more])

    with pytest.raises(UserError, match=r"nowhere/train\.jsonl: no such split"):
        start(tmp_path / "nowhere", tmp_path / "tokenizer")
    with pytest.raises(UserError, match=r"tokenizer\.json: no such file; python tokenizer/train_tokenizer\.py"):
        start(tmp_path / "data", tmp_path / "data")
    with pytest.raises(UserError, match=r"train\.sequence"):
        start(tmp_path / "data", tmp_path / "tokenizer", "--only", "hour", "--set", "train.sequence=3")
    with pytest.raises(UserError, match="no runs of this benchmark"):
        learning.main(["--out", str(tmp_path / "out"), "--plot-only"])
    with pytest.raises(SystemExit):
        learning.main(["--out", str(tmp_path / "out")])


@pytest.mark.slow
def test_the_whole_of_it_in_small(tmp_path, capsys):
    config = tiny_world.make_world(tmp_path)
    tiny_world.write_jsonl(tmp_path / "data/train.jsonl", [tiny_world.document(i) for i in range(100)])
    flags = ["--dataset", str(tmp_path / "data"), "--tokenizer", str(tmp_path / "tokenizer")]
    flags += ["--config", str(config), "--out", str(tmp_path / "out"), "--seeds", "1", "--only", "tenth", "all"]
    small = {"hidden_size": 32, "train.seq_len": 32, "train.micro_batch_size": 2}
    small |= {"train.max_steps": 12, "train.warmup_steps": 2, "train.val_every": 4, "train.val_sequences": 8}
    for key, value in small.items():
        flags += ["--set", f"{key}={value}"]
    assert learning.main(flags) == 0
    runs = {r["run"]: r for r in json.loads((tmp_path / "out/results.json").read_text())["runs"]}
    assert set(runs) == {"tenth-seed0", "all-seed0"} and all(r["finished"] for r in runs.values())
    assert runs["tenth-seed0"]["epochs"] > 4 * runs["all-seed0"]["epochs"] > 0
    metrics = (tmp_path / "out/runs/all-seed0/metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert learning.main(flags) == 0
    assert (tmp_path / "out/runs/all-seed0/metrics.jsonl").read_bytes() == metrics  # left alone
    with pytest.raises(UserError, match=r"tenth-seed0: train\.py ended with status 2: error: .*all of it"):
        learning.main([*flags, "--set", "train.learning_rate=1"])
