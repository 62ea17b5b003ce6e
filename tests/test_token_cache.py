import json
import os
import re

import numpy as np
import pytest

from settings import UserError, load_settings
from tests import tiny_world
from tokenizer import token_cache
from tokenizer.fingerprint import tokenizer_fingerprint
from tokenizer.token_cache import Header, TokenCache, cache_path, ensure_token_cache, token_byte_lengths


@pytest.fixture
def world(tmp_path):
    settings = load_settings(tiny_world.make_world(tmp_path))
    return settings, tmp_path / "data/train.jsonl", tmp_path / "tokenizer"


def build(world, **changes):
    settings, source, folder = world
    return ensure_token_cache(source, folder, settings, **changes)


def texts(source):
    return [json.loads(line)["text"] for line in source.open(encoding="utf-8")]


def test_documents_are_kept_whole_and_end_with_end_of_text(world):
    from tokenizers import Tokenizer

    settings, source, folder = world
    cache = build(world)
    decoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = []
    for start, end in zip(cache.offsets[:-1], cache.offsets[1:], strict=True):
        tokens = cache.tokens[start:end].tolist()
        assert tokens[-1] == settings.model.eos_token_id
        found.append(decoder.decode(tokens[:-1], skip_special_tokens=False))
    assert found == texts(source)
    assert cache.header.num_documents == 60 and cache.header.num_tokens == len(cache.tokens)


def test_bytes_of_tokens_add_up_to_the_text(world):
    settings, source, folder = world
    records = [
        tiny_world.document(0) | {"text": text}
        for text in ("  two  spaces\n\n\ttab", "αé∈ 漢字 🙂", "</s> <s> <pad>", "")
    ]
    tiny_world.write_jsonl(source, records)
    cache = build(world)
    lengths = token_byte_lengths(folder)
    assert len(lengths) == settings.model.vocab_size
    for text, start, end in zip(texts(source), cache.offsets[:-1], cache.offsets[1:], strict=True):
        assert lengths[cache.tokens[start:end]].sum() == len(text.encode())
    assert cache.header.text_bytes == sum(len(text.encode()) for text in texts(source))


def test_a_literal_special_token_stays_text(world):
    settings, source, _ = world
    tiny_world.write_jsonl(source, [tiny_world.document(0) | {"text": "end </s> here"}])
    tokens = build(world).tokens.tolist()
    assert tokens.count(settings.model.eos_token_id) == 1 and len(tokens) == len("end </s> here") + 1


def test_later_runs_reuse_it_and_a_changed_split_or_tokenizer_makes_another(world, monkeypatch):
    _, source, folder = world
    built = []
    real = token_cache.build_token_cache
    monkeypatch.setattr(token_cache, "build_token_cache", lambda *a: (built.append(1), real(*a)))
    build(world)
    build(world)
    assert len(built) == 1
    os.utime(source, ns=(1, 1))  # touched, not changed: compared by content
    build(world)
    build(world)
    assert len(built) == 1
    tiny_world.write_jsonl(source, [tiny_world.document(7)])
    assert build(world).header.num_documents == 1
    tiny_world.write_tokenizer(folder, marker="other")
    build(world)
    assert len(built) == 3


def test_many_processes_write_the_same_bytes_as_one(world, monkeypatch):
    _, source, folder = world
    monkeypatch.setattr(token_cache, "BATCH_BYTES", 2000)
    one = build(world).path.read_bytes()
    monkeypatch.setattr(token_cache, "SERIAL_BYTES", 0)
    many = load_settings(source.parents[1] / "config.json", ["data.workers=2"])
    cache_path(source, tokenizer_fingerprint(folder)).with_suffix(".json").unlink()
    assert ensure_token_cache(source, folder, many).path.read_bytes() == one


def test_an_interrupted_build_goes_on_where_it_stood(world, monkeypatch, capsys):
    _, source, folder = world
    whole = build(world).path.read_bytes()
    path = cache_path(source, tokenizer_fingerprint(folder))
    path.unlink()
    path.with_suffix(".json").unlink()
    monkeypatch.setattr(token_cache, "BATCH_BYTES", 1000)
    monkeypatch.setattr(token_cache, "COMMIT_BYTES", 2500)
    real, calls = token_cache.Encoder.encode_lines, []

    def fails_later(self, lines):
        calls.append(len(lines))
        if len(calls) == 12:
            raise KeyboardInterrupt
        return real(self, lines)

    monkeypatch.setattr(token_cache.Encoder, "encode_lines", fails_later)
    with pytest.raises(KeyboardInterrupt):
        build(world)
    assert not path.exists()
    monkeypatch.setattr(token_cache.Encoder, "encode_lines", real)
    assert build(world).path.read_bytes() == whole
    assert "going on from" in capsys.readouterr().out
    assert [p.name for p in path.parent.iterdir() if "partial" in p.name] == []


def test_bad_lines_and_sizes_are_named(world):
    _, source, folder = world
    with source.open("a") as file:
        file.write('{"id": "x"}\n')
    with pytest.raises(UserError, match=re.escape(f"{source}: line 61: not a record with a 'text'")):
        build(world)
    source.write_text("")
    with pytest.raises(UserError, match="no documents"):
        build(world)
    source.unlink()
    with pytest.raises(UserError, match=r"no such file; make it with python data_prep/prepare_dataset\.py"):
        build(world)
    tiny_world.write_jsonl(source, [tiny_world.document(0)])
    other = load_settings(source.parents[1] / "config.json", ["vocab_size=500"])
    with pytest.raises(UserError, match=r"has \d+ entries, the configuration's vocab_size is 500"):
        ensure_token_cache(source, folder, other)


def test_the_reader_checks_the_header(world):
    path = build(world).path
    good = path.read_bytes()
    path.write_bytes(good[:-8])
    with pytest.raises(UserError, match="its header promises"):
        TokenCache(path)
    path.write_bytes(b"NOTTOKEN" + good[8:])
    with pytest.raises(UserError, match="not a token file"):
        TokenCache(path)
    path.write_bytes(good[:8] + b"\x09" + good[9:])
    with pytest.raises(UserError, match="token file version 9"):
        TokenCache(path)
    path.write_bytes(good)
    assert Header.read(path).pack() == good[: token_cache.HEADER_BYTES]


def test_tokens_are_32_bits_wide(world):
    assert build(world).tokens.dtype == np.dtype("<u4")


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_a_damaged_manifest_or_a_missing_file_means_a_new_build(world, content):
    _, source, folder = world
    tokens = build(world).tokens.tolist()
    path = cache_path(source, tokenizer_fingerprint(folder))
    path.with_suffix(".json").write_text(content)
    assert build(world).tokens.tolist() == tokens
    path.unlink()
    assert build(world).tokens.tolist() == tokens


def test_a_kill_right_after_the_file_got_its_name_does_no_harm(world, monkeypatch):
    _, source, folder = world
    monkeypatch.setattr(token_cache, "COMMIT_BYTES", 1)
    path = cache_path(source, tokenizer_fingerprint(folder))
    note = path.with_suffix(".note.partial")
    kept = []
    unlink = type(note).unlink

    def kill(self, *arguments, **options):
        if self == note:
            kept.append(note.read_bytes())
        unlink(self, *arguments, **options)

    monkeypatch.setattr(type(note), "unlink", kill)
    tokens = build(world).tokens.tolist()
    monkeypatch.undo()
    note.write_bytes(kept[0])
    path.unlink()
    path.with_suffix(".json").unlink()
    assert build(world).tokens.tolist() == tokens
