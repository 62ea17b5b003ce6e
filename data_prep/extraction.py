"""Read one arXiv archive in memory: what it is, its TeX files decoded, or the reason why it cannot be used.

    python data_prep/extraction.py ARCHIVE...

lists what each archive holds and what it would be taken for; an arXiv bulk tar (members YYMM/x.gz) lists each of its
papers. Nothing is ever written to disk. Formats: a tar or a TeX file, bare, gzip'd or in Unix compress (.Z), and a zip
of TeX files; members may be packed by themselves (paper.tex.Z). PDF, PostScript, HTML and office documents are
recognised and refused, so are arXiv's stubs for withdrawn papers.

A truncated or corrupt stream costs the paper: half a paper is worse than none. One bad member (outside the archive, a
link or a device, larger than data.max_file_bytes, corrupt by itself) does not: it is skipped and counted. Of two
members of one name the last counts.
"""

from __future__ import annotations

import argparse
import io
import posixpath
import re
import sys
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/extraction.py`
    sys.path.insert(0, str(ROOT))

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.settings.data import DataSettings
from data_prep import unix_compress
from data_prep.decoding import decode_all, utf16_of
from data_prep.reasons import REASONS


class Rejected(Exception):
    """An archive that cannot become text, for one of `reasons.REASONS`; `detail` says what was found."""

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass
class Archive:
    """What one archive holds."""

    kind: str  # one of KINDS
    files: dict[str, str] = field(default_factory=dict)  # path in the archive -> decoded text, LF line ends
    other_members: dict[str, int] = field(default_factory=dict)  # path -> bytes: figures, data, bibliographies
    counters: Counter[str] = field(default_factory=Counter)  # skipped members and decoding, by what happened


KINDS = {
    "multi_file_tar": "a tar of several files",
    "single_file_tar": "a tar of one TeX file",
    "single_tex": "one TeX file",
}

TEX_SUFFIXES = {".tex", ".ltx", ".latex", ".sty", ".cls", ".clo", ".def", ".bbl", ".tikz", ".pgf"}
README_NAMES = {
    "00readme.xxx",
    "00readme.json",
    "00readme.yaml",
    "00readme.yml",
    "00readme.toml",
    "00readme.jsn",
    "00readme",
}
# Never TeX, whatever they begin with; other suffixes are judged by their content.
OTHER_SUFFIXES = set(
    ".eps .ps .pdf .png .jpg .jpeg .gif .svg .bmp .tif .tiff .bib .bst .bbx .cbx .ist .fd .dat .csv .zip .gz .tgz .z "
    ".mp4 .avi .mov .mp3 .wav .ttf .otf .pfb .tfm .vf .map .log .aux .toc .out .blg .lof .lot .fls "
    ".fdb_latexmk .synctex "
    ".py .c .h .cpp .m .r .nb .ipynb .js .css .html .htm .xml .json .yaml .yml .md .sh .xls .xlsx "
    ".doc .docx .ppt .pptx "
    ".hs .v .lean .jl .f90 .ods .odt .idx .ind .ilg .mf .mp .asy .fig .dvi .cdx".split()
)
_TEX_MARK = re.compile(
    rb"\\(?:documentclass|documentstyle|begin\s*\{|input\b|section|chapter|newcommand|def\s*\\|magnification|title"
    rb"|bye\b|centerline|document\b|subsection|newsec|font\s*\\|beginsection)"
)
_CONTROL_WORD = re.compile(rb"\\[a-zA-Z]{2,}")
_SNIFF = 65_536  # bytes looked at to tell what a file is
_CHUNK = 1 << 20
_STUB_BYTES = 4_000  # a stub for a withdrawn paper is a line or two


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
        data = _uncompress(data, settings.max_archive_bytes, "data.max_archive_bytes")
    if data[:2] == b"\x1f\x8b":
        source: io.BufferedReader = io.BufferedReader(_Inflated(data, settings.max_archive_bytes), _CHUNK)
    else:
        if len(data) > settings.max_archive_bytes:
            raise Rejected(
                "archive_too_large", f"{len(data)} bytes > data.max_archive_bytes {settings.max_archive_bytes}"
            )
        source = io.BufferedReader(io.BytesIO(data), _SNIFF)  # type: ignore[arg-type]
    head = source.peek(512)[:512]
    if len(head) < 512:  # peek may answer less than there is
        source = io.BufferedReader(io.BytesIO(source.read()), _SNIFF)  # type: ignore[arg-type]
        head = source.peek(512)[:512]
    if not head:
        raise Rejected("empty_archive", "a gzip of zero bytes")
    if _is_tar(head):
        return _read_tar(source, settings)
    if head[:4] == b"PK\x03\x04":
        return _read_zip(source.read(), settings)
    return _read_single(source, head, name, settings)


class _Inflated(io.RawIOBase):
    """A gzip stream (several members allowed, trailing zeros ignored), decompressed up to a limit as it is read."""

    def __init__(self, data: bytes, limit: int, knob: str = "data.max_archive_bytes") -> None:
        self._data, self._offset = memoryview(data), 0
        self._limit, self._total, self._knob = limit, 0, knob
        self._inflate = zlib.decompressobj(wbits=31)
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            if self._inflate.eof:
                rest = self._inflate.unused_data
                self._offset -= len(rest) + len(self._pending)
                self._pending = b""
                if bytes(self._data[self._offset : self._offset + 2]) != b"\x1f\x8b":
                    return 0  # what follows is padding
                self._inflate = zlib.decompressobj(wbits=31)
            feed = self._pending
            if not feed:
                feed = bytes(self._data[self._offset : self._offset + _CHUNK // 4])
                self._offset += len(feed)
                if not feed:
                    raise Rejected("broken_archive", f"gzip stream ends after {self._total} bytes without its end mark")
            try:
                out = self._inflate.decompress(feed, len(buffer))
            except zlib.error as error:
                raise Rejected("broken_archive", f"corrupt gzip after {self._total} bytes: {error}") from None
            self._pending = self._inflate.unconsumed_tail
            if out:
                self._total += len(out)
                if self._total > self._limit:
                    raise Rejected("archive_too_large", f"decompressed over {self._knob} {self._limit}")
                buffer[: len(out)] = out
                return len(out)


def _is_tar(head: bytes) -> bool:
    """Whether 512 bytes are a tar header with the right checksum, or the zeros that end a tar."""
    if len(head) < 512:
        return False
    if not head.strip(b"\0"):
        return True
    try:
        stored = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return stored == sum(head) - sum(head[148:156]) + 8 * 32


class _Members:
    """What is taken of an archive, one member after the other, within the limits."""

    def __init__(self, settings: DataSettings) -> None:
        self.settings = settings
        self.archive = Archive("multi_file_tar")
        self.raw: dict[str, bytes] = {}
        self.count = self.tex_bytes = 0
        self.too_large = ""

    def path_of(self, name: str, size: int, regular: bool) -> str | None:
        """The path of a member that is worth reading; the others are counted."""
        settings, counters = self.settings, self.archive.counters
        self.count += 1
        if self.count > settings.max_members:
            raise Rejected("archive_too_large", f"more members than data.max_members {settings.max_members}")
        path = _safe_path(name)
        if path is None:
            counters["member_outside_archive"] += 1
        elif not regular:
            counters["member_not_a_file"] += 1
        elif not _may_be_tex(path):
            self.archive.other_members[path] = size
        elif size > settings.max_file_bytes:
            counters["member_too_large"] += 1
            self.archive.other_members[path] = size
            self.too_large = f"{path} has {size} bytes > data.max_file_bytes {settings.max_file_bytes}"
        else:
            return path
        return None

    def add(self, path: str, content: bytes) -> None:
        """Keep a member if it is TeX. Of two members of one name the last counts, as tar would have it."""
        size = len(content)
        packed = _suffix(path) in _PACKED_SUFFIXES
        if packed:
            try:
                content = _unpacked(content, self.settings)
                path = posixpath.splitext(path)[0]
            except (Rejected, ValueError, EOFError, OSError):
                self.archive.counters["member_broken"] += 1
                content = b""
        if not content or not _is_tex_member(path, content):
            self.archive.other_members[path] = size
            return
        self.tex_bytes += len(content) - len(self.raw.get(path, b""))
        limit = _TEX_FILES * self.settings.max_file_bytes
        if self.tex_bytes > limit:
            raise Rejected("archive_too_large", f"TeX files of more than {_TEX_FILES} x data.max_file_bytes, {limit}")
        self.raw[path] = content

    def finished(self) -> Archive:
        archive = self.archive
        if not self.count:
            raise Rejected("empty_archive", "an archive without members")
        archive.files = decode_all(self.raw, archive.counters)
        tex = [path for path in archive.files if not _is_readme(path)]
        if not tex:
            if self.too_large:
                raise Rejected("archive_too_large", self.too_large)
            raise Rejected(*_without_tex(archive))
        if len(tex) == 1 and not archive.other_members:
            archive.kind = "single_file_tar"
            _refuse_stub(self.raw[tex[0]])
        return archive


_TEX_FILES = 5  # all TeX files together, in lengths of the longest single one
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
    members = _Members(settings)
    header = type("_LimitedHeader", (_Header,), {"limit": settings.max_archive_bytes})
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=_CHUNK, tarinfo=header) as tar:
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
            while source.read(_CHUNK):
                pass
    except (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError) as error:
        raise Rejected("broken_archive", f"corrupt tar after {members.count} members: {error}") from None
    return members.finished()


def _read_zip(data: bytes, settings: DataSettings) -> Archive:
    """A zip of TeX files, as some papers came; an office document is a zip too."""
    members = _Members(settings)
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


_PACKED_SUFFIXES = {".gz", ".z"}


def _unpacked(content: bytes, settings: DataSettings) -> bytes:
    """The content of a member that is packed by itself, `paper.tex.Z` or `paper.tex.gz`."""
    limit = settings.max_file_bytes
    if content[:2] == unix_compress.MAGIC:
        return _uncompress(content, limit, "data.max_file_bytes")
    if content[:2] == b"\x1f\x8b":
        return io.BufferedReader(_Inflated(content, limit, "data.max_file_bytes"), _CHUNK).read()
    return content


def _uncompress(data: bytes, limit: int, knob: str) -> bytes:
    try:
        return unix_compress.decompress(data, limit)
    except OverflowError:
        raise Rejected("archive_too_large", f"decompressed over {knob} {limit}") from None
    except ValueError as error:
        raise Rejected("broken_archive", f"corrupt .Z: {error}") from None


def _read_single(source: io.BufferedReader, head: bytes, name: str, settings: DataSettings) -> Archive:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n\0")
    lowered = start[:200].lower()
    for marks, reason in _FORMATS:
        if lowered.startswith(marks):
            if reason == "postscript_only" and _TEX_MARK.search(head):
                break  # `%!PS` has been seen at the top of TeX files; `%!TEX` is no PostScript at all
            raise Rejected(reason, f"begins with {start[:12]!r}")
    content = source.read(settings.max_file_bytes + 1)
    if len(content) > settings.max_file_bytes:
        raise Rejected("archive_too_large", f"one file of more than data.max_file_bytes {settings.max_file_bytes}")
    while source.read(_CHUNK):  # a gzip stream says at its end whether it is whole
        pass
    _refuse_stub(content)
    if not content.strip(b"\0 \t\r\n"):
        raise Rejected("empty_archive", "a file of blanks")
    if not _looks_like_tex(content):
        raise Rejected("broken_archive" if _is_binary(content) else "no_tex", f"begins with {content[:12]!r}")
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


def _safe_path(name: str) -> str | None:
    """A member's normalised path, or None if it would lie outside the archive."""
    name = name.replace("\\", "/")
    if not name or name.startswith("/") or "\0" in name or re.match(r"[a-zA-Z]:/", name):
        return None
    path = posixpath.normpath(name)
    return None if path == ".." or path.startswith("../") else path


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _is_readme(path: str) -> bool:
    return posixpath.basename(path).lower() in README_NAMES


def _may_be_tex(path: str) -> bool:
    base = posixpath.basename(path)
    # "._paper.tex" is what macOS leaves beside a file; it is not that file.
    if base.startswith("._"):
        return False
    suffix = _suffix(path)
    if suffix in _PACKED_SUFFIXES:
        return _suffix(posixpath.splitext(path)[0]) in TEX_SUFFIXES
    return _is_readme(path) or suffix not in OTHER_SUFFIXES


def _is_tex_member(path: str, content: bytes) -> bool:
    if _suffix(path) in TEX_SUFFIXES or _is_readme(path):
        return not _is_binary(content)
    return _looks_like_tex(content) and _TEX_MARK.search(content, 0, _SNIFF) is not None


def _is_binary(content: bytes) -> bool:
    """Whether the file cannot be text: a known format, or control bytes that UTF-16 does not explain."""
    if utf16_of(content):
        return False
    sample = content[:_SNIFF]
    return content.startswith((b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x03\x04")) or (
        len(sample) - len(sample.translate(None, _CONTROL_BYTES)) > len(sample) // 50
    )


_CONTROL_BYTES = bytes({*range(32)} - {*b"\t\n\r\x0c\x1a"})


def _looks_like_tex(content: bytes) -> bool:
    if _is_binary(content):
        return False
    sample = content[:_SNIFF].replace(b"\0", b"")  # UTF-16
    if sample.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower().startswith((b"<!doctype", b"<html", b"%!ps")):
        return False
    return _TEX_MARK.search(sample) is not None or len(_CONTROL_WORD.findall(sample)) >= 5


def _refuse_stub(content: bytes) -> None:
    """arXiv replaces the source of a withdrawn paper by `%auto-ignore` and a sentence."""
    if len(content) > _STUB_BYTES or (b"\\begin{document}" in content and b"\\section" in content):
        return
    lowered = content.lower()
    if b"%auto-ignore" in lowered and not re.search(rb"\\(?:input|section|begin\s*\{document)", lowered):
        raise Rejected("withdrawn_source", f"%auto-ignore and {len(content)} bytes")
    if len(content) < 1_000 and re.search(
        rb"(?:paper|article|submission|manuscript)\b.{0,40}\bwithdrawn", lowered, re.S
    ):
        raise Rejected("withdrawn_source", f"a notice of {len(content)} bytes")


def _without_tex(archive: Archive) -> tuple[str, str]:
    """The reason and detail of a tar that holds no TeX."""
    suffixes = Counter(_suffix(path) or "no suffix" for path in archive.other_members)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
    skipped = ", ".join(f"{count} {name}" for name, count in sorted(archive.counters.items()))
    detail = "; ".join(filter(None, (listed, skipped)))
    for reason, wanted in (
        ("pdf_only", {".pdf"}),
        ("docx_only", {".docx", ".doc", ".odt"}),
        ("postscript_only", {".ps"}),
        ("html_only", {".html", ".htm"}),
    ):
        if wanted & suffixes.keys():
            return reason, detail
    return "no_tex", detail


def read_text_file(path: Path, settings: DataSettings) -> str:
    """One TeX file of the disk, decoded as a member of an archive would be."""
    content = path.read_bytes()
    if len(content) > settings.max_file_bytes:
        raise UserError(
            f"{path}: {len(content)} bytes, more than data.max_file_bytes {settings.max_file_bytes}; "
            "raise it with --set data.max_file_bytes=N"
        )
    return decode_all({"file": content}, Counter())["file"]


def archives_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the archive at `path`, or of every paper in it where it is a bulk tar or a folder.

    What cannot be read of a bulk tar or a folder is told on stderr.
    """
    from data_prep.source import list_archives, read_bytes, read_index

    problems: list[str] = []
    try:
        if path.is_dir():
            refs = list_archives(path, problems)
        else:
            with path.open("rb") as file:
                is_tar = _is_tar(file.read(512))
            # A bulk tar is half a gigabyte: its papers are read one at a time. A paper's own tar lists no papers.
            refs = list(read_index(path, path.name, problems)) if is_tar and path.suffix == ".tar" else []
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give the path of an archive") from None
    if refs and (path.is_dir() or refs[0].name != path.name):
        for problem in problems:
            print(f"problem: {problem}", file=sys.stderr)
        for ref in refs:
            yield ref.name, read_bytes(ref)
    elif path.is_dir():
        raise UserError(f"{path}: no archives in this folder (names such as 2301.00001v2.tar.gz, or bulk tars)")
    else:
        yield path.name, path.read_bytes()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="List what archives hold and what they would be taken for.",
        epilog="example: python data_prep/extraction.py raw/src/arXiv_src_0810_001.tar 2301.00001v2.tar.gz",
    )
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="single archives, bulk tars, folders")
    parser.add_argument("--members", action="store_true", help="list every member too")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args).data
    from data_prep.flatten import choose_main

    counts: Counter[str] = Counter()
    for path in args.archives:
        for name, data in archives_of(path):
            try:
                archive = read_archive(data, name, settings)
            except Rejected as rejected:
                counts[rejected.reason] += 1
                print(f"{name}: rejected: {rejected}")
                continue
            counts[archive.kind] += 1
            try:
                chosen = choose_main(archive.files)
            except Rejected as rejected:
                chosen = f"none ({rejected})"
            notes = "".join(f", {count} {note}" for note, count in sorted(archive.counters.items()))
            size = sum(map(len, archive.files.values()))
            print(
                f"{name}: {archive.kind}: main file {chosen}, {len(archive.files)} TeX files of {size:,} characters, "
                f"{len(archive.other_members)} others{notes}"
            )
            if args.members:
                for member, text in archive.files.items():
                    print(f"    {member}: {len(text):,} characters")
                for member, length in archive.other_members.items():
                    print(f"    {member}: {length:,} bytes, not read")
    if sum(counts.values()) > 1:
        print("; ".join(f"{count} {name}" for name, count in counts.most_common()))
    return 0


if __name__ == "__main__":
    run_command(main)
