"""What becomes of each document that the shards hold: duplicates out, clusters, split, contamination.

Imported by `prepare_dataset.py`; not run. Memory: some 100 bytes a document; signatures are memory-mapped.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import atomic_write
from common.samples import Samples
from common.settings.data import DataSettings
from data_prep.dedup import assignments
from data_prep.dedup.assignments import CODE, OUTCOMES, SPLITS
from data_prep.dedup.clusters import clusters_of, exact_groups, near_groups, similarity
from data_prep.dedup.minhash import PERMUTATIONS
from data_prep.dedup.split import val_clusters
from data_prep.pipeline.shards import Document, finished_marker, shard_documents, shard_paths


@dataclass
class Collection:
    """Arrays over the documents of the shards, in order."""

    # Code of what becomes of the document (OUTCOMES), and of the split of its cluster.
    outcome: np.ndarray
    split: np.ndarray
    # Number of the cluster, as a rule that of its earliest document, after which it is named but where `names` tells.
    cluster: np.ndarray
    names: dict[int, str]
    # Sizes of clusters of several documents -> how many such clusters; papers that were here before an append.
    cluster_sizes: dict[int, int] = field(default_factory=dict)
    # Mask of the documents that the dataset had to which this run appends; None for a full build.
    earlier: np.ndarray | None = None

    def kept(self) -> np.ndarray:
        """Mask of the documents that a split holds."""
        return self.outcome < len(SPLITS)

    def cluster_name(self, number: int, document: Document) -> str:
        """The name of the cluster of the document of that number."""
        cluster = int(self.cluster[number])
        return document.id if cluster == number and cluster not in self.names else self.names[cluster]


def all_documents(folder: Path, shards: Iterable[int]) -> Iterator[Document]:
    """Each document of the shards, in order."""
    for number in shards:
        yield from shard_documents(folder, number)


def decide(
    folder: Path, shards: Sequence[int], settings: DataSettings, work: Path, base: Path | None, samples: Samples
) -> Collection:
    """Clusters, duplicates and splits; contamination comes after it.

    Args:
        folder: of the shards.
        work: folder for the signatures of all documents, which are memory-mapped.
        base: the ledger of the dataset to which this run appends, or None for a full build.
        samples: gets the duplicates.
    """
    digests, lengths = bytearray(), []
    for document in all_documents(folder, shards):
        digests += bytes.fromhex(document.digest)
        lengths.append(document.characters)
    signatures = gather_signatures(folder, shards, work / "signatures.npy", len(lengths))
    characters = np.array(lengths, dtype=np.int64)
    exact = exact_groups(digests)
    groups = near_groups(signatures, exact, settings.near_duplicate_similarity)
    # Kept near-duplicates give way to none but the same text.
    rivals = groups if settings.near_duplicates == "drop" else exact
    survivor = clusters_of(rivals, characters).survivor

    collection = Collection(
        outcome=np.zeros(len(lengths), dtype=np.uint8),
        split=np.zeros(len(lengths), dtype=np.uint8),
        cluster=groups.copy(),
        names={},
        cluster_sizes=_sizes(groups),
    )
    frozen = assignments.read(base, all_documents(folder, shards), len(lengths)) if base else None
    if frozen:
        if frozen.missing:
            raise UserError(
                f"--append: {len(frozen.missing):,} papers of the dataset are not among the documents any more, e.g. "
                f"{', '.join(frozen.missing[:3])}: put their archives (or the knobs that let them in) back, or build "
                "anew without --append"
            )
        survivor = _freeze(collection, frozen, groups, rivals, survivor)
    _name_clusters(collection, all_documents(folder, shards))
    _split(collection, frozen, all_documents(folder, shards), settings)
    collection.outcome[:] = collection.split
    if frozen:
        _drop_bridges(collection, frozen, groups)
    gone = (survivor != np.arange(len(survivor))) & collection.kept()
    same = exact == exact[survivor]
    collection.outcome[gone & same] = CODE["exact_duplicate"]
    collection.outcome[gone & ~same] = CODE["near_duplicate"]
    if frozen:
        # What the earlier build decided about its documents stays.
        stays = frozen.known & frozen.dropped
        collection.outcome[stays] = frozen.outcome[stays]
        collection.earlier = frozen.known
    _sample_duplicates(collection, survivor, signatures, folder, shards, samples)
    return collection


def gather_signatures(folder: Path, shards: Sequence[int], path: Path, count: int) -> np.ndarray:
    """The signatures of all shards in one file, memory-mapped: uint32 [documents, PERMUTATIONS]."""
    if not count:
        return np.empty((0, PERMUTATIONS), dtype="<u4")
    with atomic_write(path) as file:
        for number in shards:
            part = shard_paths(folder, number)[1]
            data = part.read_bytes()
            if zlib.crc32(data) != finished_marker(folder, number)["signatures_crc32"]:
                raise UserError(f"{part}: damaged since it was written; remove this file, then run again")
            file.write(np.load(io.BytesIO(data)).tobytes())
    return np.memmap(path, dtype="<u4", mode="r", shape=(count, PERMUTATIONS))


def _sizes(groups: np.ndarray) -> dict[int, int]:
    """Size of a cluster -> number of clusters of that size, those of one document apart."""
    sizes, counts = np.unique(np.bincount(groups), return_counts=True)
    return {int(size): int(count) for size, count in zip(sizes, counts, strict=True) if size > 1}


def _freeze(
    collection: Collection, frozen: assignments.Frozen, groups: np.ndarray, rivals: np.ndarray, survivor: np.ndarray
) -> np.ndarray:
    """Earlier documents keep their clusters; a new one joins the smallest of those that it is similar to.

    Returns the survivors: an earlier document gives way to none, a new one to an earlier one of its `rivals`.
    """
    numbers = np.arange(len(groups))
    none = np.iinfo(np.int64).max

    def smallest(values: np.ndarray, of: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """For each document the smallest value of the documents `of` its group, or `none`."""
        least = np.full(len(groups), none)
        np.minimum.at(least, groups[of], values[of])
        return least[groups]

    joined = smallest(frozen.cluster, frozen.known, groups)
    joins = ~frozen.known & (joined != none)
    collection.cluster[joins] = joined[joins]
    collection.cluster[frozen.known] = frozen.cluster[frozen.known]
    collection.names.update(frozen.names)

    stands = frozen.known & ~frozen.dropped
    earlier = smallest(numbers, stands, rivals)
    return np.where(frozen.known, numbers, np.where(earlier != none, earlier, survivor))


def _name_clusters(collection: Collection, documents: Iterable[Document]) -> None:
    """Names of the clusters that documents other than their first belong to."""
    numbers = np.arange(len(collection.cluster))
    shared = collection.cluster[collection.cluster != numbers]
    wanted = {int(cluster) for cluster in np.unique(shared)} - collection.names.keys()
    if wanted:
        collection.names |= {i: document.id for i, document in enumerate(documents) if i in wanted}


def _split(
    collection: Collection, frozen: assignments.Frozen | None, documents: Iterable[Document], settings: DataSettings
) -> None:
    """The split of each document's cluster: by the hash of its name, or as it was."""
    count = len(collection.cluster)
    new = collection.cluster == np.arange(count)
    if frozen:
        new &= ~frozen.known
    heads = [(i, document.id) for i, document in enumerate(documents) if new[i]]
    # An earlier dataset has its validation split: no cluster is forced into it then.
    held_out = val_clusters((name for _, name in heads), settings.val_fraction, settings.split_seed, frozen is None)
    by_cluster = np.zeros(count + len(collection.names) + 1, dtype=np.uint8)
    by_cluster[[i for i, name in heads if name in held_out]] = CODE["val"]
    if frozen:
        by_cluster[frozen.cluster[frozen.known]] = frozen.split[frozen.known]
    collection.split[:] = by_cluster[collection.cluster]


def _drop_bridges(collection: Collection, frozen: assignments.Frozen, groups: np.ndarray) -> None:
    """New documents that are similar to earlier ones of both splits are in neither."""
    sides = np.zeros((2, len(groups)), dtype=bool)
    for side in range(2):
        sides[side, groups[frozen.known & (frozen.split == side)]] = True
    bridging = ~frozen.known & (sides[0] & sides[1])[groups]
    collection.outcome[bridging] = CODE["bridges_splits"]


def _sample_duplicates(
    collection: Collection,
    survivor: np.ndarray,
    signatures: np.ndarray,
    folder: Path,
    shards: Sequence[int],
    samples: Samples,
) -> None:
    duplicates = np.flatnonzero(
        (collection.outcome == CODE["exact_duplicate"]) | (collection.outcome == CODE["near_duplicate"])
    )
    bridges = np.flatnonzero(collection.outcome == CODE["bridges_splits"])
    wanted = {int(i) for i in (*duplicates, *survivor[duplicates], *bridges)}
    if not wanted:
        return
    ids = {i: document.id for i, document in enumerate(all_documents(folder, shards)) if i in wanted}
    for i in duplicates:
        stands = int(survivor[i])
        reason = OUTCOMES[collection.outcome[i]]
        if reason == "exact_duplicate":
            samples.add(reason, ids[int(i)], detail=f"same text as {ids[stands]}")
        else:
            share = float(similarity(signatures, np.array([i]), np.array([stands]))[0])
            samples.add(reason, ids[int(i)], detail=f"similar to {ids[stands]} (estimated Jaccard {share:.2f})")
    for i in bridges:
        detail = "similar to papers of both splits of the dataset that this run appends to"
        samples.add("bridges_splits", ids[int(i)], detail=detail)


def check_base(base: Path) -> None:
    """Refuse to append to what is not there."""
    if not base.is_file():
        raise UserError(f"--append: {base} is not there: no dataset was built here before; run without --append")
