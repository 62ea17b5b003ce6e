"""JSON lines: read as a stream with errors that name file and line, written under a temporary name and then renamed.

Imported by whatever reads or writes `train.jsonl`, `val.jsonl` and the pipeline's own files; not run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from settings import UserError

TEMPORARY = ".tmp"


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Each object of the file, one line in memory at a time; blank lines are passed over.

    Raises:
        UserError: the file cannot be read; a line is not UTF-8, not JSON, or not an object (with file and line).
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.isspace():
                    continue
                yield parse_line(line, f"{path}:{number}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def parse_line(line: bytes, where: str) -> dict[str, Any]:
    """The object that a line holds; `where` (file:line) opens the error otherwise."""
    try:
        record = json.loads(line.decode("utf-8-sig" if where.endswith(":1") else "utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.colno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply") from None
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return record


def dump_line(record: dict[str, Any]) -> bytes:
    """One line of UTF-8. A lone surrogate, which UTF-8 has no bytes for, becomes `?`."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears as `path` when the block ends well, complete and on disk; else nothing appears.

    Raises:
        UserError: no space left, or the place cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def write_error(path: Path, error: OSError) -> UserError:
    """What to tell about a failed write, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{path}: no space left on the disk or quota; nothing half-written was left. Free some space (or choose "
            "another --out), then run the same command again: finished work is kept"
        )
    return UserError(f"{path}: cannot be written: {error.strerror or error}")


def _sync_folder(folder: Path) -> None:
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
