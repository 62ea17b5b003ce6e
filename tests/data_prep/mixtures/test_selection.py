"""Which documents a mixture takes, how often, and into which split."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from common.errors import UserError
from tests.helpers import tiny_world
from tests.helpers.mixtures import mix, plain, split, two_sources, words, write_jsonl


def test_replay_is_not_compared_with_what_it_is_from(tmp_path: Path) -> None:
    records = [tiny_world.document(number) | {"text": words(number, 60)} for number in range(10)]
    path = write_jsonl(tmp_path / "before/train.jsonl", records)
    sources = [plain(path, name="replay", replay=True, val=False), plain(path, name="again")]
    out = mix(tmp_path, {"against": [str(tmp_path / "before")], "val_fraction": 0.5, "sources": sources})
    told = json.loads((out / "manifest.json").read_text())["sources"]
    assert told["replay"]["written"] == {"train": 10, "val": 0}
    assert told["again"]["reasons"] == {"exact_duplicate": 10}


def test_near_duplicates_that_stay_are_in_one_split(tmp_path: Path) -> None:
    records = []
    for number in range(40):
        base = words(number, 100)
        records += [{"text": base}, {"text": base + " more"}]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    out = mix(tmp_path, {"near_duplicates": "keep", "val_fraction": 0.3, "sources": [plain(path)]})
    by_split = {name: Counter(record["cluster"] for record in split(out, name)) for name in ("train", "val")}
    assert not by_split["train"].keys() & by_split["val"].keys() and len(by_split["val"]) > 3
    assert set((by_split["train"] + by_split["val"]).values()) == {2}


def test_weights_are_shares_of_the_bytes(tmp_path: Path) -> None:
    base, first, second = two_sources(tmp_path)
    out = mix(tmp_path, base | {"sources": [plain(first, name="a", weight=3), plain(second, name="b", weight=1)]})
    told = json.loads((out / "manifest.json").read_text())["sources"]
    whole = told["a"]["train_bytes"] + told["b"]["train_bytes"]
    assert told["a"]["repeats"] == 1.0 and told["a"]["train_bytes"] / whole == pytest.approx(0.75, abs=0.005)
    assert told["b"]["reasons"]["not_wanted"] + told["b"]["written"]["train"] == 300
    names = [record["source"] for record in split(out)]
    # Sources are spread over the whole: any quarter has its share of both.
    for quarter in range(4):
        part = names[quarter * len(names) // 4 : (quarter + 1) * len(names) // 4]
        assert part.count("a") / len(part) == pytest.approx(0.75, abs=0.05)


def test_repeats_are_whole_rounds_and_a_part_by_hash(tmp_path: Path) -> None:
    base, first, _ = two_sources(tmp_path)
    out = mix(tmp_path, base | {"sources": [plain(first, name="a", repeats=2.5)]})
    uses = Counter(record["id"].partition("#")[0] for record in split(out))
    assert set(uses.values()) == {2, 3} and sum(uses.values()) == pytest.approx(250, abs=2)
    ids = [record["id"] for record in split(out)]
    assert len(set(ids)) == len(ids) and "a/1#2" in ids
    texts = {record["id"]: record["text"] for record in split(out)}
    assert texts["a/1"] == texts["a/1#2"] and {record["cluster"] for record in split(out)} == set(uses)


def test_more_than_there_is_is_refused(tmp_path: Path) -> None:
    base, first, second = two_sources(tmp_path, total_bytes=10**6)
    sources = [plain(first, name="a", weight=3), plain(second, name="b", weight=1)]
    with pytest.raises(
        UserError, match=r"source a: its [\d,]+ bytes would be read .* times for 75.0% .* max_repeats is 1"
    ):
        mix(tmp_path, base | {"sources": sources})


def test_limits_take_the_first_documents(tmp_path: Path) -> None:
    base, first, second = two_sources(tmp_path)
    sources = [plain(first, name="a", max_documents=7), plain(second, name="b", max_bytes=1000)]
    out = mix(tmp_path, base | {"sources": sources})
    told = json.loads((out / "manifest.json").read_text())["sources"]
    assert told["a"]["records"] == told["a"]["written"]["train"] == 7
    assert 1000 <= told["b"]["train_bytes"] < 1000 + 400


def test_a_name_that_is_not_ascii(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": words(number, 40)} for number in range(30)])
    train = split(mix(tmp_path, {"val_fraction": 0.1, "sources": [plain(path, name="aé", repeats=2)]}))
    assert {record["cluster"] for record in train} == {record["id"].partition("#")[0] for record in train}
    assert {record["source"] for record in train} == {"aé"}
