"""The texts that a measure reads: spread evenly, capped, of any form of a split."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.tokenizer.known_tokenizers import write_jsonl
from tokenizer.measure.text_sample import UNNAMED, read_sources, read_texts


def test_documents_are_spread_evenly_and_capped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "val.jsonl", [f"{number:02d}" * 500 for number in range(40)], categories=["math.AG"])
    (texts,) = read_texts([path], 10_500, 10**6, {}, "")
    assert texts.documents_in_all == 40 and texts.name == "val.jsonl"
    assert [document.text[:2] for document in texts.documents] == [
        f"{n:02d}" for n in (0, 4, 8, 12, 16, 20, 24, 28, 32, 36)
    ]
    (capped,) = read_texts([path], 10**6, 100, {"3": "book"}, "")
    assert len(capped.documents) == 40 and {len(document.text) for document in capped.documents} == {100}
    assert [capped.documents[i].source for i in (2, 3)] == [UNNAMED, "book"]
    assert capped.documents[0].category == "math.AG" and capped.sha256 != texts.sha256
    (one,) = read_texts([path], 7, 10**6, {}, "")
    assert [document.text for document in one.documents] == ["0000000"]


def test_a_split_in_any_form(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "val-00001-of-00002.jsonl.zst", ["a", "b"])
    write_jsonl(tmp_path / "val-00002-of-00002.jsonl.zst", ["c\ud800"], categories="hep-th math.AG")
    (texts,) = read_texts([tmp_path / "val.jsonl"], 100, 100, {}, "")
    assert [document.text for document in texts.documents] == ["a", "b", "c?"]
    assert [document.category for document in texts.documents] == [UNNAMED, UNNAMED, "hep-th"]


def test_sources_of_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"1": "book"}')
    assert read_sources(tmp_path / "s.json") == {"1": "book"}
