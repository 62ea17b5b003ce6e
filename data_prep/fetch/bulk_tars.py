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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from common.errors import UserError
from common.files import sync_folder, write_bytes, write_error
from data_prep.fetch.http_client import NOTHING_LEFT
from data_prep.fetch.tar_folder import CHUNK, Content, Folder, PartOf, Tar, hash_file
from data_prep.papers.ids import full_month

BUCKET, REGION = "arxiv", "us-east-1"
MANIFEST = "src/arXiv_src_manifest.xml"
# Amazon's price of a GB out of that region to the internet (first 10 TB a month), in US dollars; within it, nothing.
PRICE_PER_GB = 0.09
GB = 1e9
# Failures in a row, without a byte between, after which a tar is given up; downloads of one tar with wrong checksum.
ATTEMPTS = 8
CORRUPT_ATTEMPTS = 2
# Beginnings of one tar that a run throws away because the bucket has another object by then; each is paid for.
MOST_BEGUN_ANEW = 2
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
# Of one connection attempt, and of silence while reading: also how long an interrupted download takes to end at most.
TIMEOUT = 20
CHANGED = 412  # "Precondition Failed": the object has another ETag by now
# A tar may have this many times the bytes that the manifest lists: what it costs was asked for by the manifest.
MOST_TIMES_LISTED = 2


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
        self.failures = 0  # in a row
        self.begun_anew = 0  # in all

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

    A tar grows as NAME.part and gets its name when its size and md5 are the manifest's, or it is known to be what the
    bucket has (`_download`). A part of a killed run is continued, if the bucket still has the object that it is of.
    `on_bytes` gets the bytes that came, negative ones for those thrown away; `say` a line for each failure
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
    """Download one tar; what is wrong with it, if something is.

    The manifest can be older than the tar. A download that it does not list is kept all the same where the bucket is
    known to have just that: its ETag is the md5 of the download, or two downloads, of whichever runs, are equal.
    """
    path, part, patience = folder.path / tar.name, folder.part(tar), Patience(tar.name, say, stop)
    told: list[str] = []
    try:
        for _ in range(CORRUPT_ATTEMPTS):
            filling = _Filling(tar, folder, on_bytes)
            problem = filling.fill(client, patience)
            if problem:
                return problem
            content = filling.content()
            sure = _why_right(tar, content, filling.etag, folder)
            if sure is None:
                # Deleted first: a part that is there was never noted, so that it counts once.
                on_bytes(-content.size)
                part.unlink()
                sync_folder(folder.path)
                folder.note_part(tar, None)
                told.append(content.md5)
                if not _damaged(tar, content, filling.etag):
                    folder.note_seen(tar, content, keep=False)
                continue
            if sure:  # noted first: a kill before the rename costs no other download
                folder.note_seen(tar, content, keep=True)
                say(
                    f"{tar.name}: kept as the bucket has it, {content.size:,} bytes with md5 {content.md5} ({sure}); "
                    f"the manifest lists {tar.size:,} bytes with md5 {tar.md5}, so it is older than the file"
                )
            else:
                folder.forget(tar)
            os.replace(part, path)
            sync_folder(folder.path)
            folder.note(tar, content.md5)
            folder.note_part(tar, None)
            return None
    except Stopped:
        return None
    except OSError as error:
        raise write_error(part, error) from error
    what = (
        "and so does the bucket, so it was damaged on the way (network, proxy, memory); run the same command again"
        if filling.etag == tar.md5
        else "damaged on the way, or replaced in the bucket meanwhile; run the same command again: what comes twice "
        "the same is kept"
    )
    return f"{tar.name}: md5 is {' and then '.join(told)}, the manifest says {tar.md5}: {what}"


def _why_right(tar: Tar, content: Content, etag: str, folder: Folder) -> str | None:
    """`Folder.why_right`, or what the bucket says of a whole download; `etag` is of an answer of this run."""
    if (known := folder.why_right(tar, content)) is not None:
        return known
    if content.md5 == etag:
        return "the bucket's ETag says so"
    if content in folder.seen(tar) and not _damaged(tar, content, etag):
        return "two downloads are equal"
    return None


def _damaged(tar: Tar, content: Content, etag: str) -> bool:
    """Whether bucket and manifest agree on another md5. An ETag that is none (of an upload in pieces) tells nothing."""
    return etag == tar.md5 != content.md5


class _Filling:
    """A tar that grows as NAME.part: its bytes so far, and the object of the bucket that they are of."""

    def __init__(self, tar: Tar, folder: Folder, on_bytes: Callable[[int], Any]) -> None:
        self.tar, self.folder, self.on_bytes = tar, folder, on_bytes
        self.path = folder.part(tar)
        self.size = folder.expected_size(tar)
        if self.path.exists() and self.path.stat().st_size > self.size:
            self.path.unlink()
        if not self.path.exists():
            folder.note_part(tar, None)
        # As S3 gives it, without quotation marks: the md5, or for an upload in pieces something else. "": not known.
        self.etag = folder.parts[tar.name].etag if tar.name in folder.parts else ""
        self._read()
        if 0 < self.have == self.size and folder.why_right(tar, self.content()) is None:
            # Nothing is to come, so no answer would tell whether the bucket still has that object: its last byte is
            # asked for again. Without an ETag no answer can tell.
            given_up = 1 if self.etag else self.have
            os.truncate(self.path, self.have - given_up)
            on_bytes(-given_up)
            self._read()

    def _read(self) -> None:
        self.digest = hashlib.md5(usedforsecurity=False)
        self.have = hash_file(self.path, self.digest) if self.path.exists() else 0

    def content(self) -> Content:
        return Content(self.have, self.digest.hexdigest())

    def fill(self, client: Any, patience: Patience) -> str | None:
        """Bring the part to the size that the bucket's object has; what is wrong with this tar, if something is."""
        from botocore.exceptions import BotoCoreError, ClientError

        with open(self.path, "ab") as file:
            while self.have < self.size:
                if patience.stop.is_set():
                    raise Stopped
                before, replaced = self.have, False
                failure: object = "the answer ended early"
                try:
                    answer = client.get_object(
                        Bucket=BUCKET,
                        Key=self.tar.key,
                        RequestPayer="requester",
                        Range=f"bytes={self.have}-",
                        **({"IfMatch": f'"{self.etag}"'} if self.etag and self.have else {}),
                    )
                    with closing(answer["Body"]) as body:
                        total, problem = _total(answer, self.have, self.tar)
                        if problem:
                            return problem
                        replaced = self._is_of_another(answer, total)
                        if not replaced:
                            self._note_object(answer, total)
                            for chunk in body.iter_chunks(CHUNK):
                                if patience.stop.is_set():
                                    raise Stopped
                                self._add(file, chunk)
                except (ClientError, BotoCoreError) as error:
                    status = (
                        error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0
                    )
                    if self.have and status in (CHANGED, NOTHING_LEFT):
                        replaced = True
                    elif status in (404, NOTHING_LEFT):
                        return f"{self.tar.name}: the bucket does not have what the manifest lists: {error}"
                    elif not may_pass(error):
                        raise s3_error(self.tar.key, error) from error
                    else:
                        failure = error
                if replaced:
                    if patience.begun_anew == MOST_BEGUN_ANEW:
                        return (
                            f"{self.tar.name}: begun anew {MOST_BEGUN_ANEW} times, and the server has another object "
                            "once more (by its ETag or size); each beginning is paid for, so run again later"
                        )
                    patience.begun_anew += 1
                    failure = self._begin_anew(file)
                elif self.have > before:
                    patience.failures = 0
                if self.have < self.size and not patience.wait(failure):
                    return f"{self.tar.name}: given up after {patience.failures} failures in a row, the last: {failure}"
            file.flush()
            os.fsync(file.fileno())
        return None

    def _add(self, file: BinaryIO, chunk: bytes) -> None:
        file.write(chunk)
        self.digest.update(chunk)
        self.have += len(chunk)
        self.on_bytes(len(chunk))

    def _is_of_another(self, answer: Mapping[str, Any], total: int) -> bool:
        """Whether the bytes that are here are of another object than this answer."""
        return bool(self.have) and (total != self.size or self.etag not in ("", _etag(answer)))

    def _begin_anew(self, file: BinaryIO) -> str:
        """Throw away what is here; what to tell."""
        self.on_bytes(-self.have)
        file.truncate(0)
        os.fsync(file.fileno())
        self.folder.note_part(self.tar, None)
        self.digest, self.have, self.etag = hashlib.md5(usedforsecurity=False), 0, ""
        self.size = self.tar.size
        return "it has been replaced in the bucket since its first bytes came; begun anew"

    def _note_object(self, answer: Mapping[str, Any], total: int) -> None:
        self.etag, self.size = _etag(answer), total
        self.folder.note_part(self.tar, PartOf(self.etag, total) if self.etag else None)


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _total(answer: Mapping[str, Any], have: int, tar: Tar) -> tuple[int, str | None]:
    """The size of the object that an answer is a part of, or why the answer cannot be used."""
    span, _, total = answer.get("ContentRange", "").rpartition("/")
    if not total:
        return 0, f"{tar.name}: the server does not serve parts of it, the manifest says {tar.size} bytes; try later"
    if not total.isdecimal() or not span.startswith(f"bytes {have}-"):
        return 0, f"{tar.name}: it gives '{span}/{total}' of it, the manifest says {tar.size} bytes; try again later"
    if int(total) > MOST_TIMES_LISTED * tar.size:
        return 0, (
            f"{tar.name}: the bucket has {int(total):,} bytes, the manifest says {tar.size:,}: more than "
            f"{MOST_TIMES_LISTED} times what was asked for, so it is not fetched; run again when the manifest is newer"
        )
    return int(total), None


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
