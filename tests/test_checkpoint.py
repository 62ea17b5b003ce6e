import json
import re
from dataclasses import asdict, replace

import pytest

from settings import UserError
from training.checkpoint import State, check_state, finished, read_state

STATE = State(step=5, processes=2, position=80, tokenizer="a" * 64, train_sha256="b" * 64)


def write(folder, state):
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps(asdict(state)))


def test_only_finished_checkpoints_count_oldest_first(tmp_path):
    for step in (20, 5, 100):
        write(tmp_path / f"step-{step:08d}", replace(STATE, step=step))
    write(tmp_path / "step-00000200.partial", STATE)
    (tmp_path / "step-00000300").mkdir()
    assert [read_state(path).step for path in finished(tmp_path)] == [5, 20, 100]
    assert finished(tmp_path / "none") == []


def test_a_checkpoint_of_the_same_run_is_accepted(tmp_path):
    check_state(STATE, replace(STATE, step=0, position=0), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processes": 4}, "its number of processes is 2, this command's is 4"),
        ({"tokenizer": "c" * 64}, f"its tokenizer fingerprint is {'a' * 64}"),
        ({"train_sha256": "d" * 64}, "its sha256 of the training split is"),
    ],
)
def test_another_world_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check_state(STATE, replace(STATE, **change), tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "{"])
def test_a_damaged_state_is_named(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(UserError, match=r"state\.json: cannot be read.*delete"):
        read_state(tmp_path)
