"""Two SQLite files of the work folder: where each metadata record lies and whether it is in scope, and where each
archive lies; and the plan, their merge in order of papers. Constant memory for any number of papers. Imported, not run.

`metadata.sqlite` is made in one go and renamed when complete. `archives.sqlite` is brought up to date file by file, so
a bulk tar is read again only when its size or time of modification has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import TEMPORARY
from common.provenance import file_state
from common.settings.data import DataSettings
from data_prep.papers.archives import ArchiveRef, preference, read_index, source_files
from data_prep.papers.ids import order_key, paper_id_of, parse_months
from data_prep.papers.metadata import first_year, read_snapshot
from data_prep.screening.metadata_rules import metadata_reason

RECORDS = """
    CREATE TABLE record (
        key TEXT PRIMARY KEY, offset INTEGER, length INTEGER, digest BLOB, reason TEXT
    ) WITHOUT ROWID;
    CREATE TABLE refused (reason TEXT, name TEXT, offset INTEGER, detail TEXT);
    CREATE TABLE meta (value TEXT);
"""
ARCHIVES = """
    CREATE TABLE IF NOT EXISTS file (
        number INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER, modified INTEGER, rule TEXT, problems TEXT
    );
    CREATE TABLE IF NOT EXISTS archive (
        key TEXT, version INTEGER, name TEXT, file INTEGER, offset INTEGER, size INTEGER
    );
    CREATE INDEX IF NOT EXISTS archive_key ON archive (key);
    CREATE INDEX IF NOT EXISTS archive_file ON archive (file);
"""
# Files between two commits of the archive list: single archives come by the million.
COMMIT_EVERY = 2000


@dataclass(frozen=True, slots=True)
class RecordRef:
    """Where a metadata record lies in the snapshot, and why it is out of scope (None: in scope)."""

    offset: int
    length: int
    digest: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Planned:
    """One paper of the plan: its record, if any, its archives, the preferred one first, whether it is in the pilot, and
    the reason why it would be out of scope, where an append keeps it."""

    paper_id: str
    record: RecordRef | None
    archives: list[ArchiveRef]
    in_pilot: bool
    overruled: str | None = None


def build_metadata_index(
    path: Path, snapshot: Path, settings: DataSettings, provenance: dict[str, Any], on_bytes: Callable[[int], Any]
) -> None:
    """Read the snapshot once into `path`; `on_bytes` gets the bytes of each line as it is read."""
    temporary = path.with_name(path.name + TEMPORARY)
    temporary.unlink(missing_ok=True)
    whole = hashlib.sha256()
    state = file_state(snapshot)

    def account(data: bytes) -> None:
        whole.update(data)
        on_bytes(len(data))

    lines = 0
    years: dict[str, Counter[str]] = {"records": Counter(), "in_scope": Counter()}
    subjects: dict[str, Counter[str]] = {"records": Counter(), "in_scope": Counter()}
    with closing(_connect(temporary)) as database:
        # The file is nobody's until it is renamed: no journal is needed.
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + RECORDS + "BEGIN;")
        for line in read_snapshot(snapshot, account):
            lines += 1
            record = line.record
            if record is None:
                refused = ("bad_metadata", f"line at byte {line.offset}", line.offset, line.problem)
                database.execute("INSERT INTO refused VALUES (?, ?, ?, ?)", refused)
                continue
            found = paper_id_of(record["id"])
            assert found is not None  # read_snapshot answers for it
            reason = metadata_reason(record, settings)
            digest = used_digest(record)
            added = database.execute(
                "INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?)",
                (order_key(found[0]), line.offset, len(line.data), digest, reason),
            )
            if not added.rowcount:
                refused = ("duplicate_metadata", record["id"], line.offset, "an earlier line has the same id")
                database.execute("INSERT INTO refused VALUES (?, ?, ?, ?)", refused)
                continue
            for table in ("records", "in_scope")[: 1 if reason else 2]:
                years[table][str(first_year(record))] += 1
                subjects[table][record["categories"].split()[0]] += 1
        meta = {
            "provenance": provenance,
            "file": {"name": snapshot.name, "bytes": state[0], "sha256": whole.hexdigest()},
            "state": state,
            "lines": lines,
            "years": years,
            "subjects": subjects,
        }
        database.execute("INSERT INTO meta VALUES (?)", (json.dumps(meta),))
        database.execute("COMMIT")
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def used_digest(record: dict[str, Any]) -> bytes:
    """8 bytes that tell whether what a paper is made from has changed in its record.

    Comments, journal references and dates of updates change often, and no paper for it.
    """
    used = [record.get(key) for key in ("id", "title", "abstract", "categories", "license")]
    return hashlib.blake2b(repr([*used, record["versions"][0]["created"]]).encode(), digest_size=8).digest()


def index_meta(path: Path) -> dict[str, Any] | None:
    """What `build_metadata_index` noted, or None where there is no index."""
    if not path.exists():
        return None
    with closing(_connect(path)) as database:
        row = database.execute("SELECT value FROM meta").fetchone()
    return json.loads(row[0]) if row else None


def same_snapshot(path: Path, meta: dict[str, Any], snapshot: Path) -> bool:
    """Whether the snapshot is the file that was indexed: unchanged state, or the same bytes under a newer time."""
    state = file_state(snapshot)
    if meta["state"] == state:
        return True
    if meta["state"][0] != state[0]:
        return False
    with open(snapshot, "rb") as file:
        whole = hashlib.sha256()
        while chunk := file.read(1 << 22):
            whole.update(chunk)
    if whole.hexdigest() != meta["file"]["sha256"]:
        return False
    with closing(_connect(path)) as database:
        database.execute("UPDATE meta SET value = ?", (json.dumps({**meta, "state": state}),))
        database.commit()
    return True


def refused_lines(path: Path) -> Iterator[tuple[str, str, int, str]]:
    """Reason, name, offset and detail of each line of the snapshot that no paper comes from."""
    with closing(_connect(path)) as database:
        yield from database.execute("SELECT reason, name, offset, detail FROM refused ORDER BY offset")


def update_archive_list(
    path: Path,
    source: Path,
    rule: str,
    keep_gone: bool,
    on_file: Callable[[int], Any] = lambda files: None,
    any_rule: bool = False,
) -> dict[str, Any]:
    """Bring the list at `path` up to date with the source folder; returns counts and problems for the report.

    `rule` is the fingerprint of the code that reads names: files listed by another one are read again, unless with
    `any_rule`. With `keep_gone` files of an earlier run that are there no more stay listed: their papers are in
    finished shards.
    """
    with closing(_connect(path)) as database:
        database.executescript(ARCHIVES)
        # Files that have gone are those that this walk does not meet.
        database.execute("CREATE TEMP TABLE met (number INTEGER PRIMARY KEY)")
        for done, found in enumerate(source_files(source), 1):
            name, state = str(found.relative_to(source)), [*file_state(found), rule]
            row = database.execute("SELECT number, size, modified, rule FROM file WHERE name = ?", (name,)).fetchone()
            if row is None or list(row[1:3]) != state[:2] or (row[3] != rule and not any_rule):
                number = _list_file(database, row[0] if row else None, found, name, state)
            else:
                number = row[0]
            database.execute("INSERT INTO met VALUES (?)", (number,))
            on_file(1)
            if done % COMMIT_EVERY == 0 or found.suffix == ".tar":
                database.commit()
        if not keep_gone:
            database.execute("DELETE FROM archive WHERE file NOT IN (SELECT number FROM met)")
            database.execute("DELETE FROM file WHERE number NOT IN (SELECT number FROM met)")
        database.commit()
        count, size, papers = database.execute(
            "SELECT count(*), coalesce(sum(size), 0), count(DISTINCT key) FROM archive"
        ).fetchone()
        (gone,) = database.execute("SELECT count(*) FROM file WHERE number NOT IN (SELECT number FROM met)").fetchone()
        problems: list[str] = []
        for (text,) in database.execute("SELECT problems FROM file WHERE problems != '[]' ORDER BY name"):
            problems += json.loads(text)
        return {"archives": count, "papers": papers, "bytes": size, "gone": gone, "problems": problems}


def gone_sources(path: Path, source: Path) -> list[str]:
    """Names of listed files that are not in the source folder (any more), in order."""
    if not path.exists():
        return []
    with closing(_connect(path)) as database:
        database.executescript(ARCHIVES)
        query = "SELECT name FROM file WHERE number IN (SELECT file FROM archive) ORDER BY name"
        return [name for (name,) in database.execute(query) if not (source / name).exists()]


def _list_file(database: sqlite3.Connection, number: int | None, path: Path, name: str, state: list[Any]) -> int:
    problems: list[str] = []
    if number is not None:
        database.execute("DELETE FROM archive WHERE file = ?", (number,))
        database.execute("DELETE FROM file WHERE number = ?", (number,))
    cursor = database.execute("INSERT INTO file (name, size, modified, rule) VALUES (?, ?, ?, ?)", (name, *state))
    number = cursor.lastrowid
    assert number is not None
    database.executemany(
        "INSERT INTO archive VALUES (?, ?, ?, ?, ?, ?)",
        (
            (order_key(ref.paper_id), ref.version, ref.name, number, ref.offset, ref.size)
            for ref in read_index(path, name, problems)
        ),
    )
    database.execute("UPDATE file SET problems = ? WHERE number = ?", (json.dumps(problems), number))
    return number


def source_state(path: Path) -> dict[str, list[int]]:
    """Size and time of modification of each file of the list, by name below the source folder."""
    with closing(_connect(path)) as database:
        return {name: state for name, *state in database.execute("SELECT name, size, modified FROM file ORDER BY name")}


def plan(metadata_index: Path, archive_list: Path, source: Path, settings: DataSettings) -> Iterator[Planned]:
    """Every paper that has a record or an archive, in order, by merging the two lists.

    The pilot: papers of `months`, and of these all up to the `limit`-th that has both a record and an archive.
    """
    months = parse_months(settings.months)
    left = settings.limit
    records, archives = _records(metadata_index), _archives(archive_list, source)
    record, group = next(records, None), next(archives, None)
    while record is not None or group is not None:
        key = min(side[0] for side in (record, group) if side is not None)
        month, _, paper_id = key.partition(" ")
        in_pilot = (months is None or months[0] <= month <= months[1]) and left != 0
        matched = record if record is not None and record[0] == key else None
        refs = group[1] if group is not None and group[0] == key else []
        if in_pilot and matched and refs and left is not None:
            left -= 1
        yield Planned(paper_id, matched[1] if matched else None, refs, in_pilot)
        if matched:
            record = next(records, None)
        if refs:
            group = next(archives, None)


def find_planned(
    metadata_index: Path, archive_list: Path, source: Path, paper_id: str
) -> tuple[RecordRef | None, list[ArchiveRef]]:
    """One paper's record and archives, whether in the pilot or not."""
    key = order_key(paper_id)
    record = next(_records(metadata_index, key), None)
    group = next(_archives(archive_list, source, key), None)
    return (record[1] if record else None), (group[1] if group else [])


def _records(path: Path, key: str | None = None) -> Iterator[tuple[str, RecordRef]]:
    where, values = ("WHERE key = ?", (key,)) if key else ("", ())
    with closing(_connect(path)) as database:
        rows = database.execute(f"SELECT key, offset, length, digest, reason FROM record {where} ORDER BY key", values)
        for row in rows:
            yield row[0], RecordRef(row[1], row[2], row[3].hex(), row[4])


def _archives(path: Path, source: Path, key: str | None = None) -> Iterator[tuple[str, list[ArchiveRef]]]:
    where, values = ("WHERE archive.key = ?", (key,)) if key else ("", ())
    with closing(_connect(path)) as database:
        rows = database.execute(
            "SELECT archive.key, version, archive.name, file.name, offset, archive.size "
            f"FROM archive JOIN file ON archive.file = file.number {where} ORDER BY archive.key",
            values,
        )
        for group, members in groupby(rows, key=lambda row: row[0]):
            paper_id = group.partition(" ")[2]
            refs = [
                ArchiveRef(paper_id, version, name, str(source / file), offset, size)
                for _, version, name, file, offset, size in members
            ]
            yield group, sorted(refs, key=preference)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path)
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be opened: {error}; remove it, then run again") from None
