"""Step a: install what this Python lacks from .gpu/wheels, describe the card, measure a matrix product and a copy."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.gpu.notes import CPU, PARTS, PREPARED, Notes
from common.errors import UserError
from training.plan.nvidia_driver import gpu_trouble

SITE = Path(os.environ.get("SITE", PARTS.parent / "site"))
NO_GPU = 42  # exit status by which gpu_check.sh stops
PRODUCT, COPY_FLOATS = 8192, 2**30
NAMES = ["torch", "triton", "transformers", "deepspeed", "liger-kernel", "accelerate", "tokenizers", "sentencepiece"]
NAMES += ["numpy", "safetensors", "pydantic", "protobuf", "psutil", "nvidia-ml-py", "pytest", "pytest-timeout"]
NAMES += ["matplotlib", "wandb", "datasets"]


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def install() -> None:
    """Install the wheels in .gpu/wheels that this Python lacks into SITE, which is on PYTHONPATH."""
    marker = SITE / "installed"
    wanted = os.environ.get("GPU_CHECK_FOR", sys.executable)
    if SITE.exists() and (not marker.exists() or marker.read_text(encoding="utf-8") != wanted):
        shutil.rmtree(SITE)  # of another Python
    SITE.mkdir(parents=True, exist_ok=True)
    importlib.invalidate_caches()
    wheels = [wheel for wheel in sorted((PREPARED / "wheels").glob("*.whl")) if not installed(wheel.name.split("-")[0])]
    if CPU:  # its kernels need a GPU
        wheels = [wheel for wheel in wheels if not wheel.name.startswith("liger_kernel-")]
    if wheels:
        print(f"installing {', '.join(wheel.name for wheel in wheels)} into {SITE}", flush=True)
        flags = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade", "--target", str(SITE)]
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", *flags, *map(str, wheels)], check=True)
        importlib.invalidate_caches()
    if not installed("deepspeed"):
        raise UserError(
            f"{sys.executable} has no deepspeed, and {PREPARED / 'wheels'} holds no wheel of it; install the project's "
            "environment (bash quickstart.sh setup), or run bash benchmarks/gpu/prepare.sh where a package index is"
        )
    marker.write_text(wanted, encoding="utf-8")


def main() -> int:
    install()
    import torch

    notes = Notes("a")
    trouble = None if CPU else gpu_trouble()
    if trouble or (not CPU and not torch.cuda.is_available()):
        state = f"torch {torch.__version__} (CUDA {torch.version.cuda}) sees no GPU; compare nvidia-smi in checks.log"
        if trouble:
            state = f"{trouble.state} -> {trouble.todo}"
        notes.check("GPU", False, f"{state}; the code alone, on the CPU: bash benchmarks/gpu/gpu_check.sh --cpu")
        return NO_GPU
    card = f"CPU, {os.cpu_count()} cores" if CPU else torch.cuda.get_device_name()
    (PARTS / "card").write_text(card + "\n", encoding="utf-8")
    cudnn = torch.backends.cudnn.version()
    notes.line(f"{card}; Python {platform.python_version()}; CUDA {torch.version.cuda}, cuDNN {cudnn}\n")
    notes.line(", ".join(f"{name} {installed(name)}" if installed(name) else f"{name}: missing" for name in NAMES))
    if not CPU:
        measure(notes)
        if not installed("liger-kernel"):
            notes.line("\nnote: liger-kernel is missing; its kernels are left out below (pip install liger-kernel)")
    return 0


def measure(notes: Notes) -> None:
    """The card's memory, and the speed of the two things that bound training: a matrix product and a copy."""
    import torch
    from triton.testing import do_bench  # type: ignore[import-not-found, unused-ignore]

    seen = torch.cuda.get_device_properties(0)
    gib, count = seen.total_memory / 2**30, seen.multi_processor_count
    notes.line(f"\n{gib:.1f} GiB, {count} multiprocessors, capability {seen.major}.{seen.minor}")
    left = torch.randn(PRODUCT, PRODUCT, device="cuda", dtype=torch.bfloat16)
    right = torch.randn_like(left)
    product = 2 * PRODUCT**3 / do_bench(lambda: left @ right, return_mode="median") / 1e9
    source = torch.empty(COPY_FLOATS, device="cuda", dtype=torch.float32)
    target = torch.empty_like(source)
    copy = 2 * 4 * COPY_FLOATS / do_bench(lambda: target.copy_(source), return_mode="median") / 1e9
    notes.line(f"\nbf16 product of {PRODUCT}: {product:,.0f} TFLOP/s; copy on the device: {copy:.2f} TB/s")
    notes.keep("product_tflops", product)
    notes.keep("copy_tb_per_second", copy)
