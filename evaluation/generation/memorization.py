"""What of some texts stands in the training split word for word: the longest runs of tokens in common.

The texts are few and the split is long, so it is the texts that are indexed, by the hashes of their n-grams, and the
split that is streamed past them, from the token cache: memory does not grow with it, and shards go to any number of
processes. A run is found if it has MIN_TOKENS tokens; found runs are whole. Imported, not run.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenizer.cache.token_file import TOKEN_ID, TokenRow

if TYPE_CHECKING:
    from tokenizer.cache.token_file import TokenCache

# The shortest run that is looked for. A power of two: its hashes are made of those of halves.
MIN_TOKENS = 16
# Tokens of the split hashed at a time: some 50 MB of arrays.
BLOCK = 1 << 20
# Between texts: no token has this id.
BETWEEN = np.uint64(1 << 40)
MULTIPLIER = 0x9E3779B97F4A7C15
# Bits of the table that says in one look that an n-gram is in no text.
TABLE_BITS = 22


@dataclass(frozen=True)
class Longest:
    """The longest run that a text shares with training: tokens, where it begins in the text and in the training tokens;
    `covered`: for each token the longest run that it is part of, int64 [tokens]."""

    tokens: int
    start: int
    place: int
    covered: np.ndarray


@dataclass(frozen=True)
class Index:
    """Texts as one row, BETWEEN between them, and the places of their n-grams by hash.

    `hashes` uint64 [distinct], sorted; n-gram i begins at places[starts[i]:starts[i + 1]] of `row` (uint64).
    """

    row: np.ndarray
    begins: np.ndarray
    hashes: np.ndarray
    places: np.ndarray
    starts: np.ndarray
    table: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, texts: Sequence[np.ndarray]) -> Index:
        parts = list(itertools.chain.from_iterable((text.astype(np.uint64), [BETWEEN]) for text in texts))
        row = np.concatenate([np.empty(0, np.uint64), *map(np.asarray, parts)]).astype(np.uint64)
        begins = np.cumsum([0, *(len(text) + 1 for text in texts)])
        found = ngram_hashes(row)
        outside = np.convolve(row == BETWEEN, np.ones(MIN_TOKENS), "valid") > 0 if len(found) else np.empty(0, bool)
        places = np.flatnonzero(~outside)
        order = np.argsort(found[places], kind="stable")
        hashes, starts = np.unique(found[places][order], return_index=True)
        table = np.zeros(1 << TABLE_BITS, bool)
        table[hashes >> np.uint64(64 - TABLE_BITS)] = True
        return cls(row, begins, hashes, places[order], np.append(starts, len(places)), table)


def ngram_hashes(row: np.ndarray) -> np.ndarray:
    """Hash of the MIN_TOKENS tokens from each place on: uint64 [max(0, tokens - MIN_TOKENS + 1)].

    A polynomial in an odd multiplier modulo 2^64, put together from the hashes of halves; then its bits are mixed.
    """
    hashes, width, factor = row.astype(np.uint64), 1, np.uint64(MULTIPLIER)
    if len(hashes) < MIN_TOKENS:
        return np.empty(0, np.uint64)
    hashes = hashes * np.uint64(0xD1342543DE82EF95) + np.uint64(1)
    with np.errstate(over="ignore"):
        while width < MIN_TOKENS:
            hashes = hashes[:-width] * factor + hashes[width:]
            factor, width = factor * factor, 2 * width
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(MULTIPLIER)
    return hashes


def longest_matches(texts: Sequence[np.ndarray], cache: TokenCache, workers: int) -> list[Longest]:
    """For each text (token ids) its longest run in the training tokens; the result does not depend on `workers`.

    `tokens` is 0 where no run of MIN_TOKENS tokens is shared.
    """
    from tqdm import tqdm

    index = Index.of(texts)
    counts = [header.num_tokens for header in cache.headers]
    jobs = list(zip(cache.paths, counts, cache.tokens.starts, strict=False))
    covered = np.zeros(len(index.row), np.int64)
    best = np.zeros((len(texts), 3), np.int64)
    search = functools.partial(search_shard, index)
    with tqdm(total=sum(counts), unit=" tokens", unit_scale=True, desc="training tokens") as bar:
        if workers <= 1:
            results = map(search, jobs)
            _merge(results, covered, best, bar)
        else:
            with ProcessPoolExecutor(min(workers, len(jobs))) as pool:
                _merge(pool.map(search, jobs), covered, best, bar)
    found = []
    for number, (tokens, start, place) in enumerate(best.tolist()):
        region = covered[index.begins[number] : index.begins[number + 1] - 1]
        found.append(Longest(tokens, start, place, region))
    return found


def _merge(results: Any, covered: np.ndarray, best: np.ndarray, bar: Any) -> None:
    for found, longest, tokens in results:
        np.maximum(covered, found, out=covered)
        better = longest[:, 0] > best[:, 0]  # of equally long ones the first in training
        best[better] = longest[better]
        bar.update(tokens)


def search_shard(index: Index, job: tuple[Path, int, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """What workers run: (longest run that each token of the texts is part of; of each text the longest run, where it
    begins in the text and in all training tokens; tokens read)."""
    path, count, first = job
    covered = np.zeros(len(index.row), np.int64)
    best = np.zeros((len(index.begins) - 1, 3), np.int64)
    tokens = TokenRow([path], [count])
    if len(index.hashes):
        for start in range(0, count, BLOCK):
            row = (tokens[start : start + BLOCK + MIN_TOKENS - 1] & TOKEN_ID).astype(np.uint64)
            hashes = ngram_hashes(row)
            places = np.flatnonzero(index.table[hashes >> np.uint64(64 - TABLE_BITS)])
            found = np.searchsorted(index.hashes, hashes[places])
            found[found == len(index.hashes)] = 0
            real = index.hashes[found] == hashes[places]
            if real.any():
                _runs(index, tokens, start + places[real], found[real], covered, best, first)
    return covered, best, count


def _runs(
    index: Index,
    tokens: TokenRow,
    places: np.ndarray,
    found: np.ndarray,
    covered: np.ndarray,
    best: np.ndarray,
    first: int,
) -> None:
    """Note the runs that the n-grams at `places` of the shard (their entries: `found`) belong to."""
    several = index.starts[found + 1] - index.starts[found]
    there = np.repeat(places, several)
    within = np.arange(several.sum()) - np.repeat(np.cumsum(several) - several, several)
    here = index.places[np.repeat(index.starts[found], several) + within]
    # n-grams of one run lie on one diagonal, one after the other.
    order = np.lexsort((there, there - here))
    there, here = there[order], here[order]
    breaks = np.flatnonzero((np.diff(there) != 1) | (np.diff(here) != 1)) + 1
    heads, tails = np.append(0, breaks), np.append(breaks, len(there))
    for head, tail in zip(heads.tolist(), tails.tolist(), strict=True):
        begin, at, length = int(here[head]), int(there[head]), tail - head + MIN_TOKENS - 1
        if at and begin and index.row[begin - 1] == int(tokens[at - 1 : at][0]) & TOKEN_ID:
            continue  # it began in the block before, and was noted there as a whole
        length += _further(index.row, begin + length, tokens, at + length)
        text = int(np.searchsorted(index.begins, begin, "right")) - 1
        region = covered[begin : begin + length]
        np.maximum(region, length, out=region)
        if length > best[text, 0]:
            best[text] = length, begin - index.begins[text], first + at


def _further(row: np.ndarray, here: int, tokens: TokenRow, there: int) -> int:
    """Tokens in common from two places on."""
    total, step = 0, 64
    while True:
        other = (tokens[there + total : there + total + step] & TOKEN_ID).astype(np.uint64)
        own = row[here + total : here + total + step]
        size = min(len(own), len(other))
        differ = np.flatnonzero(own[:size] != other[:size])
        if len(differ):
            return total + int(differ[0])
        total += size
        if size < step:
            return total
        step *= 2
