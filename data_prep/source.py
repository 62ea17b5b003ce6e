"""Where each paper's archive lies: bulk tars read by their headers, or folders of single archives.

    python data_prep/source.py --source raw/src

lists how many archives there are, of how many papers, and what could not be read. Imported by the pipeline.

**Names and ids.** The id is read from the file's name alone (for `hep-th/9901001.gz`, from its folder too), and is
written as arXiv's metadata writes it:

    YYMM.NNNN, YYMM.NNNNN        0704.0001.gz, 2301.00001v2.tar.gz    -> 0704.0001, 2301.00001 (version 2)
    old archive + YYMMNNN        math0001001.gz, hep-th9901001v3.gz   -> math/0001001, hep-th/9901001 (version 3)
    archive.CLASS + YYMMNNN      math.AG0301002.gz                    -> math/0301002 (the class is no part of it)
    archive, `/` `_` or `-`, id  hep-th/9901001.gz, math.AG_0301002   -> hep-th/9901001, math/0301002

The month must be 01..12; `vN` may follow the number; then comes nothing, or one or two extensions that arXiv or a
person may have given (EXTENSIONS below). The old archives are a closed list (ARCHIVES). Every other name is no paper.
A `.tar` whose name is no paper's is a bulk tar, whose members are named by the same rule; folders are walked.

**Several archives of a paper.** A source is preferred to a PDF, then the highest version (a name without a version is
the latest one, as everywhere at arXiv), then the first in order of path and offset. The others are `duplicate_source`.

**Order.** By month of the id (07 is 2007, 91..99 are 19xx), then id: the order of submission, near enough.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/source.py`
    sys.path.insert(0, str(ROOT))

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.paths import project_path

BLOCK = tarfile.BLOCKSIZE
# The archives that old identifiers name (those founded after March 2007 have new identifiers alone).
ARCHIVES = (
    "acc-phys adap-org alg-geom ao-sci astro-ph atom-ph bayes-an chao-dyn chem-ph cmp-lg comp-gas cond-mat cs dg-ga "
    "funct-an gr-qc hep-ex hep-lat hep-ph hep-th math-ph math mtrl-th nlin nucl-ex nucl-th patt-sol physics plasm-ph "
    "q-alg q-bio quant-ph solv-int supr-con"
).split()
EXTENSIONS = r"(?:\.(?:gz|tar|tgz|tex|pdf|ps|eps|dvi|html?|zip|docx|bz2|xz|Z)){0,2}"
NEW_ID = re.compile(rf"(\d\d(?:0[1-9]|1[0-2])\.\d{{4,5}})(?:v(\d+))?{EXTENSIONS}", re.IGNORECASE)
OLD_ID = re.compile(
    rf"({'|'.join(ARCHIVES)})(?:\.[a-z]{{2}}|\.[a-z]+-[a-z]+)?[/_-]?"
    rf"(\d\d(?:0[1-9]|1[0-2])\d{{3}})(?:v(\d+))?{EXTENSIONS}",
    re.IGNORECASE,
)
FIRST_YEAR = 1991


@dataclass(frozen=True, slots=True)
class ArchiveRef:
    """One archive of one paper: bytes [offset, offset + size) of the file `path`."""

    paper_id: str
    version: int | None
    name: str
    path: str
    offset: int
    size: int


def paper_id_of(name: str) -> tuple[str, int | None] | None:
    """Id and version that a file's or tar member's name stands for, by the rule above; None for any other name."""
    *folders, base = name.split("/")
    match = NEW_ID.fullmatch(base)
    if match:
        return match[1], int(match[2]) if match[2] else None
    match = OLD_ID.fullmatch(base) or (OLD_ID.fullmatch(f"{folders[-1]}/{base}") if folders else None)
    if match:
        return f"{match[1].lower()}/{match[2]}", int(match[3]) if match[3] else None
    return None


def month_of(paper_id: str) -> str:
    """Month of submission "YYYYMM" that an id names: "0704.0001" -> "200704", "hep-th/9901001" -> "199901"."""
    return full_month(paper_id.rpartition("/")[2][:4])


def full_month(yymm: str) -> str:
    """ "YYMM" as "YYYYMM": arXiv began in 1991, so 91..99 are of the last century and 00..90 of this one."""
    century = "19" if int(yymm[:2]) >= FIRST_YEAR % 100 else "20"
    return century + yymm


def order_key(paper_id: str) -> str:
    """Sorts ids by month, then by id; the paper's key wherever order matters."""
    return f"{month_of(paper_id)} {paper_id}"


def parse_months(months: str | None) -> tuple[str, str] | None:
    """ "9107:0704" as ("199107", "200704"), both ends included; None stays None.

    Raises:
        UserError: another shape, a month outside 01..12, or an end before the beginning.
    """
    if months is None:
        return None
    match = re.fullmatch(r"(\d\d(?:0[1-9]|1[0-2])):(\d\d(?:0[1-9]|1[0-2]))", months)
    if not match:
        raise UserError(f"months is '{months}', expected YYMM:YYMM, e.g. --months 2301:2303")
    first, last = full_month(match[1]), full_month(match[2])
    if first > last:
        raise UserError(f"months is '{months}', but {first} comes after {last}; write the earlier month first")
    return first, last


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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Count the archives of a source folder, and say what cannot be read.",
        epilog="example: python data_prep/source.py --source raw/src --list",
    )
    parser.add_argument("--source", type=Path, help="folder of bulk tars or single archives (data.source)")
    parser.add_argument("--list", action="store_true", help="print id, version, name and bytes of each archive")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    source = project_path(settings_from_args(args, data__source=args.source).data.source)
    problems: list[str] = []
    refs = list_archives(source, problems)
    if args.list:
        for ref in refs:
            print(ref.paper_id, f"v{ref.version}" if ref.version else "-", ref.name, ref.size, sep="\t")
    papers = len({ref.paper_id for ref in refs})
    total = sum(ref.size for ref in refs)
    print(f"{len(refs):,} archives of {papers:,} papers, {total / 1e6:,.1f} MB, in {source}", file=sys.stderr)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
