"""The figures of one run, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from reports.curves import running_geometric_mean, running_mean, thin, window
from reports.figures import (
    GREY,
    PRETRAINING,
    TRAINING,
    VALIDATION,
    constant_ratio,
    finite,
    new_panels,
    plain_log,
    plot_marked,
    plot_ragged,
    point_mark,
    set_title,
    to_png,
    zoom,
)
from reports.numbers import amount

# Marks of events: colour and line.
EVENTS = {
    "spike": ("#e6a100", "-"),
    "not_finite": ("#d62728", "-"),
    "rewind": ("#9467bd", "--"),
    "resumed": ("#7f7f7f", ":"),
    "stopped": ("#7f7f7f", "-."),
    "checkpoint_failed": ("#17becf", "--"),
    "early_stop": ("#111111", "-."),
}


class RunData(Protocol):
    """What is shown of a run. Columns are float64 arrays of one length, `step` rising among them; NaN: not noted."""

    @property
    def name(self) -> str: ...

    @property
    def tokenizer(self) -> str: ...

    @property
    def train(self) -> dict[str, Any]: ...

    @property
    def steps(self) -> dict[str, np.ndarray]: ...

    @property
    def validations(self) -> dict[str, np.ndarray]: ...

    def happened(self, kind: str) -> list[dict[str, Any]]: ...


def run_figures(run: RunData) -> dict[str, bytes]:
    """PNG images of a run by name; those that there is data for."""
    found = {}
    if len(run.steps["step"]) or len(run.validations["step"]):
        found["loss"] = _loss(run)
    if np.isfinite(run.validations["val_perplexity"]).any() or np.isfinite(run.validations["val_bits_per_byte"]).any():
        found["validation"] = _validation(run)
    if len(run.steps["step"]):
        found |= {"optimizer": _optimizer(run), "throughput": _throughput(run)}
    return found


def _loss(run: RunData) -> bytes:
    figure, panels = new_panels(1, 11, 5.2)
    (panel,) = panels
    steps, loss = run.steps["step"], run.steps["loss"]
    over = window(len(steps))
    smooth = running_mean(loss, over)
    plot_ragged(panel, steps, loss, TRAINING, "training")
    if over > 1:
        panel.plot(*thin(*finite(steps, smooth)), color=TRAINING, lw=1.6, label=f"mean of ±{over} logged steps")
    at, validation = run.validations["step"], run.validations["val_loss"]
    plot_marked(panel, at, validation, "validation")
    forgotten = run.validations["pretraining_val_loss"]
    plot_marked(panel, at, forgotten, "pretraining's validation", PRETRAINING)
    panel.set_ylabel("nats per token")
    set_title(panel, f"Loss of {run.name} ({run.tokenizer})")
    _events(panel, run)
    zoom(panel, np.concatenate([steps, steps, at, at]), np.concatenate([loss, smooth, validation, forgotten]))
    return _finish(figure, panels, run)


def _validation(run: RunData) -> bytes:
    shown = [
        (key, title)
        for key, title in (
            ("val_bits_per_byte", "Validation, bits per byte"),
            ("val_perplexity", f"Validation, perplexity ({run.tokenizer})"),
            ("pretraining_val_bits_per_byte", "Pretraining's validation, bits per byte"),
        )
        if np.isfinite(run.validations[key]).any()
    ]
    figure, panels = new_panels(len(shown), 11, 3.4)
    for panel, (key, title) in zip(panels, shown, strict=True):
        steps, values = run.validations["step"], run.validations[key]
        plot_marked(panel, steps, values, None, PRETRAINING if key.startswith("pretraining") else VALIDATION)
        best = int(np.nanargmin(values))
        panel.plot(steps[best], values[best], "*", color="#111111", ms=10, zorder=5)
        digits = 4 if key.endswith("bits_per_byte") else 2
        set_title(panel, f"{title}: best {values[best]:.{digits}f} at step {steps[best]:,.0f} (★)")
        _events(panel, run)
        zoom(panel, steps, values)
    return _finish(figure, panels, run)


def _optimizer(run: RunData) -> bytes:
    figure, panels = new_panels(2, 11, 3.4)
    norm, rate = panels
    steps, norms = run.steps["step"], run.steps["grad_norm"]
    over = window(len(steps))
    plot_ragged(norm, steps, norms, "#c44e52", None)
    if over > 1:
        norm.plot(*thin(steps, running_geometric_mean(norms, over)), color="#c44e52", lw=1.6)
    thick = f" (thick: geometric mean of ±{over} logged steps)" if over > 1 else ""
    set_title(norm, f"Gradient norm before clipping{thick}")
    if (norms > 0).any():
        norm.set_yscale("log")
        plain_log(norm)
    if limit := run.train.get("max_grad_norm"):
        norm.axhline(limit, color="#555555", lw=0.9, ls="--", label=f"clipped at {limit:g}")
    if warmup := run.train.get("warmup_steps"):
        norm.axvline(warmup, color="#2f7d6b", lw=0.9, ls="--", label=f"end of warm-up ({warmup:,})")
    _events(norm, run)
    rate.plot(*thin(steps, run.steps["learning_rate"]), color="#2f7d6b", lw=1.6, marker=point_mark(steps))
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    set_title(rate, "Learning rate")
    return _finish(figure, panels, run)


def _throughput(run: RunData) -> bytes:
    steps = run.steps
    shown = [
        ("tokens_per_second", "Tokens per second, all processes", 1.0, "{x:,.0f}"),
        ("data_wait", "Waiting for data, share of a step", 1.0, "{x:.2%}"),
        ("gpu_utilization", "GPU utilization", 1.0, "{x:.0%}"),
        ("memory_bytes", "Memory, GiB", 1 / 2**30, "{x:,.1f}"),
    ]
    shown = [row for row in shown if np.isfinite(steps[row[0]]).any()]
    if not shown:
        shown = [("tokens_per_second", "Tokens per second: not noted", 1.0, "{x:,.0f}")]
    figure, panels = new_panels(len(shown), 11, 2.5)
    over = window(len(steps["step"]))
    for panel, (key, title, factor, ticks) in zip(panels, shown, strict=True):
        values = steps[key] * factor
        smooth = running_mean(values, over)
        plot_ragged(panel, steps["step"], values, "#6b5b95", None)
        if over > 1:
            panel.plot(*thin(steps["step"], smooth), color="#6b5b95", lw=1.6)
        if np.isfinite(values).any():
            # What may be seen at a glance is how steady it is, so the axis starts at nothing.
            panel.set_ylim(0, 1.1 * max(np.nanpercentile(values, 99), np.nanpercentile(smooth, 99), 1e-4))
        if key == "gpu_utilization":
            panel.set_ylim(0, 1.05)
        panel.yaxis.set_major_formatter(ticks)
        set_title(panel, title)
        _events(panel, run)
        mfu = constant_ratio(steps["tokens_per_second"], steps["mfu"])
        if key == "tokens_per_second" and mfu:
            right = panel.secondary_yaxis("right", functions=(lambda v, m=mfu: v * m, lambda v, m=mfu: v / m))
            right.yaxis.set_major_formatter("{x:.0%}")
            right.set_ylabel("MFU")
    return _finish(figure, panels, run)


def _events(panel: Any, run: RunData) -> None:
    for kind, (colour, line) in EVENTS.items():
        for number, event in enumerate(events := run.happened(kind)):
            label = f"{kind.replace('_', ' ')} ({len(events)})" if not number else None
            wide = 2.4 if line == "-" else 1.1  # what follows from it stands at the same step
            panel.axvline(event["step"], color=colour, ls=line, lw=wide, alpha=0.7, zorder=1, label=label)


def _finish(figure: Any, panels: Sequence[Any], run: RunData) -> bytes:
    """Axes of one run: steps below, tokens above, one legend."""
    from matplotlib.ticker import MaxNLocator

    handles: Mapping[str, Any] = {}
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color=GREY)
        panel.set_axisbelow(True)
        found, labels = panel.get_legend_handles_labels()
        handles = {**dict(zip(labels, found, strict=True)), **handles}
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    panels[-1].xaxis.set_major_formatter("{x:,.0f}")
    reached = max([1.0, *run.steps["step"][-1:], *run.validations["step"][-1:]])
    panels[-1].set_xlim(-0.01 * reached, 1.01 * reached)
    each = constant_ratio(run.steps["step"], run.steps["tokens"])
    if each:
        top = panels[0].secondary_xaxis("top", functions=(lambda s: s * each, lambda t: t / each))
        top.xaxis.set_major_formatter(lambda value, _: amount(value))
        top.tick_params(labelsize=8, colors="#666666")
        top.set_xlabel("tokens", fontsize=8, color="#666666")
        top.spines["top"].set_color("#bbbbbb")
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=min(6, len(handles)),
            frameon=False,
            fontsize=9,
        )
    return to_png(figure)
