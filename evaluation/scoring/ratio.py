"""A ratio of two sums, bits per byte of documents, with its standard error. Imported, not run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Sum of `x` over sum of `y`, each pair one sampling unit (a document).

    `standard_error` is that of the ratio estimator in simple random sampling, linearized, the population being large
    (Cochran, Sampling Techniques, 3rd edition, 1977, section 6.4): None for a single unit.
    """

    value: float
    standard_error: float | None
    units: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> Ratio | None:
        """None where `y` sums up to nothing. Units whose x and y are both 0 have no part in it."""
        known = [(x, y) for x, y in pairs if x or y]
        total = math.fsum(y for _, y in known)
        if not total:
            return None
        value = math.fsum(x for x, _ in known) / total
        error = None
        if len(known) > 1:
            squares = math.fsum((x - value * y) ** 2 for x, y in known)
            error = math.sqrt(squares * len(known) / (len(known) - 1)) / total
        return cls(value, error, len(known))
