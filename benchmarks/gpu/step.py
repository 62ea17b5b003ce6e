"""One step of gpu_check.sh, or a part of one. gpu_check.sh calls it; by hand it is for looking into a step that fails.

python benchmarks/gpu/step.py kernels
GPU_CHECK_DEVICE=cpu python benchmarks/gpu/step.py kernels      # with a tiny model, on the CPU
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/gpu/step.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command

# Name: module beside this one, function, and what it does. A function of the lower half takes one argument.
STEPS = {
    "card": ("card", "main", "a: install the missing wheels, describe the card, measure a product and a copy"),
    "kernels": ("against_cpu", "main", "b2: loss and gradients of every kernel against fp32 on the CPU"),
    "main_job": ("end_to_end", "main", "c: train, kill, stop, resume, export and use a small model"),
    "reference": ("reference", "main", "d: config.json's model under DeepSpeed, memory against the forecast"),
    "speed": ("speed", "main", "e: the variants of benchmarks/training/train_gpu.py"),
    "profile": ("speed", "profile", "f: one step of the fastest variant by kernel, written to the file ARGUMENT"),
    "variant": ("speed", "one_variant", "measure one variant, described by the JSON object ARGUMENT"),
    "forecast": ("reference", "forecast", "print the memory forecast with the overrides in the JSON list ARGUMENT"),
    "results": ("notes", "collect", "write the figures of all steps to the JSON file ARGUMENT"),
}
WITH_ARGUMENT = ("profile", "variant", "forecast", "results")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Run one step of benchmarks/gpu/gpu_check.sh, which runs them all.",
        epilog="steps:\n"
        + "\n".join(f"  {name:<10} {text}" for name, (_, _, text) in STEPS.items())
        + "\n\nexample: python benchmarks/gpu/step.py kernels",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", choices=STEPS, metavar="STEP", help="see below")
    parser.add_argument("argument", nargs="?", metavar="ARGUMENT", help="for some steps, see below")
    args = parser.parse_args(argv)
    if (args.argument is not None) != (args.step in WITH_ARGUMENT):
        parser.error(f"{args.step} takes {'an' if args.step in WITH_ARGUMENT else 'no'} ARGUMENT; see --help")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it started is ended
    module, function, _ = STEPS[args.step]
    run = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)
    return run() if args.argument is None else run(args.argument)


if __name__ == "__main__":
    run_command(main)
