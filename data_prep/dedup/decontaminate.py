"""Contamination of the collection: validation papers whose 13-grams training holds, and papers that hold benchmark
questions. One pass over the shards by the engine's workers. Imported, not run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.engines import Engine, Progress
from common.files import atomic_write
from common.paths import project_path
from common.provenance import fingerprint, module_hashes
from common.samples import Samples
from common.settings.data import DataSettings
from data_prep.dedup.assign import Collection, all_documents
from data_prep.dedup.assignments import CODE, SPLITS
from data_prep.dedup.ngram_table import NgramTable, Questions, entries_seen, ngrams_of, open_table, read_questions
from data_prep.pipeline.shards import finished_marker, shard_lines

# Overlaps that the report lists.
LISTED = 50


@dataclass(frozen=True)
class OverlapJob:
    """A shard to compare with the tables. `outcome` holds a code for each of its documents."""

    number: int
    folder: Path
    outcome: bytes
    # File and fingerprint of the tables of validation papers and of benchmark questions, where there are such.
    tables: tuple[tuple[Path, str] | None, tuple[Path, str] | None]
    inputs: str

    def without(self, position: int, detail: str) -> OverlapJob:
        raise AssertionError("no document is blamed for the death of a worker here: none is reported")


def overlap_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.overlap.npz"


def compare_shard(job: OverlapJob, progress: Callable[[int, int], None]) -> None:
    """Write which entries of the validation table training documents of the shard hold (`seen`, int64), and which
    entries of the questions' table each document that is kept holds (`documents`, `entries`: int64, in pairs)."""
    val, questions = (open_table(*table) if table else None for table in job.tables)
    seen: list[np.ndarray] = []
    documents: list[int] = []
    entries: list[np.ndarray] = []
    total = len(job.outcome)
    size = 0
    for position, (_, line) in enumerate(shard_lines(job.folder, job.number)):
        size += len(line)
        code = job.outcome[position]
        if code >= len(SPLITS) or (code != CODE["train"] and questions is None):
            continue
        hashes = ngrams_of(json.loads(line)["text"])
        if val and code == CODE["train"]:
            seen.append(entries_seen(*val, hashes))
        if questions:
            found = entries_seen(*questions, hashes)
            documents += [position] * len(found)
            entries.append(found)
    none = np.empty(0, dtype=np.int64)
    with atomic_write(overlap_path(job.folder, job.number)) as file:
        np.savez(
            file,
            inputs=np.array(job.inputs),
            seen=np.unique(np.concatenate([none, *seen])),
            documents=np.array(documents, dtype=np.int64),
            entries=np.concatenate([none, *entries]),
        )
    progress(total, size)


def remove_contaminated(
    folder: Path,
    shards: Sequence[int],
    work: Path,
    settings: DataSettings,
    collection: Collection,
    engine: Engine,
    samples: Samples,
) -> dict[str, Any]:
    """Measure overlaps, and take what exceeds the knobs out of `collection` (or only report it); returns the report."""
    questions = read_questions(project_path(settings.benchmarks)) if settings.benchmarks else None
    if settings.max_val_overlap is None and questions is None:
        return {}
    val = val_table(folder, shards, collection) if settings.max_val_overlap is not None else None
    asked = NgramTable.build(questions.texts) if questions else None
    tables = _saved(val, work / "ngrams-val.npy"), _saved(asked, work / "ngrams-benchmarks.npy")
    todo = {job.number: job for job in _jobs(folder, shards, collection, tables)}
    ready = {number for number, job in todo.items() if _is_ready(job)}
    documents = {number: len(job.outcome) for number, job in todo.items()}
    waiting = [job for number, job in todo.items() if number not in ready]
    if waiting:
        with Progress(sum(documents[job.number] for job in waiting), "overlaps") as progress:
            engine.run(iter(waiting), len(waiting), compare_shard, progress)

    report: dict[str, Any] = {}
    seen = np.zeros(len(val.hashes) if val else 0, dtype=bool)
    matches: list[np.ndarray] = []
    first = 0
    for number in shards:
        with np.load(overlap_path(folder, number)) as found:
            seen[found["seen"]] = True
            if len(found["documents"]):
                matches.append(np.stack([found["documents"] + first, found["entries"]]))
        first += documents[number]
    limit = settings.max_val_overlap
    if val and limit is not None:
        report["val"] = _judge_val(val, seen, collection, folder, shards, settings, samples)
    if asked and questions:
        found = np.concatenate([np.empty((2, 0), dtype=np.int64), *matches], axis=1)
        report["benchmarks"] = _judge_papers(asked, questions, found, collection, folder, shards, settings, samples)
    return report


def _saved(table: NgramTable | None, path: Path) -> tuple[Path, str] | None:
    if table is None:
        return None
    table.save(path)
    return path, table.fingerprint


def val_table(folder: Path, shards: Sequence[int], collection: Collection) -> NgramTable:
    """The 13-grams of the validation papers, in their order."""

    def texts() -> Iterator[str]:
        first = 0
        for number in shards:
            count = len(finished_marker(folder, number)["documents"])
            chosen = collection.outcome[first : first + count] == CODE["val"]
            first += count
            if chosen.any():
                for position, (_, line) in enumerate(shard_lines(folder, number)):
                    if chosen[position]:
                        yield json.loads(line)["text"]

    return NgramTable.build(texts())


def _jobs(
    folder: Path,
    shards: Sequence[int],
    collection: Collection,
    tables: tuple[tuple[Path, str] | None, tuple[Path, str] | None],
) -> Iterator[OverlapJob]:
    stage = [module_hashes(("data_prep.dedup.ngram_table",)), *(table and table[1] for table in tables)]
    first = 0
    for number in shards:
        marker = finished_marker(folder, number)
        last = first + len(marker["documents"])
        outcome = collection.outcome[first:last].tobytes()
        yield OverlapJob(number, folder, outcome, tables, fingerprint([marker["inputs"], outcome.hex(), stage]))
        first = last


def _is_ready(job: OverlapJob) -> bool:
    try:
        with np.load(overlap_path(job.folder, job.number)) as found:
            return str(found["inputs"]) == job.inputs
    except (OSError, ValueError, KeyError):  # none yet, or damaged
        return False


def _droppable(numbers: np.ndarray, collection: Collection, settings: DataSettings) -> np.ndarray:
    """Mask of the documents `numbers` that may be taken out: new ones, where the knob says so."""
    if settings.contaminated == "report":
        return np.zeros(len(numbers), dtype=bool)
    return np.ones(len(numbers), dtype=bool) if collection.earlier is None else ~collection.earlier[numbers]


def _judge_val(
    table: NgramTable,
    seen: np.ndarray,
    collection: Collection,
    folder: Path,
    shards: Sequence[int],
    settings: DataSettings,
    samples: Samples,
) -> dict[str, Any]:
    limit = settings.max_val_overlap
    assert limit is not None
    shares = table.shares(seen)
    numbers = np.flatnonzero(collection.outcome == CODE["val"])
    above = shares > limit
    # What a dataset has held stays in it when it is appended to; the report tells.
    dropped = _droppable(numbers, collection, settings) & above
    listed = np.argsort(-shares, kind="stable")[:LISTED]
    wanted = set(numbers[above].tolist()) | set(numbers[listed].tolist())
    ids = {i: document.id for i, document in enumerate(all_documents(folder, shards)) if i in wanted}
    collection.outcome[numbers[dropped]] = CODE["contaminated"]
    for i in np.flatnonzero(dropped):
        detail = f"{shares[i]:.0%} of its 13-grams occur in training, data.max_val_overlap is {limit:.0%}"
        samples.add("contaminated", ids[int(numbers[i])], detail=detail)
    histogram = np.histogram(shares, bins=20, range=(0, 1))[0]
    return {
        "papers": len(numbers),
        "above": int(above.sum()),
        "limit": limit,
        "dropped": int(dropped.sum()),
        "histogram": histogram.tolist(),
        "highest": [[ids[int(numbers[i])], round(float(shares[i]), 4)] for i in listed],
        "sampled": 1 / (table.mask + 1),
    }


def _judge_papers(
    table: NgramTable,
    questions: Questions,
    found: np.ndarray,
    collection: Collection,
    folder: Path,
    shards: Sequence[int],
    settings: DataSettings,
    samples: Samples,
) -> dict[str, Any]:
    """Papers that hold more of a question than the knob allows. `found`: documents and entries, in pairs."""
    documents, owners, shares = table.matches(found[0], found[1])
    hits: list[tuple[int, int, float]] = []
    for i in np.flatnonzero(shares > settings.max_benchmark_overlap):
        if not hits or hits[-1][0] != documents[i]:  # the most of a question comes first
            hits.append((int(documents[i]), int(owners[i]), float(shares[i])))
    wanted = {document for document, *_ in hits}
    ids = {i: document.id for i, document in enumerate(all_documents(folder, shards)) if i in wanted}
    droppable = _droppable(np.array([document for document, *_ in hits], dtype=np.int64), collection, settings)
    for (document, question, share), drop in zip(hits, droppable, strict=True):
        if drop:
            collection.outcome[document] = CODE["benchmark_overlap"]
            detail = f"holds {share:.0%} of the 13-grams of {questions.names[question]}"
            samples.add("benchmark_overlap", ids[document], detail=detail)
    return {
        "questions": len(questions.names),
        "too_short": questions.too_short,
        "above": len(hits),
        "limit": settings.max_benchmark_overlap,
        "dropped": int(droppable.sum()),
        "found": [[ids[d], questions.names[q], round(s, 4)] for d, q, s in hits[:LISTED]],
    }
