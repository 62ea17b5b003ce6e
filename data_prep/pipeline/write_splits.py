"""From finished shards and what was decided of their documents to train.jsonl and val.jsonl, in order.

A split is one file, or past `data.output_file_bytes` numbered ones of about that size, compressed where
`data.compress` says so. Imported by `prepare_dataset.py`; not run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from common.errors import UserError
from common.files import COMPRESSED, atomic_write
from common.jsonl import split_paths
from common.settings.data import DataSettings
from data_prep.dedup import assignments
from data_prep.dedup.assign import Collection, all_documents
from data_prep.dedup.assignments import OUTCOMES, SPLITS
from data_prep.pipeline.shards import shard_lines

# Quantiles of text length that the report shows.
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# What compressed files need of the disk, of the bytes before compression (LaTeX: 0.28), with room to spare.
COMPRESSED_SHARE = 0.4


class SplitWriter:
    """The files of one split, written one after the other; each appears when it is complete."""

    def __init__(self, out: Path, names: Sequence[str], total: int) -> None:
        """`total`: bytes of all records that will come, which the files share evenly."""
        self.out, self.names, self.total = out, names, total
        self.sums: Counter[str] = Counter()
        self.whole = hashlib.sha256()
        self.files: list[dict[str, Any]] = []
        self.opened: AbstractContextManager[BinaryIO] | None = None
        self.file: BinaryIO | None = None

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            while len(self.files) < len(self.names):  # an empty split is an empty file
                self._next()
        if self.opened:
            self.opened.__exit__(kind, error, trace)

    def write(self, line: bytes, text_bytes: int, characters: int) -> None:
        if self.file is None or self.sums["bytes"] * len(self.names) >= len(self.files) * self.total:
            self._next()
        assert self.file is not None
        self.file.write(line)
        self.whole.update(line)
        self.sums.update(documents=1, bytes=len(line), text_bytes=text_bytes, characters=characters)
        self.files[-1]["documents"] += 1
        self.files[-1]["bytes"] += len(line)

    def _next(self) -> None:
        if self.opened:
            self.opened.__exit__(None, None, None)
        name = self.names[len(self.files)]
        self.files.append({"name": name, "documents": 0, "bytes": 0})
        self.opened = atomic_write(self.out / name)
        self.file = self.opened.__enter__()

    def summary(self) -> dict[str, Any]:
        """Documents, bytes of the records, of their texts, characters, sha256 of the records, and the files."""
        sums = {key: self.sums[key] for key in ("documents", "bytes", "text_bytes", "characters")}
        return sums | {"sha256": self.whole.hexdigest(), "files": self.files}


def assemble(
    out: Path,
    folder: Path,
    shards: Sequence[int],
    settings: DataSettings,
    collection: Collection,
    on_bytes: Callable[[int], Any],
) -> dict[str, Any]:
    """Write both splits and the ledger; returns their sizes and sha256, and the tables of the report.

    `on_bytes` gets the bytes of each line read.
    """
    totals = dict.fromkeys(SPLITS, 0)
    for number, document in enumerate(all_documents(folder, shards)):
        if collection.outcome[number] < len(SPLITS):
            name = collection.cluster_name(number, document)
            totals[SPLITS[collection.outcome[number]]] += document.line_bytes + len(_cluster_key(name)) - 2
    names = {split: file_names(split, totals[split], settings) for split in SPLITS}
    _check_space(out, int(sum(totals.values()) * (COMPRESSED_SHARE if settings.compress else 1)))

    years: dict[str, Counter[str]] = {}
    subjects: dict[str, Counter[str]] = {}
    lengths: list[int] = []
    dropped: dict[str, Counter[str]] = {}
    with (
        SplitWriter(out, names["train"], totals["train"]) as train,
        SplitWriter(out, names["val"], totals["val"]) as val,
        atomic_write(out / assignments.NAME) as table,
    ):
        table.write(assignments.HEADER.encode())
        number = 0
        for shard in shards:
            for document, line in shard_lines(folder, shard):
                on_bytes(len(line))
                outcome, split = OUTCOMES[collection.outcome[number]], SPLITS[collection.split[number]]
                cluster = collection.cluster_name(number, document)
                number += 1
                table.write(assignments.line(document.id, cluster, split, outcome))
                if outcome not in SPLITS:
                    sizes = {"archive_bytes": document.archive_bytes, "text_bytes": document.text_bytes}
                    dropped.setdefault(outcome, Counter()).update(papers=1, **sizes)
                    continue
                # The cluster is the record's last key: appended to the line as it stands, nothing is parsed.
                writer = train if outcome == "train" else val
                writer.write(line[:-2] + _cluster_key(cluster), document.text_bytes, document.characters)
                lengths.append(document.characters)
                for table_of, key in ((years, str(document.year)), (subjects, document.subject)):
                    table_of.setdefault(key, Counter()).update(written=1, text_bytes=document.text_bytes)
    for split in SPLITS:
        for path in split_paths(out, split):
            if path.name not in names[split]:  # of an earlier run with other knobs
                path.unlink()
    return {
        "splits": {"train": train.summary(), "val": val.summary()},
        "dropped": {reason: dict(dropped[reason]) for reason in OUTCOMES if reason in dropped},
        "years": {key: dict(years[key]) for key in sorted(years)},
        "subjects": {key: dict(subjects[key]) for key in sorted(subjects)},
        "lengths": _length_table(np.array(lengths, dtype=np.int64)),
    }


def _cluster_key(cluster: str) -> bytes:
    """The last key of a record and the end of its line."""
    return b', "cluster": ' + json.dumps(cluster).encode() + b"}\n"


def file_names(split: str, total: int, settings: DataSettings) -> list[str]:
    """`train.jsonl`, or `train-00000-of-00003.jsonl` and so on where `total` bytes are more than one file's."""
    ending = ".jsonl" + (COMPRESSED if settings.compress else "")
    count = -(-total // settings.output_file_bytes) if settings.output_file_bytes else 1
    if count <= 1:
        return [split + ending]
    return [f"{split}-{number:05d}-of-{count:05d}{ending}" for number in range(count)]


def _length_table(sizes: np.ndarray) -> dict[str, Any]:
    """Histogram of text lengths (characters) by powers of two, and quantiles."""
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
            "Free some space (or set data.compress=true), then run the same command again: the papers are processed, "
            "only this step is left"
        )
