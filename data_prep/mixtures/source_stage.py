"""The records of one source as lines of the mixture, kept on disk with what they are compared by. Imported, not run.

Three files for each source in the working folder: its lines; an array file with digest, sizes and signature of each;
and a note of what was read, written last, by which a later run knows that the stage is done.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_write, write_json
from common.ordered import ordered_map
from common.provenance import file_state, fingerprint, module_hashes
from common.samples import Samples
from data_prep.dedup.minhash import DIGEST_BYTES, PERMUTATIONS
from data_prep.mixtures.config import SourceSettings
from data_prep.mixtures.records import Made, make_batch, read_records, source_files

BATCH_RECORDS = 200
# One record of a source, in order: number in the source, bytes of its line and of its text, characters.
ROW = np.dtype(
    [
        ("number", "<u8"),
        ("line_bytes", "<u4"),
        ("text_bytes", "<u4"),
        ("characters", "<u4"),
        ("digest", f"S{DIGEST_BYTES}"),
        ("signature", "<u4", (PERMUTATIONS,)),
    ]
)


@dataclass(frozen=True)
class Stage:
    """What is on disk of a source."""

    source: SourceSettings
    lines: Path
    rows: np.ndarray
    # Records read, and the reasons of those that make no text.
    read: int
    rejected: dict[str, int]
    # Texts by what was changed in their characters (`changes_in` of the pass `unicode_text`).
    changed: dict[str, int]
    samples: dict[str, list[dict[str, Any]]]

    def each_line(self) -> Iterator[bytes]:
        with self.lines.open("rb") as file:
            yield from file


def prepare(source: SourceSettings, work: Path, workers: int, reject_samples: int) -> Stage:
    """Read a source and write its lines, unless that has been done.

    Raises:
        UserError: the source cannot be read.
    """
    mark = fingerprint(
        [
            {key: value for key, value in asdict(source).items() if key not in ("weight", "repeats", "val", "replay")},
            [[str(path), *file_state(path)] for path in source_files(source)],
            module_hashes(["data_prep.mixtures.records"]),
            reject_samples,
        ]
    )
    base = work / f"{source.name}-{mark[:12]}"
    note, lines, rows = (base.with_name(base.name + ending) for ending in (".json", ".jsonl", ".rows"))
    # A hub's dataset may be another one tomorrow, unless its revision is named.
    known = note.exists() and (source.dataset is None or source.revision is not None)
    if not known:
        _make(source, lines, rows, note, workers, reject_samples)
    told = json.loads(note.read_text(encoding="utf-8"))
    count = rows.stat().st_size // ROW.itemsize
    table = np.memmap(rows, ROW, "r", shape=(count,)) if count else np.empty(0, ROW)
    return Stage(source, lines, table, told["read"], told["rejected"], told["changed"], told["samples"])


def _make(source: SourceSettings, lines: Path, rows: Path, note: Path, workers: int, reject_samples: int) -> None:
    from tqdm import tqdm

    samples, rejected, changed = Samples(reject_samples), Counter[str](), Counter[str]()
    read = text_bytes = 0

    def batches() -> Iterator[list[tuple[int, str, Any]]]:
        numbered = ((number, *record) for number, record in enumerate(read_records(source), 1))
        while batch := list(itertools.islice(numbered, BATCH_RECORDS)):
            yield batch

    results = ordered_map(functools.partial(make_batch, source), batches(), workers)
    with atomic_write(lines) as file, atomic_write(rows) as table, tqdm(desc=source.name, unit=" records") as bar:
        for made in itertools.chain.from_iterable(results):
            if _enough(source, read - sum(rejected.values()), text_bytes):
                break
            read += 1
            bar.update()
            if made.reason:
                rejected[made.reason] += 1
                samples.add(made.reason, f"{source.name}/{made.number}", detail=made.detail)
                continue
            file.write(made.line)
            table.write(_row(made).tobytes())
            changed.update(made.changed)
            text_bytes += made.text_bytes
    told = {reason: samples.of(reason) for reason in samples.reasons()}
    counts = {"rejected": dict(rejected), "changed": dict(sorted(changed.items()))}
    write_json(note, {"read": read, **counts, "samples": told})


def _enough(source: SourceSettings, documents: int, text_bytes: int) -> bool:
    return (source.max_documents is not None and documents >= source.max_documents) or (
        source.max_bytes is not None and text_bytes >= source.max_bytes
    )


def _row(made: Made) -> np.ndarray:
    row = np.zeros((), ROW)
    row["number"], row["line_bytes"], row["text_bytes"] = made.number, len(made.line), made.text_bytes
    row["characters"], row["digest"], row["signature"] = made.characters, made.digest, made.signature
    return row
