"""`clusters.tsv`: id, cluster, split and outcome of each paper that reached the collection, in order.

What a later run with `--append` needs to leave the earlier papers where they are. Imported, not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from common.errors import UserError
from data_prep.papers.ids import order_key
from data_prep.pipeline.shards import Document

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val")
# What can become of a document: a split, or a reason. Arrays hold their places in this list.
OUTCOMES = (*SPLITS, "exact_duplicate", "near_duplicate", "bridges_splits", "contaminated", "benchmark_overlap")
CODE = {outcome: code for code, outcome in enumerate(OUTCOMES)}

NAME = "clusters.tsv"
# What bytes that are not UTF-8 are read as; no id has it.
REPLACED = "\ufffd"
HEADER = "id\tcluster\tsplit\toutcome\n"


@dataclass(frozen=True)
class Frozen:
    """What an earlier build decided, over the documents of this one."""

    # Mask of the documents that it had.
    known: np.ndarray
    # Its cluster: the number of the document of this name, or a number from `documents` on where that has gone (-1
    # for new documents); codes of split and outcome.
    cluster: np.ndarray
    split: np.ndarray
    outcome: np.ndarray
    # Names by cluster number, of those with several papers or without their first.
    names: dict[int, str]
    # Papers of the earlier dataset that no shard holds any more.
    missing: list[str]

    @property
    def dropped(self) -> np.ndarray:
        """Mask of the documents that were left out."""
        return self.outcome >= len(SPLITS)


def line(paper_id: str, cluster: str, split: str, outcome: str) -> bytes:
    return f"{paper_id}\t{cluster}\t{split}\t{outcome}\n".encode()


def read(path: Path, documents: Iterable[Document], count: int) -> Frozen:
    """The ledger at `path` laid over `documents`, of which there are `count`.

    Raises:
        UserError: a damaged ledger.
    """
    import numpy as np

    known = np.zeros(count, dtype=bool)
    cluster = np.full(count, -1, dtype=np.int64)
    split = np.zeros(count, dtype=np.uint8)
    outcome = np.zeros(count, dtype=np.uint8)
    elsewhere: dict[str, list[int]] = {}
    own: dict[str, int] = {}
    missing: list[str] = []
    # Both are in the order of papers.
    numbered = enumerate(documents)
    i, document = next(numbered, (count, None))
    for paper, name, side, what in _rows(path):
        while document and order_key(document.id) < order_key(paper):
            i, document = next(numbered, (count, None))
        if not document or document.id != paper:
            if side == what:
                missing.append(paper)
            continue
        known[i], split[i], outcome[i] = True, CODE[side], CODE[what]
        if name == paper:
            cluster[i] = own[name] = i
        else:
            elsewhere.setdefault(name, []).append(i)
    names: dict[int, str] = {}
    for name, members in sorted(elsewhere.items()):
        number = own.get(name, count + len(names))
        names[number] = name
        cluster[members] = number
    return Frozen(known, cluster, split, outcome, names, missing)


class Assignment(NamedTuple):
    """A line of the ledger."""

    id: str
    cluster: str
    split: str
    outcome: str


def cluster_of(path: Path, paper_id: str) -> list[Assignment]:
    """The paper's line of the ledger and then those of the others of its cluster; none where it has no line.

    Raises:
        UserError: a damaged ledger.
    """
    own = next((row for row in _rows(path) if row[0] == paper_id), None)
    if own is None:
        return []
    others = (row for row in _rows(path) if row[1] == own[1] and row[0] != paper_id)
    return [Assignment(*row) for row in (own, *others)]


def _rows(path: Path) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", errors="replace") as file:
        if file.readline() != HEADER:
            raise UserError(f"{path}: not a table of clusters: its first line must be {HEADER.strip()!r}")
        for number, text in enumerate(file, 2):
            fields = text.rstrip("\n").split("\t")
            whole = len(fields) == 4 and text.endswith("\n") and REPLACED not in text
            if not whole or not {fields[2], fields[3]} <= CODE.keys():
                raise UserError(f"{path}:{number}: damaged; build the dataset anew without --append")
            yield fields
