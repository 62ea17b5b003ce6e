"""Exact duplicates: papers whose text is the same but for case, white space and punctuation.

Each paper is reduced to 16 bytes (`text_digest`), so three million papers take some 100 MB; equal digests form a
cluster, of which the longest text survives. Imported by `prepare_dataset.py`; not run.
"""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

DIGEST_BYTES = 16
IGNORED_ASCII = (string.punctuation + string.whitespace).encode() + bytes(range(32)) + b"\x7f"
IGNORED = re.compile(r"[\W_]+")


def text_digest(text: str) -> bytes:
    """16 bytes of BLAKE2b of the letters and digits of `text`, compatibility forms unified (NFKC), case folded."""
    if text.isascii():  # the same result as below, ten times faster
        letters = text.lower().encode().translate(None, IGNORED_ASCII)
    else:
        # Case folding can leave what NFKC would compose, hence the order: fold, then normalize.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        letters = IGNORED.sub("", folded).encode("utf-8", "replace")
    return hashlib.blake2b(letters, digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True)
class Clusters:
    """Two arrays over the documents in their order: `first[i]` is the number of the earliest document of i's cluster
    (it names the cluster), `survivor[i]` of the one that stands for it."""

    first: np.ndarray
    survivor: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Mask of the documents that survive, one a cluster."""
        import numpy as np

        return self.survivor == np.arange(len(self.survivor))


def exact_clusters(digests: bytes | bytearray, lengths: np.ndarray) -> Clusters:
    """Cluster documents by digest.

    Args:
        digests: the digests of all documents one after the other, 16 bytes each.
        lengths: length of each document's text (characters), int64; the longest of a cluster survives, at equal
            length the earliest.
    """
    import numpy as np

    count = len(lengths)
    halves = np.frombuffer(digests, dtype="<u8").reshape(count, 2)
    order = np.lexsort((np.arange(count), -lengths, halves[:, 1], halves[:, 0]))
    ordered = halves[order]
    opens = np.ones(count, dtype=bool)  # where a new cluster begins in sorted order
    opens[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(opens)
    number = np.cumsum(opens) - 1
    first = np.empty(count, dtype=np.int64)
    survivor = np.empty(count, dtype=np.int64)
    if count:
        first[order] = np.minimum.reduceat(order, starts)[number]
        survivor[order] = order[starts][number]
    return Clusters(first=first, survivor=survivor)
