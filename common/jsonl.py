"""JSON lines: read as a stream with errors that name file and line, written under a temporary name and then renamed.

A name that ends in `.zst` stands for the same lines compressed with Zstandard (RFC 8878), checksums included. Imported
by whatever reads or writes `train.jsonl`, `val.jsonl` and the pipeline's own files; not run.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import UserError
from common.files import COMPRESSED


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Each object of the file, one line in memory at a time; blank lines are passed over.

    Raises:
        UserError: the file cannot be read; a line is not UTF-8, not JSON, or not an object (with file and line).
    """
    try:
        with open_lines(path) as file:
            for number, line in enumerate(file, 1):
                if line.isspace():
                    continue
                yield parse_line(line, f"{path}:{number}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def open_lines(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed where its name ends in `.zst`.

    Raises:
        OSError: it cannot be opened.
        UserError: in reading, compressed bytes that are damaged or cut short.
    """
    with open(path, "rb") as file:
        if path.suffix != COMPRESSED:
            yield file
            return
        yield io.BufferedReader(_Frames(file, path), 1 << 20)


class _Frames(io.RawIOBase):
    """Zstandard frames decompressed; unlike the library's own reader it tells a file that ends within a frame."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        import zstandard

        self.file, self.path = file, path
        self.errors = zstandard.ZstdError
        self.start = zstandard.ZstdDecompressor().decompressobj
        self.frame = self.start(read_across_frames=False)
        self.ready = memoryview(b"")
        self.inside = False  # of a frame

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready:
            data = self.frame.unused_data if self.frame.eof else b""
            if self.frame.eof:
                self.frame, self.inside = self.start(read_across_frames=False), False
            data = data or self.file.read(1 << 18)
            if not data:
                if self.inside:
                    raise self._damaged("it ends before its time")
                return 0
            self.inside = True
            try:
                self.ready = memoryview(self.frame.decompress(data))
            except self.errors as error:
                raise self._damaged(str(error)) from None
        size = min(len(buffer), len(self.ready))
        buffer[:size] = self.ready[:size]
        self.ready = self.ready[size:]
        return size

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path}: the compressed file is damaged: {what}; remove it, then make it again")


def split_paths(out: Path, split: str) -> list[Path]:
    """The files of a split that lie in `out`, in order, whatever knobs they were written with."""
    found = [*out.glob(f"{split}.jsonl"), *out.glob(f"{split}.jsonl{COMPRESSED}")]
    return found + sorted(out.glob(f"{split}-*-of-*.jsonl")) + sorted(out.glob(f"{split}-*-of-*.jsonl{COMPRESSED}"))


def find_split(out: Path, split: str) -> list[Path]:
    """The files of a split in `out`, where it lies in one form: one, or a numbered set in order; none if it is absent.

    Raises:
        UserError: it lies there in two forms, or files of the set are missing.
    """
    found = split_paths(out, split)
    forms = {re.sub(r"-\d+-of-", "-*-of-", path.name): path for path in found}
    if len(forms) > 1:
        raise UserError(
            f"{out}: the split lies there in {len(forms)} forms, {' and '.join(forms)}; remove all but one of them "
            "(manifest.json beside them names those that prepare_dataset.py wrote last)"
        )
    if found and (numbered := re.fullmatch(r"(.*-)(\d+)-of-(\d+)(\..*)", found[0].name)):
        prefix, _, count, ending = numbered.groups()
        wanted = [out / f"{prefix}{number:05d}-of-{count}{ending}" for number in range(int(count))]
        if found != wanted:
            absent = sorted({*wanted} - {*found})
            raise UserError(
                f"{out}: {len(found):,} files of {next(iter(forms))} are there, {int(count):,} belong to it; missing: "
                f"{', '.join(path.name for path in absent[:3])}{' ...' if absent[3:] else ''}; put them back, or make "
                "the splits again: python data_prep/prepare_dataset.py"
            )
    return found


def parse_line(line: bytes, where: str) -> dict[str, Any]:
    """The object that a line holds; `where` (file:line) opens the error otherwise."""
    try:
        record = json.loads(line.decode("utf-8-sig" if where.endswith(":1") else "utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.colno}: not valid JSON: {error.msg}") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{where}: not valid JSON: {error}") from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply") from None
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record


def dump_line(record: Mapping[str, Any]) -> bytes:
    """One line of UTF-8. A lone surrogate, which UTF-8 has no bytes for, becomes `?`."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
