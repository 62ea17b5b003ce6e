"""One shard: some hundred papers, processed in order by one worker, written as one file with its statistics.

`NUMBER.jsonl.zst` holds the records without their cluster, which is not known yet; `NUMBER.npy` the MinHash signatures;
`NUMBER.json`, written last, marks the shard as complete and holds what the later stages need of each document, the
rejects, and the sums. Imported by worker processes, hence apart from the command.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from common.errors import UserError
from common.files import atomic_write, write_bytes
from common.jsonl import dump_line, open_lines
from common.settings.data import DataSettings
from data_prep.papers.archives import ArchiveRef, read_bytes
from data_prep.papers.metadata import first_year
from data_prep.pipeline.process_paper import process_paper
from data_prep.pipeline.record import ShardRecord

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
    # Fingerprints of which papers these are, of all that the shard's content depends on, and of its code and knobs.
    papers: str
    inputs: str
    stage: str
    fatal: Mapping[int, str] = field(default_factory=dict)

    def without(self, position: int, detail: str) -> ShardJob:
        """The same job with the paper at `position` given up."""
        return dataclasses.replace(self, fatal={**self.fatal, position: detail})


class Document(NamedTuple):
    """What the marker of a shard tells of each document."""

    id: str
    digest: str  # of the normalized text, hexadecimal
    characters: int
    text_bytes: int
    line_bytes: int  # of the record as it stands in the shard
    archive_bytes: int
    year: int
    subject: str  # primary category


class Reject(NamedTuple):
    """What the marker of a shard tells of each paper that is left out."""

    id: str
    reason: str
    detail: str
    archive_bytes: int


def shard_paths(folder: Path, number: int) -> tuple[Path, Path, Path]:
    """The shard's records, its signatures and its marker."""
    return folder / f"{number}.jsonl.zst", folder / f"{number}.npy", folder / f"{number}.json"


def read_marker(folder: Path, number: int) -> dict[str, Any] | None:
    """The marker of a complete shard whose files are there in full, or None."""
    records, signatures, marker = shard_paths(folder, number)
    try:
        stats = json.loads(marker.read_bytes())
        sizes = [records.stat().st_size, signatures.stat().st_size]
        return stats if sizes == stats["file_bytes"] else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def replaced_marker(folder: Path, number: int) -> Path:
    """Where the marker of an earlier shard lies while its files are replaced."""
    return folder / f"{number}.old"


def processed_papers(folder: Path, month: str) -> set[str]:
    """Ids of the papers that the shards of a month ("YYYYMM") were last made from, kept or not.

    They are known even where a shard's files are damaged, or a kill came while they were replaced.
    """
    names: set[str] = set()
    for path in (*folder.glob(f"{month}*.json"), *folder.glob(f"{month}*.old")):
        try:
            stats = json.loads(path.read_bytes())
            names.update(entry[0] for kind in ("documents", "rejects") for entry in stats[kind])
        except (ValueError, KeyError, TypeError):  # damaged: it is made anew
            continue
    return names


def finished_marker(folder: Path, number: int) -> dict[str, Any]:
    """The marker of a shard that must be complete.

    Raises:
        UserError: it is not.
    """
    stats = read_marker(folder, number)
    if stats is None:
        raise UserError(f"{folder}: shard {number} has gone or is cut short since it was written; run again")
    return stats


def shard_documents(folder: Path, number: int) -> Iterator[Document]:
    """What the shard's marker tells of each of its documents, in order."""
    return (Document(*entry) for entry in finished_marker(folder, number)["documents"])


def shard_lines(folder: Path, number: int) -> Iterator[tuple[Document, bytes]]:
    """Each document of a finished shard with its line of JSON."""
    path = shard_paths(folder, number)[0]
    with open_lines(path) as file:
        for document in shard_documents(folder, number):
            line = file.readline()
            if len(line) != document.line_bytes or not line.endswith(b"}\n"):
                raise UserError(f"{path}: the record of {document.id} is damaged; remove this file, then run again")
            yield document, line


def process_shard(job: ShardJob, progress: Callable[[int, int], None]) -> None:
    """Process the papers of `job` in order and write the shard.

    `progress(position, bytes)` is called before each paper (with the bytes of text written so far), and once after
    the last.
    """
    import numpy as np

    from data_prep.dedup.minhash import PERMUTATIONS, signature, text_digest, word_hashes

    records_path, signatures_path, marker_path = shard_paths(job.folder, job.number)
    documents: list[Document] = []
    signatures: list[np.ndarray] = []
    rejects: list[Reject] = []
    counters: Counter[str] = Counter()
    clock = StageClock()
    size = 0
    with open(job.metadata, "rb") as snapshot, atomic_write(records_path) as out:
        for position, task in enumerate(job.tasks):
            progress(position, size)
            clock.start()
            metadata = read_record(snapshot, task.offset, task.length)
            if position in job.fatal:
                detail = job.fatal[position]
                rejects.append(Reject(metadata["id"], "processing_error", detail, task.archive.size))
                continue
            data = read_bytes(task.archive)
            clock.lap("read")
            outcome = process_paper(data, task.archive.name, metadata, job.settings, clock.lap)
            counters.update(outcome.counters)
            if outcome.text is None:
                detail = outcome.detail[:MAX_DETAIL]
                rejects.append(Reject(metadata["id"], str(outcome.reason), detail, task.archive.size))
                continue
            record = dataset_record(metadata, outcome.text)
            text = record["text"]
            signatures.append(signature(word_hashes(text)))
            clock.lap("signature")
            digest = text_digest(text).hex()
            clock.lap("digest")
            line = dump_line(record)
            out.write(line)
            size += len(line)
            year, subject = record["year"], record["categories"][0]
            sizes = (len(text), len(text.encode()), len(line), task.archive.size)
            documents.append(Document(record["id"], digest, *sizes, year, subject))
            clock.lap("write")
        if marker_path.exists():  # an earlier shard is whole until its first file is replaced
            os.replace(marker_path, replaced_marker(job.folder, job.number))
    clock.start()
    table = np.array(signatures, dtype="<u4").reshape(len(signatures), PERMUTATIONS)
    buffer = io.BytesIO()
    np.save(buffer, table)
    write_bytes(signatures_path, buffer.getvalue())
    progress(len(job.tasks), size)
    clock.lap("write")
    stats = {
        "papers": job.papers,
        "inputs": job.inputs,
        "stage": job.stage,
        "signatures_crc32": zlib.crc32(buffer.getvalue()),
        "file_bytes": [records_path.stat().st_size, signatures_path.stat().st_size],
        "documents": documents,
        "rejects": rejects,
        "counters": dict(sorted(counters.items())),
        "seconds": {stage: round(seconds, 4) for stage, seconds in clock.seconds.items()},
    }
    write_bytes(marker_path, json.dumps(stats, ensure_ascii=False).encode("utf-8", "replace"))
    replaced_marker(job.folder, job.number).unlink(missing_ok=True)


class StageClock:
    """Seconds by stage of the work on one paper after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = 0.0

    def start(self) -> None:
        self.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last call to `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now


def dataset_record(metadata: Mapping[str, Any], text: str) -> ShardRecord:
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
