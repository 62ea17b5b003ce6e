"""The lines of a split as one row of bytes, whatever its files: plain, compressed (.zst), one or numbered ones.

A place in the row is the same in every layout, and so are shards, tokens and the order of training. What is known of
the files (bytes of lines, sha256 of the row) is taken from the dataset's manifest.json where that describes these very
files, else from one pass over them that is noted beside the token caches. Imported, not run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import COMPRESSED, write_json
from common.jsonl import open_lines, parse_line

# No record is that long: a file without line ends must not end up in memory.
MAX_LINE_BYTES = 1 << 30
BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class SourceFile:
    """One file: where its lines begin in the row, how many bytes they are, and its state when that was found out."""

    path: Path
    start: int
    size: int
    # Bytes on disk and time of modification.
    state: tuple[int, int]


@dataclass(frozen=True)
class Source:
    """The row: its files in order, and the sha256 of their lines."""

    files: tuple[SourceFile, ...]
    sha256: str

    @property
    def size(self) -> int:
        return self.files[-1].start + self.files[-1].size

    def lines(self, start: int, stop: int) -> Iterator[tuple[SourceFile, int, bytes]]:
        """(file, place in the file, line) of each line that begins in [start, stop) of the row.

        Raises:
            UserError: a file that cannot be read, is damaged, or is not what it was when the row was put together.
        """
        for number, file in enumerate(self.files):
            first, last = max(0, start - file.start), min(file.size, stop - file.start)
            if first < last:
                for place, line in _reader(self, number).lines(first, last):
                    yield file, place, line


@functools.lru_cache(maxsize=1)  # a worker takes rising shards: in a compressed file it reads on from the last one
def _reader(source: Source, number: int) -> LineReader:
    return LineReader(source.files[number])


class LineReader:
    """The lines of a file from any place on. A compressed one has no seek: from the last range it is read on."""

    def __init__(self, file: SourceFile):
        self.file = file
        self._open()

    def _open(self) -> None:
        self.handles = contextlib.ExitStack()
        self.stream = self.handles.enter_context(open_lines(self.file.path))
        # No line begins after `last` and before `position`.
        self.last, self.position = -1, 0

    def lines(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """(place, line) of each line that begins in [start, stop)."""
        try:
            self._go_to(start)
            while self.position < stop:
                self.last = self.position
                line = self._read_line()
                yield self.last, line
            if stop == self.file.size and (self.position > stop or self.stream.read(1)):
                raise self._changed(f"it goes on after byte {stop:,}")
            if file_state(self.file.path) != self.file.state:
                raise self._changed("size or time of modification differ")
        except OSError as error:
            raise UserError(f"{self.file.path}: cannot be read: {error.strerror}") from None

    def _go_to(self, start: int) -> None:
        if start <= self.last:
            self.handles.close()
            self._open()
        if self.position >= start:
            return
        if self.stream.seekable():
            self.position = self.stream.seek(start - 1)
        while self.position < start - 1:
            self._pass(self.stream.read(min(BLOCK_BYTES, start - 1 - self.position)))
        self._read_line()  # the rest of the line that began earlier; its end alone if a line begins at `start`
        self.last = start - 1

    def _read_line(self) -> bytes:
        line = self.stream.readline(MAX_LINE_BYTES)
        if len(line) == MAX_LINE_BYTES:
            raise UserError(
                f"{self.file.path}: a line of more than {MAX_LINE_BYTES:,} bytes at byte {self.position:,}; it is not "
                "JSON lines"
            )
        self._pass(line)
        return line

    def _pass(self, data: bytes) -> None:
        if not data:
            raise self._changed(f"it ends at byte {self.position:,}")
        self.position += len(data)

    def _changed(self, what: str) -> UserError:
        return UserError(
            f"{self.file.path}: not the {self.file.size:,} bytes of lines that were to be read: {what}. It has changed "
            "meanwhile; run the same command again when it is finished"
        )


def text_of(file: SourceFile, place: int, line: bytes) -> str:
    """The text of the record in `line`; errors as in `parts_of`."""
    return "".join(part for part, _ in parts_of(file, place, line))


def parts_of(file: SourceFile, place: int, line: bytes) -> list[tuple[str, bool]]:
    """The text of the record in `line` in its parts, each with whether it is an answer: one that a model is to write,
    and not just to read (`answers` in records of mix_datasets.py). A text without a mark is one answer; without a
    character, it has no part.

    A lone surrogate, for which UTF-8 has no bytes, becomes `?`.

    Raises:
        UserError: not a record with a text, or with marks that do not fit it, with file and number of the line.
    """
    try:
        return _parts(line, ":1" if place == 0 else "")
    except UserError:  # now the number of the line is needed, which is counted: shards begin in the middle of files
        return _parts(line, f"{file.path}:{_line_number(file, place)}")


def _parts(line: bytes, where: str) -> list[tuple[str, bool]]:
    record = parse_line(line, where)
    text, answers = record.get("text"), record.get("answers")
    if not isinstance(text, str):
        raise UserError(f"{where}: the record has no 'text'; is this a split that prepare_dataset.py made?")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()  # as many characters as before
    if answers is None:
        return [(text, True)] if text else []
    parts, done = [], 0
    try:
        for start, stop in answers:
            if not done <= start <= stop <= len(text):
                raise ValueError
            parts += [(text[done:start], False), (text[start:stop], True)]
            done = stop
    except (TypeError, ValueError):
        raise UserError(
            f"{where}: 'answers' is not a list of [start, end) pairs that rise within the {len(text):,} characters of "
            "'text'; make the split again: python data_prep/mix_datasets.py"
        ) from None
    return [part for part in (*parts, (text[done:], False)) if part[0]]


def _line_number(file: SourceFile, place: int) -> int:
    lines = 1
    with open_lines(file.path) as stream:
        while place > 0 and (block := stream.read(min(BLOCK_BYTES, place))):
            lines += block.count(b"\n")
            place -= len(block)
    return lines


def file_state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def known_source(paths: Sequence[Path], notes: Path) -> Source | None:
    """The row of these files if that is known without reading them; `notes`: where `read_source` notes it."""
    return _noted(paths, notes) or _from_dataset(paths)


def read_source(paths: Sequence[Path], notes: Path) -> Source:
    """The row of these files; they are read where it is not known, which a disk and a core do at some 1 GB/s.

    Raises:
        UserError: a file that cannot be read, or changes meanwhile.
    """
    if known := known_source(paths, notes):
        return known
    from tqdm import tqdm

    states = [file_state(path) for path in paths]
    on_disk = sum(size for size, _ in states)
    print(f"{paths[0]}{' ...' if paths[1:] else ''}: reading {on_disk / 1e6:,.1f} MB to identify the text", flush=True)
    sha, sizes, unended = hashlib.sha256(), [], False
    with tqdm(unit="B", unit_scale=True, desc="read", disable=on_disk < 1e9) as bar:
        for path in paths:
            if unended:  # another row than the one in which these two lines are one
                sha.update(b"\n")
            size = 0
            with open_lines(path) as file:
                while block := file.read(BLOCK_BYTES):
                    sha.update(block)
                    bar.update(len(block))
                    size += len(block)
                    unended = not block.endswith(b"\n")
            sizes.append(size)
    if [file_state(path) for path in paths] != states:
        raise UserError(f"{paths[0]}: changed while it was read; run the same command again when it is finished")
    files = [
        {"name": path.name, "bytes_on_disk": state[0], "mtime_ns": state[1], "bytes": size}
        for path, state, size in zip(paths, states, sizes, strict=True)
    ]
    if os.access(paths[0].parent, os.W_OK):  # the note saves reading it again; a disk that is read only goes without
        write_json(notes, {"sha256": sha.hexdigest(), "files": files})
    return _source(paths, sizes, sha.hexdigest())


def _source(paths: Sequence[Path], sizes: Sequence[int], sha256: str) -> Source:
    files, start = [], 0
    for path, size in zip(paths, sizes, strict=True):
        files.append(SourceFile(path, start, size, file_state(path)))
        start += size
    return Source(tuple(files), sha256)


def _noted(paths: Sequence[Path], notes: Path) -> Source | None:
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
        noted = [(file["name"], file["bytes_on_disk"], file["mtime_ns"]) for file in known["files"]]
        if noted == [(path.name, *file_state(path)) for path in paths]:
            return _source(paths, [int(file["bytes"]) for file in known["files"]], str(known["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged
        pass
    return None


def _from_dataset(paths: Sequence[Path]) -> Source | None:
    """As the dataset's manifest has it, unless a file is younger than that or of another size."""
    manifest = paths[0].with_name("manifest.json")
    try:
        written = manifest.stat().st_mtime_ns
        for split in json.loads(manifest.read_text(encoding="utf-8"))["splits"].values():
            if [file["name"] for file in split["files"]] != [path.name for path in paths]:
                continue
            sizes = [int(file["bytes"]) for file in split["files"]]
            states = [file_state(path) for path in paths]
            if all(changed <= written for _, changed in states) and all(
                path.suffix == COMPRESSED or size == on_disk
                for path, size, (on_disk, _) in zip(paths, sizes, states, strict=True)
            ):
                return _source(paths, sizes, str(split["sha256"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or another format
        pass
    return None
