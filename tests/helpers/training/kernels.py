"""Parameters of tests that run wherever what they need is installed."""

from __future__ import annotations

import pytest
import torch

# torch's own loss came with 2.13.
TORCH_LOSS = pytest.param(
    "torch",
    marks=pytest.mark.skipif(
        not hasattr(torch.nn.functional, "linear_cross_entropy"),
        reason=f"torch {torch.__version__} has no linear_cross_entropy",
    ),
)
