"""Sources of single papers from arXiv's e-print endpoint, one request in three seconds. Imported by `download.py`.

A paper lands in `FOLDER/eprints/YYMM/` under arXiv's own name for it (2301.00001v2.tar.gz, hep-th9901001v1.gz), where
`prepare_dataset.py` finds it beside the bulk tars.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from data_prep.fetch.http_client import HttpClient, HttpFailure
from data_prep.papers.ids import paper_id_of

# The host that arXiv keeps for programs.
BASE_URL = "https://export.arxiv.org/e-print"
SUBFOLDER = "eprints"
SCHEME = re.compile(r"\Aarxiv:\s*", re.IGNORECASE)
FILE_NAME = re.compile(r'filename="?([^";]+)')
# Downloads of one paper whose bytes are damaged.
ARCHIVE_ATTEMPTS = 2
GZIP = b"\x1f\x8b"


class BadArchive(Exception):
    """What came is not a source archive."""


def read_ids(names: Iterable[str], files: Iterable[Path]) -> list[tuple[str, int | None]]:
    """Papers named on the command line and in files (one id a line, `#` begins a comment): id and version, if given.

    Raises:
        UserError: not an arXiv identifier (with file and line), or a file that cannot be read.
    """
    found: dict[tuple[str, int | None], None] = {}
    lines = [(name, "the command line") for name in names]
    for path in files:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        lines += [(line, f"{path}:{number}") for number, line in enumerate(text.splitlines(), 1)]
    for line, where in lines:
        name = SCHEME.sub("", line.partition("#")[0].strip(), count=1)
        if not name:
            continue
        paper = paper_id_of(name)
        if not paper or not name[-1].isdigit() or paper[1] == 0:
            raise UserError(
                f"{where}: '{name}' is not an arXiv identifier, e.g. 2301.00001, 2301.00001v2, hep-th/9901001"
            )
        found[paper] = None
    if not found:
        raise UserError("no paper named: give ids, or --ids FILE with one a line")
    return list(found)


def fetch_papers(
    client: HttpClient,
    base_url: str,
    papers: Iterable[tuple[str, int | None]],
    folder: Path,
    on_paper: Callable[[str, str], Any] = lambda paper, outcome: None,
) -> Counter[str]:
    """Download what is not there. Counts of outcomes: had, fetched, or what was wrong ("HTTP status 404", ...).

    `on_paper` gets each paper's name and its outcome. A paper that arXiv does not give stops nothing.

    Raises:
        UserError: arXiv refuses this client (status 403), or cannot be reached.
    """
    outcomes: Counter[str] = Counter()
    for paper_id, version in papers:
        name = paper_id + (f"v{version}" if version else "")
        if _had(folder, paper_id, version):
            outcome = "had"
        else:
            try:
                _fetch(client, f"{base_url}/{name}", paper_id, version, folder)
                outcome = "fetched"
            except BadArchive as error:
                outcome = str(error)
            except HttpFailure as error:
                if error.status == 403:
                    raise UserError(
                        f"{error}: arXiv refuses this client; stop for a day, and see "
                        "https://info.arxiv.org/help/bulk_data.html for what suits many papers"
                    ) from None
                outcome = f"HTTP status {error.status}"
        outcomes[outcome] += 1
        on_paper(name, outcome)
    return outcomes


def _place(folder: Path, paper_id: str) -> Path:
    return folder / SUBFOLDER / paper_id.rpartition("/")[2][:4]


def _stem(paper_id: str) -> str:
    return paper_id.replace("/", "")


def _had(folder: Path, paper_id: str, version: int | None) -> bool:
    """Whether this version, or any where none is asked for, is there already."""
    for path in _place(folder, paper_id).glob(f"{_stem(paper_id)}*"):
        found = paper_id_of(path.name)  # not of unfinished files: their names are no paper's
        if found and found[0] == paper_id and version in (None, found[1]):
            return True
    return False


def _fetch(client: HttpClient, url: str, paper_id: str, version: int | None, folder: Path) -> None:
    place = _place(folder, paper_id)
    arrived = place / f"{_stem(paper_id)}.arrived"
    for attempt in range(1, ARCHIVE_ATTEMPTS + 1):
        headers = client.download(url, arrived)
        try:
            suffix = check_archive(arrived)
        except BadArchive:
            arrived.unlink()
            if attempt == ARCHIVE_ATTEMPTS:
                raise
        else:
            version = version or _version_of(headers, paper_id)
            arrived.rename(place / f"{_stem(paper_id)}{f'v{version}' if version else ''}{suffix}")
            return


def _version_of(headers: Mapping[str, str], paper_id: str) -> int | None:
    """The version that the answer's file name tells, e.g. `attachment; filename="arXiv-2301.00001v2.tar.gz"`."""
    match = FILE_NAME.search(headers.get("Content-Disposition", ""))
    found = paper_id_of(match[1].strip().removeprefix("arXiv-")) if match else None
    return found[1] or None if found and found[0] == paper_id else None


def check_archive(path: Path) -> str:
    """The extension that the file's bytes call for: .tar.gz, .gz or .pdf.

    Raises:
        BadArchive: something else (an HTML page), or damaged gzip.
    """
    with open(path, "rb") as file:
        start = file.read(5)
    if start.startswith(b"%PDF"):
        return ".pdf"
    if not start.startswith(GZIP):
        raise BadArchive("not an archive: " + ("an empty file" if not start else f"it begins with {start!r}"))
    try:
        with gzip.open(path) as file:
            beginning = file.read(tarfile.BLOCKSIZE)
            while file.read(1 << 20):  # to the checksum at the end
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise BadArchive(f"damaged gzip: {error}") from None
    return ".tar.gz" if beginning[257:262] == b"ustar" else ".gz"
