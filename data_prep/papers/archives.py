"""Where each paper's archive lies: bulk tars read by their headers, or folders of single archives.

A `.tar` whose name is no paper's (`ids.py` has the rule) is a bulk tar, whose members are named by the same rule;
folders are walked.

**Several archives of a paper.** A source is preferred to a PDF, then the highest version (a name without a version is
the latest one, as everywhere at arXiv), then the first in order of path and offset. The others are `duplicate_source`.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError
from data_prep.papers.ids import order_key, paper_id_of

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class ArchiveRef:
    """One archive of one paper: bytes [offset, offset + size) of the file `path`."""

    paper_id: str
    version: int | None
    name: str
    path: str
    offset: int
    size: int


def preference(ref: ArchiveRef) -> tuple[bool, float, str, int]:
    """Sorts the archives of one paper, the one to use first."""
    version = float("inf") if ref.version is None else ref.version
    return is_pdf(ref.name), -version, ref.path, ref.offset


def is_pdf(name: str) -> bool:
    return name.lower().endswith(".pdf")


def list_archives(source: Path, problems: list[str] | None = None) -> list[ArchiveRef]:
    """Every archive below `source`, of every version, by order of paper, the preferred archive of each paper first.

    What cannot be read is added to `problems` and costs nothing else. Some 250 bytes an archive stay in memory: the
    pipeline itself takes them file by file, from `source_files` and `read_index`.
    """
    problems = [] if problems is None else problems
    refs = [ref for path in source_files(source) for ref in read_index(path, str(path.relative_to(source)), problems)]
    return sorted(refs, key=lambda ref: (order_key(ref.paper_id), preference(ref)))


def source_files(source: Path, on_skipped: Callable[[str], None] | None = None) -> Iterator[Path]:
    """Regular files below `source`, links followed, hidden ones apart, in a fixed order.

    `on_skipped` is told of what is neither a file nor a folder.

    Raises:
        UserError: `source` is not a folder.
    """
    if not source.is_dir():
        raise UserError(
            f"{source}: no such folder of sources. It holds arXiv's bulk tars (arXiv_src_YYMM_NNN.tar: get them "
            "with `python data_prep/download.py sources --months 2301:2303`) or single archives "
            "(2301.00001v2.tar.gz); put them there, or name their folder with --source FOLDER"
        )
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(source, onerror=_raise, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.is_file():
                yield path
            elif on_skipped:
                on_skipped(f"{path}: skipped, it is a link to nothing, a pipe or a device")


def _raise(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed: {error.strerror}") from None


def read_index(path: Path, name: str, problems: list[str]) -> Iterator[ArchiveRef]:
    """The archives in one file of the source folder: itself, the members of a bulk tar, or nothing (no paper's name).

    `name` is the path below the source folder. What is wrong is added to `problems`; nothing is raised for it.
    """
    found = paper_id_of(name)
    try:
        if found:
            yield ArchiveRef(found[0], found[1], name, str(path), 0, path.stat().st_size)
        elif path.suffix == ".tar":
            yield from _bulk_members(path, name, problems)
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror or error}")


def _bulk_members(path: Path, name: str, problems: list[str]) -> Iterator[ArchiveRef]:
    """Members of a bulk tar by its headers. Behind a damaged header the next sound one is looked for."""
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        start: int | None = 0
        unnamed = 0
        while start is not None:
            file.seek(start)
            end = start
            trouble = ""
            try:
                # TarFile begins at the file's position; iterating reads headers and seeks over the contents.
                with tarfile.TarFile(fileobj=file, mode="r") as tar:
                    for member in tar:
                        end = member.offset_data + -(-member.size // BLOCK) * BLOCK
                        if not member.isreg():
                            continue
                        found = paper_id_of(member.name)
                        if not found:
                            unnamed += 1
                            continue
                        size = min(member.size, max(0, length - member.offset_data))
                        if size < member.size:
                            trouble = f"{member.name} is cut off at {size:,} of {member.size:,} bytes"
                        yield ArchiveRef(found[0], found[1], member.name, str(path), member.offset_data, size)
            except (tarfile.TarError, OverflowError, ValueError, OSError) as error:  # OSError: a seek to a wild place
                trouble = trouble or str(error)
            end = min(end, length)
            # tarfile takes a damaged header for the end of the archive; the real end is blocks of zeros, and no more.
            file.seek(end)
            start = _next_header(file, end + BLOCK)
            if start is None and not trouble and _zeros(file, end, end + BLOCK):
                break
            if start is not None and not trouble and _zeros(file, end, start):
                trouble = "more members follow an end mark"
            problems.append(f"{name}: damaged at byte {end:,} of {length:,}: {trouble or 'bad header or no end mark'}")
        if unnamed:
            problems.append(f"{name}: {unnamed:,} members whose names are no paper's")


def _zeros(file: BinaryIO, start: int, end: int) -> bool:
    """Whether the bytes [start, end) are there, and all zero."""
    file.seek(start)
    while start < end:
        chunk = file.read(min(1 << 20, end - start))
        if not chunk or chunk.count(0) < len(chunk):
            return False
        start += len(chunk)
    return True


def _next_header(file: BinaryIO, start: int) -> int | None:
    """Offset of the next block from `start` on that is a tar header with a right checksum; None at the end."""
    blocks = 2048
    file.seek(start)
    while chunk := file.read(blocks * BLOCK):
        for offset in range(0, len(chunk) - BLOCK + 1, BLOCK):
            if chunk.startswith(b"ustar", offset + 257):
                try:
                    tarfile.TarInfo.frombuf(chunk[offset : offset + BLOCK], "utf-8", "surrogateescape")
                except tarfile.HeaderError:
                    continue
                return start + offset
        start += len(chunk)
    return None


def read_bytes(ref: ArchiveRef) -> bytes:
    """The archive itself; shorter than `ref.size` only where the file has shrunk since it was listed.

    Raises:
        UserError: the file cannot be read (a source that has gone is not a broken paper).
    """
    try:
        with open(ref.path, "rb") as file:
            file.seek(ref.offset)
            return file.read(ref.size)
    except OSError as error:
        raise UserError(
            f"{ref.path}: cannot be read: {error.strerror}; put it back, then run again (--accept-stale papers reuses "
            "what an earlier run has made of it)"
        ) from None
