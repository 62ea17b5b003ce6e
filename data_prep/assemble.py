"""From finished shards to train.jsonl and val.jsonl: duplicates out, clusters named, split, written in order.

Imported by `prepare_dataset.py`; not run. Memory: 48 bytes a document and the names of what is duplicated.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from data_prep.dedup import Clusters, exact_clusters
from data_prep.jsonl import atomic_write
from data_prep.samples import Samples
from data_prep.shards import read_marker, shard_paths
from data_prep.split import val_clusters
from settings import DataSettings, UserError

SPLITS = ("train", "val")
# Quantiles of text length that the report shows.
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def documents(folder: Path, shards: Sequence[int]) -> Iterator[list[Any]]:
    """[id, digest, characters, bytes, year, subject] of each document of the shards, in order."""
    for number in shards:
        yield from marker(folder, number)["documents"]


def marker(folder: Path, number: int) -> dict[str, Any]:
    """The marker of a shard that must be complete."""
    stats = read_marker(folder, number)
    if stats is None:
        raise UserError(f"{folder}: shard {number} has gone or is cut short since it was written; run again")
    return stats


def assemble(
    out: Path,
    folder: Path,
    shards: Sequence[int],
    settings: DataSettings,
    samples: Samples,
    on_bytes: Callable[[int], Any],
) -> dict[str, Any]:
    """Write both splits; returns their sizes and sha256, and the tables of the report.

    `on_bytes` gets the bytes of each line read. `samples` gets the duplicates.
    """
    import numpy as np

    digests, lengths = bytearray(), []
    for _, digest, characters, *_ in documents(folder, shards):
        digests += bytes.fromhex(digest)
        lengths.append(characters)
    clusters = exact_clusters(digests, np.array(lengths, dtype=np.int64))
    names = _shared_names(folder, shards, clusters)
    own = (document[0] for i, document in enumerate(documents(folder, shards)) if clusters.first[i] == i)
    held_out = val_clusters(own, settings.val_fraction, settings.split_seed)

    _check_space(out, sum(shard_paths(folder, number)[0].stat().st_size for number in shards) + 40 * len(lengths))
    totals: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    hashes = {split: hashlib.sha256() for split in SPLITS}
    years: dict[str, Counter[str]] = {}
    subjects: dict[str, Counter[str]] = {}
    with ExitStack() as stack:
        files = {split: stack.enter_context(atomic_write(out / f"{split}.jsonl")) for split in SPLITS}
        for i, (document, line) in enumerate(_lines(folder, shards)):
            paper_id, _, characters, size, year, subject = document
            on_bytes(len(line))
            first, survivor = int(clusters.first[i]), int(clusters.survivor[i])
            if survivor != i:
                samples.add("exact_duplicate", paper_id, detail=f"same text as {names[survivor]}")
                continue
            cluster = names.get(first, paper_id)
            split = "val" if cluster in held_out else "train"
            # The cluster is the record's last key: appended to the line as it stands, nothing is parsed.
            line = line[:-2] + b', "cluster": ' + json.dumps(cluster).encode() + b"}\n"
            files[split].write(line)
            hashes[split].update(line)
            totals[split].update(documents=1, bytes=len(line), text_bytes=size, characters=characters)
            for table, key in ((years, str(year)), (subjects, subject)):
                table.setdefault(key, Counter()).update(written=1, text_bytes=size)
    sizes = np.array(lengths, dtype=np.int64)[clusters.kept]
    return {
        "splits": {
            split: {key: totals[split][key] for key in ("documents", "bytes", "text_bytes", "characters")}
            | {"sha256": hashes[split].hexdigest()}
            for split in SPLITS
        },
        "exact_duplicate": int((~clusters.kept).sum()),
        "years": {key: dict(years[key]) for key in sorted(years)},
        "subjects": {key: dict(subjects[key]) for key in sorted(subjects)},
        "lengths": _length_table(sizes),
    }


def _shared_names(folder: Path, shards: Sequence[int], clusters: Clusters) -> dict[int, str]:
    """Ids, by document number, of those that name or stand for a cluster of several documents."""
    import numpy as np

    duplicated = ~clusters.kept
    wanted = {int(i) for i in np.concatenate([clusters.first[duplicated], clusters.survivor[duplicated]])}
    wanted |= {int(i) for i in clusters.first[clusters.first != np.arange(len(clusters.first))]}
    return {i: document[0] for i, document in enumerate(documents(folder, shards)) if i in wanted} if wanted else {}


def _lines(folder: Path, shards: Sequence[int]) -> Iterator[tuple[list[Any], bytes]]:
    """Each document's entry in the marker with its line."""
    for number in shards:
        entries = marker(folder, number)["documents"]
        path = shard_paths(folder, number)[0]
        with open(path, "rb") as file:
            for entry, line in zip(entries, file, strict=True):
                if not line.endswith(b"}\n"):
                    raise UserError(f"{path}: the record of {entry[0]} is cut short; remove this file, then run again")
                yield entry, line


def _length_table(sizes: Any) -> dict[str, Any]:
    """Histogram of text lengths (characters) by powers of two, and quantiles."""
    import numpy as np

    if not len(sizes):
        return {"histogram": [], "quantiles": {}}
    powers = np.floor(np.log2(np.maximum(sizes, 1))).astype(int)
    counts = np.bincount(powers)
    quantiles = np.quantile(sizes, QUANTILES, method="nearest")
    return {
        "histogram": [
            {"from": 2**power, "to": 2 ** (power + 1), "documents": int(count)}
            for power, count in enumerate(counts)
            if power >= powers.min()
        ],
        "quantiles": {f"{q:.0%}": int(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
    }


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(
            f"{out}: train.jsonl and val.jsonl need {needed / 1e9:,.2f} GB, {free / 1e9:,.2f} GB are free there. "
            "Free some space, then run the same command again: the papers are processed, only this step is left"
        )
