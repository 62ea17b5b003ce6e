"""A harvest of arXiv's metadata: what it asks for, the store that it fills page by page, its merge into the snapshot.

Imported by `download.py`; not run. Beside SNAPSHOT lie `SNAPSHOT.harvested.json` (up to which day the snapshot is
complete) and, until the merge, `SNAPSHOT.updates` (the store, SQLite: all that a killed harvest needs to go on).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import atomic_write, write_json
from data_prep.fetch import oai
from data_prep.fetch.http_client import HttpClient
from data_prep.papers.ids import order_key, paper_id_of
from data_prep.papers.metadata import read_snapshot

ALL = "all"  # in the marks, beside names of OAI sets
# Times in one run that a list is begun again because the server forgot its token.
RESTARTS = 5
SCHEMA = """
    CREATE TABLE plan (asked TEXT, selection TEXT, complete INTEGER);
    CREATE TABLE record (id TEXT PRIMARY KEY, day TEXT, line BLOB) WITHOUT ROWID;
    CREATE TABLE problem (id TEXT PRIMARY KEY, what TEXT) WITHOUT ROWID;
    CREATE TABLE progress (token TEXT, pages INTEGER, listed INTEGER, stated INTEGER, began TEXT);
"""


class Marks:
    """The days up to which a snapshot has every change: of all records, and of single OAI sets.

    The newest `update_date` does not tell it: a harvest of one set, or of the last week, leaves gaps before it.
    """

    def __init__(self, snapshot: Path) -> None:
        self.path = snapshot.with_name(snapshot.name + ".harvested.json")
        self.days: dict[str, str] = {}
        if snapshot.exists() and self.path.exists():
            try:
                self.days = json.loads(self.path.read_bytes())
                if not all(oai.is_date(day) for day in self.days.values()):
                    raise ValueError
            except (ValueError, TypeError, AttributeError):
                raise UserError(
                    f"{self.path}: damaged, expected dates by OAI set; remove it, then run again with --since DATE, "
                    "the day from which the snapshot may lack changes"
                ) from None

    def day(self, subject: str | None, newest: str | None) -> str | None:
        """From where a harvest of `subject` (None: all) has to begin; None: from the first record.

        `newest` is the newest day in the snapshot, which was replaced by an older one where a mark lies beyond it.
        """
        known = [self.days[name] for name in (ALL, subject) if name in self.days]
        return min(max(known), newest) if known and newest else None

    def advance(self, subject: str | None, day: str) -> None:
        name = subject or ALL
        self.days[name] = max(day, self.days.get(name, ""))
        write_json(self.path, self.days)


def day_of(record: Mapping[str, Any], latest: str) -> str:
    """A record's `update_date`; empty where that is no day, or one after `latest`."""
    day = record.get("update_date")
    return day if isinstance(day, str) and day <= latest and oai.is_date(day) else ""


def tomorrow() -> str:
    """After every day that a record can have changed on, in any time zone."""
    return (datetime.now(timezone.utc) + timedelta(days=1)).date().isoformat()


def newest_day(snapshot: Path, on_bytes: Callable[[bytes], Any] = lambda data: None) -> str | None:
    """The newest `update_date` of a snapshot; None where it has none."""
    latest = tomorrow()
    lines = read_snapshot(snapshot, on_bytes)
    return max((day_of(line.record, latest) for line in lines if line.record), default="") or None


@dataclass(frozen=True)
class Plan:
    """`asked`: what the user gave. `selection`: what the server is asked for (from, until, set). `complete`: whether
    the snapshot will then be complete up to the harvest's day."""

    asked: dict[str, str]
    selection: dict[str, str]
    complete: bool

    def __str__(self) -> str:
        words = ", ".join(f"{key} {value}" for key, value in self.selection.items())
        return f"records {words}" if words else "all records"


def make_plan(
    asked: dict[str, str], snapshot: Path, marks: Marks, on_bytes: Callable[[bytes], Any] = lambda data: None
) -> Plan:
    """What to ask the server for: where the user gave no beginning, it is where the snapshot ceases to be complete."""
    subject = asked.get("set")
    newest = newest_day(snapshot, on_bytes) if snapshot.exists() else None
    if newest and not marks.days:  # a snapshot as arXiv distributes it
        marks.advance(None, newest)
    known = marks.day(subject, newest)
    selection = {key: value for key, value in asked.items() if key != "url"}
    if "from" not in selection and known:
        selection = {"from": known, **selection}
    start = selection.get("from")
    complete = not snapshot.exists() or start is None or (known is not None and start <= known)
    return Plan(asked, selection, complete)


class Store:
    """What a harvest has brought so far. Errors of SQLite become UserErrors by `usable`."""

    def __init__(self, snapshot: Path) -> None:
        self.path = snapshot.with_name(snapshot.name + ".updates")
        self.database: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def usable(self) -> Iterator[None]:
        """Open while the block lasts.

        Raises:
            UserError: a full disk, a damaged store.
        """
        try:
            with contextlib.closing(sqlite3.connect(self.path)) as self.database:
                yield
        except sqlite3.OperationalError as error:  # a full disk, mostly
            raise UserError(
                f"{self.path}: {error}; put that right, then run again: it goes on where it stopped"
            ) from None
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path}: cannot be used: {error}; remove it, then run again") from None

    def _execute(self, *arguments: Any) -> sqlite3.Cursor:
        assert self.database is not None, "inside `usable` only"
        return self.database.execute(*arguments)

    def plan(self) -> Plan | None:
        """Of the harvest in it, if there is one."""
        if not self._execute("SELECT 1 FROM sqlite_schema WHERE name = 'progress'").fetchone():
            return None
        row = self._execute("SELECT asked, selection, complete FROM plan").fetchone()
        return Plan(json.loads(row[0]), json.loads(row[1]), bool(row[2])) if row else None

    def begin(self, plan: Plan) -> None:
        """Empty but for a plan."""
        assert self.database is not None
        tables = self._execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        drop = "".join(f'DROP TABLE "{name}";' for (name,) in tables)
        self.database.executescript(f"BEGIN; {drop} {SCHEMA}")
        values = json.dumps(plan.asked), json.dumps(plan.selection), int(plan.complete)
        self._execute("INSERT INTO plan VALUES (?, ?, ?)", values)
        self.database.commit()

    def fetch(
        self,
        client: HttpClient,
        base_url: str,
        selection: dict[str, str],
        on_page: Callable[[int, int | None], Any] = lambda records, in_all: None,
    ) -> None:
        """Fetch every record that `selection` asks for.

        Each page is committed with the token of the next one: killed at any time, the same call goes on there.

        Raises:
            UserError: the server refuses, or answers what is not OAI-PMH.
        """
        assert self.database is not None
        start: tuple[Any, ...] = (None, 0, 0, None, None)
        token, pages, listed, stated, began = self._execute("SELECT * FROM progress").fetchone() or start
        if pages and token is None:  # complete; only the merge was missing
            return
        anew = f"to begin anew, remove {self.path}"
        on_page(listed, stated)
        restarts, seen = 0, {token}
        while True:
            first = {"metadataPrefix": oai.PREFIX, **selection}
            params = {"verb": "ListRecords", **({"resumptionToken": token} if token else first)}
            try:
                page = oai.fetch_page(client, base_url, params)
            except oai.BadAnswer as error:
                raise UserError(f"{base_url}: {error}; run again later, it goes on with this page ({anew})") from None
            except oai.BadToken:
                if token is None:
                    raise UserError(f"{base_url}: refuses a resumption token where it was given none") from None
                restarts += 1
                if restarts > RESTARTS:
                    raise UserError(
                        f"{base_url}: has forgotten its own resumption tokens {restarts} times; try again later"
                    ) from None
                client.say(f"{base_url}: the resumption token has expired; beginning again (what came is kept)")
                token, pages, listed, stated, began = start
                seen = {None}
                continue
            if page.token is not None and page.token in seen:
                raise UserError(f"{base_url}: gives the resumption token {page.token!r} again; try later ({anew})")
            seen.add(page.token)
            rows = ((name, day, record and dump_record(record)) for name, (day, record) in page.records.items())
            self.database.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", rows)
            self.database.executemany("INSERT OR REPLACE INTO problem VALUES (?, ?)", page.problems.items())
            token, pages, listed = page.token, pages + 1, listed + len(page.records) + len(page.problems)
            stated, began = page.complete_size or stated, began or page.day
            self._execute("DELETE FROM progress")
            self._execute("INSERT INTO progress VALUES (?, ?, ?, ?, ?)", (token, pages, listed, stated, began))
            self.database.commit()
            on_page(listed, stated)
            if token is None:
                return

    def problems(self) -> list[str]:
        """What was wrong with single records."""
        return [f"{name}: {what}" for name, what in self._execute("SELECT * FROM problem")]

    def missing(self) -> int:
        """How many records the server spoke of and did not give (it may have estimated)."""
        listed, stated = self._execute("SELECT listed, stated FROM progress").fetchone()
        return max(0, (stated or 0) - listed)

    def last_day(self) -> str:
        """Up to which day the harvest has every change: when it began, by the server's clock."""
        return str(self._execute("SELECT began FROM progress").fetchone()[0])

    def merge(self, snapshot: Path, on_bytes: Callable[[bytes], Any] = lambda data: None) -> dict[str, int]:
        """Bring `snapshot` (made where there is none) up to date.

        Updated records take their old one's place, unless that is newer (of another snapshot, put there since); new
        ones follow in order of papers. All other lines stay byte for byte. Returns counts of updated, added and
        deleted records. Constant memory.
        """
        counts = {"updated": 0, "added": 0, "deleted": 0}
        latest = tomorrow()
        with atomic_write(snapshot) as out:
            self._execute("CREATE TEMP TABLE met (id TEXT PRIMARY KEY) WITHOUT ROWID")
            for line in read_snapshot(snapshot, on_bytes) if snapshot.exists() else ():
                paper_id = line.record["id"] if line.record else None
                row = self._execute("SELECT day, line FROM record WHERE id = ?", (paper_id,)).fetchone()
                if row and self._execute("INSERT OR IGNORE INTO met VALUES (?)", (paper_id,)).rowcount == 0:
                    continue  # an older line of the same paper
                if row and line.record and day_of(line.record, latest) <= row[0]:
                    counts["updated" if row[1] else "deleted"] += 1
                    out.write(row[1] or b"")
                else:
                    out.write(line.data if line.data.endswith(b"\n") else line.data + b"\n")
            for data in self._new_lines():
                counts["added"] += 1
                out.write(data)
        return counts

    def _new_lines(self) -> Iterator[bytes]:
        def key(name: str) -> str:
            found = paper_id_of(name)
            return order_key(found[0]) if found else name

        assert self.database is not None
        self.database.create_function("order_key", 1, key, deterministic=True)
        query = "SELECT line FROM record WHERE line NOT NULL AND id NOT IN (SELECT id FROM met) ORDER BY order_key(id)"
        for (line,) in self._execute(query):
            yield line


def dump_record(record: dict[str, Any]) -> bytes:
    """A line of the snapshot: JSON in ASCII, as arXiv distributes it."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
