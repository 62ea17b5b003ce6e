"""Which clusters are held out: by the hash of the cluster's name and the seed alone. Imported; not run.

A cluster goes to val.jsonl if its hash, read as a number in [0, 1), is below `data.val_fraction`. So that a small
pilot has a validation split too, the cluster with the smallest hash goes there in any case, where the fraction is not
0 and there are at least two clusters. A paper thus keeps its side when others come or go, that one cluster apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def cluster_hash(cluster: str, seed: int) -> int:
    """64 bits that depend on the cluster's name and the seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{cluster}".encode()).digest()[:8], "big")


def val_clusters(clusters: Iterable[str], val_fraction: float, seed: int, at_least_one: bool = True) -> set[str]:
    """The names of the clusters that are held out; `clusters` are distinct and read once, as a stream.

    Without `at_least_one` the hash alone decides, also where no cluster falls below the fraction.
    """
    limit = val_fraction * 2**64
    chosen: set[str] = set()
    smallest: tuple[int, str] | None = None
    count = 0
    for cluster in clusters:
        count += 1
        value = cluster_hash(cluster, seed)
        if value < limit:
            chosen.add(cluster)
        if smallest is None or (value, cluster) < smallest:
            smallest = value, cluster
    if at_least_one and val_fraction > 0 and count >= 2 and smallest is not None:
        chosen.add(smallest[1])
    return chosen
