"""What a run will need, before a GPU is rented: memory by part, time, cost, disk.

    python evaluation/plan_run.py --gpu "A100 80GB" --gpus 2
    python evaluation/plan_run.py --gpu H100 --gpus 8 --mfu 0.45 --price 2.5 --tokens 100e9 --plot plan.png
    python evaluation/plan_run.py --gpu H200 --hours 24

Arithmetic on config.json and ds_config.json (training/plan/memory.py says what it counts and how far off it is):
nothing is measured here, and the MFU is the one that you state.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/plan_run.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.files import write_json
from common.paths import project_path
from common.settings.load import Settings
from reports.numbers import amount
from training.engine import resolve_deepspeed_config
from training.metrics import duration
from training.plan import memory as memory_plan
from training.plan import speed as speed_plan
from training.plan.gpus import GIB, GPUS, Gpu, find_gpu
from training.plan.parameters import count_parameters

# Bytes a token of the token cache (uint32), and of scientific LaTeX with a tokenizer made for it.
CACHE_BYTES = 4
TEXT_BYTES_PER_TOKEN = 3.7
# Columns of the table, as parts of training.plan.memory.Memory.
PARTS = {
    "weights": ("weights",),
    "optimizer": ("optimizer",),
    "gradients": ("gradients",),
    "buffers": ("buffers", "runtime"),
    "activations": ("activations", "layer"),
    "logits": ("logits",),
    "step": ("step",),
}
COLORS = ("#2f4b7c", "#5b8db8", "#a5c8dd", "#9a9a9a", "#e07b39", "#f2c14e", "#b56576")


@dataclass(frozen=True)
class Choice:
    """One number of checkpointed layers and what it takes."""

    layers: int
    auto: bool
    fits: bool
    memory: memory_plan.Memory

    def parts(self) -> dict[str, int]:
        """Bytes by column of the table."""
        return {name: sum(getattr(self.memory, part) for part in parts) for name, parts in PARTS.items()}


def choices(settings: Settings, deepspeed_config: dict[str, Any], gpus: int, memory: int) -> list[Choice]:
    """From no checkpointed layer to all of them, with the number that train.py would take among them."""
    layers = settings.model.num_hidden_layers
    taken = memory_plan.choose_checkpointing(settings, deepspeed_config, gpus, memory, cuda=True)
    counts = {0, *(layers // every for every in (8, 4, 3, 2)), taken, layers}
    planned = {
        count: memory_plan.process_memory(settings, deepspeed_config, gpus, count, True) for count in sorted(counts)
    }
    return [Choice(count, count == taken, memory_plan.fits(need, memory), need) for count, need in planned.items()]


def time_and_cost(
    settings: Settings, gpu: Gpu, gpus: int, mfu: float, tokens: float, price: float | None
) -> dict[str, Any]:
    """Speed at the stated MFU, and what `tokens` take: seconds, GPU-hours, cost where there is a price."""
    each = speed_plan.tokens_per_second(settings.model, settings.train.seq_len, gpu.peak, mfu)
    seconds = tokens / (each * gpus)
    gpu_hours = seconds / 3600 * gpus
    return {
        "mfu": mfu,
        "tokens_per_second_per_gpu": each,
        "tokens_per_second": each * gpus,
        "tokens": tokens,
        "flops": tokens * speed_plan.flops_per_token(settings.model, settings.train.seq_len),
        "steps": math.ceil(tokens / speed_plan.tokens_per_step(settings.train, gpus)),
        "tokens_per_parameter": tokens / count_parameters(settings.model).total,
        "seconds": seconds,
        "gpu_hours": gpu_hours,
        "cost": None if price is None else gpu_hours * price,
    }


def storage(settings: Settings, gpus: int, tokens: float, bytes_per_token: float) -> dict[str, Any]:
    """Bytes on disk of text and token cache (each token read once) and of the run, and the host's memory for copies."""
    one, kept = memory_plan.checkpoint_bytes(settings.model), memory_plan.checkpoints_kept(settings.train)
    disk = {
        "text": tokens * bytes_per_token,
        "token_cache": tokens * CACHE_BYTES,
        "checkpoints": one * kept,
        "export": memory_plan.export_bytes(settings.model),
    }
    copies = gpus * memory_plan.snapshot_bytes(settings, gpus) if settings.train.background_checkpoints else 0
    return disk | {
        "total": sum(disk.values()),
        "checkpoint": one,
        "checkpoints_kept": kept,
        "bytes_per_token": bytes_per_token,
        "host_memory_of_copies": copies,
    }


def text_of(plan: dict[str, Any], found: list[Choice]) -> str:
    """The plan as people read it."""
    time, disk, parameters = plan["time"], plan["storage"], plan["parameters"]
    lines = [
        f"model    {parameters['total']:,} parameters in {plan['dtype']}: {parameters['embedding']:,} input embedding, "
        f"{parameters['head']:,} head, {parameters['per_layer']:,} in each of {parameters['layers']} layers",
        f"devices  {plan['gpus']} x {plan['gpu']}: {plan['memory_bytes'] / GIB:.0f} GiB and "
        f"{plan['peak_flops'] / 1e12:,.0f} TFLOP/s (dense bf16) each; ZeRO-{plan['zero_stage']}",
        f"batch    {plan['micro_batch_size']} x {plan['seq_len']} tokens at a time on each GPU, "
        f"{plan['tokens_per_step']:,} tokens a step",
        "",
        "GiB on each GPU, by the number of layers whose activations are made again (gradient checkpointing):",
        "  ".join([f"{'layers':>12}", *(f"{name:>11}" for name in PARTS), f"{'total':>7}"]),
    ]
    for choice in found:
        name = f"{choice.layers} of {parameters['layers']}"
        cells = [f"{size / GIB:>11.2f}" for size in choice.parts().values()]
        notes = ("  <- taken" if choice.auto else "") if choice.fits else "  does not fit"
        lines.append("  ".join([f"{name:>12}", *cells, f"{choice.memory.total / GIB:>7.1f}"]) + notes)
    lines += [
        f"({memory_plan.MARGIN:.0%} stay free; buffers: of communication and of CUDA; step: what the optimizer's step "
        "needs more than backward)",
        "",
        f"speed    {time['tokens_per_second_per_gpu']:,.0f} tokens/s on a GPU, {time['tokens_per_second']:,.0f} in all "
        f"at {time['mfu']:.0%} MFU",
        f"tokens   {amount(time['tokens'])} ({time['tokens_per_parameter']:.1f} a parameter, {time['steps']:,} steps, "
        f"{time['flops']:.3g} FLOPs)",
        f"time     {time['seconds'] / 86400:,.1f} days ({duration(time['seconds'])}), {time['gpu_hours']:,.0f} "
        "GPU-hours" + (f"; cost {time['cost']:,.2f}" if time["cost"] is not None else ""),
        f"disk     {_size(disk['total'])}: {_size(disk['text'])} text at {disk['bytes_per_token']:g} bytes a token, "
        f"{_size(disk['token_cache'])} token cache, {_size(disk['checkpoints'])} for {disk['checkpoints_kept']} "
        f"checkpoints of {_size(disk['checkpoint'])}, {_size(disk['export'])} export",
    ]
    if disk["host_memory_of_copies"]:
        lines.append(
            f"host     {disk['host_memory_of_copies'] / GIB:,.1f} GiB of memory for the copies from which checkpoints "
            "are written, if all GPUs are in one machine"
        )
    if not any(choice.fits for choice in found):
        lines.append(
            "nothing fits: more GPUs, a smaller train.micro_batch_size (with more train.gradient_accumulation_steps), "
            "or a smaller model"
        )
    return "\n".join(lines)


def _size(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def draw(plan: dict[str, Any], found: list[Choice], path: Path) -> None:
    """Memory by part for each choice as stacked bars, with what a GPU has as a line; a PNG at `path`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.2), dpi=120, layout="constrained")
    names = [f"{choice.layers}\n{'taken' if choice.auto else ''}" for choice in found]
    bottom = [0.0] * len(found)
    for part, color in zip(PARTS, COLORS, strict=True):
        heights = [choice.parts()[part] / GIB for choice in found]
        if any(heights):
            axes.bar(names, heights, 0.62, bottom=bottom, label=part, color=color)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    memory = plan["memory_bytes"] / GIB
    axes.axhline(memory, color="#c0392b", linewidth=1.5)
    axes.annotate(
        f"{plan['gpu']}: {memory:.0f} GiB",
        (1, memory),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        color="#c0392b",
    )
    for place, (choice, top) in enumerate(zip(found, bottom, strict=True)):
        axes.annotate(
            f"{top:.1f}",
            (place, top),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            weight="bold" if choice.auto else "normal",
            color="#222222" if choice.fits else "#c0392b",
        )
    axes.set_ylim(0, max(*bottom, memory) * 1.14)
    axes.set_xlabel(f"layers of {plan['parameters']['layers']} whose activations are made again")
    axes.set_ylabel("GiB on each GPU")
    total = plan["parameters"]["total"]
    axes.set_title(
        f"{amount(total)} parameters on {plan['gpus']} x {plan['gpu']}, ZeRO-{plan['zero_stage']}, "
        f"{plan['micro_batch_size']} x {plan['seq_len']} tokens at a time",
        loc="left",
        fontsize=11,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, reverse=True)
    figure.savefig(path)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Memory, time, cost and disk of a run on given GPUs, from config.json and ds_config.json.",
        epilog='example: python evaluation/plan_run.py --gpu "A100 80GB" --gpus 2 --mfu 0.5 --price 1.8',
    )
    parser.add_argument("--gpu", required=True, metavar="NAME", help='e.g. "A100 80GB", H100, "RTX 4090"')
    parser.add_argument("--gpus", type=int, default=1, help="how many, over all machines (default: 1)")
    parser.add_argument("--memory", type=float, metavar="GIB", help="memory of one GPU (default: as its maker says)")
    parser.add_argument("--mfu", type=float, default=0.5, help="share of the peak that training reaches (default: 0.5)")
    parser.add_argument("--price", type=float, help="of one GPU for one hour, in any currency")
    parser.add_argument("--tokens", type=float, help="tokens planned, e.g. 50e9 (default: those of train.max_steps)")
    parser.add_argument("--hours", type=float, help="instead of --tokens: what can be trained in this time")
    parser.add_argument(
        "--bytes-per-token",
        type=float,
        default=TEXT_BYTES_PER_TOKEN,
        help=f"of the text, for the disk that it takes (default: {TEXT_BYTES_PER_TOKEN})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the plan there too")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw memory by part for each choice")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    for name in ("gpus", "memory", "price", "tokens", "hours", "bytes_per_token", "mfu"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be more than 0")
    if args.mfu > 1:
        raise UserError(f"--mfu {args.mfu}: a share of the peak, at most 1 (0.4 to 0.6 is usual)")
    if args.tokens is not None and args.hours is not None:
        raise UserError("--tokens and --hours: give one of them, the other follows")
    gpu = find_gpu(args.gpu)
    if gpu is None:
        raise UserError(f"--gpu {args.gpu}: not known; known are {', '.join(known.name for known in GPUS)}")
    if settings.model.dtype == "float32":
        raise UserError("dtype is float32: the peaks are those of 16-bit numbers; plan with --set dtype=bfloat16")

    gpus, memory = args.gpus, round(args.memory * GIB) if args.memory else gpu.memory
    deepspeed_config = resolve_deepspeed_config(project_path(settings.train.deepspeed_config), settings, gpus)
    found = choices(settings, deepspeed_config, gpus, memory)
    each = speed_plan.tokens_per_second(settings.model, settings.train.seq_len, gpu.peak, args.mfu)
    step = speed_plan.tokens_per_step(settings.train, gpus)
    tokens = args.hours * 3600 * each * gpus if args.hours else args.tokens or step * settings.train.max_steps
    parameters = count_parameters(settings.model)
    plan = {
        "parameters": asdict(parameters) | {"total": parameters.total},
        "dtype": settings.model.dtype,
        "gpu": gpu.name,
        "gpus": gpus,
        "memory_bytes": memory,
        "peak_flops": gpu.peak,
        "zero_stage": memory_plan.zero_stage(deepspeed_config),
        "micro_batch_size": settings.train.micro_batch_size,
        "seq_len": settings.train.seq_len,
        "tokens_per_step": step,
        "choices": [asdict(choice) | {"total": choice.memory.total} for choice in found],
        "time": time_and_cost(settings, gpu, gpus, args.mfu, tokens, args.price),
        "storage": storage(settings, gpus, tokens, args.bytes_per_token),
    }
    print(text_of(plan, found))
    if args.json:
        write_json(args.json, plan)
        print(f"written: {args.json}")
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        draw(plan, found, args.plot)
        print(f"drawn: {args.plot}")
    return 0


if __name__ == "__main__":
    run_command(main)
