"""What the runs of `learning.py` show: figures of each, means over seeds, a table and a plot. Not run by itself."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.settings.model import ModelSettings
from training.metrics import read_metrics
from training.plan.parameters import count_parameters
from training.spikes import WINDOW_STEPS, judge

REGIMES = ("tenth", "all")
KINDS = ("hour", *REGIMES)
RUN_NAME = re.compile(r"(hour)|(tenth|all)-seed(\d+)")
# The training loss of a run is the mean over this many steps at its end.
LAST_STEPS = 100
SPIKE_SIGMAS = 6.0
COLOURS = {"hour": "tab:green", "tenth": "tab:red", "all": "tab:blue"}


def run_folders(runs: Path) -> Iterator[tuple[Path, str, int | None]]:
    """(folder, kind, seed) of the runs that are there, the regimes side by side, seed by seed."""
    found = []
    for folder in runs.glob("*"):
        match = RUN_NAME.fullmatch(folder.name)
        if match and (folder / "metrics.jsonl").exists():
            found.append((folder, match[1] or match[2], int(match[3]) if match[3] else None))
    yield from sorted(found, key=lambda item: (KINDS.index(item[1]), item[2] or 0))


def all_figures(runs: Path) -> list[dict[str, Any]]:
    """Figures of every run in `runs` that has come to a validation after its warm-up.

    Raises:
        UserError: there is none.
    """
    found = [figures(*item) for item in run_folders(runs)]
    if not any(found):
        raise UserError(f"{runs}: no runs of this benchmark; leave out --plot-only to train them")
    return [result for result in found if result]


def figures(folder: Path, kind: str, seed: int | None) -> dict[str, Any]:
    """What one run shows; losses in nats a token. Empty before its first validation after the warm-up.

    `gap` is validation minus training loss at the end. Gradient norms, before clipping, are those after the warm-up:
    `spread` is the standard deviation over the mean, `above_twice_median` a share of the steps, `trend` the mean of the
    last fifth over that of the first. `spikes` are steps whose loss lies 6 robust standard deviations above the last
    100. `setbacks` is the share of validations that were worse than the best before them.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    steps, validations = read_run(folder)
    warm = config["train"]["warmup_steps"]
    losses = [r["loss"] for r in steps]
    norms = [r["grad_norm"] for r in steps if r["step"] > warm and r.get("grad_norm") is not None]
    if len(norms) < 5 or len(validations) < 2 or validations[-1]["step"] <= warm:
        return {}
    last, best = validations[-1], min(validations, key=lambda r: r["val_loss"])
    training = statistics.mean(losses[-LAST_STEPS:])
    fifth, median = len(norms) // 5, statistics.median(norms)
    bits = [r["val_bits_per_byte"] for r in validations]
    tokens = train_tokens(folder, Path(config["data"]["out"]))
    return {
        "run": folder.name,
        "kind": kind,
        "seed": seed,
        "parameters": parameters(config),
        "finished": (folder / "export").exists(),
        "steps": steps[-1]["step"],
        "tokens": steps[-1]["tokens"],
        "epochs": steps[-1]["tokens"] / tokens if tokens else None,
        "minutes": sum(steps[0]["tokens"] / r["tokens_per_second"] for r in steps) / 60,
        "training_loss": training,
        "validation_loss": last["val_loss"],
        "validation_bits_per_byte": last["val_bits_per_byte"],
        "best_step": best["step"],
        "best_bits_per_byte": best["val_bits_per_byte"],
        "gap": last["val_loss"] - training,
        "setbacks": statistics.mean(bits[i] > min(bits[:i]) for i in range(1, len(bits))),
        "spikes": sum(
            judge(losses[i], losses[max(0, i - WINDOW_STEPS) : i], SPIKE_SIGMAS) is not None
            for i in range(len(losses))
            if steps[i]["step"] > warm
        ),
        "gradient_norm": {
            "mean": statistics.mean(norms),
            "spread": statistics.stdev(norms) / statistics.mean(norms),
            "above_twice_median": statistics.mean(norm > 2 * median for norm in norms),
            "highest_over_median": max(norms) / median,
            "trend": statistics.mean(norms[-fifth:]) / statistics.mean(norms[:fifth]),
        },
    }


def parameters(config: dict[str, Any]) -> int:
    """Of the model that a run's config.json describes, whatever version of train.py wrote it."""
    keys = {field.name for field in dataclasses.fields(ModelSettings)}
    return count_parameters(ModelSettings(**{key: config[key] for key in keys & config.keys()})).total


def read_run(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Step records and validation records of a run's metrics.jsonl."""
    records = read_metrics(folder / "metrics.jsonl")
    return [r for r in records if "learning_rate" in r], [r for r in records if "val_loss" in r]


def train_tokens(run: Path, dataset: Path) -> int | None:
    """Tokens of the split that the run trained on; None where its tokens are no longer there."""
    trained_on = json.loads((run / "run.json").read_text(encoding="utf-8"))["train_sha256"]
    for path in dataset.glob("token_cache/train-*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["source_sha256"] == trained_on:
            return manifest["num_tokens"]
    return None


def by_regime(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For each regime, mean and standard deviation over its finished seeds of every figure that is a number."""
    result: dict[str, Any] = {}
    for regime in REGIMES:
        runs = [flat(r) for r in found if r["kind"] == regime and r["finished"]]
        if runs:
            result[regime] = {"seeds": len(runs)}
        for key in runs[0] if runs else ():
            values = [run[key] for run in runs]
            if key != "seed" and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                deviation = statistics.stdev(values) if len(values) > 1 else None
                result[regime][key] = {"mean": statistics.mean(values), "deviation": deviation}
    return result


def flat(result: dict[str, Any]) -> dict[str, Any]:
    inner = {f"gradient_norm_{key}": value for key, value in result["gradient_norm"].items()}
    return {key: value for key, value in result.items() if key != "gradient_norm"} | inner


COLUMNS = {
    "epochs": "{:.2f}",
    "training_loss": "{:.3f}",
    "validation_loss": "{:.3f}",
    "gap": "{:.3f}",
    "validation_bits_per_byte": "{:.4f}",
    "setbacks": "{:.0%}",
    "spikes": "{:.1f}",
    "gradient_norm_mean": "{:.3f}",
    "gradient_norm_spread": "{:.3f}",
    "gradient_norm_above_twice_median": "{:.2%}",
    "gradient_norm_highest_over_median": "{:.1f}",
    "gradient_norm_trend": "{:.2f}",
}


def table(found: Sequence[dict[str, Any]]) -> str:
    """A figure a line and a run a column, in Markdown; the regimes' means ± deviations at the end."""
    rows = {"": [r["run"] + ("" if r["finished"] else f" (step {r['steps']:,})") for r in found]}
    flats = [flat(r) for r in found]
    rows["steps; parameters"] = [f"{r['steps']:,}; {r['parameters'] / 1e6:.1f} M" for r in found]
    for key, form in COLUMNS.items():
        rows[key.replace("_", " ")] = ["-" if r[key] is None else form.format(r[key]) for r in flats]
    for regime, means in by_regime(found).items():
        rows[""].append(f"{regime}, {means['seeds']} seeds")
        rows["steps; parameters"].append("")
        for key, form in COLUMNS.items():
            cell = means.get(key)
            spread = "" if cell is None or cell["deviation"] is None else f" ± {form.format(cell['deviation'])}"
            rows[key.replace("_", " ")].append("-" if cell is None else form.format(cell["mean"]) + spread)
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join([lines[0], "|" + " --- |" * (len(rows[""]) + 1), *lines[1:]])


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """Median of the `width` values (an odd number) around each place; fewer at the ends."""
    half = width // 2
    return [statistics.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def plot(runs: Path, found: Sequence[dict[str, Any]]) -> bytes:
    """PNG: on the left the hour's run, on the right the regimes with the range of their seeds; losses above norms."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {r["run"] for r in found}
    read = {folder: (kind, *read_run(folder)) for folder, kind, _ in run_folders(runs) if folder.name in shown}
    figure, axes = plt.subplots(2, 2, figsize=(13, 8), dpi=100, layout="constrained", sharex="col")
    for kind, steps, validations in read.values():
        if kind == "hour":
            draw_hour(axes[:, 0], steps, validations)
    for regime in REGIMES:
        curves = [(steps, validations) for kind, steps, validations in read.values() if kind == regime]
        if curves:
            draw_regime(axes[:, 1], regime, curves)
    axes[0, 0].set_title("The long run: loss, nats a token")
    axes[1, 0].set_title("Gradient norm before clipping")
    axes[0, 1].set_title("A tenth of the data and all of it: loss (bands: seeds)")
    axes[1, 1].set_title("Gradient norm before clipping, median of 25 steps")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    for column in (0, 1):
        tops = [r["loss"] for kind, steps, _ in read.values() if (kind != "hour") == bool(column) for r in steps[50:]]
        axes[0, column].set_ylim(top=max(tops) if tops else None)
        axes[1, column].set(xlabel="step", yscale="log")
        for numbers in (axes[1, column].yaxis.set_major_formatter, axes[1, column].yaxis.set_minor_formatter):
            numbers("{x:.2g}")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    plt.close(figure)
    return stream.getvalue()


def draw_hour(axes: Any, steps: list[dict[str, Any]], validations: list[dict[str, Any]]) -> None:
    at, losses = [r["step"] for r in steps], [r["loss"] for r in steps]
    axes[0].plot(at, losses, color=COLOURS["hour"], alpha=0.25, linewidth=0.5)
    axes[0].plot(at, smoothed(losses, 25), color=COLOURS["hour"], linewidth=1.2, label="training (median of 25 steps)")
    checked = [r["step"] for r in validations]
    axes[0].plot(checked, [r["val_loss"] for r in validations], "k.--", markersize=4, linewidth=1, label="validation")
    known = [r for r in steps if r.get("grad_norm") is not None]
    norms = [r["grad_norm"] for r in known]
    axes[1].plot([r["step"] for r in known], norms, color=COLOURS["hour"], alpha=0.5, linewidth=0.5)
    axes[1].plot(
        [r["step"] for r in known], smoothed(norms, 25), color="black", linewidth=1, label="median of 25 steps"
    )


def draw_regime(axes: Any, regime: str, curves: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> None:
    colour = COLOURS[regime]

    def band(axis: Any, rows: list[list[dict[str, Any]]], key: str, width: int, style: str, label: str) -> None:
        rows = [[r for r in row if r.get(key) is not None] for row in rows]
        length = min(map(len, rows))  # of an unfinished seed, and so of all
        at = [r["step"] for r in rows[0][:length]]
        values = list(zip(*(smoothed([r[key] for r in row[:length]], width) for row in rows), strict=True))
        axis.plot(at, [statistics.mean(v) for v in values], style, color=colour, linewidth=1.3, label=label)
        axis.fill_between(at, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.2, linewidth=0)

    seeds = f"{len(curves)} seed{'s' if len(curves) > 1 else ''}"
    band(axes[0], [steps for steps, _ in curves], "loss", 25, "-", f"{regime}, training ({seeds})")
    band(axes[0], [validations for _, validations in curves], "val_loss", 1, ".--", f"{regime}, validation")
    band(axes[1], [steps for steps, _ in curves], "grad_norm", 25, "-", regime)
