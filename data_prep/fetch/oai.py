"""OAI-PMH, the protocol by which arXiv gives its metadata: pages of records, as the public snapshot writes them.

Imported by `harvest.py`; not run. Protocol: https://www.openarchives.org/OAI/openarchivesprotocol.html (2.0); arXiv's
notes for harvesters: https://info.arxiv.org/help/oa/index.html. The format is `arXivRaw`, the one with all versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from xml.etree import ElementTree

from common.errors import UserError
from data_prep.fetch.http_client import HttpClient
from data_prep.papers.metadata import record_problem

BASE_URL = "https://oaipmh.arxiv.org/oai"
PREFIX = "arXivRaw"
OAI = "{http://www.openarchives.org/OAI/2.0/}"
RAW = "{http://arxiv.org/OAI/arXivRaw/}"
# Keys of a snapshot's record, in its order, that an arXivRaw record has as single elements. What the snapshot has
# besides, `authors_parsed`, arXiv derives by rules of its own; nothing here reads it.
ELEMENTS = "id submitter authors title comments journal-ref doi report-no categories license abstract".split()
# Answers that are no XML (cut short, an error page) after which a page is given up.
PAGE_ATTEMPTS = 3
# What XML 1.0 forbids (section 2.2), as a character or as a reference to one.
FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    r"|&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|d[89a-f][0-9a-f]{2}|fff[ef])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));",
    re.IGNORECASE,
)


@dataclass
class Page:
    """One answer to ListRecords.

    `records`: by id, with the day of their last change; None for a deleted one. `problems`: of records that cannot be
    used, by id. `token` leads to the next page. `day`: of the answer, by the server's clock. `complete_size`: how many
    records the whole list has, where the server says (it may be an estimate).
    """

    day: str
    records: dict[str, tuple[str, dict[str, Any] | None]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    complete_size: int | None = None


class BadToken(Exception):
    """The resumption token has expired."""


class BadAnswer(Exception):
    """Not OAI-PMH, several times."""


def is_date(text: str) -> bool:
    """Whether it is a day as the protocol writes it, YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def parse_page(data: bytes, first: bool = True) -> Page:
    """The records of an answer to ListRecords; `first`: to a request without resumption token.

    Raises:
        ValueError, LookupError, ElementTree.ParseError: not OAI-PMH.
        BadToken: the server knows the resumption token no more.
        UserError: any other error that the protocol names, except that there are no records.
    """
    root = ElementTree.fromstring(data)
    page = Page((root.findtext(f"{OAI}responseDate") or "").strip()[:10])
    for error in root.iter(f"{OAI}error"):
        code = error.get("code")
        if code == "badResumptionToken":
            raise BadToken
        if code != "noRecordsMatch":
            raise UserError(f"the OAI-PMH server answers {code}: {(error.text or '').strip()}")
        if not first:  # the list has broken off
            raise ValueError("no records for a resumption token")
    listing = root.find(f"{OAI}ListRecords")
    if listing is None and root.find(f"{OAI}error") is None:
        raise ValueError(f"no ListRecords in <{root.tag}>")
    if not is_date(page.day):
        raise ValueError(f"responseDate is '{page.day}'")
    if listing is None:  # no records match
        return page
    for number, record in enumerate(listing.iter(f"{OAI}record"), 1):
        _add(page, record, number)
    token = listing.find(f"{OAI}resumptionToken")
    if token is not None:
        page.token = (token.text or "").strip() or None
        size = token.get("completeListSize") or ""
        page.complete_size = int(size) if size.isascii() and size.isdigit() else None
    return page


def _add(page: Page, record: ElementTree.Element, number: int) -> None:
    header = record.find(f"{OAI}header")
    if header is None:
        raise ValueError("a record without header")
    paper_id = (header.findtext(f"{OAI}identifier") or "").rpartition(":")[2].strip()
    day = (header.findtext(f"{OAI}datestamp") or "").strip()
    if header.get("status") == "deleted":
        if paper_id:
            page.records[paper_id] = day, None
        return
    found = to_snapshot(record, day)
    problem = record_problem(found)
    if problem:
        page.problems[paper_id or f"record {number} of a page"] = problem
    else:
        page.records[found["id"]] = day, found


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


def fetch_page(client: HttpClient, base_url: str, params: Mapping[str, str]) -> Page:
    """One page; where the answer is damaged, it is asked for again.

    Raises:
        BadAnswer: each time.
        And what `parse_page` and `HttpClient.get` raise.
    """
    first = "resumptionToken" not in params
    for attempt in range(1, PAGE_ATTEMPTS + 1):
        data = client.get(base_url, params)
        try:
            return parse_page(data, first)
        except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: of an encoding
            if attempt == PAGE_ATTEMPTS:
                return _repaired(data, first, error)
            client.say(f"{base_url}: a damaged answer ({error}); asking again")
    raise AssertionError("unreachable")


def _repaired(data: bytes, first: bool, error: Exception) -> Page:
    """The page without the characters that keep it from being XML, if it is these: one bad record ends no harvest."""
    try:
        page = parse_page(FORBIDDEN.sub("", data.decode("utf-8", "replace")).encode(), first)
    except (ElementTree.ParseError, ValueError, LookupError):
        raise BadAnswer(f"the answer is not OAI-PMH, {PAGE_ATTEMPTS} times: {error}") from None
    page.problems[f"page with {next(iter(page.records), 'no record')}"] = f"read without what XML forbids ({error})"
    return page
