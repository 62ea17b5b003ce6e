"""Files written under a temporary name and then renamed, so that none is ever there by halves.

A name that ends in `.zst` stands for the same bytes compressed with Zstandard (RFC 8878), checksums included.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import UserError

TEMPORARY = ".tmp"
COMPRESSED = ".zst"
# Zstandard's own default: some 3.5 times smaller on LaTeX, and many times faster than what produces the text.
LEVEL = 3


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears as `path` when the block ends well, complete and on disk; else nothing appears.

    Where the name ends in `.zst`, what is written is compressed.

    Raises:
        UserError: no space left, or the place cannot be written; the temporary file is removed.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb", buffering=1 << 20) as file:
            if path.suffix == COMPRESSED:
                import zstandard

                compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
                with compressor.stream_writer(file, closefd=False) as out:
                    yield out
            else:
                yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def temporary_path(path: Path) -> Path:
    """The name that a file has until it is complete: of this process alone, on all machines that share the folder."""
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}{TEMPORARY}")


def write_error(path: Path, error: OSError) -> UserError:
    """What to tell about a failed write, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{path}: no space left on the disk or quota; nothing half-written was left. Free some space (or write "
            "to another disk), then run the same command again: finished work is kept"
        )
    return UserError(f"{path}: cannot be written: {error.strerror or error}")


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file in one piece, atomically."""
    with atomic_write(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document, indented, atomically."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
