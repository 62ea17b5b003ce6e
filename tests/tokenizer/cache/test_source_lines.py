"""Lines of a split's files, read from any place, known by the dataset's manifest, named where they are bad."""

import json
import os
import re
import time

import numpy as np
import pytest

from common.errors import UserError
from common.files import atomic_write
from tests.helpers.tokenizer.token_caches import build, lay_out, lines, small_shards
from tokenizer.cache.plan import dataset_split
from tokenizer.cache.source_lines import LineReader, SourceFile, file_state, known_source


@pytest.fixture
def world(tmp_path, monkeypatch):
    return small_shards(tmp_path, monkeypatch)


def test_a_reader_of_lines_goes_on_from_any_place(tmp_path):
    all_lines = [bytes([97 + n % 26]) * (n * 7 % 40) + b"\n" for n in range(200)]
    places = np.cumsum([0, *map(len, all_lines)]).tolist()
    for name in ("x.jsonl", "x.jsonl.zst"):
        with atomic_write(tmp_path / name) as file:
            file.write(b"".join(all_lines))
        reader = LineReader(SourceFile(tmp_path / name, 0, places[-1], file_state(tmp_path / name)))
        for start, stop in [(0, 1), (1, 50), (50, 51), (51, 52), (300, 900), (901, 2000), (40, 41), (2000, places[-1])]:
            expected = [(p, line) for p, line in zip(places, all_lines, strict=False) if start <= p < stop]
            assert list(reader.lines(start, stop)) == expected
        next(reader.lines(0, 500))  # left in the middle
        assert [place for place, _ in reader.lines(0, 20)] == [p for p in places[:-1] if p < 20]


def test_the_datasets_manifest_spares_reading_the_text(world, capsys):
    source = world[1] / "data/train.jsonl"
    split = dataset_split(world[0], "train")
    sha, size = "f" * 64, source.stat().st_size

    def describe(size):
        files = [{"name": source.name, "documents": 60, "bytes": size}]
        source.with_name("manifest.json").write_text(json.dumps({"splits": {"train": {"sha256": sha, "files": files}}}))

    describe(size + 1)
    assert known_source(split.paths, split.notes) is None
    describe(size)
    assert build(world).source_sha256 == sha
    assert "to identify" not in capsys.readouterr().out
    os.utime(source, ns=(time.time_ns() + 10**9,) * 2)  # younger than the manifest
    assert known_source(split.paths, split.notes) is None


@pytest.mark.parametrize(("held", "problem"), [(-1, "it goes on after byte"), (1, "it ends at byte")])
def test_a_compressed_file_that_is_not_what_the_manifest_says_is_refused(world, held, problem):
    size = (world[1] / "data/train.jsonl").stat().st_size
    lay_out(world, True, 1)
    files = [{"name": "train.jsonl.zst", "documents": 60, "bytes": size + held}]
    manifest = {"splits": {"train": {"sha256": "f" * 64, "files": files}}}
    (world[1] / "data/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"train\.jsonl\.zst: not the .* bytes of lines.*{problem}"):
        build(world)


@pytest.mark.parametrize(
    ("line", "message", "workers"),
    [
        (b'{"id": "x"}', "the record has no 'text'", 1),
        (b'{"id": "x"}', "the record has no 'text'", 2),
        (b'{"text": 3}', "the record has no 'text'", 1),
        (b"[1]", "expected a JSON object", 1),
        (b'{"text": "', "not valid JSON", 1),
        (b'{"text": "\xff"}', "not UTF-8", 1),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "not valid JSON", 1),
    ],
)
def test_bad_lines_are_named_with_file_and_line(world, line, message, workers):
    source = world[1] / "data/train.jsonl"
    all_lines = lines(world)
    source.write_bytes(b"".join([*all_lines[:40], b"\n", line, b"\n", *all_lines[40:]]))
    with pytest.raises(UserError, match=rf"^{re.escape(str(source))}:42:?\S* .*{message}"):
        build(world, f"data.workers={workers}")
