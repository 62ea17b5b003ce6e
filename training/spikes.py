"""Losses out of line: which steps they are, and which documents were read there."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from common.errors import UserError

# Steps that a loss is compared with, and how many there must be.
WINDOW_STEPS = 100
LEAST_STEPS = 20
# A median absolute deviation is this share of a normal distribution's standard deviation (Hampel, The Influence Curve
# and its Role in Robust Estimation, 1974).
MAD_OF_NORMAL = 0.6745
# A spread below this (nats a token) is taken for it: the losses of a tiny run may hardly differ.
LEAST_SPREAD = 0.01


def judge(loss: float | None, recent: Sequence[float], sigmas: float | None) -> str | None:
    """`not_finite`, `spike` (above `spike_limit`; not looked for where `sigmas` is None), or None, which a step without
    a loss is as well."""
    if loss is None:
        return None
    if not math.isfinite(loss):
        return "not_finite"
    if sigmas is None or len(recent) < LEAST_STEPS or loss <= spike_limit(recent, sigmas):
        return None
    return "spike"


def badness(loss: float | None) -> tuple[bool, float]:
    """Orders the losses of micro-batches: none at all, finite ones, those that are not."""
    if loss is None:
        return False, -math.inf
    return not math.isfinite(loss), loss


def spike_limit(recent: Sequence[float], sigmas: float) -> float:
    """The loss, in nats a token, above which a step is a spike: median and median deviation of the `recent` ones, which
    a spike among them hardly moves."""
    middle = statistics.median(recent)
    spread = statistics.median(abs(value - middle) for value in recent) / MAD_OF_NORMAL
    return middle + sigmas * max(spread, LEAST_SPREAD)


def document_ids(cache: Any, spans: Iterable[tuple[int, int]]) -> list[str]:
    """Ids of the documents that the tokens of `spans` (start, stop in the row of a TokenCache) belong to, in order.

    One whose record cannot be read any more is named by its file and byte.
    """
    found: dict[str, None] = {}
    for start, stop in spans:
        while start < stop:
            document = cache.document_at(start)
            start = document.stop
            try:
                found[str(cache.record(document).get("id"))] = None
            except UserError as error:
                found[f"{document.file.path}, byte {document.place} ({error})"] = None
    return list(found)
