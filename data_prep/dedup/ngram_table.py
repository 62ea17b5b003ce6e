"""Texts that were seen before: the 13-grams of a validation paper, or of a benchmark question, that occur elsewhere.

13 words in a row hardly ever agree by chance (Brown et al., Language Models are Few-Shot Learners, 2020, appendix C). A
`NgramTable` holds the hashes of all owners' 13-grams (papers or questions) in sorted order; workers map it into memory
and note which entries occur in their texts; those notes are merged in any order. Imported, not run.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import atomic_write
from common.jsonl import read_jsonl
from data_prep.dedup.minhash import ngram_hashes, word_hashes

if TYPE_CHECKING:
    import numpy as np

NGRAM_WORDS = 13
# A table of more entries keeps every second, fourth, eighth ... hash, chosen by its bits: 16 bytes an entry.
MAX_ENTRIES = 1 << 25


@dataclass(frozen=True)
class NgramTable:
    """`hashes` uint64 [entries], sorted, distinct; the 13-grams of owner i are entries[starts[i]:starts[i + 1]].

    Hashes whose lower bits (`mask`) are not zero have been left out of large tables.
    """

    hashes: np.ndarray
    entries: np.ndarray
    starts: np.ndarray
    mask: int

    @classmethod
    def build(cls, texts: Iterable[str], max_entries: int = MAX_ENTRIES) -> NgramTable:
        """The table of the 13-grams of `texts`, one owner each."""
        import numpy as np

        mask = 0
        owners: list[np.ndarray] = []
        total = 0
        for text in texts:
            found = np.unique(_thinned(ngrams_of(text), mask))
            owners.append(found)
            total += len(found)
            while total > max_entries:
                mask = mask << 1 | 1
                owners = [_thinned(owner, mask) for owner in owners]
                total = sum(map(len, owners))
        whole = np.concatenate(owners) if owners else np.empty(0, dtype=np.uint64)
        hashes, entries = np.unique(whole, return_inverse=True)
        starts = np.cumsum([0, *map(len, owners)])
        return cls(hashes, entries.astype(np.uint32), starts.astype(np.int64), mask)

    def save(self, path: Path) -> None:
        """Write the hashes and the mask, which is what workers need, as one .npy file: the mask comes first."""
        import numpy as np

        with atomic_write(path) as file:
            np.save(file, np.concatenate([np.array([self.mask], dtype=np.uint64), self.hashes]))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.hashes.tobytes() + bytes([self.mask.bit_length()])).hexdigest()

    def shares(self, seen: np.ndarray) -> np.ndarray:
        """Share of each owner's 13-grams whose entries are in `seen` (bool [entries]): float64 [owners], 0 for none."""
        import numpy as np

        counts = np.diff(self.starts)
        sums = np.concatenate([[0], np.cumsum(seen[self.entries])])
        return (sums[self.starts[1:]] - sums[self.starts[:-1]]) / np.maximum(counts, 1)

    def matches(self, documents: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How much of which owners each document holds.

        Args:
            documents, entries: int64 [n], in pairs: this document holds this entry; no pair twice.

        Returns:
            (document, owner, share of the owner's 13-grams), sorted by document, the largest share first.
        """
        import numpy as np

        counts = np.diff(self.starts)
        owner_of = np.repeat(np.arange(len(counts)), counts)
        order = np.argsort(self.entries, kind="stable")
        left, right = (np.searchsorted(self.entries[order], entries, side) for side in ("left", "right"))
        several = right - left
        within = np.arange(several.sum()) - np.repeat(np.cumsum(several) - several, several)
        owners = owner_of[order[np.repeat(left, several) + within]]
        pairs, held = np.unique(np.stack([np.repeat(documents, several), owners]), axis=1, return_counts=True)
        shares = held / counts[pairs[1]] if len(held) else np.empty(0)
        ranked = np.lexsort((pairs[1], -shares, pairs[0]))
        return pairs[0][ranked], pairs[1][ranked], shares[ranked]


def ngrams_of(text: str) -> np.ndarray:
    """Hashes of the 13-grams of `text` by position: uint64."""
    return ngram_hashes(word_hashes(text), NGRAM_WORDS)


def _thinned(hashes: np.ndarray, mask: int) -> np.ndarray:
    import numpy as np

    return hashes[(hashes & np.uint64(mask)) == 0] if mask else hashes


@functools.lru_cache(maxsize=4)
def open_table(path: Path, fingerprint: str) -> tuple[np.ndarray, int]:
    """(hashes, mask) of a saved table, memory-mapped; `fingerprint` keeps a worker from using an older one."""
    import numpy as np

    saved = np.load(path, mmap_mode="r")
    return saved[1:], int(saved[0])


def entries_seen(hashes: np.ndarray, mask: int, text: np.ndarray) -> np.ndarray:
    """Which entries of a table (`hashes`, `mask`) occur among the 13-gram hashes of a text: sorted int64, distinct."""
    import numpy as np

    wanted = np.unique(_thinned(text, mask))
    places = np.searchsorted(hashes, wanted)
    inside = places < len(hashes)
    places, wanted = places[inside], wanted[inside]
    return places[hashes[places] == wanted]


@dataclass(frozen=True)
class Questions:
    """Benchmark questions that have a 13-gram: the name and the text of each, and how many are too short for one."""

    names: list[str]
    texts: list[str]
    too_short: int


def read_questions(folder: Path) -> Questions:
    """The questions of a folder of .jsonl, .json and .txt files, in order of path.

    Each text of a JSON record is a question of its own, as is each paragraph of a .txt file.

    Raises:
        UserError: no such folder, no such file in it, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(
            f"data.benchmarks: {folder}: no such folder; put .jsonl, .json or .txt files of questions there"
        )
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jsonl", ".json", ".txt", ".zst"))
    if not paths:
        raise UserError(f"data.benchmarks: {folder}: no .jsonl, .json or .txt file there")
    names, texts, too_short = [], [], 0
    for path in paths:
        for number, text in enumerate(_texts(path), 1):
            if len(word_hashes(text)) < NGRAM_WORDS:
                too_short += 1
                continue
            names.append(f"{path.relative_to(folder)}:{number}")
            texts.append(text)
    return Questions(names, texts, too_short)


def questions_state(folder: Path) -> str:
    """sha256 of the files that `read_questions` reads, names and contents."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _texts(path: Path) -> Iterator[str]:
    if path.suffix == ".txt":
        yield from (part for part in _read(path).split("\n\n") if part.strip())
    elif path.suffix == ".json":
        try:
            yield from _strings(json.loads(_read(path)))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not valid JSON: {error}") from None
    else:
        for record in read_jsonl(path):
            yield from _strings(record)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
