"""The figures of one run and of many beside each other, as PNG. Imported, not run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.run_curves import envelope, running_geometric_mean, running_mean, thin, window
from evaluation.run_data import RunData
from training.metrics import amount

GREY, TRAINING, VALIDATION, PRETRAINING = "#eeeeee", "#1f77b4", "#d9730d", "#7a5195"
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
# The first steps, whose loss is that of a model that knows nothing, may lie beyond the axis: this share of the run.
CUT_SHARE = 0.1
# Colours told apart at a glance; further runs take other lines.
COLOURS, MANY_COLOURS, LINES = "tab10", "tab20", ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 2, 1, 2)))
PNG_DPI = 120
NOTE = {"fontsize": 8, "color": "#666666", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5}}


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
    figure, panels = _panels(1, 11, 5.2)
    (panel,) = panels
    steps, loss = run.steps["step"], run.steps["loss"]
    over = window(len(steps))
    smooth = running_mean(loss, over)
    _ragged(panel, steps, loss, TRAINING, "training")
    if over > 1:
        panel.plot(*thin(steps, smooth), color=TRAINING, lw=1.6, label=f"mean of ±{over} logged steps")
    at, validation = run.validations["step"], run.validations["val_loss"]
    _marked(panel, at, validation, "validation")
    forgotten = run.validations["pretraining_val_loss"]
    _marked(panel, at, forgotten, "pretraining's validation", PRETRAINING)
    panel.set_ylabel("nats per token")
    _title(panel, f"Loss of {run.name} ({run.tokenizer})")
    _events(panel, run)
    _zoom(panel, np.concatenate([steps, steps, at, at]), np.concatenate([loss, smooth, validation, forgotten]))
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
    figure, panels = _panels(len(shown), 11, 3.4)
    for panel, (key, title) in zip(panels, shown, strict=True):
        steps, values = run.validations["step"], run.validations[key]
        _marked(panel, steps, values, None, PRETRAINING if key.startswith("pretraining") else VALIDATION)
        best = int(np.nanargmin(values))
        panel.plot(steps[best], values[best], "*", color="#111111", ms=10, zorder=5)
        digits = 4 if key.endswith("bits_per_byte") else 2
        _title(panel, f"{title}: best {values[best]:.{digits}f} at step {steps[best]:,.0f} (★)")
        _events(panel, run)
        _zoom(panel, steps, values)
    return _finish(figure, panels, run)


def _optimizer(run: RunData) -> bytes:
    figure, panels = _panels(2, 11, 3.4)
    norm, rate = panels
    steps, norms = run.steps["step"], run.steps["grad_norm"]
    over = window(len(steps))
    _ragged(norm, steps, norms, "#c44e52", None)
    if over > 1:
        norm.plot(*thin(steps, running_geometric_mean(norms, over)), color="#c44e52", lw=1.6)
    thick = f" (thick: geometric mean of ±{over} logged steps)" if over > 1 else ""
    _title(norm, f"Gradient norm before clipping{thick}")
    if (norms > 0).any():
        norm.set_yscale("log")
        _plain_log(norm)
    if limit := run.train.get("max_grad_norm"):
        norm.axhline(limit, color="#555555", lw=0.9, ls="--", label=f"clipped at {limit:g}")
    if warmup := run.train.get("warmup_steps"):
        norm.axvline(warmup, color="#2f7d6b", lw=0.9, ls="--", label=f"end of warm-up ({warmup:,})")
    _events(norm, run)
    rate.plot(*thin(steps, run.steps["learning_rate"]), color="#2f7d6b", lw=1.6, marker=_dot(steps))
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    _title(rate, "Learning rate")
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
    figure, panels = _panels(len(shown), 11, 2.5)
    over = window(len(steps["step"]))
    for panel, (key, title, factor, ticks) in zip(panels, shown, strict=True):
        values = steps[key] * factor
        smooth = running_mean(values, over)
        _ragged(panel, steps["step"], values, "#6b5b95", None)
        if over > 1:
            panel.plot(*thin(steps["step"], smooth), color="#6b5b95", lw=1.6)
        if np.isfinite(values).any():
            # What may be seen at a glance is how steady it is, so the axis starts at nothing.
            panel.set_ylim(0, 1.1 * max(np.nanpercentile(values, 99), np.nanpercentile(smooth, 99), 1e-4))
        if key == "gpu_utilization":
            panel.set_ylim(0, 1.05)
        panel.yaxis.set_major_formatter(ticks)
        _title(panel, title)
        _events(panel, run)
        mfu = _ratio(steps["tokens_per_second"], steps["mfu"])
        if key == "tokens_per_second" and mfu:
            right = panel.secondary_yaxis("right", functions=(lambda v, m=mfu: v * m, lambda v, m=mfu: v / m))
            right.yaxis.set_major_formatter("{x:.0%}")
            right.set_ylabel("MFU")
    return _finish(figure, panels, run)


def compare_figure(
    runs: Sequence[RunData], labels: Sequence[str], colours: Sequence[tuple[int, int]], by_tokens: bool
) -> bytes:
    """Smoothed training loss, validation bits per byte and gradient norm of the runs, over each other.

    Args:
        labels: what the legend says of each run.
        colours: (colour, line) of each run: runs of one colour belong together.
        by_tokens: against tokens seen, not steps.
    """
    # The legend stands beside the panels, and they are as high as it needs.
    height = max(3.3, 0.185 * len(runs) / 3 + 0.6)
    figure, panels = _panels(3, 15, height)
    loss, bits, norm = panels
    gathered: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {0: [], 1: []}
    for run, label, (colour, line) in zip(runs, labels, colours, strict=True):
        style = {"color": _colour(colour, 1 + max(c for c, _ in colours)), "ls": LINES[line % len(LINES)], "lw": 1.4}
        over = window(len(run.steps["step"]))
        x = run.steps["tokens" if by_tokens else "step"]
        smooth = running_mean(run.steps["loss"], over)
        loss.plot(*thin(x, smooth), **style, label=label)
        norm.plot(*thin(x, running_geometric_mean(run.steps["grad_norm"], over)), **style)
        at = validation_places(run, by_tokens)
        values = run.validations["val_bits_per_byte"]
        few = np.isfinite(values).sum() <= 40
        bits.plot(*_known(at, values), **style, marker="o" if few else None, ms=2.5)
        gathered[0].append((x, smooth))
        gathered[1].append((at, values))
    for panel, curves in ((loss, gathered[0]), (bits, gathered[1])):
        _zoom(panel, *(np.concatenate(part) for part in zip(*curves, strict=True)))
    _title(loss, "Training loss, smoothed (nats per token; compare runs of one tokenizer)")
    _title(bits, "Validation, bits per byte")
    _title(norm, "Gradient norm before clipping, smoothed")
    if any((run.steps["grad_norm"] > 0).any() for run in runs):
        norm.set_yscale("log")
        _plain_log(norm)
    for panel in panels:
        if by_tokens:
            panel.xaxis.set_major_formatter(lambda value, _: amount(value))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color=GREY)
        panel.set_axisbelow(True)
        panel.set_xlim(left=0)
    panels[-1].set_xlabel("tokens seen" if by_tokens else "step")
    handles, names = loss.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8, handlelength=3.2)
    return _png(figure)


def validation_places(run: RunData, by_tokens: bool) -> np.ndarray:
    """Where the validations stand on the axis of steps, or of tokens as the steps about them say."""
    at = run.validations["step"]
    if not by_tokens:
        return at
    known = np.isfinite(run.steps["tokens"])
    steps, tokens = run.steps["step"][known], run.steps["tokens"][known]
    return np.interp(at, np.concatenate([[0.0], steps]), np.concatenate([[0.0], tokens]))


def _ragged(panel: Any, x: np.ndarray, y: np.ndarray, colour: str, label: str | None) -> None:
    """A raw curve, pale; the band between its extremes where it has more points than the figure has columns."""
    if not np.isfinite(y).any():
        return
    places, low, high = envelope(x, y)
    if len(places) < len(x):
        panel.fill_between(places, low, high, color=colour, alpha=0.28, lw=0, label=label)
    else:
        panel.plot(*_known(x, y), color=colour, alpha=0.4, lw=0.9, marker=_dot(x), label=label)


def _marked(panel: Any, x: np.ndarray, y: np.ndarray, label: str | None, colour: str = VALIDATION) -> None:
    if not np.isfinite(y).any():
        return
    size = 4 if len(x) <= 60 else 2
    panel.plot(*_known(x, y), color=colour, lw=1.3, marker="o", ms=size, label=label, zorder=4)


def _dot(x: np.ndarray) -> str | None:
    """Two points make a line; one needs a mark."""
    return "." if len(x) < 3 else None


def _known(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _events(panel: Any, run: RunData) -> None:
    for kind, (colour, line) in EVENTS.items():
        for number, event in enumerate(events := run.happened(kind)):
            label = f"{kind.replace('_', ' ')} ({len(events)})" if not number else None
            wide = 2.4 if line == "-" else 1.1  # what follows from it stands at the same step
            panel.axvline(event["step"], color=colour, ls=line, lw=wide, alpha=0.7, zorder=1, label=label)


def _zoom(panel: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Fit the y axis to what comes after the first steps, and say what lies beyond it."""
    x, y = _known(x, y)
    later = y[x > x.min() + CUT_SHARE * (x.max() - x.min())] if len(x) else y
    if len(later) < 2:
        return
    # Of many values a few may be spikes; of few, such as validations, none is left out.
    low, high = np.percentile(later, [0.02, 99.8] if len(later) > 1000 else [0, 100])
    room = 0.06 * (high - low) or 0.01 * abs(high) or 0.01
    if y.max() <= high + 0.5 * (high - low):
        return
    panel.set_ylim(low - room, high + room)
    note = f"above the axis, at the start and in spikes: up to {y.max():,.4g}"
    panel.annotate(note, (0.995, 0.97), xycoords="axes fraction", va="top", ha="right", **NOTE)


def _ratio(one: np.ndarray, other: np.ndarray) -> float | None:
    """The constant that turns `one` into `other`; None where there is none."""
    known = np.isfinite(one) & np.isfinite(other) & (one > 0) & (other > 0)
    if not known.any():
        return None
    ratios = other[known] / one[known]
    return float(np.median(ratios)) if ratios.max() < 1.01 * ratios.min() else None


def _plain_log(panel: Any) -> None:
    """Numbers as people write them on a logarithmic axis, also within one power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_ylim()
    between = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    panel.yaxis.set_major_locator(LogLocator(subs=between, numticks=12))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _colour(index: int, of: int) -> Any:
    import matplotlib

    if of <= 10:
        return matplotlib.colormaps[COLOURS](index)
    return matplotlib.colormaps[MANY_COLOURS](index % 20)


def _title(panel: Any, text: str) -> None:
    panel.set_title(text, loc="left", fontsize=11)


def _panels(rows: int, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 1, squeeze=False, sharex=True)
    return figure, [row[0] for row in grid]


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
    each = _ratio(run.steps["step"], run.steps["tokens"])
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
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()
