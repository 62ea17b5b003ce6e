"""Panels, curves and axes that the figures of runs share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.curves import envelope

# The first steps, whose loss is that of a model that knows nothing, may lie beyond the axis: this share of the run.
CUT_SHARE = 0.1
PNG_DPI = 120
NOTE = {"fontsize": 8, "color": "#666666", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5}}
GREY, TRAINING, VALIDATION, PRETRAINING = "#eeeeee", "#1f77b4", "#d9730d", "#7a5195"


def plot_ragged(panel: Any, x: np.ndarray, y: np.ndarray, colour: str, label: str | None) -> None:
    """A raw curve, pale; the band between its extremes where it has more points than the figure has columns."""
    if not np.isfinite(y).any():
        return
    places, low, high = envelope(x, y)
    if len(places) < len(x):
        panel.fill_between(places, low, high, color=colour, alpha=0.28, lw=0, label=label)
    else:
        panel.plot(*finite(x, y), color=colour, alpha=0.4, lw=0.9, marker=point_mark(x), label=label)


def plot_marked(panel: Any, x: np.ndarray, y: np.ndarray, label: str | None, colour: str = VALIDATION) -> None:
    if not np.isfinite(y).any():
        return
    size = 4 if len(x) <= 60 else 2
    panel.plot(*finite(x, y), color=colour, lw=1.3, marker="o", ms=size, label=label, zorder=4)


def point_mark(x: np.ndarray) -> str | None:
    """Two points make a line; one needs a mark."""
    return "." if len(x) < 3 else None


def finite(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def zoom(panel: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Fit the y axis to what comes after the first steps, and say what lies beyond it."""
    x, y = finite(x, y)
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


def constant_ratio(one: np.ndarray, other: np.ndarray) -> float | None:
    """The constant that turns `one` into `other`; None where there is none."""
    known = np.isfinite(one) & np.isfinite(other) & (one > 0) & (other > 0)
    if not known.any():
        return None
    ratios = other[known] / one[known]
    return float(np.median(ratios)) if ratios.max() < 1.01 * ratios.min() else None


def plain_log(panel: Any) -> None:
    """Numbers as people write them on a logarithmic axis, also within one power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_ylim()
    between = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    panel.yaxis.set_major_locator(LogLocator(subs=between, numticks=12))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def set_title(panel: Any, text: str) -> None:
    panel.set_title(text, loc="left", fontsize=11)


def new_panels(rows: int, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 1, squeeze=False, sharex=True)
    return figure, [row[0] for row in grid]


def to_png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()
