"""Curves made smooth for the eye and short for the plot. Imported, not run."""

from __future__ import annotations

import numpy as np

# A curve is smoothed over so many logged steps on either side, or over a twentieth of a run that has few of them.
SMOOTHED_STEPS = 100
# Points of a plotted curve: about as many as a figure has columns of pixels.
POINTS = 1000


def window(count: int) -> int:
    """Logged steps, on either side, over which a run of `count` of them is smoothed."""
    return max(1, min(SMOOTHED_STEPS, count // 20))


def running_mean(values: np.ndarray, over: int) -> np.ndarray:
    """Mean of each value and its neighbours, fewer than `over` on either side: [n]; the last one is of `over` values.

    On either side no more than a tenth of the values so far counts: the first ones fall fast. NaNs do not count; where
    nothing else is, they are left.
    """
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    here = np.arange(1, len(values) + 1)
    reach = np.minimum(over, np.maximum(1, here // 10))
    first, last = here - reach, np.minimum(len(values), here + reach - 1)
    number = counts[last] - counts[first]
    return np.where(number > 0, (sums[last] - sums[first]) / np.maximum(1, number), np.nan)


def running_geometric_mean(values: np.ndarray, over: int) -> np.ndarray:
    """The same for what is told in factors; values that are not above 0 do not count."""
    positive = np.where(values > 0, values, np.nan)
    return np.exp(running_mean(np.log(positive), over))


def thin(x: np.ndarray, y: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `points` of a smooth curve, spread evenly, its ends among them."""
    if len(x) <= points:
        return x, y
    chosen = np.linspace(0, len(x) - 1, points).round().astype(int)
    return x[chosen], y[chosen]


def envelope(x: np.ndarray, y: np.ndarray, bins: int = POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ragged curve as at most `bins` places, with the least and the largest value about each: no spike is lost."""
    starts = np.unique(np.linspace(0, len(x), min(bins, len(x)), endpoint=False).astype(int))
    if not len(starts):
        return x, y, y
    return x[starts], np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
