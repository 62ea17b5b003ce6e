"""How large a vocabulary a text supports, and how much text a vocabulary needs.

The number of distinct pieces that a text uses at least twice grows as a power of its length (Heaps' law). Two points
were measured on LaTeX with this project's own pre-tokenizer: 27 MB of text fill 33,198 entries at two uses each, and
0.2 GB fill 102,400. The power law through them gives the size at which every entry is still seen; embeddings worth
having want ten to fifty times more text. Printed by `data_prep/prepare_dataset.py` at its end; imported, not run.
"""

from __future__ import annotations

import math

# (bytes of text, entries that it fills)
SMALL_POINT = (27_000_000, 33_198)
LARGE_POINT = (200_000_000, 102_400)
EXPONENT = math.log(LARGE_POINT[1] / SMALL_POINT[1]) / math.log(LARGE_POINT[0] / SMALL_POINT[0])
# Sizes are multiples of 128 (matrix shapes that accelerators like), and never below byte fallback plus some pieces.
MULTIPLE = 128
SMALLEST = 512


def supported_vocab_size(text_bytes: int) -> int:
    """The largest useful vocabulary for `text_bytes` bytes of text: a multiple of 128, at least 512."""
    if text_bytes < 0:
        raise ValueError(f"text_bytes is {text_bytes}, must be at least 0")
    entries = LARGE_POINT[1] * (text_bytes / LARGE_POINT[0]) ** EXPONENT
    # The small term undoes the rounding of the power at the measured points themselves.
    return max(SMALLEST, int(entries + 1e-6) // MULTIPLE * MULTIPLE)


def needed_bytes(vocab_size: int) -> int:
    """Bytes of text that fill `vocab_size` entries; the inverse of `supported_vocab_size` (sizes up to 512: 0)."""
    if vocab_size < 1:
        raise ValueError(f"vocab_size is {vocab_size}, must be at least 1")
    if vocab_size <= SMALLEST:
        return 0
    entries = math.ceil(vocab_size / MULTIPLE) * MULTIPLE
    return math.ceil(LARGE_POINT[0] * (entries / LARGE_POINT[1]) ** (1 / EXPONENT))
