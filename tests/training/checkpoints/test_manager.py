import json
import os
import re
from dataclasses import asdict, replace
from typing import Any, cast

import pytest
import torch

from common.errors import UserError
from training.checkpoints import async_writer
from training.checkpoints import manager as checkpoint
from training.checkpoints.manager import (
    Checkpoints,
    Keep,
    State,
    batch_of,
    check_state,
    damage,
    finished,
    last_good,
    read_state,
)
from training.collectives import Control

STATE = State(
    step=5,
    processes=2,
    sequences_per_step=16,
    skipped=32,
    tokenizer="a" * 64,
    train_sha256="b" * 64,
    val_sha256="e" * 64,
    best_step=4,
)


class OneProcess:
    """The channel between processes where there is one (training.collectives.Control)."""

    rank, processes = 0, 1

    def highest(self, *values):
        return list(values)

    def gather(self, value):
        return [value]

    def told_by_first(self, function):
        return function()

    def barrier(self):
        pass


class Engine:
    """As much of DeepSpeed's engine as saving needs."""

    checkpoint_engine: Any  # Checkpoints gives it

    def __init__(self):
        self.weights = torch.arange(1000.0)

    def save_checkpoint(self, folder, tag, save_latest):
        self.checkpoint_engine.create(None)
        os.makedirs(f"{folder}/{tag}", exist_ok=True)
        state = {"module": {"w": self.weights, "same": self.weights}, "step": 3}
        self.checkpoint_engine.save(state, f"{folder}/{tag}/model.pt")
        self.checkpoint_engine.save([self.weights[:10] + 1], f"{folder}/{tag}/optimizer.pt")


LAST_TWO = Keep(last=2, every=None, best=False)


def checkpoints(folder, keep=LAST_TWO, background=True):
    return Checkpoints(Engine(), folder, cast(Control, OneProcess()), keep, background)


def written(folder, *steps, **options):
    made = checkpoints(folder, **options)
    for step in steps:
        assert made.save(replace(STATE, step=step)) is None and made.finish() is None
    return made


def test_only_finished_checkpoints_count_oldest_first(tmp_path):
    written(tmp_path, 20, 5, 100, keep=Keep(9, None, False))
    (tmp_path / "step-00000200.partial").mkdir()
    (tmp_path / "step-00000300.damaged").mkdir()
    assert [read_state(path).step for path in finished(tmp_path)] == [5, 20, 100]
    assert finished(tmp_path / "none") == []


def test_a_checkpoint_holds_what_was_there_when_it_was_taken(tmp_path):
    made = checkpoints(tmp_path)
    assert made.save(STATE) is None
    made.engine.weights.zero_()
    assert made.pending and made.finish() is None and not made.pending
    (path,) = finished(tmp_path)
    content = torch.load(path / "model.pt")
    assert torch.equal(content["module"]["w"], torch.arange(1000.0)) and content["step"] == 3
    assert torch.equal(torch.load(path / "optimizer.pt")[0], torch.arange(10.0) + 1)
    assert read_state(path) == STATE and damage(path) is None
    assert sorted(p.name for p in path.iterdir()) == ["model.pt", "optimizer.pt", "state.json"]
    assert 4000 < (path / "model.pt").stat().st_size < 7000  # a tensor met twice lies there once


def test_in_the_foreground_it_is_finished_at_once(tmp_path):
    made = checkpoints(tmp_path, background=False)
    assert made.save(STATE) is None and not made.pending
    assert damage(finished(tmp_path)[0]) is None


def test_the_last_the_best_and_every_so_many_stay(tmp_path):
    written(tmp_path, 1, 2, 3, 4, 5, 6, 7, 8, 9, keep=Keep(last=2, every=3, best=True))
    assert [checkpoint.step_of(path) for path in finished(tmp_path)] == [3, 4, 6, 8, 9]  # STATE.best_step is 4


def test_leftovers_of_a_kill_go(tmp_path):
    for name in ("step-00000005.partial", "step-00000005.universal"):
        (tmp_path / name).mkdir()
    checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda p: os.truncate(p / "model.pt", 100), r"model\.pt has 100 bytes of [\d,]+"),
        (lambda p: (p / "optimizer.pt").unlink(), "optimizer.pt: No such file"),
        (lambda p: _flip(p / "model.pt"), "model.pt is not what was written"),
        (lambda p: (p / "state.json").write_text("{"), "state.json is missing or damaged"),
        (lambda p: (p / "state.json").write_text('{"files": {}}'), "state.json is missing or damaged"),
        (lambda p: (p / "state.json").unlink(), "state.json is missing or damaged"),
        (lambda p: _edit(p / "state.json", '"skipped": 32', '"skipped": 33'), "state.json is missing or damaged"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, spoil, told):
    written(tmp_path, 5, 6)
    spoil(tmp_path / "step-00000006")
    good, passed_over = last_good(tmp_path)
    assert good == tmp_path / "step-00000005"
    assert re.search(rf"step-00000006: {told}.*passed over, and set aside as step-00000006.damaged", passed_over[0])
    assert finished(tmp_path) == [good]  # so that what is saved next is among the last ones
    spoil(good)
    with pytest.raises(UserError, match=r"none of its 1 checkpoints can be used"):
        last_good(tmp_path)
    assert finished(tmp_path) == [good]


def test_a_checkpoint_under_another_steps_name_is_passed_over(tmp_path):
    written(tmp_path, 5, 6)
    (tmp_path / "step-00000006").rename(tmp_path / "step-00000007")
    good, (told,) = last_good(tmp_path)
    assert good == tmp_path / "step-00000005" and "state.json is that of step 6" in told


def _edit(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_last_good_one_before_a_step(tmp_path):
    assert last_good(tmp_path) == (None, [])
    written(tmp_path, 5, 6)
    assert last_good(tmp_path, before=5) == (tmp_path / "step-00000005", [])


def test_a_full_disk_is_seen_before_writing(tmp_path, monkeypatch):
    made = written(tmp_path, 5)
    usage = checkpoint.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "0.00 GB are free" in made.save(replace(STATE, step=6))
    assert not made.pending and [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_write_that_fails_leaves_the_one_before(tmp_path, monkeypatch, error):
    made = written(tmp_path, 5)

    def fail(*_):
        raise error

    monkeypatch.setattr(async_writer, "write_hashed", fail)
    assert made.save(replace(STATE, step=6)) is None
    assert re.search("cannot be written .*(No space|PytorchStream)", made.finish())
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
    monkeypatch.undo()
    assert made.save(replace(STATE, step=7)) is None and made.finish() is None


def test_a_checkpoint_of_the_same_run_is_accepted(tmp_path):
    check_state(STATE, replace(STATE, step=0, skipped=0, processes=4), tmp_path, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": "c" * 64}, f"its tokenizer fingerprint is {'a' * 64}"),
        ({"train_sha256": "d" * 64}, "its sha256 of the training split is"),
        ({"val_sha256": "d" * 64}, "its sha256 of the validation split is"),
        (
            {"processes": 1, "sequences_per_step": 8},
            "16 sequences over 2 process(es), this command's 8 over 1; keep the step's size with --resume RUN "
            "--set train.micro_batch_size=8 --set train.gradient_accumulation_steps=2",
        ),
        ({"processes": 3, "sequences_per_step": 24}, "take a number of processes that divides 16"),
    ],
)
def test_another_world_is_refused(tmp_path, change, message):
    with pytest.raises(UserError) as raised:
        check_state(STATE, replace(STATE, **change), tmp_path / "checkpoints/step-00000005", 8)
    assert message in str(raised.value).replace(str(tmp_path), "RUN")


def test_batches_that_make_the_same_step():
    assert batch_of(64, 2, 8) == (8, 4) and batch_of(64, 4, 32) == (16, 1)
    assert batch_of(12, 3, 8) == (4, 1) and batch_of(16, 3, 8) is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", "{"])
def test_a_damaged_state_is_named(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(UserError, match=r"state\.json: cannot be read.*delete"):
        read_state(tmp_path)


def test_where_the_next_window_stands():
    assert STATE.position == 5 * 16 + 32 and set(json.loads(json.dumps(asdict(STATE)))) == set(asdict(STATE))


def test_a_full_disk_is_told_in_its_own_words():
    if not os.path.exists("/dev/full"):
        pytest.skip("no device that is always full")
    from pathlib import Path

    with pytest.raises(OSError, match="No space left on device"):
        async_writer.write_hashed(Path("/dev/full"), {"w": torch.zeros(1_000_000)})
