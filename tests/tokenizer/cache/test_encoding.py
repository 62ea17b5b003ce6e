"""From records to tokens: whole documents, every byte of the text, prompts that are read, answers that are written."""

import itertools
import json

import numpy as np
import pytest

from common.errors import UserError
from tests.helpers import tiny_world
from tests.helpers.tokenizer.token_caches import build, documents, lines, small_shards, write_texts
from tokenizer import token_cache
from tokenizer.cache import encoding
from tokenizer.cache.encoding import token_byte_lengths
from tokenizer.cache.plan import dataset_split
from tokenizer.cache.token_file import READ_ONLY, TOKEN_ID


@pytest.fixture
def world(tmp_path, monkeypatch):
    return small_shards(tmp_path, monkeypatch)


def test_documents_are_kept_whole_and_end_with_end_of_text(world):
    from tokenizers import Tokenizer

    settings, folder = world
    cache = build(world)
    decoder = Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json"))
    found = documents(cache)
    assert len(cache.paths) == 7 and cache.num_documents == 60 and sum(map(len, found)) == cache.num_tokens
    assert all(tokens[-1] == settings.model.eos_token_id for tokens in found)
    texts = [decoder.decode(tokens[:-1], skip_special_tokens=False) for tokens in found]
    assert texts == [json.loads(line)["text"] for line in lines(world)]
    assert cache.tokens[:].dtype == np.dtype("<u4") and cache.tokens[:].tolist() == [*itertools.chain(*found)]


def test_bytes_of_tokens_add_up_to_the_text_and_control_tokens_in_it_stay_text(world):
    settings, folder = world
    texts = ["  two  spaces\n\n\ttab", "αé∈ 漢字 🙂", "</s> <s> <pad>", "", "a\x00b\r\n\u2028"]
    write_texts(world, *texts)
    found = documents(build(world))
    lengths = token_byte_lengths(folder / "tokenizer")
    assert len(lengths) == settings.model.vocab_size
    assert [int(lengths[tokens].sum()) for tokens in found] == [len(text.encode()) for text in texts]
    assert all(not {0, 1, 2, 3} & set(tokens[:-1]) and tokens[-1] == 2 for tokens in found)
    assert found[3] == [2]  # an empty text is a document of no text


def test_odd_lines(world):
    """A mark at the start, blank lines, a lone surrogate, SentencePiece's own sign, no end of the last line."""
    source = world[1] / "data/train.jsonl"
    source.write_bytes(
        b'\xef\xbb\xbf{"text": "first"}\n\n   \n{"text": "a\\ud800b"}\r\n{"text": "x\xe2\x96\x81y"}\n{"text": "last"}'
    )
    cache = build(world)
    assert [len(tokens) - 1 for tokens in documents(cache)] == [5, 3, 3, 4]
    assert cache.document_at(cache.num_tokens - 1).place == source.read_bytes().index(b'{"text": "last"}')


def test_documents_longer_than_shards_leave_empty_shards(world):
    write_texts(world, "a", "b " * 6000, "c")
    cache = build(world)
    assert [header.num_documents for header in cache.headers] == [2, 0, 1, 0]
    assert cache.tokens[:].tolist() == [*itertools.chain(*documents(cache))] and cache.num_tokens == 12000 + 2 + 3
    assert cache.document_at(cache.num_tokens - 2).index == 2


def answer_records(*marks, text="Problem: add $1+1$. Answer: $2$, \u03b1."):
    return [tiny_world.document(i) | {"text": text, "answers": answers} for i, answers in enumerate(marks)]


def test_prompts_are_marked_and_their_ids_are_those_they_have_alone(world):
    folder = world[1]
    text = "Problem: add $1+1$. Answer: $2$, \u03b1."
    at = text.index("Answer: ") + len("Answer: ")
    records = answer_records([[at, len(text)]], [[0, 7], [at, at + 3]], [], text=text)
    tiny_world.write_jsonl(folder / "data/train.jsonl", [*records, tiny_world.document(9) | {"text": "plain"}])
    cache = build(world)
    encoder = encoding.load_encoder(folder / "tokenizer", cache.tokenizer)
    prompt, answer = (ids.tolist() for ids in encoder.encode([text[:at], text[at:]]))
    first, second, third, plain = (np.array(tokens) for tokens in documents(cache))
    ids, read_only = first & TOKEN_ID, first & READ_ONLY > 0
    assert ids.tolist() == [*prompt, *answer, 2]
    assert read_only.tolist() == [True] * len(prompt) + [False] * (len(answer) + 1)  # the end is written too
    assert (second & READ_ONLY > 0).tolist() == [*[False] * 7, *[True] * (at - 7), *[False] * 3, *[True] * 5]
    assert (third & READ_ONLY > 0).all() and (plain & READ_ONLY == 0).all()
    assert cache.num_read_only == sum(int((tokens & READ_ONLY > 0).sum()) for tokens in (first, second, third))
    assert cache.text_bytes == 3 * len(text.encode()) + 5
    assert "of them answers" in token_cache.describe(dataset_split(world[0], "train"), cache)


@pytest.mark.parametrize("answers", [[[5, 3]], [[0, 9999]], [[4, 8], [6, 9]], "0-4", [[1]], [["a", "b"]], [[-3, 2]]])
def test_answers_that_do_not_fit_the_text_are_refused_with_file_and_line(world, answers):
    tiny_world.write_jsonl(world[1] / "data/train.jsonl", answer_records([[0, 4]], answers))
    with pytest.raises(UserError, match=r"train\.jsonl:2: 'answers' is not a list of \[start, end\) pairs"):
        build(world)
