"""Text that comes back or not, and the ids of two libraries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.helpers.tokenizer.known_tokenizers import PAPER, lower_case, peer
from tokenizer.measure.round_trips import MAX_CHARS, Chunks, Readers


def test_text_that_does_not_come_back_is_counted_and_shown(tmp_path: Path) -> None:
    good, bad = Readers(peer(tmp_path / "good")), Readers(peer(tmp_path / "bad", lower_case))
    texts = ["a", "A\r\n<s>\t", "日é\u0301 \x00", "a\u2581b", ""]
    trips = good.try_all(texts)
    assert (trips.texts, trips.skipped, trips.lossy, trips.compared, trips.losses) == (4, 1, 0, 0, [])
    trips = bad.try_all(texts)
    assert (trips.texts, trips.lossy) == (4, 1)
    assert trips.losses == [{"library": "tokenizers", "text": "A\r\n<s>\t", "back": "a\r\n<s>\t"}]
    assert good.not_compared and "no folder" in good.not_compared


def test_ids_of_sentencepiece_and_transformers_are_compared(pair: Path, tmp_path: Path) -> None:
    texts = [*Chunks([PAPER], 0).block(0, 200), PAPER]
    trips = Readers(pair).try_all(texts)
    assert trips.compared == trips.texts > 190 and trips.unequal == trips.lossy == 0

    damaged = tmp_path / "damaged"
    shutil.copytree(pair, damaged)
    spec = json.loads((damaged / "tokenizer.json").read_text())
    spec["model"]["merges"] = spec["model"]["merges"][:20]
    (damaged / "tokenizer.json").write_text(json.dumps(spec))
    trips = Readers(damaged).try_all([PAPER, "q"])
    assert (trips.compared, trips.unequal, trips.lossy) == (2, 1, 0)
    assert trips.differences[0]["text"] == PAPER
    assert len(trips.differences[0]["transformers"]) > len(trips.differences[0]["SentencePiece"])


def test_chunks_depend_on_seed_and_number_alone() -> None:
    texts = ["short", PAPER, PAPER[::-1]]
    chunks, again = Chunks(texts, 7), Chunks(texts, 7)
    second = chunks.block(1)
    assert again.block(1) == second != again.block(0) and Chunks(texts, 8).block(1) != second
    plain = [chunk for chunk in second if any(chunk in text for text in texts)]
    assert 0.7 < len(plain) / len(second) < 0.8
    lengths = [len(chunk) for chunk in plain]
    assert 0 < min(lengths) and max(lengths) <= MAX_CHARS and len(set(second)) > 900
    joined = "".join(chunk for number in range(5) for chunk in chunks.block(number))
    assert all(sign in joined for sign in ("<s>", "<0x41>", "\r", "\t", "\u0308", "\U0001f600", "\x00"))
    assert "\u2581" not in joined and joined.encode()
