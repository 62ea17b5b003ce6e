import pytest

from common.settings.load import load_settings
from training.optim import decay_groups, learning_rate


def test_warm_up_then_cosine_to_the_floor():
    train = load_settings(overrides=["train.max_steps=1000", "train.warmup_steps=100"]).train
    rates = [learning_rate(step, train) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-6)
    assert rates[99] == pytest.approx(2e-4) == max(rates)
    assert rates[:100] == sorted(rates[:100]) and rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[549] == pytest.approx(1.1e-4, rel=1e-2)
    assert rates[-1] == pytest.approx(2e-5)


def test_matrices_decay_and_vectors_do_not():
    import torch

    layer = torch.nn.Linear(3, 4)
    groups = decay_groups(layer.parameters(), 0.1)
    assert [(group["weight_decay"], [p.dim() for p in group["params"]]) for group in groups] == [(0.1, [2]), (0.0, [1])]
