"""Say what to do where this machine has an NVIDIA GPU that torch cannot use; nothing where all is well.

    python tools/check_gpu.py              # after the installation
    python tools/check_gpu.py --build      # before it: pip's arguments for the build that this machine needs, where
                                           # PyPI's build of torch would not run on its GPUs

tools/setup.sh calls both; `python train.py --check` looks for the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tools/check_gpu.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from training.plan.nvidia_driver import build_to_install, find_driver, gpu_trouble


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Say what to do where this machine has an NVIDIA GPU that torch cannot use.",
        epilog="example: python tools/check_gpu.py",
    )
    parser.add_argument(
        "--build", action="store_true", help="print pip's arguments for the build of torch that this machine needs"
    )
    args = parser.parse_args(argv)
    if args.build:
        build = build_to_install()
        print(build.arguments if build else "")
        return 0
    trouble = gpu_trouble() if find_driver() else None  # torch takes seconds to load; most machines have no GPU
    if trouble:
        print(f"\nnote: {trouble.state}\n  -> {trouble.todo}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
