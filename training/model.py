"""The model: transformers' LlamaForCausalLM from our settings, and its loss without a full row of logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from settings import Settings
from training.planner import LOSS_CHUNK_TOKENS

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def build_model(settings: Settings) -> torch.nn.Module:
    """LlamaForCausalLM with fresh weights, drawn in fp32 from `train.seed` and then cast to the model's dtype."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**settings.model_dict())
    config._attn_implementation = "sdpa"
    torch.manual_seed(settings.train.seed)
    model = LlamaForCausalLM(config).to(DTYPES[settings.model.dtype])
    if settings.train.gradient_checkpointing not in ("none", 0):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.config.use_cache = False
    return model


class NextTokenLoss(torch.nn.Module):
    """The module that DeepSpeed trains: windows of tokens in, the mean loss of their next tokens out."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy in nats of tokens[:, 1:] given what stands before; `tokens` int64 [batch, length + 1]."""
        losses = self.token_losses(tokens)
        return losses.mean()

    def token_losses(self, tokens: torch.Tensor) -> torch.Tensor:
        """Cross-entropy in nats of each next token, fp32 [batch, length]."""
        hidden = self.model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        return next_token_loss(hidden, self.model.lm_head.weight, tokens[:, 1:])


def next_token_loss(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats, fp32 [batch, length], of `targets` int64 [batch, length] under hidden @ head.T.

    The logits of 102,400 entries are the largest tensor of the model: they exist for LOSS_CHUNK_TOKENS tokens at a
    time, and are made again for the backward pass.
    """
    rows, flat = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    losses = [
        checkpoint(_chunk_loss, chunk, head, target, use_reentrant=False)
        for chunk, target in zip(rows.split(LOSS_CHUNK_TOKENS), flat.split(LOSS_CHUNK_TOKENS), strict=True)
    ]
    return torch.cat(losses).view(targets.shape)


def _chunk_loss(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy((hidden @ head.T).float(), targets, reduction="none")
