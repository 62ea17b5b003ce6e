"""Which members of an archive are kept: TeX files within the limits, by their names and by how they look.

One bad member (outside the archive, a link or a device, larger than data.max_file_bytes, corrupt by itself) costs no
more than itself: it is skipped and counted. Of two members of one name the last counts.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field

from common.settings.data import DataSettings
from data_prep.archive import unix_compress
from data_prep.archive.decoding import decode_all, utf16_of
from data_prep.archive.streams import CHUNK, Inflated, uncompress
from data_prep.screening.reasons import Rejected
from data_prep.screening.withdrawal import is_notice


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
TEX_MARK = re.compile(
    rb"\\(?:documentclass|documentstyle|begin\s*\{|input\b|section|chapter|newcommand|def\s*\\|magnification|title"
    rb"|bye\b|centerline|document\b|subsection|newsec|font\s*\\|beginsection)"
)
_CONTROL_WORD = re.compile(rb"\\[a-zA-Z]{2,}")
SNIFF = 65_536  # bytes looked at to tell what a file is
_STUB_BYTES = 4_000  # a stub for a withdrawn paper is a line or two


class Members:
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
            refuse_stub(self.raw[tex[0]])
        return archive


_TEX_FILES = 5  # all TeX files together, in lengths of the longest single one


_PACKED_SUFFIXES = {".gz", ".z"}


def _unpacked(content: bytes, settings: DataSettings) -> bytes:
    """The content of a member that is packed by itself, `paper.tex.Z` or `paper.tex.gz`."""
    limit = settings.max_file_bytes
    if content[:2] == unix_compress.MAGIC:
        return uncompress(content, limit, "data.max_file_bytes")
    if content[:2] == b"\x1f\x8b":
        return io.BufferedReader(Inflated(content, limit, "data.max_file_bytes"), CHUNK).read()
    return content


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
        return not is_binary(content)
    return looks_like_tex(content) and TEX_MARK.search(content, 0, SNIFF) is not None


def is_binary(content: bytes) -> bool:
    """Whether the file cannot be text: a known format, or control bytes that UTF-16 does not explain."""
    if utf16_of(content):
        return False
    sample = content[:SNIFF]
    return content.startswith((b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x03\x04")) or (
        len(sample) - len(sample.translate(None, _CONTROL_BYTES)) > len(sample) // 50
    )


_CONTROL_BYTES = bytes({*range(32)} - {*b"\t\n\r\x0c\x1a"})


def looks_like_tex(content: bytes) -> bool:
    if is_binary(content):
        return False
    sample = content[:SNIFF].replace(b"\0", b"")  # UTF-16
    if sample.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower().startswith((b"<!doctype", b"<html", b"%!ps")):
        return False
    return TEX_MARK.search(sample) is not None or len(_CONTROL_WORD.findall(sample)) >= 5


def refuse_stub(content: bytes) -> None:
    """arXiv replaces the source of a withdrawn paper by `%auto-ignore` and a sentence."""
    if len(content) > _STUB_BYTES or (b"\\begin{document}" in content and b"\\section" in content):
        return
    lowered = content.lower()
    if b"%auto-ignore" in lowered and not re.search(rb"\\(?:input|section|begin\s*\{document)", lowered):
        raise Rejected("withdrawn_source", f"%auto-ignore and {len(content)} bytes")
    if len(content) < 1_000 and (
        # not the class of a document
        re.search(rb"(?:paper|article|submission|manuscript)\b(?!\}).{0,40}\bwithdrawn", lowered, re.S)
        or is_notice(content.decode("latin-1"))
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
