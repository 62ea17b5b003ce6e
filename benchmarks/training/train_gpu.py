"""Tokens/s, MFU and memory of the reference model on one GPU: the recipe as published beside ours, knob by knob.

    python benchmarks/training/train_gpu.py                        # 768 and 4096 tokens, every variant
    python benchmarks/training/train_gpu.py --smoke                # the same code with a tiny model, first
    python benchmarks/training/train_gpu.py --seq-len 4096 --variants ours published --profile profile.txt
    python benchmarks/training/train_gpu.py --lengths      # no GPU: what truncating documents to 768 tokens throws away

Each variant is a process of its own: forward, backward, clipping and AdamW in plain PyTorch over bf16 weights with fp32
copies, on random tokens in full sequences. It needs neither deepspeed nor wandb nor datasets; torch 2.11 and
transformers 5.17 suffice. A variant that runs out of memory is a row of the table. MFU is that of
training/plan/speed.py; beside it stands what share of the speed of a large matrix product, measured in the same
process, that is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/training/train_gpu.py`
    sys.path[0] = str(ROOT)

from benchmarks.training.peers import step_master, train_cache
from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.files import write_json
from common.settings.load import Settings
from training.plan import memory as memory_plan
from training.plan import speed as speed_plan

# The published recipe: transformers' own model and loss over whole rows of fp32 logits, every layer made again.
PUBLISHED = {"loss_kernel": "full", "layer_kernels": "torch", "gradient_checkpointing": "all", "fused_adamw": False}
# Ours, then ours with one knob turned.
OURS = {"loss_kernel": "auto", "layer_kernels": "auto", "gradient_checkpointing": "auto", "fused_adamw": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "published": PUBLISHED,
    "published, fused AdamW": {**PUBLISHED, "fused_adamw": True},
    "published, chunked loss": {**PUBLISHED, "loss_kernel": "chunked"},
    "ours": OURS,
    "ours, full loss": {**OURS, "loss_kernel": "full"},
    "ours, loss of Liger": {**OURS, "loss_kernel": "liger"},
    "ours, layers of transformers": {**OURS, "layer_kernels": "torch"},
    "ours, layers of Liger": {**OURS, "layer_kernels": "liger"},
    "ours, eager attention": {**OURS, "attention": "eager"},
    "ours, document masking": {**OURS, "document_masking": True},
    "ours, compiled": {**OURS, "compile": True},
    "ours, no checkpointing": {**OURS, "gradient_checkpointing": "none"},
    "ours, half checkpointed": {**OURS, "gradient_checkpointing": "half"},
    "ours, all checkpointed": {**OURS, "gradient_checkpointing": "all"},
}
SEQUENCE_LENGTHS = (768, 4096)
TINY: dict[str, Any] = {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 4}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 4}
WARM_UP_STEPS = 3
PRODUCT_ROUNDS = 20
GOALS = "goals on one H200: 58 % MFU; 1.5 x the published recipe"


def variant_settings(settings: Settings, name: str, seq_len: int, micro_batch_size: int) -> Settings:
    """`settings` with the knobs of a variant."""
    knobs = dict(VARIANTS[name])
    if knobs["gradient_checkpointing"] == "half":
        knobs["gradient_checkpointing"] = settings.model.num_hidden_layers // 2
    return replace(settings, train=replace(settings.train, seq_len=seq_len, micro_batch_size=micro_batch_size, **knobs))


def measure(settings: Settings, device: str, steps: int, profile: Path | None = None) -> dict[str, Any]:
    """Train `steps` steps of one micro-batch: seconds, tokens/s, MFU, peak memory, and the matrix product's speed."""
    import torch

    from training.kernels import resolve_kernels
    from training.model import NextTokenLoss, build_model
    from training.optim import decay_groups

    cuda = device != "cpu"
    train, model = settings.train, settings.model
    memory = torch.cuda.get_device_properties(0).total_memory if cuda else 8 << 30
    # One process that holds everything: as DeepSpeed without ZeRO, but for its buckets.
    layers = memory_plan.choose_checkpointing(settings, {}, 1, memory, cuda)
    kernels = resolve_kernels(settings, cuda)
    eos = model.eos_token_id if train.document_masking else None
    module = NextTokenLoss(build_model(settings, kernels, layers), kernels, eos).to(device).train()
    own: list[Any] = list(module.parameters())
    master = [torch.nn.Parameter(parameter.detach().float().clone()) for parameter in own]
    optimizer = torch.optim.AdamW(
        decay_groups(master, train.weight_decay), lr=train.learning_rate, fused=kernels.fused_adamw
    )
    generator = torch.Generator().manual_seed(0)
    shape = (train.micro_batch_size, train.seq_len + 1)
    tokens = torch.randint(4, model.vocab_size, shape, generator=generator)
    tokens[:, 500::701] = model.eos_token_id  # documents end somewhere
    tokens = tokens.to(device)

    def step() -> None:
        module(tokens).backward()
        step_master(optimizer, master, own, train.max_grad_norm)

    for _ in range(WARM_UP_STEPS):
        step()
    seconds = [_timed(step, cuda) for _ in range(steps)]
    middle = statistics.median(seconds)
    speed = train.micro_batch_size * train.seq_len / middle
    product = product_flops(device, train, model)
    needed = speed * speed_plan.flops_per_token(model, train.seq_len)
    if profile is not None:
        _profile(step, profile, cuda)
    name = torch.cuda.get_device_name() if cuda else "CPU"
    return {
        "device": name,
        "checkpointed": layers,
        "seconds": middle,
        "tokens_per_second": speed,
        "mfu": speed_plan.mfu(model, train.seq_len, speed, name),
        "share_of_product": needed / product,
        "product_tflops": product / 1e12,
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "notes": list(kernels.notes),
        "torch": torch.__version__,
    }


def _timed(function: Any, cuda: bool) -> float:
    import torch

    if not cuda:
        began = time.perf_counter()
        function()
        return time.perf_counter() - began
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def product_flops(device: str, train: Any, model: Any) -> float:
    """FLOP/s of the model's widest product, all tokens of a micro-batch by the gate of the MLP, in its precision."""
    import torch

    from training.model import DTYPES

    dtype, tokens = DTYPES[model.dtype], train.micro_batch_size * train.seq_len
    left = torch.randn(tokens, model.hidden_size, device=device, dtype=dtype)
    right = torch.randn(model.hidden_size, model.intermediate_size, device=device, dtype=dtype)
    cuda = device != "cpu"
    _timed(lambda: left @ right, cuda)
    seconds = statistics.median(_timed(lambda: left @ right, cuda) for _ in range(PRODUCT_ROUNDS))
    return 2 * tokens * model.hidden_size * model.intermediate_size / seconds


def _profile(step: Any, path: Path, cuda: bool) -> None:
    """Where the time of a step goes, by kernel, as a table in `path`."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=activities) as profiled:
        step()
    by = "cuda_time_total" if cuda else "cpu_time_total"
    path.write_text(profiled.key_averages().table(sort_by=by, row_limit=40), encoding="utf-8")


def run_all(args: argparse.Namespace, settings: Settings) -> list[dict[str, Any]]:
    """Every variant at every length, each in a process of its own, the largest micro-batch that fits."""
    rows = []
    for seq_len in args.seq_len:
        for name in args.variants:
            micro = args.micro_batch_size or max(1, settings.train.micro_batch_size * 768 // seq_len)
            row: dict[str, Any] = {}
            while micro >= 1:
                row = _child(args, name, seq_len, micro)
                if "out of memory" not in row.get("failed", "") or micro == 1:
                    break
                micro //= 2
            row |= {"variant": name, "seq_len": seq_len, "micro_batch_size": micro}
            print(_line(row), file=sys.stderr, flush=True)
            rows.append(row)
            if args.out:
                write_json(args.out, rows)
    return rows


def _child(args: argparse.Namespace, name: str, seq_len: int, micro: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, "--seq-len", str(seq_len), "--micro-batch-size", str(micro)]
    command += ["--steps", str(args.steps), "--device", args.device, "--config", str(args.config)]
    command += [flag for value in args.overrides for flag in ("--set", value)] + (["--smoke"] if args.smoke else [])
    if args.profile and name == args.variants[-1]:
        command += ["--profile", str(args.profile)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode == 0:
        return json.loads(ended.stdout.splitlines()[-1])
    last = (ended.stderr.strip() or "no message").splitlines()[-1]
    return {"failed": "out of memory" if "out of memory" in ended.stderr.lower() else last[:200]}


def _line(row: dict[str, Any]) -> str:
    start = f"| {row['seq_len']} | {row['variant']} | {row['micro_batch_size']} "
    if "failed" in row:
        return start + f"| {row['failed']} | | | | |"
    mfu = "-" if row["mfu"] is None else f"{row['mfu']:.1%}"
    memory = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**30:.1f}"
    speed, share = f"{row['tokens_per_second']:,.0f}", f"{row['share_of_product']:.1%}"
    return start + f"| {speed} | {mfu} | {share} | {memory} | {row['checkpointed']} |"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, with the ratio to the published recipe below for each length."""
    heads = ("length", "variant", "micro-batch", "tokens/s", "MFU", "of the product", "GiB", "layers made again")
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads), *map(_line, rows), ""]
    for seq_len in dict.fromkeys(row["seq_len"] for row in rows):
        speed = {r["variant"]: r["tokens_per_second"] for r in rows if r["seq_len"] == seq_len and "failed" not in r}
        if "published" in speed and "ours" in speed:
            lines.append(f"{seq_len}: ours is {speed['ours'] / speed['published']:.2f} x the published recipe")
    measured = next((row for row in rows if "failed" not in row), None)
    if measured:
        lines.append(
            f"{measured['device']}, torch {measured['torch']}, matrix product {measured['product_tflops']:,.1f} TFLOP/s"
        )
    return "\n".join([*lines, GOALS])


def truncation(lengths: Sequence[int], limit: int) -> dict[str, float]:
    """What cutting every document to `limit` tokens, and filling shorter ones up to it, costs.

    Returns:
        "documents"; "thrown_away": share of all tokens beyond `limit`; "padding": share of what is computed that is
        filling; "longer": share of documents that are cut.
    """
    total = sum(lengths)
    if not total:
        raise UserError("no documents with tokens")
    kept = sum(min(length, limit) for length in lengths)
    return {
        "documents": len(lengths),
        "thrown_away": 1 - kept / total,
        "padding": 1 - kept / (limit * len(lengths)),
        "longer": sum(length > limit for length in lengths) / len(lengths),
    }


def document_lengths(settings: Settings) -> list[int]:
    """Tokens of each document of the train split, its end among them, from the token cache."""
    import numpy as np

    cache = train_cache(settings)
    return [int(size) for shard in range(len(cache.paths)) for size in np.diff(cache.offsets(shard).astype(np.int64))]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Speed and memory of the reference model on one GPU, the published recipe beside ours.",
        epilog="example: python benchmarks/training/train_gpu.py --smoke --device cpu",
    )
    add_config_arguments(parser)
    parser.add_argument("--seq-len", type=int, nargs="+", default=list(SEQUENCE_LENGTHS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="VARIANT")
    parser.add_argument(
        "--micro-batch-size", type=int, help="sequences at a time (default: as many tokens as in 32 x 768)"
    )
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each variant (default: 10)")
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: cuda)")
    parser.add_argument("--smoke", action="store_true", help="a tiny model, to see that all of it runs")
    parser.add_argument("--profile", type=Path, help="write where the last variant's time goes, by kernel")
    parser.add_argument("--lengths", action="store_true", help="only: what truncation throws away of the train split")
    parser.add_argument("--out", type=Path, help="write all figures there as JSON, row by row")
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    if args.smoke:
        settings = replace(settings, model=replace(settings.model, **TINY))
    if args.lengths:
        found = truncation(document_lengths(settings), settings.train.seq_len)
        print(
            f"{found['documents']:,} documents cut to {settings.train.seq_len} tokens: {found['longer']:.1%} are "
            f"longer, {found['thrown_away']:.1%} of all tokens are thrown away, and {found['padding']:.1%} of what is "
            "computed is padding; packing loses nothing and pads nothing"
        )
        return 0
    if args.child:
        chosen = variant_settings(settings, args.child, args.seq_len[0], args.micro_batch_size)
        print(json.dumps(measure(chosen, args.device, args.steps, args.profile)))
        return 0
    if args.device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise UserError("no GPU is at hand; try all of it with a tiny model: --smoke --device cpu")
    print(table(run_all(args, settings)))
    return 0


if __name__ == "__main__":
    run_command(main)
