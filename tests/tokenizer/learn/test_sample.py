"""The tokenizer's sample: strata, caps, order, the forms of a split."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import zstandard

from tokenizer.cache.plan import Split
from tokenizer.cache.source_lines import read_source
from tokenizer.learn.sample import FLOOR, Catalogue, catalogue, choose

# Category and year -> documents of 2,000 bytes.
STRATA = {("math.AG", 2020): 600, ("math.NT", 2021): 300, ("hep-th", 2020): 90, ("hep-th", 1992): 10}


def lines() -> list[bytes]:
    found: list[bytes] = []
    for (category, year), count in STRATA.items():
        for _ in range(count):
            record = {"id": f"{len(found):07d}", "text": "x" * 1800, "title": "t", "categories": [category, "q-bio.PE"]}
            found.append(json.dumps(record | {"year": year, "license": None, "cluster": "c"}).encode() + b"\n")
    random.Random(0).shuffle(found)
    return found


def noted(folder: Path, content: dict[str, bytes], cap: int = 10**6, seed: int = 0) -> Catalogue:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    split = Split("train", tuple(folder / name for name in content))
    return catalogue(read_source(split.paths, split.notes), cap, seed, progress=False)


def ids(documents: Catalogue, chosen: np.ndarray) -> set[str]:
    return {json.loads(line)["id"] for _, _, line in documents.lines(chosen)}


def test_strata_get_their_share_and_none_is_missing(tmp_path: Path) -> None:
    documents = noted(tmp_path, {"train.jsonl": b"".join(lines())})
    assert documents.names == [("hep-th", 1992), ("hep-th", 2020), ("math", 2020), ("math", 2021)]
    chosen = choose(documents, 200_000)
    table = documents.table(chosen)
    size = int(documents.sizes.min())  # "hep-th" is a letter shorter than "math.AG"
    assert table["category"]["math"][0] == 900 * (size + 1) and table["year"]["1992"][0] == 10 * size
    taken = {stratum: int(chosen[documents.strata == i].sum()) for i, stratum in enumerate(documents.names)}
    # A tenth of everything, and of the small stratum what its floor gives.
    assert taken["math", 2020] == pytest.approx(60, abs=3) and taken["math", 2021] == pytest.approx(30, abs=2)
    assert taken["hep-th", 1992] == -(-FLOOR * 200_000 / 4 // size)
    assert sum(taken.values()) * size == pytest.approx(200_000, rel=0.05)


def test_a_stratum_that_is_smaller_than_its_floor_is_taken_whole(tmp_path: Path) -> None:
    documents = noted(tmp_path, {"train.jsonl": b"".join(lines())})
    chosen = choose(documents, 1_800_000)
    assert chosen[documents.strata == 0].all() and not chosen.all()
    assert choose(documents, 10**9).all()


def test_the_sample_depends_on_neither_order_nor_files(tmp_path: Path) -> None:
    rows = lines()
    whole = noted(tmp_path / "a", {"train.jsonl": b"".join(rows)})
    sample = ids(whole, choose(whole, 200_000))
    turned = noted(tmp_path / "b", {"train.jsonl": b"".join(reversed(rows))})
    assert ids(turned, choose(turned, 200_000)) == sample
    halves = [zstandard.compress(b"".join(part)) for part in (rows[:500], rows[500:])]
    numbered = noted(tmp_path / "c", {f"train-{i:05d}-of-00002.jsonl.zst": half for i, half in enumerate(halves)})
    assert ids(numbered, choose(numbered, 200_000)) == sample
    other = noted(tmp_path / "d", {"train.jsonl": b"".join(rows)}, seed=1)
    assert ids(other, choose(other, 200_000)) != sample


def test_a_smaller_sample_lies_in_a_larger_one(tmp_path: Path) -> None:
    documents = noted(tmp_path, {"train.jsonl": b"".join(lines())})
    assert ids(documents, choose(documents, 50_000)) < ids(documents, choose(documents, 300_000))


def test_no_document_counts_for_more_than_its_cap(tmp_path: Path) -> None:
    documents = noted(tmp_path, {"train.jsonl": b"".join(lines())}, cap=100)
    assert documents.sizes.max() == 100 and choose(documents, 100_000).all()


@pytest.mark.parametrize(
    ("record", "stratum"),
    [
        ({"text": "x", "id": "1", "year": 2000, "categories": ["cs.LG"]}, ("cs", 2000)),
        ({"id": "1", "text": "x", "categories": [], "year": None}, ("", 0)),
        ({"id": "1", "text": "x"}, ("", 0)),
        ({"id": "1", "text": '", "categories": ["math.AG"], "year": 1999', "categories": ["cs.LG"]}, ("cs", 0)),
        (
            {"id": "1", "text": "x", "title": '"categories": ["no"]', "categories": ["cs.LG"], "year": 2001},
            ("cs", 2001),
        ),
        ({"id": "1", "text": "x", "categories": "cs.LG", "year": "2001"}, ("", 0)),
    ],
)
def test_records_in_other_forms(tmp_path: Path, record: dict, stratum: tuple[str, int]) -> None:
    documents = noted(tmp_path, {"train.jsonl": json.dumps(record).encode() + b"\n\n"})
    assert documents.names == [stratum] and len(documents.places) == 1
