"""The work of `evaluate_tokenizer.py`, spread over processes: each loads every tokenizer once and takes its share.

Results are sums and are merged in the order of the jobs, so that they do not depend on the number of workers. Imported;
not run.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from tokenizer.measure.adapters import AnyTokenizer
from tokenizer.measure.metrics import Tally
from tokenizer.measure.round_trips import BLOCK, Chunks, Readers, Trips
from tokenizer.measure.segments import take_apart

# Documents of about this many characters make one job.
JOB_CHARS = 300_000


@dataclass
class Measured:
    """Of each tokenizer: a tally for every set of texts, round trips of the documents and of random chunks."""

    tallies: list[list[Tally]]
    documents: list[Trips]
    chunks: list[Trips]
    not_compared: list[str | None]


class _Bench:
    """What a worker keeps between its jobs."""

    readers: list[Readers]
    chunks: Chunks


def measure_all(paths: Sequence[Path], sets: Sequence[Sequence[str]], chunks: int, seed: int, workers: int) -> Measured:
    """Measure the tokenizers of `paths` on sets of texts, and on `chunks` random chunks of all of them together."""
    from tqdm import tqdm

    texts = [text for texts in sets for text in texts]
    spans = list(_spans(sets))
    blocks = [(number, min(BLOCK, chunks - number * BLOCK)) for number in range(-(-chunks // BLOCK))]
    result = Measured(
        tallies=[[Tally() for _ in sets] for _ in paths],
        documents=[Trips() for _ in paths],
        chunks=[Trips() for _ in paths],
        not_compared=[None for _ in paths],
    )
    workers = min(workers or os.cpu_count() or 1, len(spans) + len(blocks))
    pool = None
    mapped: Callable[..., Iterator[Any]] = map
    if workers > 1:
        # Loaded anew in each: pickled, a tokenizer of `tokenizers` forgets that special tokens are text.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(paths, texts, seed))
        mapped = pool.map
    else:
        _start(paths, texts, seed)
    try:
        with tqdm(total=len(texts), unit="document", desc="measuring", disable=None) as bar:
            for (number, span), parts in zip(spans, mapped(_measure, [span for _, span in spans]), strict=True):
                for i, (tally, trips, not_compared) in enumerate(parts):
                    result.tallies[i][number].merge(tally)
                    result.documents[i].merge(trips)
                    result.not_compared[i] = not_compared
                bar.update(span[1] - span[0])
        with tqdm(total=chunks, unit="chunk", unit_scale=True, desc="round trips", disable=None) as bar:
            for (_, size), found in zip(blocks, mapped(_try_block, blocks), strict=True):
                for total, trips in zip(result.chunks, found, strict=True):
                    total.merge(trips)
                bar.update(size)
    except BrokenProcessPool:
        raise UserError(
            f"one of {workers} worker processes was killed, most likely for memory; run again with --workers 1"
        ) from None
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return result


def speeds(tokenizers: Sequence[AnyTokenizer], texts: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """MB/s of each tokenizer on one core, ids only; rounds in turn, so that what slows the machine slows all alike."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    found: list[list[float]] = [[] for _ in tokenizers]
    for _ in range(rounds):
        for rates, tokenizer in zip(found, tokenizers, strict=True):
            started = time.perf_counter()
            for text in texts:
                tokenizer.ids(text)
            rates.append(size / (time.perf_counter() - started))
    return [
        {"mb_per_s": statistics.median(rates), "slowest": min(rates), "fastest": max(rates), "rounds": rounds}
        for rates in found
    ]


def _spans(sets: Sequence[Sequence[str]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """(number of the set, first and last + 1 of the documents in all) of each job."""
    start = position = 0
    for number, texts in enumerate(sets):
        chars = 0
        for text in texts:
            position += 1
            chars += len(text)
            if chars >= JOB_CHARS:
                yield number, (start, position)
                start, chars = position, 0
        if start < position:
            yield number, (start, position)
            start = position


def _start(paths: Sequence[Path], texts: Sequence[str], seed: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the cores are shared out already
    _Bench.readers = [Readers(path) for path in paths]
    _Bench.chunks = Chunks(texts, seed)


def _measure(span: tuple[int, int]) -> list[tuple[Tally, Trips, str | None]]:
    texts = _Bench.chunks.texts[slice(*span)]
    tallies = [Tally() for _ in _Bench.readers]
    for text in texts:
        units = take_apart(text)
        for tally, reader in zip(tallies, _Bench.readers, strict=True):
            tally.add(units, *reader.main.cut(text), reader.main.unknown)
    return [
        (tally, reader.try_all(texts), reader.not_compared)
        for tally, reader in zip(tallies, _Bench.readers, strict=True)
    ]


def _try_block(block: tuple[int, int]) -> list[Trips]:
    texts = _Bench.chunks.block(*block)
    return [reader.try_all(texts) for reader in _Bench.readers]
