"""arXiv's bulk sources: its requester-pays S3 bucket, by the manifest that lies in it. Imported by `download.py`.

The bucket holds `src/arXiv_src_manifest.xml` and tars of about 500 MB, `src/arXiv_src_YYMM_NNN.tar`; whoever downloads
pays Amazon for the transfer. Format and rules: https://info.arxiv.org/help/bulk_data_s3.html.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from common.errors import UserError
from common.files import sync_folder, write_bytes, write_error
from data_prep.fetch.http_client import PART
from data_prep.papers.ids import full_month

BUCKET, REGION = "arxiv", "us-east-1"
MANIFEST = "src/arXiv_src_manifest.xml"
# Amazon's price of a GB out of that region to the internet (first 10 TB a month), in US dollars; within it, nothing.
PRICE_PER_GB = 0.09
GB = 1e9
# Failures in a row, without a byte between, after which a tar is given up; downloads of one tar with wrong checksum.
ATTEMPTS = 8
CORRUPT_ATTEMPTS = 2
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
# Of one connection attempt, and of silence while reading: also how long an interrupted download takes to end at most.
TIMEOUT = 20
CHUNK = 1 << 20
# What has been checked, in the format of `md5sum -c`, beside the tars.
CHECKED = "MD5SUMS"


@dataclass(frozen=True, slots=True)
class Tar:
    """One line of the manifest: `month` is "YYYYMM", `size` is in bytes."""

    key: str
    month: str
    size: int
    md5: str
    items: int

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


class Stopped(Exception):
    """Another tar's failure, or the user, has ended the download."""


def connect(parallel: int) -> Any:
    """An S3 client with the credentials and the endpoint that boto3 finds (environment, ~/.aws).

    Raises:
        UserError: what it finds cannot be used.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    # The manifest's md5 is the check; boto3's own would see a tar continued from its middle as damaged. Failures are
    # told and waited out here, where a user can stop it.
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=TIMEOUT,
        read_timeout=TIMEOUT,
        max_pool_connections=parallel + 1,
        response_checksum_validation="when_required",
    )
    try:
        return boto3.Session().client("s3", region_name=REGION, config=config)
    except (BotoCoreError, ValueError) as error:  # no such profile, a damaged ~/.aws/config, an endpoint that is no URL
        raise UserError(f"the AWS set-up (~/.aws, AWS_* in the environment) cannot be used: {error}") from None


def fetch_manifest(client: Any, folder: Path, say: Callable[[str], Any]) -> list[Tar]:
    """The manifest, a copy of which is left in `folder`; `say` gets a line for each failure that may pass.

    Raises:
        UserError: no credentials, no access, no connection, or not a manifest.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    patience = Patience(MANIFEST, say)
    while True:
        try:
            with closing(client.get_object(Bucket=BUCKET, Key=MANIFEST, RequestPayer="requester")["Body"]) as body:
                data = body.read()
            break
        except (BotoCoreError, ClientError) as error:
            if not may_pass(error) or not patience.wait(error):
                raise s3_error(MANIFEST, error) from error
    tars = parse_manifest(data)
    write_bytes(folder / "arXiv_src_manifest.xml", data)
    return tars


def parse_manifest(data: bytes) -> list[Tar]:
    """The tars that a manifest lists, by month and key.

    Raises:
        UserError: not XML, or an entry without name, size, checksum or month.
    """
    where = f"s3://{BUCKET}/{MANIFEST}"
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise UserError(f"{where}: not XML: {error}; run again, it may have been cut short") from None
    tars: dict[str, Tar] = {}  # by key: of entries that say it twice, the last holds
    for number, entry in enumerate(root.iter("file"), 1):
        found = {child.tag: (child.text or "").strip() for child in entry}
        try:
            key, month, md5 = found["filename"], found["yymm"], found["md5sum"].lower()
            if not (re.fullmatch(r"src/[\w.-]+\.tar", key) and re.fullmatch(r"\d{4}", month)):
                raise ValueError(f"filename {key!r}, yymm {month!r}")
            if not re.fullmatch(r"[0-9a-f]{32}", md5):
                raise ValueError(f"md5sum {md5!r}")
            size = int(found["size"])
            if size <= 0:
                raise ValueError(f"size {size}")
            tars[key] = Tar(key, full_month(month), size, md5, int(found.get("num_items") or 0))
        except (KeyError, ValueError) as error:
            raise UserError(f"{where}: entry {number} is not a tar's: {error}") from None
    if not tars:
        raise UserError(f"{where}: lists no file; it begins with {data[:60]!r}")
    return sorted(tars.values(), key=lambda tar: (tar.month, tar.key))


def s3_error(key: str, error: Exception) -> UserError:
    """What a failed request means, and what to do."""
    where = f"s3://{BUCKET}/{key}"
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return UserError(
            f"{where}: no AWS credentials ({error}). The bucket is paid by whoever downloads: make an AWS account and "
            "an access key, then run `aws configure` or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if code in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
        return UserError(
            f"{where}: Amazon refuses the credentials ({code}): the key must belong to an account that may read "
            "requester-pays buckets (permission s3:GetObject) and pays for it"
        )
    return UserError(f"{where}: {error}; run the same command again: it goes on where it stopped")


def may_pass(error: Exception) -> bool:
    """Whether a failed request is worth another: dropped, silent for too long, or turned away by a busy server."""
    from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
    from botocore.exceptions import ConnectionError as NoConnection

    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status >= 500 or status == 429
    return isinstance(error, (HTTPClientError, IncompleteReadError, NoConnection))


class Patience:
    """Waits after failures in a row, longer each time, and says so; `stop` ends a wait."""

    def __init__(self, name: str, say: Callable[[str], Any], stop: threading.Event | None = None) -> None:
        self.name, self.say, self.stop = name, say, stop or threading.Event()
        self.failures = 0

    def wait(self, what: object) -> bool:
        """False where it was one failure too many.

        Raises:
            Stopped: meanwhile.
        """
        self.failures += 1
        if self.failures >= ATTEMPTS:
            return False
        pause = min(FIRST_PAUSE * 2 ** (self.failures - 1), LONGEST_PAUSE)
        self.say(f"{self.name}: {what}; waiting {pause:,.0f} s (try {self.failures} of {ATTEMPTS})")
        if self.stop.wait(pause):
            raise Stopped
        return True


@dataclass
class Folder:
    """The folder of tars, and the checksums of those that are there and are right."""

    path: Path

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.checked: dict[str, str] = {}
        listing = self.path / CHECKED
        if listing.exists():
            for line in listing.read_text(errors="replace").splitlines():
                md5, _, name = line.partition("  ")
                self.checked[name] = md5

    def complete(self, tar: Tar) -> bool:
        """Whether the tar is there, whole, and the one that the manifest means (read again where nobody noted it)."""
        path = self.path / tar.name
        if not path.is_file() or path.stat().st_size != tar.size:
            return False
        if self.checked.get(tar.name) != tar.md5:  # put there by another tool, or killed before it was noted
            digest = hashlib.md5(usedforsecurity=False)
            hash_file(path, digest)
            if digest.hexdigest() != tar.md5:
                return False
            self.note(tar)
        return True

    def bytes_left(self, tar: Tar) -> int:
        part = self.path / (tar.name + PART)
        have = part.stat().st_size if part.exists() else 0
        return tar.size - have if have <= tar.size else tar.size

    def note(self, tar: Tar) -> None:
        with self.lock:
            self.checked[tar.name] = tar.md5
            lines = "".join(f"{md5}  {name}\n" for name, md5 in sorted(self.checked.items()))
            write_bytes(self.path / CHECKED, lines.encode())


def check_space(folder: Path, need: int) -> None:
    """Raises UserError where fewer than `need` bytes are free."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: {need / GB:,.2f} GB are still to come and {free / GB:,.2f} GB are free on that disk; choose "
            "fewer months (--months), free some space, or name another folder with --out"
        )


def download_tars(
    client: Any,
    tars: Sequence[Tar],
    folder: Folder,
    parallel: int,
    on_bytes: Callable[[int], Any],
    say: Callable[[str], Any],
) -> list[str]:
    """Download each tar to `folder`, `parallel` at a time; returns what went wrong with single ones.

    A tar grows as NAME.part and gets its name when its size and md5 are the manifest's. A part of a killed run is
    continued. `on_bytes` gets the bytes that came, negative ones for those thrown away; `say` a line for each failure
    that may pass.

    Raises:
        UserError: a failure that concerns all: no space, no credentials.
    """
    stop = threading.Event()
    problems: list[str] = []
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="s3")
    try:
        for future in as_completed([pool.submit(_download, client, tar, folder, on_bytes, say, stop) for tar in tars]):
            problem = future.result()
            if problem:
                problems.append(problem)
    except KeyboardInterrupt:
        say(f"stopping; connections under way end within {TIMEOUT} s")
        raise
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return problems


def _download(
    client: Any,
    tar: Tar,
    folder: Folder,
    on_bytes: Callable[[int], Any],
    say: Callable[[str], Any],
    stop: threading.Event,
) -> str | None:
    path = folder.path / tar.name
    part = path.with_name(path.name + PART)
    md5 = ""
    try:
        for _ in range(CORRUPT_ATTEMPTS):
            md5, problem = _fill(client, tar, part, on_bytes, Patience(tar.name, say, stop))
            if problem:
                return problem
            if md5 == tar.md5:
                os.replace(part, path)
                sync_folder(folder.path)
                folder.note(tar)
                return None
            on_bytes(-part.stat().st_size)
            part.unlink()
    except Stopped:
        return None
    except OSError as error:
        raise write_error(part, error) from error
    return (
        f"{tar.name}: md5 is {md5}, the manifest says {tar.md5}, {CORRUPT_ATTEMPTS} times; the manifest may be older "
        "than the file: try again another day"
    )


def _fill(
    client: Any, tar: Tar, part: Path, on_bytes: Callable[[int], Any], patience: Patience
) -> tuple[str, str | None]:
    """Bring `part` to the tar's size; its md5, or what is wrong with this tar."""
    from botocore.exceptions import BotoCoreError, ClientError

    digest = hashlib.md5(usedforsecurity=False)
    if part.exists() and part.stat().st_size > tar.size:
        part.unlink()
    have = hash_file(part, digest) if part.exists() else 0
    with open(part, "ab") as file:
        while have < tar.size:
            if patience.stop.is_set():
                raise Stopped
            before = have
            failure: object = "the answer ended early"
            try:
                answer = client.get_object(
                    Bucket=BUCKET, Key=tar.key, RequestPayer="requester", Range=f"bytes={have}-{tar.size - 1}"
                )
                span, _, total = answer.get("ContentRange", "").rpartition("/")
                if total != str(tar.size) or not span.startswith(f"bytes {have}-"):
                    there = f"it gives '{span}/{total}' of it" if total else "the server does not serve parts of it"
                    return "", f"{tar.name}: {there}, the manifest says {tar.size} bytes; try again later"
                with closing(answer["Body"]) as body:
                    for chunk in body.iter_chunks(CHUNK):
                        if patience.stop.is_set():
                            raise Stopped
                        file.write(chunk)
                        digest.update(chunk)
                        have += len(chunk)
                        on_bytes(len(chunk))
            except (ClientError, BotoCoreError) as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0
                if status in (404, 416):
                    return "", f"{tar.name}: the bucket does not have what the manifest lists: {error}"
                if not may_pass(error):
                    raise s3_error(tar.key, error) from error
                failure = error
            if have > before:
                patience.failures = 0
            if have < tar.size and not patience.wait(failure):
                return "", f"{tar.name}: given up after {patience.failures} failures in a row, the last: {failure}"
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), None


def hash_file(path: Path, digest: Any) -> int:
    """Feed a file to `digest`; its bytes."""
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size


def within(tars: Iterable[Tar], months: tuple[str, str] | None) -> list[Tar]:
    """The tars of these months ("YYYYMM", both ends included; None: all)."""
    return [tar for tar in tars if months is None or months[0] <= tar.month <= months[1]]


def months_table(tars: Sequence[Tar], price: float, most: int = 24) -> str:
    """Tars, papers, GB and cost by month; by year where there are more than `most` months."""
    by_year = len({tar.month for tar in tars}) > most
    groups: dict[str, list[Tar]] = {}
    for tar in tars:
        groups.setdefault(tar.month[:4] if by_year else f"{tar.month[:4]}-{tar.month[4:]}", []).append(tar)
    lines = [f"{'':<9}{'tars':>8}{'papers':>12}{'GB':>12}{'USD':>12}"]
    for name, group in [*sorted(groups.items()), ("in all", list(tars))]:
        size = sum(tar.size for tar in group) / GB
        items = sum(tar.items for tar in group)
        lines.append(f"{name:<9}{len(group):>8,}{items:>12,}{size:>12,.2f}{size * price:>12,.2f}")
    return "\n".join(lines)
