"""What a person names on the command line: archives, bulk tars, folders, single TeX files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError
from common.settings.data import DataSettings
from data_prep.archive.decoding import decode_all
from data_prep.archive.streams import is_tar


def read_text_file(path: Path, settings: DataSettings) -> str:
    """One TeX file of the disk, decoded as a member of an archive would be."""
    content = path.read_bytes()
    if len(content) > settings.max_file_bytes:
        raise UserError(
            f"{path}: {len(content)} bytes, more than data.max_file_bytes {settings.max_file_bytes}; "
            "raise it with --set data.max_file_bytes=N"
        )
    return decode_all({"file": content}, Counter())["file"]


def archives_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the archive at `path`, or of every paper in it where it is a bulk tar or a folder.

    What cannot be read of a bulk tar or a folder is told on stderr.
    """
    from data_prep.papers.archives import list_archives, read_bytes, read_index

    problems: list[str] = []
    try:
        if path.is_dir():
            refs = list_archives(path, problems)
        else:
            with path.open("rb") as file:
                tar = is_tar(file.read(512))
            # A bulk tar is half a gigabyte: its papers are read one at a time. A paper's own tar lists no papers.
            refs = list(read_index(path, path.name, problems)) if tar and path.suffix == ".tar" else []
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give the path of an archive") from None
    if refs and (path.is_dir() or refs[0].name != path.name):
        for problem in problems:
            print(f"problem: {problem}", file=sys.stderr)
        for ref in refs:
            yield ref.name, read_bytes(ref)
    elif path.is_dir():
        raise UserError(f"{path}: no archives in this folder (names such as 2301.00001v2.tar.gz, or bulk tars)")
    else:
        yield path.name, path.read_bytes()
