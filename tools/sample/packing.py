"""Papers packed the way arXiv ships them: gzip'd TeX, tars of many papers, their manifest; the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from datetime import datetime, timezone

from tools.sample.grammar import Paper, pick

MTIME = 1_700_000_000  # of every member: the same bytes on every run


def gzip_bytes(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=MTIME)


def tar_bytes(files: dict[str, bytes], directory: str | None = None) -> bytes:
    """An uncompressed tar of `files` in the given order, with fixed times and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        if directory:
            info = tarfile.TarInfo(directory)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, MTIME
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), MTIME, 0o644
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def small_pdf() -> bytes:
    """A one-page, empty, valid PDF."""
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] >>",
    )
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer


def source_archive(rng: random.Random, paper: Paper, several: bool) -> bytes:
    """The `.gz` that arXiv would hold: one gzip'd TeX file, or a gzip'd tar whose order is not that of the document."""
    if not several:
        return gzip_bytes(paper.single_file().encode("utf-8"))
    stem = pick(rng, ["main", "paper", "ms", "article"])
    texts = paper.several_files(pick(rng, ["sections", "", "tex"]), f"{stem}.bbl")
    files = {name: text.encode("utf-8") for name, text in texts.items()}
    if "fig1" in "".join(paper.sections):
        files["fig1.pdf"] = small_pdf()
    return gzip_bytes(tar_bytes({name: files[name] for name in sorted(files)}))


def manifest_entry(name: str, month: str, number: int, data: bytes, members: dict[str, bytes]) -> str:
    """One `<file>` of arXiv's manifest: checksums, size, number of items, first and last item."""
    items = [member.split("/")[1].rsplit(".", 1)[0] for member in members]
    content = hashlib.md5(b"".join(members.values()), usedforsecurity=False).hexdigest()
    fields = {
        "content_md5sum": content,
        "filename": name,
        "first_item": items[0],
        "last_item": items[-1],
        "md5sum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "num_items": len(items),
        "seq_num": number,
        "size": len(data),
        "timestamp": datetime.fromtimestamp(MTIME, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
        "yymm": month,
    }
    return " <file>\n" + "".join(f"  <{key}>{value}</{key}>\n" for key, value in fields.items()) + " </file>\n"
