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


def resolve_kernels(settings: Settings, cuda: bool) -> Kernels:
    """The pieces for a run of `settings` on a GPU or on the CPU."""
    import torch

    train, device, notes = settings.train, "cuda" if cuda else "cpu", []
    liger = cuda and liger_is_here()

    def usable(wanted: str, knob: str, auto: str) -> str:
        choice = auto if wanted == "auto" else wanted
        if choice == "liger" and not liger:
            why = "needs a GPU" if not cuda else "is not installed (pip install liger-kernel)"
            if wanted != "auto" or cuda:
                notes.append(f"train.{knob}: liger {why}; going on with our own")
            return "chunked" if knob == "loss_kernel" else "torch"
        if choice == "torch" and knob == "loss_kernel" and not hasattr(torch.nn.functional, "linear_cross_entropy"):
            notes.append(f"train.{knob}: torch {torch.__version__} has no linear_cross_entropy; going on with our own")
            return "chunked"
        return choice

    compile_layers = train.compile
    if compile_layers and not cuda and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        notes.append("train.compile: needs a C++ compiler on the CPU; going on without")
        compile_layers = False
    return Kernels(
        loss=usable(train.loss_kernel, "loss_kernel", AUTO_LOSS[device]),
        layers=usable(train.layer_kernels, "layer_kernels", AUTO_LAYERS[device]),
        attention=train.attention,
        fused_adamw=train.fused_adamw,
        compile=compile_layers,
        notes=tuple(notes),
    )
