"""The public metadata snapshot, read as a stream of lines: each either a usable record, or what is wrong with it.

Imported, not run; `data_prep/filters.py --metadata FILE` counts what is in one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError
from data_prep.papers.ids import paper_id_of

YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def first_year(record: Mapping[str, Any]) -> int:
    """Year of the first version. Raises ValueError where the record does not tell."""
    created = record["versions"][0]["created"]
    try:
        return parsedate_to_datetime(created).year
    except (TypeError, ValueError, OverflowError):  # no date, or one of a year or zone that there is not
        match = YEAR.search(created)
        if not match:
            raise ValueError(f"versions[0].created is {created!r}, which names no year") from None
        return int(match[0])


def record_problem(record: Any) -> str | None:
    """What keeps a parsed line from being a usable record, or None."""
    if not isinstance(record, dict):
        return f"not an object but {type(record).__name__}"
    found = paper_id_of(record["id"]) if isinstance(record.get("id"), str) else None
    if not found or found[1] is not None or not record["id"][-1].isdigit():  # no file's name, no version
        return f"id is {record.get('id')!r}, no arXiv identifier"
    if not isinstance(record.get("categories"), str) or not record["categories"].strip():
        return f"categories is {record.get('categories')!r}, expected words"
    for key in ("title", "comments", "abstract", "license"):
        if not isinstance(record.get(key), str | None):
            return f"{key} is {record[key]!r}, expected text or null"
    try:
        first_year(record)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return f"versions[0].created cannot be read: {error!r}"
    return None


class Line(NamedTuple):
    """A line of the snapshot: where it lies, its bytes, and either a record or what is wrong with it."""

    offset: int
    data: bytes
    record: dict[str, Any] | None
    problem: str | None


def read_snapshot(path: Path, on_bytes: Callable[[bytes], object] = lambda data: None) -> Iterator[Line]:
    """The lines of a metadata snapshot as a stream, blank ones apart; `on_bytes` gets each line's bytes first.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            offset = 0
            for data in file:
                on_bytes(data)
                if not data.isspace():
                    yield _line(offset, data)
                offset += len(data)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. It is arXiv's public metadata snapshot, arxiv-metadata-oai-snapshot.json (one "
            "JSON record a line, some 5 GB): get it with `python data_prep/download.py metadata`, or name it with "
            "--metadata FILE"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _line(offset: int, data: bytes) -> Line:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        return Line(offset, data, None, f"not a line of JSON: {error}")
    problem = record_problem(record)
    return Line(offset, data, None if problem else record, problem)
