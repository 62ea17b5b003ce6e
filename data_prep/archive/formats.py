"""Read one arXiv archive in memory: what it is, its TeX files decoded, or the reason why it cannot be used.

Nothing is ever written to disk. Formats: a tar or a TeX file, bare, gzip'd or in Unix compress (.Z), and a zip
of TeX files; members may be packed by themselves (paper.tex.Z). PDF, PostScript, HTML and office documents are
recognised and refused, so are arXiv's stubs for withdrawn papers.

A truncated or corrupt stream costs the paper: half a paper is worse than none.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
import zipfile
import zlib
from typing import Any

from common.settings.data import DataSettings
from data_prep.archive import unix_compress
from data_prep.archive.decoding import decode_all
from data_prep.archive.members import SNIFF, TEX_MARK, Archive, Members, is_binary, looks_like_tex, refuse_stub
from data_prep.archive.streams import CHUNK, Inflated, is_tar, uncompress
from data_prep.screening.reasons import Rejected


def read_archive(data: bytes, name: str, settings: DataSettings) -> Archive:
    """The TeX-like members of an archive, decoded.

    Args:
        data: the archive's bytes, as arXiv ships them.
        name: its file name; used for messages and for the path of a single file.
        settings: limits `max_archive_bytes` (decompressed, in all), `max_file_bytes` (one TeX file), `max_members`.

    Raises:
        Rejected: with a reason of `reasons.REASONS`.
    """
    if not data:
        raise Rejected("empty_archive", "zero bytes")
    if data[:2] == unix_compress.MAGIC:
        data = uncompress(data, settings.max_archive_bytes, "data.max_archive_bytes")
    if data[:2] == b"\x1f\x8b":
        source: io.BufferedReader = io.BufferedReader(Inflated(data, settings.max_archive_bytes), CHUNK)
    else:
        if len(data) > settings.max_archive_bytes:
            raise Rejected(
                "archive_too_large", f"{len(data)} bytes > data.max_archive_bytes {settings.max_archive_bytes}"
            )
        source = io.BufferedReader(io.BytesIO(data), SNIFF)
    head = source.peek(512)[:512]
    if len(head) < 512:  # peek may answer less than there is
        source = io.BufferedReader(io.BytesIO(source.read()), SNIFF)
        head = source.peek(512)[:512]
    if not head:
        raise Rejected("empty_archive", "a gzip of zero bytes")
    if is_tar(head):
        return _read_tar(source, settings)
    if head[:4] == b"PK\x03\x04":
        return _read_zip(source.read(), settings)
    return _read_single(source, head, name, settings)


_EXTENDED_HEADER = 1 << 20  # bytes; what tarfile reads whole before it tells of the member
_EXTENDED = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}


class _Header(tarfile.TarInfo):
    """A tar header that is refused before tarfile reads or skips what it declares."""

    limit = 0

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: Any, errors: str) -> Any:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENDED and header.size > _EXTENDED_HEADER:
            raise Rejected("broken_archive", f"an extended header of {header.size} bytes")
        if header.size > cls.limit:
            raise Rejected("archive_too_large", f"{header.name} declares {header.size} bytes > {cls.limit}")
        return header


def _read_tar(source: io.BufferedReader, settings: DataSettings) -> Archive:
    members = Members(settings)
    header = type("_LimitedHeader", (_Header,), {"limit": settings.max_archive_bytes})
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK, tarinfo=header) as tar:
            for member in tar:
                if member.isdir():
                    members.count += 1
                    continue
                regular = member.isreg() and not member.issparse()
                path = members.path_of(member.name, member.size, regular)
                if path is None:
                    continue
                stream = tar.extractfile(member)
                content = stream.read() if stream else b""
                if len(content) < member.size:
                    raise Rejected("broken_archive", f"tar ends inside {path}")
                members.add(path, content)
            # What follows the tar's end mark is padding, but a gzip stream that breaks there is broken all the same.
            while source.read(CHUNK):
                pass
    except (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError) as error:
        raise Rejected("broken_archive", f"corrupt tar after {members.count} members: {error}") from None
    return members.finished()


def _read_zip(data: bytes, settings: DataSettings) -> Archive:
    """A zip of TeX files, as some papers came; an office document is a zip too."""
    members = Members(settings)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            entries = zipped.infolist()
            if any(entry.filename.startswith(("word/", "ppt/", "xl/", "content.xml")) for entry in entries):
                raise Rejected("docx_only", f"a zip of {len(entries)} members of an office document")
            for entry in entries:
                if entry.is_dir():
                    members.count += 1
                    continue
                path = members.path_of(entry.filename, entry.file_size, True)
                if path is None:
                    continue
                with zipped.open(entry) as stream:  # never more than was declared, and checked against it
                    members.add(path, stream.read(settings.max_file_bytes))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise Rejected("broken_archive", f"corrupt zip after {members.count} members: {error}") from None
    return members.finished()


def _read_single(source: io.BufferedReader, head: bytes, name: str, settings: DataSettings) -> Archive:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n\0")
    lowered = start[:200].lower()
    for marks, reason in _FORMATS:
        if lowered.startswith(marks):
            if reason == "postscript_only" and TEX_MARK.search(head):
                break  # `%!PS` has been seen at the top of TeX files; `%!TEX` is no PostScript at all
            raise Rejected(reason, f"begins with {start[:12]!r}")
    content = source.read(settings.max_file_bytes + 1)
    if len(content) > settings.max_file_bytes:
        raise Rejected("archive_too_large", f"one file of more than data.max_file_bytes {settings.max_file_bytes}")
    while source.read(CHUNK):  # a gzip stream says at its end whether it is whole
        pass
    refuse_stub(content)
    if not content.strip(b"\0 \t\r\n"):
        raise Rejected("empty_archive", "a file of blanks")
    if not looks_like_tex(content):
        raise Rejected("broken_archive" if is_binary(content) else "no_tex", f"begins with {content[:12]!r}")
    path = _single_path(name)
    archive = Archive("single_tex")
    archive.files = decode_all({path: content}, archive.counters)
    return archive


_FORMATS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"%pdf",), "pdf_only"),
    ((b"%!ps", b"\x04%!ps", b"\xc5\xd0\xd3\xc6"), "postscript_only"),
    ((b"<!doctype html", b"<html", b"<?xml"), "html_only"),
    ((b"\xd0\xcf\x11\xe0",), "docx_only"),
)


def _single_path(name: str) -> str:
    stem = posixpath.basename(name.replace("\\", "/"))
    for suffix in (".gz", ".tar", ".tgz", ".tex"):
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    return (stem or "paper") + ".tex"
