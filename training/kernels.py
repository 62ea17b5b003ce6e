"""Which of the faster pieces a run uses: what the configuration asks for, as far as it can be had here.

Whatever is asked for and missing gives way to what always works, with a note that the trainer prints.
"""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass, field

from common.settings.load import Settings

# What "auto" means, by device: measured on the CPU by benchmarks/training/loss.py; on GPUs from the pieces' own
# figures, to be measured there by benchmarks/training/train_gpu.py.
AUTO_LOSS = {"cpu": "chunked", "cuda": "chunked"}
AUTO_LAYERS = {"cpu": "torch", "cuda": "liger"}
# Precisions in which others compute the loss well: torch adds it up in the model's, Liger divides its gradients before
# DeepSpeed's loss scale multiplies them. (Elsewhere training.loss gives them fp32, which is slow.)
LOSS_DTYPES = {"torch": ("float32",), "liger": ("float32", "bfloat16")}
# Names of the activation that Liger's MLP computes, whatever the model's is.
LIGER_ACTIVATIONS = ("silu", "swish")


@dataclass(frozen=True)
class Kernels:
    """What computes the loss (`full`, `chunked`, `torch`, `liger`), norms and MLP (`torch`, `liger`) and attention."""

    loss: str = "chunked"
    layers: str = "torch"
    attention: str = "sdpa"
    fused_adamw: bool = True
    compile: bool = False
    # What was asked for and cannot be had here.
    notes: tuple[str, ...] = field(default=(), compare=False)


def liger_is_here() -> bool:
    """Whether the package liger-kernel is installed; its kernels are for GPUs."""
    return importlib.util.find_spec("liger_kernel") is not None


def _unfit(loss: str, dtype: str) -> str:
    """Why this loss is not to be taken for a model of `dtype` here; empty where it is."""
    if loss in LOSS_DTYPES and dtype not in LOSS_DTYPES[loss]:
        return f"{loss}'s loss is exact in {' and '.join(LOSS_DTYPES[loss])}, dtype is {dtype}"
    if loss == "torch":
        import torch

        if not hasattr(torch.nn.functional, "linear_cross_entropy"):
            return f"torch {torch.__version__} has no linear_cross_entropy"
    return ""


def resolve_kernels(settings: Settings, cuda: bool) -> Kernels:
    """The pieces for a run of `settings` on a GPU or on the CPU."""
    train, device, notes = settings.train, "cuda" if cuda else "cpu", []
    liger = cuda and liger_is_here()

    def usable(wanted: str, knob: str, auto: str) -> str:
        choice = auto if wanted == "auto" else wanted
        if choice == "liger" and not liger:
            why = "needs a GPU" if not cuda else "is not installed (pip install liger-kernel)"
            if wanted != "auto" or cuda:
                notes.append(f"train.{knob}: liger {why}; going on with our own")
            return "chunked" if knob == "loss_kernel" else "torch"
        if knob == "loss_kernel" and (why := _unfit(choice, settings.model.dtype)):
            notes.append(f"train.{knob}: {why}; going on with our own")
            return "chunked"
        return choice

    compile_layers = train.compile
    if compile_layers and not cuda and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        notes.append("train.compile: needs a C++ compiler on the CPU; going on without")
        compile_layers = False
    loss = usable(train.loss_kernel, "loss_kernel", AUTO_LOSS[device])
    layers = usable(train.layer_kernels, "layer_kernels", AUTO_LAYERS[device])
    if layers == "liger" and settings.model.hidden_act not in LIGER_ACTIVATIONS:
        activation = settings.model.hidden_act
        notes.append(f"train.layer_kernels: liger's MLP computes silu, hidden_act is {activation}; the MLP is our own")
    return Kernels(
        loss=loss,
        layers=layers,
        attention=train.attention,
        fused_adamw=train.fused_adamw,
        compile=compile_layers,
        notes=tuple(notes),
    )
