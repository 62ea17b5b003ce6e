"""Which documents the tokenizer learns from: a sample that follows the corpus by category and year, capped per paper.

A first pass notes where each document lies, how large it is, its stratum (archive of its primary category, and year)
and the hash of its id: 22 bytes a document, some 100 while the choice is made, so 0.3 GB for three million papers. A
second pass reads the chosen ones alone. The choice depends on ids, categories, years and sizes, and not on the order of
the documents or the files they lie in. Imported by `train_tokenizer.py`; not run.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import UserError
from common.jsonl import parse_line
from tokenizer.cache.source_lines import Source, SourceFile

# How prepare_dataset.py writes a record: the id opens it, categories and year follow its text. Within a string a quote
# has a backslash before it, so the last match is no text. A record in another form is parsed instead.
LEADING_ID = re.compile(rb'\{"id": "([^"\\]+)"')
CATEGORIES = b'", "categories": ["'
CATEGORY_AND_YEAR = re.compile(rb'", "categories": \["([^"\\]+)"[^\]]*\], "year": (\d+)')
# The share of an even split among strata that each gets at the least, so that none is missing.
FLOOR = 0.1


@dataclass(frozen=True)
class Catalogue:
    """The documents of a split, one entry of each array a document.

    Attributes:
        places: where its line begins in the row of lines, uint64.
        sizes: bytes of its line, `max_document_bytes` at the most, uint32.
        keys: hash of its id and the seed, uint64.
        strata: index into `names`, uint16.
        names: (archive of the primary category, year) of each stratum, sorted; "" and 0 where a record has none.
    """

    source: Source
    places: np.ndarray
    sizes: np.ndarray
    keys: np.ndarray
    strata: np.ndarray
    names: list[tuple[str, int]]

    def lines(self, chosen: np.ndarray) -> Iterator[tuple[SourceFile, int, bytes]]:
        """(file, place in it, line) of the chosen documents (bool [documents]) in the order of the split."""
        for place in self.places[chosen].tolist():
            yield from self.source.lines(place, place + 1)

    def table(self, chosen: np.ndarray) -> dict[str, dict[str, list[int]]]:
        """Bytes there and bytes chosen, by category and by year."""
        there = np.bincount(self.strata, self.sizes, len(self.names))
        taken = np.bincount(self.strata[chosen], self.sizes[chosen], len(self.names))
        result: dict[str, dict[str, list[int]]] = {"category": {}, "year": {}}
        for name, *sums in zip(self.names, there.astype(int).tolist(), taken.astype(int).tolist(), strict=True):
            for kind, value in zip(result, name, strict=True):
                row = result[kind].setdefault(str(value or "unknown"), [0, 0])
                row[:] = [a + b for a, b in zip(row, sums, strict=True)]
        return result


def catalogue(source: Source, max_document_bytes: int, seed: int, progress: bool = True) -> Catalogue:
    """Note every document of `source`, in one pass over it.

    Raises:
        UserError: a file that cannot be read, or a line that is no record with an id.
    """
    from tqdm import tqdm

    places, sizes, keys, strata = array("Q"), array("L"), array("Q"), array("L")
    indexes: dict[tuple[str, int], int] = {}
    prefix = b"%d " % seed
    with tqdm(
        total=source.size, unit="B", unit_scale=True, desc="documents", disable=None if progress else True
    ) as bar:
        for file, place, line in source.lines(0, source.size):
            bar.update(len(line))
            if line.isspace():
                continue
            document, stratum = _identity(file, place, line)
            places.append(file.start + place)
            sizes.append(min(len(line), max_document_bytes))
            keys.append(int.from_bytes(hashlib.blake2b(prefix + document, digest_size=8).digest(), "big"))
            strata.append(indexes.setdefault(stratum, len(indexes)))
    names = sorted(indexes)
    new = np.zeros(len(names), np.uint16)
    new[[indexes[name] for name in names]] = np.arange(len(names))
    return Catalogue(
        source,
        np.array(places, np.uint64),
        np.array(sizes, np.uint32),
        np.array(keys, np.uint64),
        new[np.array(strata, np.int64)],
        names,
    )


def _identity(file: SourceFile, place: int, line: bytes) -> tuple[bytes, tuple[str, int]]:
    """A record's id, and its stratum."""
    leading = LEADING_ID.match(line)
    known = CATEGORY_AND_YEAR.match(line, max(0, line.rfind(CATEGORIES))) if leading else None
    if leading and known:
        return leading[1], (known[1].partition(b".")[0].decode("utf-8", "replace"), int(known[2]))
    where = f"{file.path} at byte {place:,}"
    record: dict[str, Any] = parse_line(line.removeprefix(b"\xef\xbb\xbf") if place == 0 else line, where)
    if not isinstance(record.get("id"), str):
        raise UserError(f"{where}: the record has no 'id'; is this a split that prepare_dataset.py made?")
    categories, year = record.get("categories"), record.get("year")
    first = categories[0] if isinstance(categories, list) and categories else ""
    archive = first.partition(".")[0] if isinstance(first, str) else ""
    return record["id"].encode("utf-8", "replace"), (archive, year if isinstance(year, int) else 0)


def choose(documents: Catalogue, sample_bytes: int) -> np.ndarray:
    """Which documents make a sample of about `sample_bytes` (bool [documents]); a smaller sample lies in a larger one.

    Each stratum gives its share of the bytes, and `FLOOR` of an even share at the least (all of it where it has less);
    within it documents come by their hash.
    """
    sizes, strata = documents.sizes.astype(np.int64), documents.strata
    if sizes.sum() <= sample_bytes:
        return np.ones(len(sizes), bool)
    have = np.bincount(strata, sizes, len(documents.names))
    order = np.lexsort((documents.places, documents.keys, strata))
    before = np.cumsum(sizes[order]) - sizes[order] - (np.cumsum(have) - have)[strata[order]]
    chosen = np.zeros(len(sizes), bool)
    chosen[order] = before < _quotas(have, sample_bytes)[strata[order]]
    return chosen


def _quotas(have: np.ndarray, wanted: int) -> np.ndarray:
    """Bytes that each stratum gives: `have` times a share common to all, between its floor and what it has."""
    floor = np.minimum(have, FLOOR * wanted / len(have))
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        total = np.maximum(floor, share * have).sum()
        low, high = (share, high) if total < wanted else (low, share)
    return np.maximum(floor, low * have)
