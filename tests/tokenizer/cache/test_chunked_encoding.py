"""Encoding in pieces gives the tokens of whole texts, on any text; tokenizers of which that is not sure are not cut."""

import json
import random

import numpy as np
import pytest

from tests.helpers import tiny_world
from tokenizer.cache import chunked_encoding
from tokenizer.cache.chunked_encoding import Cutter, merges_alone_decide
from tokenizer.cache.encoding import Encoder

SAMPLE = [str(tiny_world.document(i)["text"]) for i in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny world's tokenizer with merges learnt across words, of some of its words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_world.write_tokenizer(folder)
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    words = [random.Random(number).choice(tiny_world.WORDS[:9]) for number in range(2000)]
    learnt.train_from_iterator(
        [" ".join(words[number : number + 4]) for number in range(len(words))],
        trainers.BpeTrainer(vocab_size=200, show_progress=False),
    )
    spec = json.loads((folder / "tokenizer.json").read_text())
    model = spec["model"]
    for left, right in json.loads(learnt.to_str())["model"]["merges"]:
        if left in model["vocab"] and right in model["vocab"]:
            model["merges"].append([left, right])
            model["vocab"].setdefault(left + right, len(model["vocab"]))
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    assert len(model["merges"]) > 100 and any("\u2581" in entry[1:-1] for entry in model["vocab"])
    return folder


def texts(count):
    choose = random.Random(1)
    alphabet = [*"aeitnspo  \n\\{}$_^013", "\u2581", "\x00", "é", "α", "漢", "🙂", "\u0308", "</s>", "<0x41>", "\r\n"]
    for number in range(count):
        noise = "".join(choose.choices(alphabet, k=choose.randrange(60)))
        text = choose.choice(SAMPLE)
        start = choose.randrange(len(text))
        yield noise if number % 3 == 0 else text[start:] + noise + text[:start]


def test_pieces_give_the_tokens_of_whole_texts(folder, monkeypatch):
    monkeypatch.setattr(chunked_encoding, "REMEMBERED", 300)  # forgotten and learnt anew on the way
    encoder = Encoder(folder)
    all_texts = ["", " ", "\u2581", *texts(3000)]
    for start in range(0, len(all_texts), 100):
        batch = all_texts[start : start + 100]
        for text, found, whole in zip(batch, encoder.encode(batch), encoder.encode_whole(batch), strict=True):
            assert found.dtype == whole.dtype == np.dtype("<u4") and found.tolist() == whole.tolist(), repr(text)
        assert encoder.cutter and len(encoder.cutter.known) <= 300 + 100 * 60


def test_text_is_really_cut_and_comes_back(folder):
    encoder = Encoder(folder)
    assert isinstance(encoder.cutter, Cutter)
    for text in SAMPLE:
        pieces = encoder.cutter.cut(text)
        assert "".join(pieces) == text and len(pieces) > len(text) / 20
    assert encoder.cutter.cut("漢字🙂") == ["漢", "字", "🙂"]  # in no entry: bytes, one by one


def without_a_byte(spec):
    spec["model"]["vocab"].pop("<0x0A>")


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["model"].update(dropout=0.1),
        lambda spec: spec["model"].update(type="Unigram"),
        lambda spec: spec["model"].update(ignore_merges=True),
        lambda spec: spec["model"].update(byte_fallback=False),
        lambda spec: spec.update(normalizer={"type": "NFC"}),
        lambda spec: spec.update(pre_tokenizer={"type": "ByteLevel"}),
        lambda spec: spec["added_tokens"].append({"content": "the", "special": False}),
        without_a_byte,
    ],
)
def test_other_kinds_of_tokenizers_are_not_cut(folder, change):
    spec = json.loads((folder / "tokenizer.json").read_text())
    assert merges_alone_decide(spec)
    change(spec)
    assert not merges_alone_decide(spec)
