"""Metadata by OAI-PMH: arXiv's records as the snapshot writes them, harvested page by page and merged into it.

Imported by `download.py`; not run. Protocol: https://www.openarchives.org/OAI/openarchivesprotocol.html (2.0); arXiv's
notes for harvesters: https://info.arxiv.org/help/oa/index.html. The format is `arXivRaw`, the one with all versions.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from data_prep.http_client import HttpClient
from data_prep.jsonl import atomic_write
from data_prep.snapshot import read_snapshot, record_problem
from data_prep.source import order_key, paper_id_of
from settings import UserError

BASE_URL = "https://oaipmh.arxiv.org/oai"
PREFIX = "arXivRaw"
OAI = "{http://www.openarchives.org/OAI/2.0/}"
RAW = "{http://arxiv.org/OAI/arXivRaw/}"
# Keys of a snapshot's record, in its order, that an arXivRaw record has as single elements. What the snapshot has
# besides, `authors_parsed`, arXiv derives by rules of its own; nothing here reads it.
ELEMENTS = "id submitter authors title comments journal-ref doi report-no categories license abstract".split()
# Answers that are no XML (cut short, an error page) after which a page is given up.
PAGE_ATTEMPTS = 3
STORE = """
    CREATE TABLE IF NOT EXISTS record (id TEXT PRIMARY KEY, line BLOB) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state (request TEXT, token TEXT, pages INTEGER, listed INTEGER);
"""


@dataclass
class Page:
    """One answer to ListRecords: records by id (None: deleted), what could not be used, and where it goes on."""

    records: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    token: str | None = None
    complete_size: int | None = None


class BadToken(Exception):
    """The resumption token has expired."""


def parse_page(data: bytes) -> Page:
    """The records of an answer to ListRecords.

    Raises:
        ElementTree.ParseError: not XML.
        BadToken: the server knows the resumption token no more.
        UserError: any other error that the protocol names, except that there are no records.
    """
    root = ElementTree.fromstring(data)
    page = Page()
    for error in root.iter(f"{OAI}error"):
        code = error.get("code")
        if code == "badResumptionToken":
            raise BadToken
        if code != "noRecordsMatch":
            raise UserError(f"the OAI-PMH server answers {code}: {(error.text or '').strip()}")
        return page
    listing = root.find(f"{OAI}ListRecords")
    if listing is None:
        raise ElementTree.ParseError(f"no ListRecords in <{root.tag}>")
    for record in listing.iter(f"{OAI}record"):
        header = record.find(f"{OAI}header")
        if header is None:
            raise ElementTree.ParseError("a record without header")
        paper_id = (header.findtext(f"{OAI}identifier") or "").rpartition(":")[2].strip()
        if header.get("status") == "deleted":
            page.records[paper_id] = None
            continue
        found = to_snapshot(record, header.findtext(f"{OAI}datestamp") or "")
        problem = record_problem(found)
        if problem:
            page.problems.append(f"{paper_id}: {problem}")
        else:
            page.records[found["id"]] = found
    token = listing.find(f"{OAI}resumptionToken")
    if token is not None:
        page.token = (token.text or "").strip() or None
        page.complete_size = int(token.get("completeListSize") or 0) or None
    return page


def to_snapshot(record: ElementTree.Element, datestamp: str) -> dict[str, Any]:
    """An arXivRaw record with the keys of the public snapshot, in its order; what is not there is null."""
    raw = record.find(f"{OAI}metadata/{RAW}arXivRaw")
    if raw is None:
        return {}
    found: dict[str, Any] = {name: raw.findtext(f"{RAW}{name}") for name in ELEMENTS}
    found["id"] = (found["id"] or "").strip()
    found["versions"] = [
        {"version": version.get("version"), "created": version.findtext(f"{RAW}date")}
        for version in raw.iter(f"{RAW}version")
    ]
    found["update_date"] = datestamp
    return found


def last_update(snapshot: Path, on_bytes: Callable[[bytes], Any]) -> str | None:
    """The newest `update_date` of a snapshot, from which a harvest goes on; None where it has none."""
    newest = ""
    for line in read_snapshot(snapshot, on_bytes):
        if line.record:
            newest = max(newest, str(line.record.get("update_date") or ""))
    return newest or None


def harvest(
    client: HttpClient,
    base_url: str,
    selection: dict[str, str],
    store: Path,
    on_page: Callable[[int, int | None], Any] = lambda records, in_all: None,
) -> list[str]:
    """Fetch every record that `selection` (from, until, set) asks for into the SQLite file `store`.

    Each page is committed with the token of the next one: killed at any time, the same call goes on there. Returns
    what was wrong with single records of this call.

    Raises:
        UserError: the server refuses, or answers what is not OAI-PMH.
    """
    problems: list[str] = []
    with closing(sqlite3.connect(store)) as database:
        database.executescript(STORE)
        request = json.dumps({"url": base_url, **selection}, sort_keys=True)
        row = database.execute("SELECT token, pages, listed FROM state WHERE request = ?", (request,)).fetchone()
        token, pages, listed = row or (None, 0, 0)
        if pages and token is None:  # complete; only the merge was missing
            return problems
        on_page(listed, None)
        while True:
            first = {"metadataPrefix": PREFIX, **selection}
            params = {"verb": "ListRecords", **({"resumptionToken": token} if token else first)}
            try:
                page = _fetch_page(client, base_url, params)
            except BadToken:
                if not token:
                    raise UserError(
                        f"{base_url}: refuses a request without resumption token as if it had one"
                    ) from None
                client.say(f"{base_url}: the resumption token has expired; beginning again (what came is kept)")
                token, pages, listed = None, 0, 0
                continue
            database.executemany(
                "INSERT OR REPLACE INTO record VALUES (?, ?)",
                ((name, dump_record(record) if record else None) for name, record in page.records.items()),
            )
            problems += page.problems
            if page.token is not None and page.token == token:
                raise UserError(f"{base_url}: gives the same resumption token again, {token!r}; try again later")
            token, pages, listed = page.token, pages + 1, listed + len(page.records)
            database.execute("DELETE FROM state")
            database.execute("INSERT INTO state VALUES (?, ?, ?, ?)", (request, token, pages, listed))
            database.commit()
            on_page(listed, page.complete_size)
            if token is None:
                return problems


def _fetch_page(client: HttpClient, base_url: str, params: dict[str, str]) -> Page:
    for attempt in range(1, PAGE_ATTEMPTS + 1):
        try:
            return parse_page(client.get(base_url, params))
        except ElementTree.ParseError as error:
            if attempt == PAGE_ATTEMPTS:
                raise UserError(
                    f"{base_url}: the answer is not OAI-PMH, {attempt} times: {error}; try again later, the same "
                    "command goes on with this page"
                ) from None
            client.say(f"{base_url}: a damaged answer ({error}); asking again")
    raise AssertionError("unreachable")


def dump_record(record: dict[str, Any]) -> bytes:
    """A line of the snapshot: JSON in ASCII, as arXiv distributes it."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def merge(snapshot: Path, store: Path, on_bytes: Callable[[bytes], Any] = lambda data: None) -> dict[str, int]:
    """Bring `snapshot` (made where there is none) up to date with a harvest, then remove `store`.

    Updated records take their old one's place, new ones follow in order of papers. All other lines stay byte for byte.
    Returns counts of updated, added and deleted records. Constant memory.
    """
    counts = {"updated": 0, "added": 0, "deleted": 0}
    with closing(sqlite3.connect(store)) as database, atomic_write(snapshot) as out:
        database.execute("CREATE TEMP TABLE met (id TEXT PRIMARY KEY) WITHOUT ROWID")
        for line in read_snapshot(snapshot, on_bytes) if snapshot.exists() else ():
            paper_id = line.record["id"] if line.record else None
            row = database.execute("SELECT line FROM record WHERE id = ?", (paper_id,)).fetchone()
            if row is None:
                out.write(line.data if line.data.endswith(b"\n") else line.data + b"\n")
                continue
            if database.execute("INSERT OR IGNORE INTO met VALUES (?)", (paper_id,)).rowcount == 0:
                continue  # an older line of the same paper
            counts["updated" if row[0] else "deleted"] += 1
            out.write(row[0] or b"")
        for data in _new_lines(database):
            counts["added"] += 1
            out.write(data)
    store.unlink()
    return counts


def _new_lines(database: sqlite3.Connection) -> Iterator[bytes]:
    def key(name: str) -> str:
        found = paper_id_of(name)
        return order_key(found[0]) if found else name

    database.create_function("order_key", 1, key, deterministic=True)
    query = "SELECT line FROM record WHERE line NOT NULL AND id NOT IN (SELECT id FROM met) ORDER BY order_key(id)"
    for (line,) in database.execute(query):
        yield line
