"""A package `liger_kernel` of plain torch, for machines without a GPU or without the real one.

Its function replaces and binds what that of liger-kernel 0.8 does, and its pieces count their calls.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import MethodType, ModuleType
from typing import Any

import torch
from torch.nn.functional import silu
from transformers.models.llama import modeling_llama

CALLS: Counter[str] = Counter()
ROTARY = modeling_llama.apply_rotary_pos_emb


class LigerRMSNorm(torch.nn.Module):
    weight: torch.Tensor
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        CALLS["norm"] += 1
        wide = hidden_states.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * wide.to(hidden_states.dtype)


class LigerSwiGLUMLP(torch.nn.Module):
    gate_proj: torch.nn.Module
    up_proj: torch.nn.Module
    down_proj: torch.nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CALLS["mlp"] += 1
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


def liger_rotary_pos_emb(q: Any, k: Any, cos: Any, sin: Any) -> Any:
    CALLS["rotary"] += 1
    return ROTARY(q, k, cos, sin)


def apply_liger_kernel_to_llama(
    rope: bool = True,
    cross_entropy: bool = False,
    fused_linear_cross_entropy: bool = True,
    rms_norm: bool = True,
    swiglu: bool = True,
    model: Any = None,
) -> None:
    assert rope and rms_norm and model is not None and not cross_entropy and not fused_linear_cross_entropy
    names: Any = modeling_llama
    names.apply_rotary_pos_emb = liger_rotary_pos_emb
    names.LlamaRMSNorm = LigerRMSNorm
    norms = [model.model.norm]
    for layer in model.model.layers:
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    for norm in norms:
        norm.forward = MethodType(LigerRMSNorm.forward, norm)
    if swiglu:
        names.LlamaMLP = LigerSwiGLUMLP
        for layer in model.model.layers:
            layer.mlp.forward = MethodType(LigerSwiGLUMLP.forward, layer.mlp)


def install(monkeypatch: Any) -> Counter[str]:
    """Make `import liger_kernel` find this until the test ends; returns the calls of its pieces, none so far.

    What a test leaves changed in transformers' module is put back then too.
    """
    package, pieces = ModuleType("liger_kernel"), ModuleType("liger_kernel.transformers")
    pieces.__dict__["apply_liger_kernel_to_llama"] = apply_liger_kernel_to_llama
    package.__dict__["transformers"] = pieces
    monkeypatch.setitem(sys.modules, "liger_kernel", package)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", pieces)
    for name in ("apply_rotary_pos_emb", "LlamaRMSNorm", "LlamaMLP"):
        monkeypatch.setattr(modeling_llama, name, getattr(modeling_llama, name))
    CALLS.clear()
    return CALLS
