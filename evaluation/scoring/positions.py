"""Loss by position in the context: does a model use, or stand, a longer context than it was trained at?

Documents are cut into windows of `context` tokens that do not overlap, and only whole windows count: every position is
averaged over the same ones. Imported, not run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evaluation.scoring.ratio import Ratio
from evaluation.scoring.windows import Window, batch_size_for, window_losses

if TYPE_CHECKING:
    import numpy as np

    from evaluation.models.load import LoadedModel

# Ranges of positions told apart, each longer than the one before by the same factor.
RANGES = 48


def ranges(context: int) -> list[tuple[int, int]]:
    """[start, end) of positions 1 to `context` - 1, of which the last are the longest."""
    edges = sorted({round((context) ** (number / RANGES)) for number in range(RANGES + 1)})
    return list(itertools.pairwise(edges))


def whole_windows(
    documents: Iterable[tuple[Sequence[int], np.ndarray]], context_token: int, context: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Tokens of each whole window, and the bytes that each of them stands for (the context token for none)."""
    import numpy as np

    for ids, size in documents:
        tokens, sizes = [context_token, *ids], np.concatenate(([0], size))
        for start in range(0, len(tokens) - context + 1, context):
            yield tokens[start : start + context], sizes[start : start + context]


def position_loss(
    loaded: LoadedModel, documents: Iterable[tuple[Sequence[int], np.ndarray]], context: int, limit: int | None = None
) -> dict[str, Any]:
    """Bits per byte and nats per token of each range of positions, with standard errors over windows.

    Args:
        documents: token ids, and the bytes that each token stands for.
        limit: windows read at most.
    """
    import numpy as np
    from tqdm import tqdm

    places = ranges(context)
    starts = np.array([start for start, _ in places])
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    batch: list[tuple[list[int], np.ndarray]] = []
    size = batch_size_for(loaded, context)
    found = itertools.islice(whole_windows(documents, loaded.context_token, context), limit)

    def flush() -> None:
        losses = window_losses(loaded, [Window(0, tokens, 1) for tokens, _ in batch])
        for nats, (_, sizes) in zip(losses, batch, strict=True):
            # Position p is predicted from p tokens before it.
            rows.append((np.add.reduceat(nats, starts - 1), np.add.reduceat(sizes[1:], starts - 1)))
        batch.clear()

    for window in tqdm(found, desc=f"positions to {context:,}", unit=" windows"):
        batch.append(window)
        if len(batch) == size:
            flush()
    if batch:
        flush()
    table = []
    for number, (start, end) in enumerate(places):
        bits = Ratio.of((float(nats[number]) / math.log(2), float(sizes[number])) for nats, sizes in rows)
        tokens = Ratio.of((float(nats[number]), float(end - start)) for nats, _ in rows)
        if tokens is not None:
            table.append(
                {
                    "start": start,
                    "end": end,
                    "bits_per_byte": bits.value if bits else None,
                    "standard_error": bits.standard_error if bits else None,
                    "nats_per_token": tokens.value,
                    "nats_standard_error": tokens.standard_error,
                }
            )
    return {"context": context, "windows": len(rows), "positions": table}
