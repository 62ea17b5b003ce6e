"""Runs over each other in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.curves import running_geometric_mean, running_mean, thin, window
from reports.figures import GREY, finite, new_panels, plain_log, set_title, to_png, zoom
from reports.numbers import amount
from reports.run import RunData

# Colours told apart at a glance; further runs take other lines.
COLOURS, MANY_COLOURS, LINES = "tab10", "tab20", ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 2, 1, 2)))


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
    figure, panels = new_panels(3, 15, height)
    loss, bits, norm = panels
    gathered: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {0: [], 1: []}
    for run, label, (colour, line) in zip(runs, labels, colours, strict=True):
        style = {"color": _colour(colour, 1 + max(c for c, _ in colours)), "ls": LINES[line % len(LINES)], "lw": 1.4}
        over = window(len(run.steps["step"]))
        x = run.steps["tokens" if by_tokens else "step"]
        smooth = running_mean(run.steps["loss"], over)
        loss.plot(*thin(*finite(x, smooth)), **style, label=label)
        norm.plot(*thin(x, running_geometric_mean(run.steps["grad_norm"], over)), **style)
        at = validation_places(run, by_tokens)
        values = run.validations["val_bits_per_byte"]
        few = np.isfinite(values).sum() <= 40
        bits.plot(*finite(at, values), **style, marker="o" if few else None, ms=2.5)
        gathered[0].append((x, smooth))
        gathered[1].append((at, values))
    for panel, curves in ((loss, gathered[0]), (bits, gathered[1])):
        zoom(panel, *(np.concatenate(part) for part in zip(*curves, strict=True)))
    set_title(loss, "Training loss, smoothed (nats per token; compare runs of one tokenizer)")
    set_title(bits, "Validation, bits per byte")
    set_title(norm, "Gradient norm before clipping, smoothed")
    if any((run.steps["grad_norm"] > 0).any() for run in runs):
        norm.set_yscale("log")
        plain_log(norm)
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
    return to_png(figure)


def validation_places(run: RunData, by_tokens: bool) -> np.ndarray:
    """Where the validations stand on the axis of steps, or of tokens as the steps about them say."""
    at = run.validations["step"]
    if not by_tokens:
        return at
    known = np.isfinite(run.steps["tokens"])
    steps, tokens = run.steps["step"][known], run.steps["tokens"][known]
    return np.interp(at, np.concatenate([[0.0], steps]), np.concatenate([[0.0], tokens]))


def _colour(index: int, of: int) -> Any:
    import matplotlib

    if of <= 10:
        return matplotlib.colormaps[COLOURS](index)
    return matplotlib.colormaps[MANY_COLOURS](index % 20)
