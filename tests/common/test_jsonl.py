"""Streams with line numbers in their errors; files that appear whole or not at all."""

import errno
import json
import os
from typing import Any

import pytest

from common.errors import UserError
from common.files import atomic_write, temporary_path, write_json
from common.jsonl import dump_line, read_jsonl


def test_round_trip_keeps_unicode_order_and_line_separators(tmp_path):
    records: list[dict[str, Any]] = [{"b": "ε\u2028 \\alpha\n", "a": None}, {"id": 2}]
    path = tmp_path / "deep" / "x.jsonl"
    with atomic_write(path) as file:
        for record in records:
            file.write(dump_line(record))
    assert list(read_jsonl(path)) == records
    assert list(next(read_jsonl(path))) == ["b", "a"]
    assert path.read_bytes().count(b"\n") == 2 and "ε".encode() in path.read_bytes()


def test_a_lone_surrogate_does_not_stop_a_run():
    assert dump_line({"x": "a\ud835b"}) == b'{"x": "a?b"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{broken\n', r"x.jsonl:3:2: not valid JSON"),
        (b'{"a": 1}\n[1]\n', r"x.jsonl:2: expected a JSON object, found list"),
        (b'{"a": "\xff"}\n', r"x.jsonl:1: not UTF-8 at byte 8"),
        (b'{"a": 1}\n{"a": "cut', r"x.jsonl:2:\d+: not valid JSON"),
    ],
)
def test_errors_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_jsonl(path))


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        list(read_jsonl(tmp_path / "absent"))


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"old": True})
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError("in between")
    assert json.loads(path.read_text()) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left"), atomic_write(tmp_path / "x") as file:
        file.write(b"data")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_the_kernels_own_full_device(tmp_path):
    """A real ENOSPC, met when the buffer is flushed."""
    path = tmp_path / "x"
    temporary_path(path).symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left"), atomic_write(path) as file:
        file.write(b"data")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"), atomic_write(tmp_path / "file" / "x") as file:
        file.write(b"")


def test_compressed_lines_and_what_damages_them(tmp_path):
    records = [{"id": i, "text": "α\\frac" * i} for i in range(3000)]
    path = tmp_path / "x.jsonl.zst"
    with atomic_write(path) as file:
        for record in records:
            file.write(dump_line(record))
    assert list(read_jsonl(path)) == records
    whole = path.read_bytes()
    assert len(whole) < sum(len(dump_line(record)) for record in records) / 3
    path.write_bytes(whole + whole)  # two frames one after the other are one file (RFC 8878)
    assert list(read_jsonl(path)) == records * 2
    for cut in (len(whole) - 1, len(whole) // 2, 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"x\.jsonl\.zst: the compressed file is damaged: it ends"):
            list(read_jsonl(path))
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    with pytest.raises(UserError, match=r"damaged.*checksum"):
        list(read_jsonl(path))
    path.write_bytes(b"plain text")
    with pytest.raises(UserError, match="damaged"):
        list(read_jsonl(path))
