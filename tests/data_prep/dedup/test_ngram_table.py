"""13-grams that occur elsewhere: tables, shares, questions."""

import json

import numpy as np
import pytest

from common.errors import UserError
from data_prep.dedup.ngram_table import NgramTable, entries_seen, ngrams_of, open_table, questions_state, read_questions


def text(*numbers: int) -> str:
    return " ".join(f"word{number}" for number in numbers)


def seen_by(table: NgramTable, *texts: str) -> np.ndarray:
    seen = np.zeros(len(table.hashes), dtype=bool)
    for other in texts:
        seen[entries_seen(table.hashes, table.mask, ngrams_of(other))] = True
    return seen


def test_shares_of_each_owner():
    one, two = text(*range(33)), text(*range(20), *range(100, 113))
    table = NgramTable.build([one, two, "too short", one])
    assert table.shares(seen_by(table)).tolist() == [0, 0, 0, 0]
    # Words 0..19 are 8 of the 21 13-grams of the first text, and 8 of the 21 of the second.
    half = table.shares(seen_by(table, "other words and " + text(*range(20)) + " then more"))
    assert half.tolist() == pytest.approx([8 / 21, 8 / 21, 0, 8 / 21])
    whole = table.shares(seen_by(table, one.upper(), text(*range(100, 113))))
    assert whole.tolist() == pytest.approx([1, 9 / 21, 0, 1])


def test_matches_name_the_owners_a_document_holds():
    table = NgramTable.build([text(*range(15)), text(*range(50, 63)), text(*range(14))])
    first = entries_seen(table.hashes, table.mask, ngrams_of(text(*range(14))))
    second = entries_seen(table.hashes, table.mask, ngrams_of(text(*range(40, 70))))
    documents = np.array([7] * len(first) + [9] * len(second))
    found = table.matches(documents, np.concatenate([first, second]))
    assert found[0].tolist() == [7, 7, 9] and found[1].tolist() == [2, 0, 1]
    assert found[2].tolist() == pytest.approx([1, 2 / 3, 1])
    none = table.matches(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    assert [len(column) for column in none] == [0, 0, 0]


def test_large_tables_are_thinned_evenly(tmp_path):
    texts = [text(*range(i * 1000, i * 1000 + 400)) for i in range(20)]
    table = NgramTable.build(texts, max_entries=2000)
    assert table.mask == 3 and 1500 < len(table.hashes) < 2000
    shares = table.shares(seen_by(table, *(t[: len(t) // 2] for t in texts)))
    assert shares.mean() == pytest.approx(0.49, abs=0.04)
    table.save(tmp_path / "table.npy")
    hashes, mask = open_table(tmp_path / "table.npy", table.fingerprint)
    assert mask == table.mask and np.array_equal(hashes, table.hashes)


def test_no_texts():
    table = NgramTable.build([])
    assert len(table.shares(np.zeros(0, dtype=bool))) == 0 and len(seen_by(table, text(*range(20)))) == 0


def test_questions_of_a_folder(tmp_path):
    long = text(*range(13))
    (tmp_path / "a.jsonl").write_text(json.dumps({"q": long, "n": 1, "choices": [long, "short"]}) + "\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.json").write_text(json.dumps([{"question": long}]))
    (tmp_path / "c.txt").write_text(f"{long}\n\nshort\n\n\n{long} and more\n")
    (tmp_path / "ignored.pdf").write_bytes(b"%PDF")
    questions = read_questions(tmp_path)
    assert questions.names == ["a.jsonl:1", "a.jsonl:2", "c.txt:1", "c.txt:3", "sub/b.json:1"]
    assert questions.too_short == 2 and questions.texts[0] == long
    before = questions_state(tmp_path)
    (tmp_path / "c.txt").write_text("changed")
    assert questions_state(tmp_path) != before


def test_questions_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"data\.benchmarks.*no such folder"):
        read_questions(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no \.jsonl, \.json or \.txt"):
        read_questions(tmp_path)
    for content in ("{", "[" * 100_000, "9" * 5000):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match=r"a\.json: not valid JSON"):
            read_questions(tmp_path)
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.jsonl").write_text('{"q": 1}\nnot json\n')
    with pytest.raises(UserError, match=r"a\.jsonl:2"):
        read_questions(tmp_path)
