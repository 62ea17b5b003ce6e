"""The training loop beside others on one core: ours, transformers' Trainer with DeepSpeed, and plain PyTorch.

    bash quickstart.sh setup sample data tokenizer
    python benchmarks/training/train_cpu.py --config examples/quickstart/config.json

The same model, loss, optimizer and data in the same order, one process with one thread each; the three take turns,
since other work on a machine comes and goes. The losses must agree. For ours the step is split by its own clock: what
is neither forward, backward, optimizer nor agreement between processes is the cost of the loop. At the end the loader
alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/training/train_cpu.py`
    sys.path[0] = str(ROOT)

from benchmarks.training.peers import PEERS, WARM_UP_STEPS
from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.errors import UserError
from common.files import write_json
from common.settings.load import Settings
from training.plan import speed as speed_plan
from training.plan.parameters import count_parameters

# Phases of training.metrics.StepClock that are the work itself; "agree" is communication.
WORK = ("forward", "backward", "optimizer", "agree")
# Relative difference of losses below which two loops did the same work: the order of sums in bf16.
SAME_LOSS = 0.01
LOADER_SECONDS = 3.0


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All rounds of all peers: step times, losses, and our phases."""
    found: dict[str, Any] = {name: {"seconds": [], "processor": [], "losses": None} for name in PEERS}
    phases: Counter[str] = Counter()
    for number in range(args.rounds):
        for name in PEERS:
            print(f"round {number + 1} of {args.rounds}: {name}", file=sys.stderr, flush=True)
            run = _child(name, args)
            found[name]["seconds"] += run["seconds"]
            found[name]["processor"] += run["processor"]
            found[name]["losses"] = run["losses"]
            phases.update(run.get("phases", {}))
    found["ours"]["phases"] = dict(phases)
    return found


def _child(name: str, args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "result.json")
        command = [sys.executable, __file__, "--child", name, "--result", str(result), "--steps", str(args.steps)]
        command += ["--config", str(args.config), *(flag for value in args.overrides for flag in ("--set", value))]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        if ended.returncode or not result.exists():
            raise UserError(f"{name} failed: {(ended.stderr or ended.stdout).strip()[-1500:]}")
        return json.loads(result.read_text())


def loader_rate(settings: Settings) -> float:
    """Tokens a second that training.data.Loader gives when nothing else is done."""
    from benchmarks.training.peers import train_cache
    from training.data import Loader, PackedSequences

    train = settings.train
    data = PackedSequences(train_cache(settings).tokens, train.seq_len, train.seed)
    size = train.micro_batch_size
    loader = Loader(data, position=0, sequences_per_step=size, stride=size, offset=0, count=size, pin=False)
    loader.next()  # the first one waits for imports
    batches, began = 0, time.perf_counter()
    while time.perf_counter() - began < LOADER_SECONDS:
        loader.next()
        batches += 1
    rate = batches * size * train.seq_len / (time.perf_counter() - began)
    loader.close()
    return rate


def report(found: dict[str, Any], settings: Settings, rate: float) -> str:
    """The table, in Markdown."""
    middle = {name: statistics.median(found[name]["seconds"]) for name in PEERS}
    processor = {name: statistics.median(found[name]["processor"]) for name in PEERS}
    parameters = count_parameters(settings.model).total
    tokens = speed_plan.tokens_per_step(settings.train, 1)
    lines = [
        f"{parameters:,} parameters in {settings.model.dtype}, {tokens:,} tokens a step, one thread; median of "
        f"{len(found['ours']['seconds'])} steps each",
        "",
        "| loop | step, s | quartiles | x ours | processor time, s | x ours | last loss |",
        "|" + " --- |" * 7,
    ]
    for name, description in PEERS.items():
        low, _, high = statistics.quantiles(found[name]["seconds"], n=4)
        loss = found[name]["losses"][-1]
        wall = f"{middle[name]:.3f} | {low:.3f}-{high:.3f} | {middle[name] / middle['ours']:.3f}"
        cpu = f"{processor[name]:.3f} | {processor[name] / processor['ours']:.3f}"
        lines.append(f"| {description} | {wall} | {cpu} | {loss:.4f} |")
    phases = found["ours"]["phases"]
    total = sum(phases.values())
    rest = 1 - sum(phases.get(phase, 0.0) for phase in WORK) / total
    shares = ", ".join(f"{phase} {seconds / total:.2%}" for phase, seconds in sorted(phases.items(), key=_second))
    eaten = 2 * speed_plan.tokens_per_second(reference().model, reference().train.seq_len, 312e12, 0.5)
    return "\n".join(
        [
            *lines,
            "",
            f"Ours by phase: {shares}.",
            f"Outside forward, backward, optimizer and communication: {rest:.2%} of a step (bar: 3 %); waiting for "
            f"data {phases.get('data', 0.0) / total:.2%} (bar: 1 %).",
            f"The loader alone: {rate:,.0f} tokens/s, {rate / eaten:.0f} x what two A100 take of the reference model "
            "at 50 % MFU.",
        ]
    )


def _second(pair: tuple[str, float]) -> float:
    return -pair[1]


def reference() -> Settings:
    from common.settings.load import load_settings

    return load_settings()


def check_losses(found: dict[str, Any]) -> None:
    """Raises UserError where the loops did not do the same work."""
    ours = found["ours"]["losses"]
    for name in PEERS:
        for step, (one, other) in enumerate(zip(ours, found[name]["losses"], strict=True), 1):
            if abs(one - other) > SAME_LOSS * abs(one):
                raise UserError(f"step {step}: the loss of {name} is {other:.5f}, ours {one:.5f}: not the same work")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Step time of train.py beside transformers' Trainer with DeepSpeed and plain PyTorch, one thread.",
        epilog="example: python benchmarks/training/train_cpu.py --config examples/quickstart/config.json --rounds 4",
    )
    add_config_arguments(parser)
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each loop in a round (default: 8)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write all figures there as JSON")
    parser.add_argument("--child", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.steps < 2 or args.rounds < 1:
        raise UserError(f"--steps {args.steps} --rounds {args.rounds}: at least 2 and 1")
    if args.child:
        from benchmarks.training.peers import run_peer

        write_json(args.result, run_peer(args.child, args.config, args.overrides, args.steps + WARM_UP_STEPS))
        return 0
    settings = settings_from_args(args)
    from benchmarks.training.peers import train_cache

    train_cache(settings, repeated_flags(args))  # made once, before anything is timed
    found = compare(args)
    check_losses(found)
    rate = loader_rate(settings)
    if args.out:
        write_json(args.out, found | {"loader_tokens_per_second": rate})
    print(report(found, settings, rate))
    return 0


if __name__ == "__main__":
    run_command(main)
