"""Learning rate over steps, and which parameters decay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from common.settings.train import TrainSettings

if TYPE_CHECKING:
    import torch


def learning_rate(step: int, train: TrainSettings) -> float:
    """Rate of step `step` (from 0): linear warm-up to `learning_rate`, then a cosine down to `min_lr_ratio` of it.

    A function of the step alone, so that a resumed run needs no schedule state. Cosine decay: Loshchilov and Hutter,
    SGDR, 2017.
    """
    if step < train.warmup_steps:
        return train.learning_rate * (step + 1) / train.warmup_steps
    progress = min(1.0, (step - train.warmup_steps) / max(1, train.max_steps - 1 - train.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return train.learning_rate * (train.min_lr_ratio + (1 - train.min_lr_ratio) * cosine)


def decay_groups(parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: matrices (projections, embeddings) decay, vectors (norms) do not."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
