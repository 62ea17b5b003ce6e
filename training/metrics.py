"""What a run reports: the step line, metrics.jsonl, the loss plot and Weights & Biases."""

from __future__ import annotations

import functools
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.settings.load import Settings
from reports.numbers import amount

Record = dict[str, Any]
# Where W&B cannot be reached any more, the end of a run would wait for days.
WANDB_FINISH_SECONDS = 60
NO_ANSWERS = "the windows of train.val_sequences hold no answers; raise it (null reads all of the split)"


def step_line(record: Mapping[str, Any], max_steps: int) -> str:
    """One line a step; MFU only where the device's peak is known."""
    parts = [
        f"step {record['step']:>{len(str(max_steps))}}/{max_steps}",
        f"loss {loss_text(record['loss'])}",
        f"lr {record['learning_rate']:.2e}",
        f"grad_norm {'-' if record['grad_norm'] is None else format(record['grad_norm'], '.2f')}",
        f"{record['tokens_per_second']:,.0f} tokens/s"
        + (
            f" ({each:,.0f} a device)"
            if (each := record["tokens_per_second_per_device"]) < record["tokens_per_second"]
            else ""
        ),
    ]
    if record["mfu"] is not None:
        parts.append(f"mfu {record['mfu']:.1%}")
    if record["gpu_utilization"] is not None:
        parts.append(f"gpu {record['gpu_utilization']:.0%}")
    parts += [
        f"memory {record['memory_bytes'] / 2**30:.1f} GiB",
        f"data wait {record['data_wait']:.1%}",
        f"{amount(record['tokens'])} tokens",
        f"left {duration(record['seconds_left'])}",
    ]
    return "  ".join(parts)


def loss_text(loss: float | None) -> str:
    """A loss in nats a token; a dash for a step in which no token was learnt."""
    return "-" if loss is None else f"{loss:.4f}"


def validation_line(record: Mapping[str, Any]) -> str:
    line = f"validation at step {record['step']}: "
    if record["val_loss"] is None:
        line += NO_ANSWERS
    else:
        line += (
            f"{record['val_bits_per_byte']:.4f} bits per byte, loss {record['val_loss']:.4f}, perplexity "
            f"{record['val_perplexity']:.2f} (own tokenizer, {record['val_tokens']:,} tokens)"
        )
    if "pretraining_val_loss" in record:
        line += (
            f"; pretraining's: {record['pretraining_val_bits_per_byte']:.4f} bits per byte, perplexity "
            f"{record['pretraining_val_perplexity']:.2f}"
        )
    return line


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
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not a line of JSON ({error}); delete that line") from None
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            raise UserError(f"{path}:{number}: not a record of a step ({line[:40]!r}); delete that line")
        records.append(record)
    return records


class StepClock:
    """Seconds by phase of the loop: `lap` gives the time since the last one to a phase. On a GPU the phases tell when
    work was handed over, not when it was done; their sum is right."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.steps, self.last = 0, time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] += now - self.last
        self.last = now

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last `take`; the steps are counted anew."""
        taken, self.seconds, self.steps = self.seconds, defaultdict(float), 0
        return taken


@functools.cache
def note_once(line: str) -> None:
    """A note that would otherwise come with each step."""
    print(f"note: {line}", flush=True)


def gpu_utilization(device: Any) -> float | None:
    """Share of the last moments in which the GPU worked; None where its driver does not say, and a note why."""
    import torch

    try:
        return torch.cuda.utilization(device) / 100
    except Exception as error:  # NVML and AMD's library have classes of their own; a figure is lost, not the run
        missing = "nvidia-ml-py" in str(error)
        hint = "pip install -r requirements.txt" if missing else "MIG slices and some containers have none"
        note_once(f"no GPU use in the step lines: {type(error).__name__}: {_reason(error)} ({hint})")
        return None


def _reason(error: Exception) -> str:
    """What an error says, in a line; some have nothing but their name."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


class MetricsLog:
    """metrics.jsonl of a run, and the same figures to Weights & Biases; process 0 alone has one.

    A run that goes on from `step` drops the lines of later steps, which it will write again; `self.reached` is the last
    step that it had come to.
    """

    def __init__(self, folder: Path, settings: Settings, name: str, step: int):
        self.path = folder / "metrics.jsonl"
        records = read_metrics(self.path)
        self.reached = max([step, *(record["step"] for record in records if "event" not in record)])
        self._write_all(record for record in records if record["step"] <= step)
        self.wandb = None
        if settings.train.wandb != "disabled":
            self.wandb = WandbFigures(folder, settings, name, self.reached)

    def _write_all(self, records: Iterable[Record]) -> None:
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        os.replace(temporary, self.path)
        self.file = self.path.open("ab", buffering=0)
        # Lines that a full disk keeps from being written, and bytes of the file without the part of one.
        self.waiting: list[bytes] = []
        self.whole = self.path.stat().st_size

    def back_to(self, step: int) -> None:
        """Drop what was measured after `step`, but not what happened there."""
        self.file.close()
        self._write_all([r for r in read_metrics(self.path) if r["step"] <= step or "event" in r])
        if self.wandb is not None:
            self.wandb.back()

    def _append(self, line: bytes) -> None:
        """Write a line and those that wait; where the disk is full they wait for the next one, and training goes on."""
        told = bool(self.waiting)
        self.waiting.append(line)
        data = b"".join(self.waiting)
        try:
            written = 0
            while written < len(data):
                written += self.file.write(data[written:])
        except OSError as error:
            os.truncate(self.path, self.whole)
            if not told:
                reason = f"{error.strerror} (errno {error.errno})"
                print(f"note: {self.path}: {reason}; its lines are kept until there is room", flush=True)
            return
        self.whole, self.waiting = self.whole + len(data), []

    def write(self, record: Record) -> None:
        # JSON knows no infinity.
        record = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._append((json.dumps(record, allow_nan=False) + "\n").encode())
        if self.wandb is not None and "event" not in record:
            self.wandb.write(record)

    def event(self, step: int, event: str, message: str, **details: Any) -> None:
        """Something that happened: a line of metrics.jsonl, and one on the screen."""
        self.write({"step": step, "event": event, "message": message, **details})
        print(f"step {step}: {message}", flush=True)

    def close(self) -> None:
        self.file.close()
        if self.wandb is not None:
            self.wandb.finish()


class WandbFigures:
    """A run's figures at Weights & Biases, under its own name as id, so that it goes on where it is resumed.

    It is never a reason to stop, whatever it raises: a note says what happened, and metrics.jsonl has the figures.

    W&B drops in silence what does not come after all that it has, and a run that goes back or is resumed repeats steps.
    So its own count grows in any case, and the steps are a figure, which its charts have as their axis.

    Args:
        reached: the last step that the run had come to.
    """

    def __init__(self, folder: Path, settings: Settings, name: str, reached: int):
        self.kept = folder / "wandb"
        # The record before: its step, and its place in W&B's count. Records of one step are one row there.
        self.step: int | None = None
        self.place = reached
        self.steps_are_a_figure = True
        self.run = self._start(folder, settings, name)
        try:
            if self.run is not None:
                self._set_axis()
        except Exception as error:
            self._go_on_without(error)

    def _start(self, folder: Path, settings: Settings, name: str) -> Any:
        """The run as wanted; offline where W&B is out of reach or nobody is logged in; None where neither goes."""
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            # By name: a folder called wandb, as the runs have one, is a package as well, and an empty one.
            from wandb import init
        except Exception as error:  # not installed, or at odds with another package
            cure = "pip install -r requirements.txt, or set train.wandb=disabled"
            self._note(f"{type(error).__name__}: {_reason(error)}; {cure}; going on without it")
            return None
        wanted = settings.train.wandb
        reason = ""
        for mode in dict.fromkeys((wanted, "offline")):
            try:
                run = init(
                    project=settings.train.wandb_project,
                    name=name,
                    id=name,
                    resume="allow" if mode == "online" else None,
                    mode=mode,
                    dir=folder,
                    config=settings.to_dict(),
                    settings={"finish_timeout": WANDB_FINISH_SECONDS, "finish_timeout_raises": True},
                )
            except Exception as error:
                reason = _reason(error)
                continue
            if mode != wanted:
                self._note(f"{reason}; kept in {self.kept}, for 'wandb sync' later")
            return run
        self._note(f"{reason}; going on without it")
        return None

    def _set_axis(self) -> None:
        """Go on after what W&B has; a run of before the steps were a figure keeps W&B's count as its axis."""
        self.place = max(self.place, self.run.starting_step - 1)
        self.steps_are_a_figure = not self.run.starting_step or "step" in self.run.summary.keys()
        if self.steps_are_a_figure:
            self.run.define_metric("step")
            self.run.define_metric("*", step_metric="step")

    def _note(self, line: str) -> None:
        print(f"note: Weights & Biases: {line}", flush=True)

    def _go_on_without(self, error: Exception) -> None:
        self._note(f"{_reason(error)}; going on without it")
        self.run = None

    def back(self) -> None:
        """The run goes back: what comes is measured anew, be it at the step of the record before."""
        self.step = None

    def write(self, record: Record) -> None:
        if self.run is None:
            return
        if record["step"] != self.step:
            self.step, self.place = record["step"], max(record["step"], self.place + 1)
        left_out = () if self.steps_are_a_figure else ("step",)
        figures = {key: value for key, value in record.items() if value is not None and key not in left_out}
        try:
            self.run.log(figures, step=self.place)
        except Exception as error:
            self._go_on_without(error)

    def finish(self) -> None:
        """Wait until W&B has all figures, WANDB_FINISH_SECONDS at most."""
        try:
            if self.run is not None:
                self.run.finish()
        except Exception as error:
            self._note(f"{_reason(error)}; what it lacks is in {self.kept}: wandb sync --include-online {self.kept}")


def plot_metrics(folder: Path) -> Path:
    """Draw loss, validation, learning rate and gradient norm of `folder`'s metrics.jsonl; returns its path."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = read_metrics(folder / "metrics.jsonl")
    steps = [r for r in records if "loss" in r and "event" not in r]
    validations = [r for r in records if r.get("val_loss") is not None]
    pretraining = [r for r in records if "pretraining_val_loss" in r]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")

    def draw(axis: Any, rows: list[Record], key: str, **style: Any) -> None:
        rows = [r for r in rows if r[key] is not None]
        axis.plot([r["step"] for r in rows], [r[key] for r in rows], **style)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)

    loss, bits, rate, norm = axes.flat
    draw(loss, steps, "loss", color="tab:blue", linewidth=1, label="training")
    draw(loss, validations, "val_loss", color="tab:orange", marker="o", markersize=4, label="validation")
    loss.set(title="Loss (nats per token)")
    loss.legend()
    draw(bits, validations, "val_bits_per_byte", color="tab:orange", marker="o", markersize=4)
    if pretraining:
        style = {"color": "tab:purple", "marker": "s", "markersize": 4}
        draw(loss, pretraining, "pretraining_val_loss", label="pretraining's validation", **style)
        draw(bits, pretraining, "pretraining_val_bits_per_byte", label="pretraining's", **style)
        loss.legend()
        bits.legend()
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
