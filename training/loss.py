"""The loss over the vocabulary without a full row of logits: the largest tensor of the model, 300 MiB in fp32 for 768
tokens and 102,400 entries, exists for some of the tokens at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from training.plan.memory import LOSS_CHUNK_TOKENS

# Gradients of the logits are at most 1 before they are divided by the number of tokens. fp16 keeps nothing below 6e-8,
# so it holds them times this: less than its largest number, 65,504, and a power of two, which rounds nothing.
FP16_FACTOR = 2.0**15


class _ChunkedMean(torch.autograd.Function):
    """Mean cross-entropy whose gradients are made beside it, chunk by chunk, so that no logits are made twice.

    The idea is that of Liger Kernel (Hsu et al., 2024). Softmax and the sum over chunks are fp32. Forward makes the
    gradients of the sum. Backward multiplies them in fp32 by one over the number of tokens and by what comes from
    upstream, DeepSpeed's loss scale among it: divided alone, most would be zero in fp16, and bf16 would round one over
    the number of tokens the same way in all rows. It does so in place: a second backward pass is an error.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wanted, half = ctx.needs_input_grad[0] or ctx.needs_input_grad[1], hidden.dtype == torch.float16
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden, dtype=torch.float32 if half else hidden.dtype) if wanted else None
        grad_head = torch.zeros_like(head, dtype=torch.float32) if wanted else None
        for start in range(0, len(hidden), LOSS_CHUNK_TOKENS):
            part, goal = hidden[start : start + LOSS_CHUNK_TOKENS], targets[start : start + LOSS_CHUNK_TOKENS, None]
            logits = _product(part, head.T).float()
            log_sum = torch.logsumexp(logits, dim=1, keepdim=True)
            total += (log_sum - logits.gather(1, goal)).sum()
            if grad_hidden is None or grad_head is None:
                continue
            # Softmax less one at the target: the gradient of the sum.
            logits.sub_(log_sum).exp_().scatter_add_(1, goal, torch.full_like(log_sum, -1.0))
            if half:
                logits.mul_(FP16_FACTOR)
            grad = logits.to(hidden.dtype)
            grad_hidden[start : start + LOSS_CHUNK_TOKENS] = _product(grad, head)
            grad_head += _product(grad.T, part)
            del logits, grad  # before those of the next chunk are made
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.factor = 1 / (len(hidden) * (FP16_FACTOR if half else 1.0))
        ctx.dtypes = hidden.dtype, head.dtype
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        factor = upstream[0].float() * ctx.factor
        grads = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return *(_multiplied(grad, factor).to(dtype) for grad, dtype in grads), None


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Matrix product in the operands' precision; of fp16 in fp32, which holds a sum over any number of tokens."""
    if left.dtype != torch.float16:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()  # the CPU has no such product


def _multiplied(grad: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """`grad` times `factor`, multiplied in fp32 and in place, a chunk of rows at a time."""
    for rows in grad.split(LOSS_CHUNK_TOKENS):
        rows.copy_(rows.float().mul_(factor))
    return grad


def _chunked(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return _ChunkedMean.apply(hidden, head, targets)


def _full(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy((hidden @ head.T).float(), targets)


def _torch(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    # In half precision it adds up the losses of its chunks in that too: a third off with 400 chunks.
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden.float(), head.float(), targets, options=options)


def _liger(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    if hidden.dtype == torch.float16:  # it divides by the number of tokens before it knows the loss scale
        hidden, head = hidden.float(), head.float()
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
