import math
from pathlib import Path

import pytest

from common.settings.load import load_settings
from tests.helpers import tiny_world
from tokenizer.cache.ensure import ensure_token_cache
from training.checkpoints import manager
from training.run_folder.preflight import find_splits
from training.spikes import LEAST_STEPS, badness, document_ids, judge, spike_limit
from training.startup import Startup
from training.watchdog import Watchdog

STEADY = [3.0 + 0.02 * (-1) ** step for step in range(100)]


def test_a_loss_far_above_its_neighbours_is_a_spike():
    assert judge(3.1, STEADY, 6) is None and judge(4.0, STEADY, 6) == "spike"
    assert judge(1.0, STEADY, 6) is None  # falling is what losses are for
    assert judge(4.0, STEADY, None) is None
    assert judge(4.0, STEADY[: LEAST_STEPS - 1], 6) is None


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_found_without_neighbours(loss):
    assert judge(loss, [], None) == "not_finite"


def test_a_step_without_a_loss_is_nothing_and_its_micro_batches_come_last():
    assert judge(None, STEADY, 6) is None
    assert sorted([math.inf, 2.0, None, 0.0], key=badness) == [None, 0.0, 2.0, math.inf]


def test_losses_of_0_that_earlier_code_noted_are_not_compared_with(monkeypatch):
    resuming = object.__new__(Startup)
    resuming.watchdog, resuming.processes, resuming.engine = Watchdog(60, "process 0"), 1, None
    resuming.settings = load_settings()
    monkeypatch.setattr(manager, "load", lambda *_: None)
    state = manager.State(1, 1, 1, 0, "t", "s", "v", recent_losses=[0.0, 3.0, 0.0, 2.9])
    resuming._load(Path("step-00000001"), state)
    assert resuming.state.recent_losses == [3.0, 2.9]


def test_a_spike_does_not_hide_the_next_one():
    assert judge(9.0, [*STEADY[:90], *[9.0] * 10], 6) == "spike"


def test_a_run_whose_losses_hardly_differ_has_room():
    assert spike_limit([1.0] * 50, 6) == pytest.approx(1.06)


def test_documents_of_windows_are_named_once_in_order(tmp_path):
    settings = load_settings(tiny_world.make_world(tmp_path))
    cache = ensure_token_cache(find_splits(settings)["train"], tmp_path / "tokenizer", settings)
    first, second = cache.document_at(0), cache.document_at(cache.document_at(0).stop)
    assert document_ids(cache, [(0, 1)]) == ["2401.00000"]
    assert document_ids(cache, [(second.start, second.stop), (0, second.start + 1)]) == ["2401.00001", "2401.00000"]
    assert document_ids(cache, [(first.stop - 1, first.stop + 1)]) == ["2401.00000", "2401.00001"]
    (tmp_path / "data/train.jsonl").write_text("changed\n")
    (named,) = document_ids(cache, [(0, 1)])
    assert named.startswith(str(tmp_path / "data/train.jsonl") + ", byte 0 (")
