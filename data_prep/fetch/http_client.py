"""An HTTP client that keeps to arXiv's rules: one request in three seconds, a User-Agent that names the tool, waits
as long as the server asks. Imported by what downloads; not run.

Rules: https://info.arxiv.org/help/api/tou.html and https://info.arxiv.org/help/robots.html.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from common.errors import UserError
from common.files import sync_folder, write_error

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

USER_AGENT = "arxiv-to-model/1.0 (data_prep/download.py; builds a language-model corpus)"
ARXIV_SECONDS = 3.0
PART = ".part"
# What the next attempt and the caller need to know of the answer that PART is of.
KEPT_HEADERS = ("ETag", "Content-Disposition")
# Failures in a row after which a request is given up, first pause after one, and the longest; in seconds.
ATTEMPTS = 8
FIRST_PAUSE = 3.0
LONGEST_PAUSE = 120.0
# A server that asks for more is left alone: the user runs the command again.
LONGEST_RETRY_AFTER = 3600.0
# Of one connection attempt, and of silence while reading.
TIMEOUT = (30, 120)
AGAIN = frozenset({429, 500, 502, 503, 504})
NOTHING_LEFT = 416  # "Range Not Satisfiable"
CHUNK = 1 << 18


class HttpFailure(Exception):
    """The server's answer was final and not the thing asked for; `status` is its HTTP status."""

    def __init__(self, url: str, status: int, what: str) -> None:
        super().__init__(f"{url}: HTTP status {status} {what}".rstrip())
        self.status = status


class HttpClient:
    """Requests one after the other, at least `seconds_between` from start to start.

    Raises (every method):
        UserError: the server cannot be reached, fails again and again, or asks for a wait of more than an hour.
        HttpFailure: it refuses (a status of 400 or more other than 429 and the passing ones of 500 and more).
    """

    def __init__(
        self,
        seconds_between: float = ARXIV_SECONDS,
        contact: str | None = None,
        first_pause: float = FIRST_PAUSE,
        say: Callable[[str], Any] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        import requests

        self.session = requests.Session()
        self.session.headers["User-Agent"] = USER_AGENT + (f"; mailto:{contact}" if contact else "")
        self.seconds_between = seconds_between
        self.first_pause = first_pause
        self.say = say
        self.last = float("-inf")
        self.failures = 0  # in a row, of the request under way

    def get(self, url: str, params: Mapping[str, str] | None = None) -> bytes:
        """The body, whole."""

        def once() -> bytes:
            with self._open(url, params=params) as response:
                return response.content

        return self._persist(url, once)

    def download(self, url: str, path: Path, on_bytes: Callable[[int], Any] = lambda size: None) -> Mapping[str, str]:
        """Write the body to `path`, as the server has it (no decoding), and return the headers of the answer.

        Until it is complete it is `path` + ".part". A connection that drops is taken up again where it broke, in this
        run or a later one, if the server says (by ETag) that it still has the same file; else from the beginning.
        `on_bytes` gets the bytes of each piece, negative ones where a beginning is thrown away. Headers are those of
        KEPT_HEADERS that the answer had.
        """
        part, headers_file = path.with_name(path.name + PART), path.with_name(path.name + PART + ".headers")
        counted = furthest = 0

        def once() -> Mapping[str, str]:
            nonlocal counted, furthest
            kept = read_headers(headers_file)
            have = part.stat().st_size if part.exists() and "ETag" in kept else 0
            asked = {"Range": f"bytes={have}-", "If-Range": kept["ETag"]} if have else {}
            with self._open(url, headers=asked) as response:
                served = response.headers.get("Content-Range", "")
                if response.status_code == NOTHING_LEFT and served == f"bytes */{have}":  # only the rename was missing
                    on_bytes(have - counted)
                    return kept
                if response.status_code == 206 and not served.startswith(f"bytes {have}-"):
                    headers_file.unlink(missing_ok=True)  # the next attempt asks for all of it
                    raise _Passing(f"asked for the bytes from {have:,} on, it gives '{served}'", 0)
                if response.status_code == NOTHING_LEFT:
                    headers_file.unlink(missing_ok=True)
                    raise _Passing("the file has changed", 0)
                if response.status_code != 206:
                    have = 0
                with open(part, "ab" if have else "wb") as file:  # emptied before it is said to be another answer's
                    kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
                    if kept.get("ETag", "").startswith("W/"):  # promises no equal bytes
                        del kept["ETag"]
                    headers_file.write_text(json.dumps(kept))
                    on_bytes(have - counted)
                    counted = have
                    for chunk in response.raw.stream(CHUNK, decode_content=False):
                        file.write(chunk)
                        counted += len(chunk)
                        on_bytes(len(chunk))
                        if counted > furthest:  # a file that begins anew each time and never ends is given up
                            furthest, self.failures = counted, 0
                    file.flush()
                    os.fsync(file.fileno())
                total = served.rpartition("/")[2]
                if response.status_code == 206 and total.isdigit() and counted < int(total):
                    raise _Passing(f"it gave {counted:,} of {int(total):,} bytes", 0)
                return kept

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            headers = self._persist(url, once)
            os.replace(part, path)
            sync_folder(path.parent)
            headers_file.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
        return headers

    @contextlib.contextmanager
    def _open(self, url: str, **arguments: Any) -> Iterator[requests.Response]:
        time.sleep(max(0.0, self.last + self.seconds_between - time.monotonic()))
        self.last = time.monotonic()
        with self.session.get(url, stream=True, timeout=TIMEOUT, **arguments) as response:
            if response.status_code in AGAIN:
                raise _Passing(f"HTTP status {response.status_code}", retry_after(response.headers.get("Retry-After")))
            if response.status_code >= 400 and response.status_code != NOTHING_LEFT:
                raise HttpFailure(url, response.status_code, response.reason or "")
            yield response

    def _persist(self, url: str, once: Callable[[], T]) -> T:
        """What `once` returns when it succeeds; after failures that may pass it is called again.

        Pauses double, and end after ATTEMPTS failures in a row; `once` may begin the count anew when it got on.
        """
        import requests
        import urllib3

        self.failures = 0
        while True:
            try:
                return once()
            except _Passing as error:
                self._pause(url, str(error), error.wait)
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                self._pause(url, f"the connection failed ({error!r:.160})", None)
            except urllib3.exceptions.HTTPError as error:  # while the body is read
                self._pause(url, f"the connection broke off ({error!r:.160})", None)
            except (requests.RequestException, ValueError) as error:  # no such scheme, a redirect without end or sense
                raise UserError(f"{url}: {error}") from error

    def _pause(self, url: str, what: str, asked: float | None) -> None:
        self.failures += 1
        host = urlsplit(url).netloc
        if self.failures >= ATTEMPTS:
            raise UserError(
                f"{url}: {what}, {self.failures} times in a row; see whether {host} can be reached, then run the "
                "same command again: it goes on where it stopped"
            )
        if asked is not None and asked > LONGEST_RETRY_AFTER:
            raise UserError(
                f"{url}: {what}; {host} asks to come back in {asked / 3600:,.1f} hours. Run the same command again "
                "then: it goes on where it stopped"
            )
        pause = min(self.first_pause * 2 ** (self.failures - 1), LONGEST_PAUSE) if asked is None else max(asked, 0.0)
        as_asked = "" if asked is None else ", as it asks"
        self.say(f"{host}: {what}; waiting {pause:,.0f} s{as_asked} (try {self.failures} of {ATTEMPTS})")
        time.sleep(pause)


def read_headers(path: Path) -> dict[str, str]:
    """What `HttpClient.download` keeps of an answer beside the part; nothing where a kill left it incomplete."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class _Passing(Exception):
    """A failure that the server calls passing, with the seconds that it asks to wait for, if it does."""

    def __init__(self, what: str, wait: float | None) -> None:
        super().__init__(what)
        self.wait = wait


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return (date.replace(tzinfo=date.tzinfo or timezone.utc) - datetime.now(timezone.utc)).total_seconds()
