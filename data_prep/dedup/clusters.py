"""Duplicates: papers whose text is the same but for case, white space and punctuation, and papers much of which is.

Exact ones have the same digest of 16 bytes. Near ones are found by their MinHash signatures (`minhash.py`): those that
agree in all 8 entries of one of 16 bands are candidates (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets,
section 3.4: with similarity s that happens with probability 1 - (1 - s^8)^16, one half at 0.69, 0.95 at 0.80), and
a candidate pair counts if its estimated similarity reaches the threshold. Pairs are joined to clusters by union-find.

Memory for n documents: 50 n bytes beside the signatures, which may be memory-mapped. Imported by
`prepare_dataset.py`; not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.dedup.minhash import has_signature, mix

if TYPE_CHECKING:
    import numpy as np

BANDS, ROWS = 16, 8
# Documents of one bucket are compared with this many that follow them in it, and with its first one. A bucket of more
# is text that very many share, and there neighbours join what belongs together.
WINDOW = 32
# Pairs whose signatures are compared at a time.
BLOCK = 1 << 14


@dataclass(frozen=True)
class Clusters:
    """Arrays over the documents in their order."""

    # Number of the earliest document of the cluster, which names it.
    first: np.ndarray
    # Number of the document that stands for the cluster: the longest, at equal length the earliest.
    survivor: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Mask of the documents that survive, one a cluster."""
        import numpy as np

        return self.survivor == np.arange(len(self.survivor))


def exact_groups(digests: bytes | bytearray) -> np.ndarray:
    """Number of the earliest document of the same digest, for each document: int64 [documents].

    `digests` are those of all documents one after the other, 16 bytes each.
    """
    import numpy as np

    halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    count = len(halves)
    order = np.lexsort((np.arange(count), halves[:, 1], halves[:, 0]))
    first = np.empty(count, dtype=np.int64)
    if count:
        opens = np.ones(count, dtype=bool)  # where a new group begins in sorted order
        opens[1:] = (halves[order[1:]] != halves[order[:-1]]).any(axis=1)
        first[order] = order[np.flatnonzero(opens)][np.cumsum(opens) - 1]
    return first


def near_groups(signatures: np.ndarray, groups: np.ndarray, threshold: float) -> np.ndarray:
    """Join groups of documents whose signatures are similar.

    Args:
        signatures: uint32 [documents, PERMUTATIONS].
        groups: number of the earliest document of each document's group, int64 [documents].
        threshold: share of equal entries from which on two documents belong together.

    Returns:
        The same for the joined groups.
    """
    import numpy as np

    parent = groups.copy()
    # One document stands for those of the same text, so that thousands of copies are compared once.
    own = np.flatnonzero((groups == np.arange(len(groups))) & has_signature(signatures))
    for band in range(BANDS):
        keys = np.zeros(len(own), dtype=np.uint64)
        for row in range(band * ROWS, (band + 1) * ROWS, 2):
            pair = signatures[own, row].astype(np.uint64) << np.uint64(32) | signatures[own, row + 1]
            keys = mix(keys ^ pair)
        order = np.argsort(keys, kind="stable")
        for left, right in _candidates(keys[order]):
            a, b = own[order[left]], own[order[right]]
            apart = np.flatnonzero(parent[a] != parent[b])
            for start in range(0, len(apart), BLOCK):
                block = apart[start : start + BLOCK]
                similar = similarity(signatures, a[block], b[block]) >= threshold
                for i, j in zip(a[block][similar].tolist(), b[block][similar].tolist(), strict=True):
                    _join(parent, i, j)
    return _roots(parent)


def _candidates(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of places in the sorted `keys` of the same key: each with the next WINDOW ones, and with the first."""
    import numpy as np

    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, dtype=np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    large = sizes > 1
    starts, sizes = starts[large], sizes[large]
    offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    places, left = np.repeat(starts, sizes) + offsets, np.repeat(sizes, sizes) - offsets - 1
    for step in range(1, min(WINDOW, int(sizes.max(initial=1)) - 1) + 1):
        has = places[left >= step]
        yield has, has + step
    far = offsets > WINDOW
    yield (places - offsets)[far], places[far]


def similarity(signatures: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity of documents a[i] and b[i]: float64 [len(a)]."""
    return (signatures[a] == signatures[b]).mean(axis=1)


def _join(parent: np.ndarray, a: int, b: int) -> None:
    """Union of two groups, named by the earlier root."""
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)


def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]  # path halving
        i = int(parent[i])
    return i


def _roots(parent: np.ndarray) -> np.ndarray:
    """The root of each document: its group's earliest, since roots only ever give way to earlier ones."""
    while True:
        above = parent[parent]
        if (above == parent).all():
            return above
        parent = above


def clusters_of(groups: np.ndarray, lengths: np.ndarray) -> Clusters:
    """Clusters from groups (number of the earliest document of each) and the lengths of the texts in characters."""
    import numpy as np

    order = np.lexsort((np.arange(len(groups)), -lengths, groups))
    survivor = np.empty(len(groups), dtype=np.int64)
    if len(groups):
        ordered = groups[order]
        opens = np.append(True, ordered[1:] != ordered[:-1])
        survivor[order] = order[np.flatnonzero(opens)][np.cumsum(opens) - 1]
    return Clusters(first=groups, survivor=survivor)
