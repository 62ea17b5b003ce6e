"""The loss over the vocabulary without a full row of logits: the largest tensor of the model, 300 MiB in fp32 for 768
tokens and 102,400 entries, exists for some of the tokens at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from training.plan.memory import LOSS_CHUNK_TOKENS


class _ChunkedMean(torch.autograd.Function):
    """Mean cross-entropy whose gradients are made beside it, chunk by chunk, so that no logits are made twice.

    The idea is that of Liger Kernel (Hsu et al., 2024). Softmax and the sum over chunks are fp32.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wanted else None
        grad_head = torch.zeros_like(head, dtype=torch.float32) if wanted else None
        for start in range(0, len(hidden), LOSS_CHUNK_TOKENS):
            part, goal = hidden[start : start + LOSS_CHUNK_TOKENS], targets[start : start + LOSS_CHUNK_TOKENS, None]
            logits = (part @ head.T).float()
            log_sum = torch.logsumexp(logits, dim=1, keepdim=True)
            total += (log_sum - logits.gather(1, goal)).sum()
            if grad_hidden is None or grad_head is None:
                continue
            # Softmax less one at the target, over the number of tokens: the gradient of the mean.
            logits.sub_(log_sum).exp_().scatter_add_(1, goal, torch.full_like(log_sum, -1.0)).div_(len(hidden))
            grad = logits.to(hidden.dtype)
            torch.mm(grad, head, out=grad_hidden[start : start + LOSS_CHUNK_TOKENS])
            grad_head += grad.T @ part
            del logits, grad  # before those of the next chunk are made
        ctx.save_for_backward(grad_hidden, None if grad_head is None else grad_head.to(head.dtype))
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * upstream[0], grad_head * upstream[0], None


def _chunked(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return _ChunkedMean.apply(hidden, head, targets)


def _full(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy((hidden @ head.T).float(), targets)


def _torch(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden, head, targets, options=options).float()


def _liger(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    return LigerFusedLinearCrossEntropyLoss(accum_dtype=torch.float32)(head, hidden, targets)


KERNELS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "chunked": _chunked,
    "full": _full,
    "torch": _torch,
    "liger": _liger,
}


def mean_loss(kernel: str, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats, fp32 scalar.

    Args:
        kernel: a key of KERNELS.
        hidden: [tokens, hidden size], what the last norm gives.
        head: [vocabulary, hidden size].
        targets: int64 [tokens].
    """
    return KERNELS[kernel](hidden, head, targets)


def token_losses(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token in nats, fp32 [tokens], without gradients; arguments as in `mean_loss`."""
    with torch.no_grad():
        chunks = zip(hidden.split(LOSS_CHUNK_TOKENS), targets.split(LOSS_CHUNK_TOKENS), strict=True)
        losses = [F.cross_entropy((part @ head.T).float(), goal, reduction="none") for part, goal in chunks]
    return torch.cat(losses)
