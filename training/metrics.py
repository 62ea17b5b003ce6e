"""What a run reports: the step line, metrics.jsonl, the loss plot and Weights & Biases."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from settings import Settings, UserError

Record = dict[str, Any]


def step_line(record: Mapping[str, Any], max_steps: int) -> str:
    """One line a step; MFU only where the device's peak is known."""
    parts = [
        f"step {record['step']:>{len(str(max_steps))}}/{max_steps}",
        f"loss {record['loss']:.4f}",
        f"lr {record['learning_rate']:.2e}",
        f"grad_norm {'-' if record['grad_norm'] is None else format(record['grad_norm'], '.2f')}",
        f"{record['tokens_per_second']:,.0f} tokens/s",
    ]
    if record["mfu"] is not None:
        parts.append(f"mfu {record['mfu']:.1%}")
    parts.append(f"memory {record['memory_bytes'] / 2**30:.1f} GiB")
    return "  ".join(parts)


def validation_line(record: Mapping[str, Any]) -> str:
    return (
        f"validation at step {record['step']}: {record['val_bits_per_byte']:.4f} bits per byte, "
        f"loss {record['val_loss']:.4f}, perplexity {record['val_perplexity']:.2f} (own tokenizer, "
        f"{record['val_tokens']:,} tokens)"
    )


def duration(seconds: float) -> str:
    """3d 4h, 2h 05m, 3m 20s: a length of time as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def read_metrics(path: Path) -> list[Record]:
    """Records of a metrics.jsonl; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if line.endswith("\n"):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"{path}:{number}: not a line of JSON ({error}); delete that line") from None
    return records


class MetricsLog:
    """metrics.jsonl of a run, and the same figures to Weights & Biases; process 0 alone has one.

    A run that resumes at `step` drops the lines of later steps, which it will write again.
    """

    def __init__(self, folder: Path, settings: Settings, name: str, step: int):
        self.path = folder / "metrics.jsonl"
        kept = [record for record in read_metrics(self.path) if record["step"] <= step]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(temporary, self.path)
        self.file = self.path.open("a", encoding="utf-8", buffering=1)
        self.wandb = _start_wandb(folder, settings, name)

    def write(self, record: Record) -> None:
        # JSON knows no infinity.
        record = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self.file.write(json.dumps(record, allow_nan=False) + "\n")
        if self.wandb is not None:
            figures = {key: value for key, value in record.items() if key != "step" and value is not None}
            self.wandb.log(figures, step=record["step"])

    def close(self) -> None:
        self.file.close()
        if self.wandb is not None:
            self.wandb.finish()


def _start_wandb(folder: Path, settings: Settings, name: str) -> Any:
    if settings.train.wandb == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    try:
        return wandb.init(
            project=settings.train.wandb_project,
            name=name,
            id=name,
            resume="allow" if settings.train.wandb == "online" else None,
            mode=settings.train.wandb,
            dir=folder,
            config=settings.to_dict(),
        )
    except wandb.errors.Error as error:
        raise UserError(
            f"Weights & Biases: {error}; log in with 'wandb login', or start with --set train.wandb=offline "
            "(and later 'wandb sync')"
        ) from error


def plot_metrics(folder: Path) -> Path:
    """Draw loss, validation, learning rate and gradient norm of `folder`'s metrics.jsonl; returns its path."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = read_metrics(folder / "metrics.jsonl")
    steps = [r for r in records if "loss" in r]
    validations = [r for r in records if "val_loss" in r]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")

    def draw(axis: Any, rows: list[Record], key: str, **style: Any) -> None:
        axis.plot([r["step"] for r in rows], [r[key] for r in rows], **style)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)

    loss, bits, rate, norm = axes.flat
    draw(loss, steps, "loss", color="tab:blue", linewidth=1, label="training")
    draw(loss, validations, "val_loss", color="tab:orange", marker="o", markersize=4, label="validation")
    loss.set(title="Loss (nats per token)")
    loss.legend()
    draw(bits, validations, "val_bits_per_byte", color="tab:orange", marker="o", markersize=4)
    bits.set(title="Validation, bits per byte")
    if validations:
        last = validations[-1]
        bits.annotate(
            f"{last['val_bits_per_byte']:.3f}",
            (last["step"], last["val_bits_per_byte"]),
            textcoords="offset points",
            xytext=(-6, 8),
            ha="right",
        )
    draw(rate, steps, "learning_rate", color="tab:green")
    rate.set(title="Learning rate")
    draw(norm, steps, "grad_norm", color="tab:red", linewidth=1)
    norm.set(title="Gradient norm before clipping", yscale="log" if steps else "linear")
    figure.suptitle(f"Run {folder.name}")
    path = folder / "loss.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
