"""Which documents of a mixture stay, in which split, and how often each is used. Imported, not run."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.jsonl import find_split, open_lines, parse_line
from common.ordered import ordered_map
from common.paths import project_path
from data_prep.dedup.clusters import exact_groups, near_groups, similarity
from data_prep.dedup.minhash import DIGEST_BYTES, PERMUTATIONS
from data_prep.dedup.ngram_table import NgramTable, entries_seen, ngrams_of, open_table, read_questions
from data_prep.dedup.split import val_clusters
from data_prep.mixtures.config import Mixture
from data_prep.mixtures.records import digest_of
from data_prep.mixtures.source_stage import Stage

BATCH_BYTES = 4_000_000
SIGNATURES_COPIED = 100_000
# Documents of each source that the report shows.
SHOWN = 3
SPLITS = ("train", "val")
OUTCOMES = (
    *SPLITS,
    *("exact_duplicate", "near_duplicate", "in_pretraining", "in_pretraining_validation", "benchmark_overlap"),
    "not_wanted",
)
CODE = {name: code for code, name in enumerate(OUTCOMES)}


@dataclass
class Choice:
    """Arrays over the documents of all sources, one source after the other."""

    # Code of what becomes of each (OUTCOMES), number of its cluster's first document, and how often it is used.
    outcome: np.ndarray
    cluster: np.ndarray
    uses: np.ndarray
    # Of a source: where its documents begin.
    starts: list[int]
    # Of some rejected documents: what they are like.
    details: dict[int, str] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    def part(self, source: int) -> slice:
        return slice(self.starts[source], self.starts[source + 1])


def choose(stages: Sequence[Stage], mixture: Mixture, work: Path, workers: int) -> Choice:
    """Duplicates, what was trained on before, benchmark questions, splits, uses: in this order.

    Raises:
        UserError: what is to be compared with is not there; weights that cannot be had; nothing is left.
    """
    rows = [stage.rows for stage in stages]
    count = sum(map(len, rows))
    if not count:
        raise UserError("the mixture has no documents: no record of its sources makes a text; see rejected/")
    starts = list(itertools.accumulate(map(len, rows), initial=0))
    choice = Choice(np.zeros(count, np.uint8), np.arange(count), np.ones(count, np.int64), starts)
    _duplicates(choice, rows, mixture, work)
    if mixture.against:
        _against(choice, stages, rows, mixture, work, workers)
    if mixture.benchmarks:
        _benchmarks(choice, stages, mixture)
    _split(choice, stages, mixture)
    _uses(choice, stages, mixture)
    if not ((choice.outcome == CODE["train"]) & (choice.uses > 0)).any():
        raise UserError("the mixture has no training documents left; report/ and rejected/ say why")
    return choice


def _duplicates(choice: Choice, rows: Sequence[np.ndarray], mixture: Mixture, work: Path) -> None:
    """The earliest document of a cluster stays: sources in their order are the order of preference."""
    digests = b"".join(part["digest"].astype(f"S{DIGEST_BYTES}").tobytes() for part in rows)
    signatures = _signatures(choice, rows, work / "signatures")
    exact = exact_groups(digests)
    choice.cluster = near_groups(signatures, exact, mixture.near_duplicate_similarity)
    numbers = np.arange(len(exact))
    same = exact != numbers
    choice.outcome[same] = CODE["exact_duplicate"]
    if mixture.near_duplicates == "drop":
        near = ~same & (choice.cluster != numbers)
        choice.outcome[near] = CODE["near_duplicate"]
        places = np.flatnonzero(near)
        shares = similarity(signatures, places, choice.cluster[places])
        for place, share in zip(places.tolist(), shares.tolist(), strict=True):
            choice.details[place] = f"like document {choice.cluster[place] + 1} (estimated Jaccard {share:.2f})"


def _signatures(choice: Choice, rows: Sequence[np.ndarray], path: Path) -> np.ndarray:
    """The signatures of all documents, memory-mapped: uint32 [documents, PERMUTATIONS]."""
    whole = np.memmap(path, "<u4", "w+", shape=(choice.starts[-1], PERMUTATIONS))
    for number, part in enumerate(rows):
        for start in range(0, len(part), SIGNATURES_COPIED):
            block = part["signature"][start : start + SIGNATURES_COPIED]
            whole[choice.starts[number] + start :][: len(block)] = block
    return whole


def _texts(choice: Choice, stages: Sequence[Stage], wanted: np.ndarray) -> Iterator[str]:
    """Texts of the documents in the mask `wanted`, in order."""
    for number, stage in enumerate(stages):
        for chosen, line in zip(wanted[choice.part(number)], stage.each_line(), strict=True):
            if chosen:
                yield json.loads(line)["text"]


def _against(
    choice: Choice,
    stages: Sequence[Stage],
    rows: Sequence[np.ndarray],
    mixture: Mixture,
    work: Path,
    workers: int,
) -> None:
    """Documents that earlier training or validation has seen: the same text, or much of its 13-grams."""
    compared = choice.outcome < len(SPLITS)
    for number, stage in enumerate(stages):
        if stage.source.replay:
            compared[choice.part(number)] = False
    numbers = np.flatnonzero(compared)
    table = NgramTable.build(_texts(choice, stages, compared))
    path = work / "ngrams.npy"
    table.save(path)
    own = np.concatenate([part["digest"] for part in rows])[numbers]
    report: dict[str, Any] = {"limit": mixture.max_overlap, "sampled": 1 / (table.mask + 1)}
    # Validation last: what is in both is told by the graver of the two.
    for split, reason in (("train", "in_pretraining"), ("val", "in_pretraining_validation")):
        seen, digests = _seen(earlier_files(mixture, split), path, table, workers, split)
        shares = table.shares(seen)
        same = np.array([digest in digests for digest in own.tolist()], bool)
        above = same | (shares > mixture.max_overlap)
        choice.outcome[numbers[above]] = CODE[reason]
        for place in np.flatnonzero(above):
            what = "the same text" if same[place] else f"{shares[place]:.0%} of its 13-grams"
            choice.details[int(numbers[place])] = f"{what} in the {split} split of a dataset in 'against'"
        report[split] = {
            "above": int(above.sum()),
            "histogram": np.histogram(shares, bins=20, range=(0, 1))[0].tolist(),
        }
    choice.report["against"] = report


def earlier_files(mixture: Mixture, split: str) -> list[Path]:
    """The files of a split of all datasets in `against`; a single file counts as training.

    Raises:
        UserError: nothing lies at one of the paths.
    """
    found: list[Path] = []
    for place in mixture.against:
        path = project_path(place)
        if path.is_file():
            found += [path] if split == "train" else []
        elif path.is_dir() and (find_split(path, "train") or find_split(path, "val")):
            found += find_split(path, split)
        else:
            raise UserError(
                f"against: {path}: no dataset there (train.jsonl, val.jsonl); put it there, or leave it out"
            )
    return found


def _seen(
    files: Sequence[Path], path: Path, table: NgramTable, workers: int, split: str
) -> tuple[np.ndarray, set[bytes]]:
    """Mask of the table's entries that occur in the files, and digests of all their texts."""
    from tqdm import tqdm

    seen, digests = np.zeros(len(table.hashes), bool), set[bytes]()
    total = sum(file.stat().st_size for file in files)
    compare = functools.partial(compare_lines, path, table.fingerprint)
    with tqdm(total=total or None, unit="B", unit_scale=True, desc=f"against {split}") as bar:
        for entries, found, size in ordered_map(compare, _line_batches(files), workers):
            seen[entries] = True
            digests |= found
            bar.update(size)
    return seen, digests


def _line_batches(files: Iterable[Path]) -> Iterator[list[tuple[str, bytes]]]:
    batch, size = list[tuple[str, bytes]](), 0
    for path in files:
        try:
            with open_lines(path) as file:
                for number, line in enumerate(file, 1):
                    if not line.isspace():
                        batch.append((f"{path}:{number}", line))
                        size += len(line)
                    if size >= BATCH_BYTES:
                        yield batch
                        batch, size = [], 0
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if batch:
        yield batch


def compare_lines(path: Path, fingerprint: str, lines: list[tuple[str, bytes]]) -> tuple[np.ndarray, set[bytes], int]:
    """What workers run: entries of the table that occur in the texts of the lines, the texts' digests, bytes read."""
    hashes, mask = open_table(path, fingerprint)
    found, digests = [], set()
    for where, line in lines:
        text = parse_line(line, where).get("text")
        if not isinstance(text, str):
            raise UserError(f"{where}: the record has no 'text'; 'against' takes what prepare_dataset.py made")
        found.append(entries_seen(hashes, mask, ngrams_of(text)))
        # As numpy keeps them: bytes without the zeros at their end.
        digests.add(digest_of(text).rstrip(b"\0"))
    return np.unique(np.concatenate(found)), digests, sum(len(line) for _, line in lines)


def _benchmarks(choice: Choice, stages: Sequence[Stage], mixture: Mixture) -> None:
    assert mixture.benchmarks is not None
    questions = read_questions(project_path(mixture.benchmarks))
    table = NgramTable.build(questions.texts)
    kept = choice.outcome < len(SPLITS)
    numbers, documents, entries = np.flatnonzero(kept), list[np.ndarray](), list[np.ndarray]()
    for number, text in zip(numbers.tolist(), _texts(choice, stages, kept), strict=True):
        found = entries_seen(table.hashes, table.mask, ngrams_of(text))
        documents.append(np.full(len(found), number))
        entries.append(found)
    none = np.empty(0, np.int64)
    held = table.matches(np.concatenate([none, *documents]), np.concatenate([none, *entries]))
    above = 0
    for document, question, share in zip(*(part.tolist() for part in held), strict=True):
        if share > mixture.max_benchmark_overlap and kept[document]:
            kept[document] = False
            above += 1
            choice.outcome[document] = CODE["benchmark_overlap"]
            choice.details[document] = f"holds {share:.0%} of the 13-grams of {questions.names[question]}"
    choice.report["benchmarks"] = {
        "questions": len(questions.names),
        "too_short": questions.too_short,
        "limit": mixture.max_benchmark_overlap,
        "above": above,
    }


def _split(choice: Choice, stages: Sequence[Stage], mixture: Mixture) -> None:
    """A cluster is in one split, whatever sources its documents are of; a source without `val` keeps out of it."""
    names = document_names(choice, stages)
    held_back = np.zeros(len(choice.outcome), bool)
    for number, stage in enumerate(stages):
        held_back[choice.part(number)] = not stage.source.val
    only_training = set(choice.cluster[held_back].tolist())
    kept = choice.outcome < len(SPLITS)
    clusters = [int(number) for number in np.unique(choice.cluster[kept]) if int(number) not in only_training]
    held_out = val_clusters((names(number) for number in clusters), mixture.val_fraction, mixture.seed)
    val = np.array([number for number in clusters if names(number) in held_out], np.int64)
    choice.outcome[kept & np.isin(choice.cluster, val)] = CODE["val"]


def document_names(choice: Choice, stages: Sequence[Stage]) -> Any:
    """Number of a document -> its id."""

    def name(number: int) -> str:
        source = int(np.searchsorted(choice.starts, number, "right")) - 1
        return f"{stages[source].source.name}/{stages[source].rows[number - choice.starts[source]]['number']}"

    return name


def _uses(choice: Choice, stages: Sequence[Stage], mixture: Mixture) -> None:
    """How often each training document is used, by weights or repeats; validation uses each once."""
    names = document_names(choice, stages)
    train = choice.outcome == CODE["train"]
    available = [
        int(stage.rows["text_bytes"][train[choice.part(number)]].sum(dtype=np.int64))
        for number, stage in enumerate(stages)
    ]
    for number, repeats in enumerate(wanted_repeats(stages, available, mixture)):
        part = choice.part(number)
        whole, rest = divmod(repeats, 1.0)
        places = np.flatnonzero(train[part]) + part.start
        choice.uses[places] = int(whole)
        # The rest are documents in the order of their hashes, but for those that would lead away from its bytes.
        left = rest * available[number]
        sizes = stages[number].rows["text_bytes"]
        for place in sorted(places.tolist(), key=lambda place: (_hash(names(place), mixture.seed), place)):
            size = int(sizes[place - part.start])
            if abs(left - size) < left:
                choice.uses[place] += 1
                left -= size
        choice.outcome[places[choice.uses[places] == 0]] = CODE["not_wanted"]


def wanted_repeats(stages: Sequence[Stage], available: Sequence[int], mixture: Mixture) -> list[float]:
    """How often each source is read.

    Raises:
        UserError: a source with a weight has no text, or would be read more often than `max_repeats` allows.
    """
    weights = [stage.source.weight or 0.0 for stage in stages]
    whole = sum(weights)
    repeats = [1.0 if stage.source.repeats is None else stage.source.repeats for stage in stages]
    weighted = [number for number, weight in enumerate(weights) if weight > 0]
    for number, stage in enumerate(stages):
        if stage.source.weight == 0:
            repeats[number] = 0.0
    for number in weighted:
        if not available[number]:
            raise UserError(
                f"source {stages[number].source.name}: it has a weight and no training text is left of it; report/ "
                "says why"
            )
    if not weighted:
        return repeats
    total = mixture.total_bytes or min(
        available[number] * mixture.max_repeats * whole / weights[number] for number in weighted
    )
    for number in weighted:
        repeats[number] = total * weights[number] / whole / available[number]
        if repeats[number] > mixture.max_repeats * (1 + 1e-9):
            raise UserError(
                f"source {stages[number].source.name}: its {available[number]:,} bytes would be read "
                f"{repeats[number]:.2f} times for {weights[number] / whole:.1%} of total_bytes {total:,.0f}; "
                f"max_repeats is {mixture.max_repeats:g}: raise that, or lower total_bytes or the source's weight"
            )
    return repeats


def _hash(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:use:{name}".encode(), digest_size=8).digest()


def first_documents(stage: Stage, choice: Choice, number: int) -> Iterator[dict[str, Any]]:
    """The first documents of a source in training, as they are read there."""
    chosen = choice.outcome[choice.part(number)] == CODE["train"]
    lines = (line for keep, line in zip(chosen, stage.each_line(), strict=True) if keep)
    for line in itertools.islice(lines, SHOWN):
        record = json.loads(line)
        yield {key: record[key] for key in ("id", "text", "answers") if key in record}
