"""train.py with torch's deterministic kernels, or waiting for a file once its weights are drawn.

    deepspeed --num_gpus 1 benchmarks/gpu/hooked_train.py --deterministic --config examples/quickstart/config.json
    deepspeed --num_gpus 1 benchmarks/gpu/hooked_train.py --wait-for go --set train.max_steps=8

Deterministic kernels tell a resume that is not exact from kernels that give other bits each time. Waiting leaves the
GPU to another run while this one does what needs only the CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `deepspeed benchmarks/gpu/hooked_train.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command


def wait_after_drawing(go: Path) -> None:
    """Make training.model.build_model return only once the file `go` exists."""
    import training.model

    build = training.model.build_model

    def waits(*args: Any, **kwargs: Any) -> Any:
        made = build(*args, **kwargs)
        while not go.exists():
            time.sleep(0.1)
        return made

    training.model.build_model = waits


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="train.py with a change for gpu_check.sh; every other option (--config, --set) goes to train.py.",
        epilog="example: deepspeed benchmarks/gpu/hooked_train.py --deterministic --set train.max_steps=8",
        allow_abbrev=False,
    )
    parser.add_argument("--deterministic", action="store_true", help="use torch's deterministic kernels")
    parser.add_argument("--wait-for", type=Path, metavar="FILE", help="draw the weights, then wait for this file")
    args, others = parser.parse_known_args(argv)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)
    if args.wait_for:
        wait_after_drawing(args.wait_for)

    from train import main as train

    return train(others)


if __name__ == "__main__":
    run_command(main)
