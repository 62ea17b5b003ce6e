"""One shard: some hundred papers, processed in order by one worker, written as one file with its statistics.

`NNNNN.jsonl` holds the records without their cluster, which is not known yet; `NNNNN.json`, written after it, marks the
shard as complete and holds what the later stages need of each document, the rejects, and the sums. Imported by worker
processes, hence apart from the command.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from data_prep.dedup import text_digest
from data_prep.jsonl import atomic_write, dump_line, write_bytes
from data_prep.paper import process_paper
from data_prep.snapshot import first_year
from data_prep.source import ArchiveRef, read_bytes
from settings import DataSettings, UserError

# Characters kept of what is wrong with a paper: a traceback fits.
MAX_DETAIL = 4000


@dataclass(frozen=True, slots=True)
class Task:
    """One paper to process: its archive and its record's place in the snapshot."""

    archive: ArchiveRef
    offset: int
    length: int


@dataclass(frozen=True)
class ShardJob:
    """What a worker gets. `fatal` maps positions of papers that have killed a worker to what happened to it."""

    number: int
    folder: Path
    metadata: Path
    settings: DataSettings
    tasks: list[Task]
    # Identity of the papers, and of all that the shard's content depends on.
    papers: str
    inputs: str
    fatal: Mapping[int, str] = field(default_factory=dict)

    def without(self, position: int, detail: str) -> ShardJob:
        """The same job with the paper at `position` given up."""
        return dataclasses.replace(self, fatal={**self.fatal, position: detail})


def shard_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """The shard's records and its marker."""
    return folder / f"{number:05d}.jsonl", folder / f"{number:05d}.json"


def read_marker(folder: Path, number: int) -> dict[str, Any] | None:
    """The marker of a complete shard whose records are there in full, or None."""
    records, marker = shard_paths(folder, number)
    try:
        stats = json.loads(marker.read_bytes())
        return stats if records.stat().st_size == stats["bytes"] else None
    except (FileNotFoundError, ValueError):
        return None


def process_shard(job: ShardJob, progress: Callable[[int, int], None]) -> None:
    """Process the papers of `job` in order and write the shard.

    `progress(position, bytes)` is called before each paper (with the bytes of text written so far), and once after
    the last.
    """
    records_path, marker_path = shard_paths(job.folder, job.number)
    marker_path.unlink(missing_ok=True)  # from here on the shard is not complete
    documents: list[list[Any]] = []
    rejects: list[list[str]] = []
    counters: Counter[str] = Counter()
    with open(job.metadata, "rb") as snapshot, atomic_write(records_path) as out:
        for position, task in enumerate(job.tasks):
            progress(position, out.tell())
            metadata = read_record(snapshot, task.offset, task.length)
            if position in job.fatal:
                rejects.append([metadata["id"], "processing_error", job.fatal[position]])
                continue
            outcome = process_paper(read_bytes(task.archive), task.archive.name, metadata, job.settings)
            counters.update(outcome.counters)
            if outcome.text is None:
                rejects.append([metadata["id"], str(outcome.reason), outcome.detail[:MAX_DETAIL]])
                continue
            record = dataset_record(metadata, outcome.text)
            out.write(dump_line(record))
            text = record["text"]
            documents.append(
                [
                    record["id"],
                    text_digest(text).hex(),
                    len(text),
                    len(text.encode()),
                    record["year"],
                    record["categories"][0],
                ]
            )
        size = out.tell()
        progress(len(job.tasks), size)
    stats = {
        "papers": job.papers,
        "inputs": job.inputs,
        "bytes": size,
        "documents": documents,
        "rejects": rejects,
        "counters": dict(sorted(counters.items())),
    }
    write_bytes(marker_path, json.dumps(stats, ensure_ascii=False).encode("utf-8", "replace"))


def dataset_record(metadata: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The record of train.jsonl and val.jsonl, but for its last key, `cluster`."""
    return {
        "id": metadata["id"],
        "text": text.encode("utf-8", "replace").decode(),  # lone surrogates have no place in UTF-8
        "title": " ".join((metadata.get("title") or "").split()),
        "categories": metadata["categories"].split(),
        "year": first_year(metadata),
        "license": metadata.get("license"),
    }


def read_record(snapshot: BinaryIO, offset: int, length: int) -> dict[str, Any]:
    """The metadata record at this place of the snapshot.

    Raises:
        UserError: there is none; the file has changed since it was indexed.
    """
    snapshot.seek(offset)
    try:
        record = json.loads(snapshot.read(length))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UserError(
            f"{snapshot.name}: no record at byte {offset:,}: the file has changed while in use. Run the same command "
            "again: it is indexed anew"
        )
    return record
