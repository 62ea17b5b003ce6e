"""The folder of bulk tars: which of them are there and right. Imported by `bulk_tars.py`.

A tar is right when its size and md5 are the manifest's. The manifest can be older than the bucket, so what the bucket
is known to have counts as right too, as long as the manifest lists the same for that tar (`Finding`).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError
from common.files import write_bytes, write_json
from data_prep.fetch.http_client import PART

CHUNK = 1 << 20
# What has been checked, in the format of `md5sum -c`, beside the tars.
CHECKED = "MD5SUMS"
# What was found in the bucket and the manifest does not tell, beside the tars while there is such a thing.
FINDINGS = "bucket_findings.json"


class Content(NamedTuple):
    """What a file holds: bytes, and their md5 in hexadecimal."""

    size: int
    md5: str


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

    @property
    def listed(self) -> Content:
        return Content(self.size, self.md5)


@dataclass(slots=True)
class Finding:
    """Whole downloads of a tar that were not what the manifest listed, and the one that is kept although (if any)."""

    listed: Content
    seen: list[Content] = field(default_factory=list)
    kept: Content | None = None


class PartOf(NamedTuple):
    """The object of the bucket that an unfinished download is a part of."""

    etag: str
    size: int


class Folder:
    """The tars of one folder, their checksums, their unfinished downloads and what was found in the bucket.

    Every change of what it knows is on disk when a method returns. Threads may share it.

    Raises:
        UserError: `bucket_findings.json` is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.checked: dict[str, str] = {}
        listing = self.path / CHECKED
        if listing.exists():
            for line in listing.read_text(errors="replace").splitlines():
                md5, _, name = line.partition("  ")
                self.checked[name] = md5
        self.findings, self.parts = _read_findings(self.path / FINDINGS)

    def part(self, tar: Tar) -> Path:
        """Where the tar grows."""
        return self.path / (tar.name + PART)

    def complete(self, tar: Tar) -> bool:
        """Whether the tar is there, whole and right (read again where nobody noted it)."""
        path = self.path / tar.name
        if not path.is_file():
            return False
        size = path.stat().st_size
        right = {content.md5 for content in (tar.listed, self.kept(tar)) if content and content.size == size}
        if not right:
            return False
        if self.checked.get(tar.name) not in right:  # put there by another tool, or killed before it was noted
            digest = hashlib.md5(usedforsecurity=False)
            hash_file(path, digest)
            if digest.hexdigest() not in right:
                return False
            self.note(tar, digest.hexdigest())
        if Content(size, self.checked[tar.name]) == tar.listed:
            self.forget(tar)
        return True

    def bytes_left(self, tar: Tar) -> int:
        """Bytes still to come, as far as is known before the bucket is asked."""
        size = self.expected_size(tar)
        part = self.part(tar)
        have = part.stat().st_size if part.exists() else 0
        return size - have if have <= size else size

    def expected_size(self, tar: Tar) -> int:
        """Bytes of the object that the part is of; else of what the bucket has, by what was found or is listed."""
        if tar.name in self.parts:
            return self.parts[tar.name].size
        return (self.kept(tar) or tar.listed).size

    def note(self, tar: Tar, md5: str) -> None:
        """The tar is there under its name, with this checksum."""
        with self.lock:
            self.checked[tar.name] = md5
            lines = "".join(f"{md5}  {name}\n" for name, md5 in sorted(self.checked.items()))
            write_bytes(self.path / CHECKED, lines.encode())

    def kept(self, tar: Tar) -> Content | None:
        """What the bucket is known to have, unlike the manifest, which lists the same as when that was found."""
        finding = self.findings.get(tar.name)
        return finding.kept if finding and finding.listed == tar.listed else None

    def all_kept(self, complete: Iterable[Tar]) -> list[str]:
        """Names of those tars, of the ones that are `complete`, that are kept although the manifest lists others."""
        return [tar.name for tar in complete if self.kept(tar)]

    def why_right(self, tar: Tar, content: Content) -> str | None:
        """Why this content is right, by what is known here: "" where it is listed, None where nothing tells."""
        if content == tar.listed:
            return ""
        if content.md5 == tar.md5:
            return "the md5 is right, the size is not"
        if content == self.kept(tar):
            return "as was found before"
        return None

    def seen(self, tar: Tar) -> list[Content]:
        """Whole downloads of earlier, by this or another run, that were not what the manifest listed."""
        finding = self.findings.get(tar.name)
        return list(finding.seen) if finding else []

    def note_seen(self, tar: Tar, content: Content, keep: bool) -> None:
        """A whole download was not what the manifest lists; `keep`: the bucket is known to have just that."""
        with self.lock:
            kept = content if keep else self.kept(tar)
            seen = dict.fromkeys([*self.seen(tar), content])
            self.findings[tar.name] = Finding(tar.listed, list(seen), kept)
            self._write_findings()

    def note_part(self, tar: Tar, part: PartOf | None) -> None:
        """The unfinished download is a part of this object (None: there is none, or it is not known of which)."""
        with self.lock:
            if self.parts.get(tar.name) == part:
                return
            self.parts.pop(tar.name, None)
            if part:
                self.parts[tar.name] = part
            self._write_findings()

    def forget(self, tar: Tar) -> None:
        """The manifest is right about this tar: what was found counts no more."""
        with self.lock:
            if self.findings.pop(tar.name, None):
                self._write_findings()

    def _write_findings(self) -> None:
        path = self.path / FINDINGS
        if not self.findings and not self.parts:
            path.unlink(missing_ok=True)
            return
        findings = {name: asdict(finding) for name, finding in sorted(self.findings.items())}
        write_json(path, {"tars": findings, "parts": dict(sorted(self.parts.items()))})


def _read_findings(path: Path) -> tuple[dict[str, Finding], dict[str, PartOf]]:
    try:
        found = json.loads(path.read_bytes())
        findings = {
            name: Finding(_content(entry["listed"]), [*map(_content, entry["seen"])], _kept(entry["kept"]))
            for name, entry in found["tars"].items()
        }
        return findings, {name: PartOf(str(etag), int(size)) for name, (etag, size) in found["parts"].items()}
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({error!r}); remove it, then run again: tars of which the manifest lists another size or "
            "md5 are then fetched once more"
        ) from None


def _content(entry: Any) -> Content:
    size, md5 = entry
    return Content(int(size), str(md5))


def _kept(entry: Any) -> Content | None:
    return None if entry is None else _content(entry)


def hash_file(path: Path, digest: Any) -> int:
    """Feed a file to `digest`; its bytes."""
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size
