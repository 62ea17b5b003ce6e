"""Files of tokens: the row across shards, the documents, and every check of the reader."""

import json

import numpy as np
import pytest

from common.errors import UserError
from tests.helpers.tokenizer.token_caches import build, content, documents, lines, small_shards
from tokenizer.cache.token_file import HEADER_BYTES, Header, TokenRow, verify


@pytest.fixture
def world(tmp_path, monkeypatch):
    return small_shards(tmp_path, monkeypatch)


def test_the_row_is_read_across_shards(world):
    cache = build(world)
    whole = np.concatenate([np.fromfile(p, "<u4", h.num_tokens, offset=HEADER_BYTES) for p, h in shards_of(cache)])
    for start, stop in [(0, 0), (0, 5), (700, 9000), (len(whole) - 3, len(whole) + 9), (3, 1)]:
        assert np.array_equal(cache.tokens[start:stop], whole[start:stop])
    with pytest.raises(ValueError, match="step 2"):
        cache.tokens[::2]


def shards_of(cache):
    return zip(cache.paths, cache.headers, strict=True)


def test_more_shards_than_a_process_may_open_files(world, monkeypatch):
    import resource

    cache = build(world)
    counts = [header.num_tokens for header in cache.headers]
    row = TokenRow(cache.paths * 100, counts * 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(400, hard), hard))
    try:
        assert np.array_equal(row[:], np.tile(cache.tokens[:], 100))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_which_document_a_token_belongs_to(world):
    cache = build(world)
    stops = np.cumsum([len(tokens) for tokens in documents(cache)])
    places = np.cumsum([0, *map(len, lines(world))])
    for position in [0, int(stops[0]) - 1, int(stops[0]), int(stops[30]), cache.num_tokens - 1]:
        document = cache.document_at(position)
        assert document.index == np.searchsorted(stops, position, "right")
        assert document.start <= position < document.stop and document.stop == stops[document.index]
        assert (document.file.path.name, document.place) == ("train.jsonl", places[document.index])
    with pytest.raises(UserError, match=r"no token -1"):
        cache.document_at(-1)


def test_the_reader_checks_every_header(world):
    cache = build(world)
    path, good = cache.paths[1], cache.paths[1].read_bytes()

    def refused(message, changed):
        path.write_bytes(changed)
        with pytest.raises(UserError, match=message) as refusal:
            build(world)
        assert str(path) in str(refusal.value) and "token_cache.py to make it again" in str(refusal.value)

    refused(r"[\d,]+ bytes, its header promises [\d,]+;", good[:-8])
    refused(r"[\d,]+ bytes, its header promises [\d,]+;", good + b"x")
    refused(r"it begins with b'NOTTOKEN', not b'TEXTOKEN'", b"NOTTOKEN" + good[8:])
    refused("not a token file", b"")
    refused("token file version 9 with tokens of type <u4, this code reads version 3", good[:8] + b"\x09" + good[9:])
    refused("tokens of type <u2, this code reads version 3 with <u4", good.replace(b"<u4", b"<u2", 1))
    refused("its header is damaged", good[: HEADER_BYTES - 1] + b"\1" + good[HEADER_BYTES:])
    tokenizer = cache.tokenizer.encode()
    refused(f"its tokenizer is {'e' * 64}, expected {cache.tokenizer}", good.replace(tokenizer, b"e" * 64, 1))
    refused("its number is 2, expected 1", cache.paths[2].read_bytes())
    path.unlink()
    assert build(world).num_documents == 60  # made again


def test_verify_finds_a_flipped_bit_anywhere(world):
    path = build(world).paths[0]
    good = path.read_bytes()
    assert verify(path) == Header.read(path)
    header = Header.read(path)
    for place in (HEADER_BYTES, HEADER_BYTES + 4 * header.num_tokens + 9, len(good) - 1):
        path.write_bytes(good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :])
        with pytest.raises(UserError, match=r"00000\.bin: damaged: its checksum is \w{64}, its content has \w{64}"):
            verify(path)


@pytest.mark.parametrize("damaged", ["", "{", "{}", "[]", '{"shards": 3}'])
def test_a_damaged_manifest_is_written_again(world, damaged):
    cache = build(world)
    before = content(cache.folder)
    (cache.folder / "manifest.json").write_text(damaged)
    assert content(build(world).folder) == before


def test_a_manifest_of_other_counts_is_refused(world):
    folder = build(world).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"num_documents": 61}))
    with pytest.raises(UserError, match=r"manifest\.json: its counts are not those of the shards"):
        build(world)
