"""The loss over the vocabulary, kernel by kernel: time, memory and error of a forward and backward pass.

    python benchmarks/training/loss.py --tokens 2048 --hidden 512 --vocabulary 32000
    python benchmarks/training/loss.py --device cuda --tokens 24576 --hidden 2048 --vocabulary 102400

Each kernel of training/loss.py runs in a process of its own, in turns, so that its peak of memory is its own. Times
are compared with `full`, the whole row of logits in fp32, which is how it is usually done. Errors are relative to the
same numbers in fp32.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/training/loss.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args

NAMES = ("full", "chunked", "torch", "liger")
REPEATS = 3
# What DeepSpeed multiplies the loss by, so that fp16 can hold its gradients.
LOSS_SCALE = {"float16": 2.0**16}


def measure(kernel: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds, peak bytes beyond the inputs, and errors of one kernel, in this process."""
    import torch

    from training.loss import mean_loss
    from training.model import DTYPES

    cuda = args.device != "cpu"
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    dtype = DTYPES[args.dtype]
    hidden = torch.randn(args.tokens, args.hidden, generator=generator).to(args.device, dtype).requires_grad_()
    head = (torch.randn(args.vocabulary, args.hidden, generator=generator) * 0.02).to(args.device, dtype)
    head.requires_grad_()
    targets = torch.randint(0, args.vocabulary, (args.tokens,), generator=generator).to(args.device)
    scale = LOSS_SCALE.get(args.dtype, 1.0)

    def peak() -> int:
        if cuda:
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def once() -> list[Any]:
        loss = mean_loss(kernel, hidden, head, targets)
        return [loss.detach(), *torch.autograd.grad(loss * scale, (hidden, head))]

    before, seconds = peak(), []
    for _ in range(REPEATS):
        if cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        found = once()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    used = peak() - before
    wide: list[Any] = [tensor.detach().float().requires_grad_() for tensor in (hidden, head)]
    loss = mean_loss("full", wide[0], wide[1], targets)
    exact = [loss.detach(), *torch.autograd.grad(loss * scale, wide)]
    errors = [((got.float() - want).norm() / want.norm()).item() for got, want in zip(found, exact, strict=True)]
    return {"seconds": min(seconds), "bytes": used, "errors": errors}


def compare(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Medians over rounds of each kernel that runs here; why not, of the others."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in args.kernels}
    failed: dict[str, str] = {}
    for _ in range(args.rounds):
        for name in args.kernels:
            if name in failed:
                continue
            command = [sys.executable, __file__, "--child", name, "--threads", str(args.threads)]
            command += [
                "--tokens",
                str(args.tokens),
                "--hidden",
                str(args.hidden),
                "--vocabulary",
                str(args.vocabulary),
            ]
            command += ["--dtype", args.dtype, "--device", args.device]
            ended = subprocess.run(command, capture_output=True, text=True)
            if ended.returncode == 0:
                found[name].append(json.loads(ended.stdout.splitlines()[-1]))
            else:
                failed[name] = ended.stderr.strip().splitlines()[-1]
    results: dict[str, dict[str, Any]] = {}
    for name, rounds in found.items():
        if name in failed:
            results[name] = {"failed": failed[name]}
        else:
            middle = {key: statistics.median(one[key] for one in rounds) for key in ("seconds", "bytes")}
            results[name] = {**middle, "errors": rounds[0]["errors"]}
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown; ratios to `full` where it ran."""
    lines = [
        "| kernel | time, s | x full | memory, MB | error of loss, of gradients |",
        "| --- | --- | --- | --- | --- |",
    ]
    base = results.get("full", {}).get("seconds")
    for name, found in results.items():
        if "failed" in found:
            lines.append(f"| {name} | not run: {found['failed'][:80]} | | | |")
            continue
        loss, *gradients = found["errors"]
        ratio = f"{found['seconds'] / base:.2f}" if base else ""
        each = ", ".join(f"{error:.1e}" for error in (loss, *gradients))
        lines.append(f"| {name} | {found['seconds']:.2f} | {ratio} | {found['bytes'] / 1e6:,.0f} | {each} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Time, memory and error of each kernel of the loss.",
        epilog="example: python benchmarks/training/loss.py --dtype float32 --vocabulary 8192",
    )
    add_config_arguments(parser)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a micro-batch (default: 2048)")
    parser.add_argument("--hidden", type=int, help="hidden size (default: the configuration's)")
    parser.add_argument("--vocabulary", type=int, help="entries (default: the configuration's)")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kernels", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    model = settings_from_args(args).model
    args.hidden, args.vocabulary = args.hidden or model.hidden_size, args.vocabulary or model.vocab_size
    if args.child:
        print(json.dumps(measure(args.child, args)))
        return 0
    print(
        f"{args.tokens:,} tokens, hidden size {args.hidden:,}, {args.vocabulary:,} entries, {args.dtype}, {args.device}"
    )
    print(table(compare(args)))
    return 0


if __name__ == "__main__":
    run_command(main)
