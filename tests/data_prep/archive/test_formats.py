"""Archives of every kind that arXiv ships, and hostile ones, each built in memory."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

import pytest

from common.settings.data import DataSettings
from common.settings.load import load_settings
from data_prep import extraction
from data_prep.archive.formats import read_archive
from data_prep.screening.reasons import Rejected

SETTINGS = load_settings().data
PAPER = "\\documentclass{article}\n\\begin{document}\nHello.\n\\end{document}\n"


def tar(files: Mapping[str, str | bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return buffer.getvalue()


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def limited(**limits: Any) -> DataSettings:
    return dataclasses.replace(SETTINGS, **limits)


def reason_of(data: bytes, name: str = "2301.00001.gz", settings: DataSettings = SETTINGS) -> str:
    with pytest.raises(Rejected) as caught:
        read_archive(data, name, settings)
    return caught.value.reason


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "bare"])
def test_multi_file_tar(pack):
    archive = read_archive(pack(tar({"./a/main.tex": PAPER, "fig.eps": b"%!PS"})), "x.gz", SETTINGS)
    assert archive.kind == "multi_file_tar"
    assert archive.files == {"a/main.tex": PAPER}
    assert archive.other_members == {"fig.eps": 4}


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "bare"])
def test_single_tex(pack):
    archive = read_archive(pack(PAPER.encode()), "math0001001.gz", SETTINGS)
    assert archive.kind == "single_tex"
    assert archive.files == {"math0001001.tex": PAPER}


def test_tar_of_one_file():
    assert read_archive(gzip.compress(tar({"a.tex": PAPER})), "x.gz", SETTINGS).kind == "single_file_tar"


def test_several_gzip_streams_and_padding():
    half = len(PAPER) // 2
    data = gzip.compress(PAPER[:half].encode()) + gzip.compress(PAPER[half:].encode()) + b"\0" * 512
    assert read_archive(data, "x.gz", SETTINGS).files == {"x.tex": PAPER}


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("empty_archive", b""),
        ("empty_archive", gzip.compress(b"")),
        ("empty_archive", gzip.compress(tar({}))),
        ("pdf_only", b"%PDF-1.5\n\xe2\xe3"),
        ("pdf_only", gzip.compress(tar({"paper.pdf": b"%PDF-1.4"}))),
        ("postscript_only", gzip.compress(b"%!PS-Adobe-2.0\n/a 1 def\n" * 100)),
        ("postscript_only", gzip.compress(tar({"paper.ps": b"%!PS"}))),
        ("html_only", b"<html><body>gone</body></html>"),
        ("html_only", gzip.compress(b"<!DOCTYPE html>\n<p>")),
        ("docx_only", zipped({"[Content_Types].xml": "x", "word/document.xml": "x"})),
        ("broken_archive", b"PK\x03\x04rest"),
        ("withdrawn_source", gzip.compress(b"%auto-ignore\nThis paper has been withdrawn by the author.\n")),
        ("withdrawn_source", b"This paper has been withdrawn by the author due to a crucial error in \\S 3."),
        ("broken_archive", b"\x1f\x9d\x90old compress"),
        ("broken_archive", bytes(range(256)) * 10),
        ("no_tex", gzip.compress(tar({"fig.eps": b"%!PS", "notes.txt": b"nothing"}))),
    ],
)
def test_reasons(reason, data):
    assert reason_of(data) == reason


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_truncated_gzip_is_broken_whatever_is_readable(share):
    data = gzip.compress(tar({f"{i}.tex": PAPER + str(i**9) * 50 for i in range(50)}), mtime=0)
    assert reason_of(data[: int(len(data) * share)]) == "broken_archive"


def test_missing_last_bytes_of_gzip_are_noticed():
    assert reason_of(gzip.compress(tar({"a.tex": PAPER}))[:-4]) == "broken_archive"


def test_corrupt_gzip():
    data = bytearray(gzip.compress(PAPER.encode() * 20))
    data[-6] ^= 0xFF  # the checksum
    assert reason_of(bytes(data)) == "broken_archive"


def test_tar_cut_inside_a_member():
    assert reason_of(tar({"a.tex": PAPER * 100})[:1500]) == "broken_archive"


def test_bad_members_are_skipped_and_counted():
    link, device = tarfile.TarInfo("link.tex"), tarfile.TarInfo("device.tex")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    files: dict[str, str | bytes] = {"../evil.tex": PAPER, "/abs.tex": PAPER, "a/../../up.tex": PAPER, "ok.tex": PAPER}
    files["binary.tex"] = b"\0\1\2\3" * 500
    archive = read_archive(tar(files, (link, device)), "x.tar", SETTINGS)
    assert list(archive.files) == ["ok.tex"]
    assert archive.counters["member_outside_archive"] == 3
    assert archive.counters["member_not_a_file"] == 2


def test_only_member_outside_the_archive():
    assert reason_of(gzip.compress(tar({"../../evil.tex": PAPER}))) == "no_tex"


def test_too_large_member_does_not_cost_the_paper():
    files = {"big.tex": "\\x" * 1000, "ok.tex": PAPER}
    archive = read_archive(tar(files), "x.tar", limited(max_file_bytes=500))
    assert list(archive.files) == ["ok.tex"]
    assert archive.counters["member_too_large"] == 1
    assert reason_of(tar({"big.tex": PAPER * 50}), settings=limited(max_file_bytes=500)) == "archive_too_large"


def test_limits_are_named():
    bomb = gzip.compress(b"\\a" * 5_000_000)
    for limits, word in (
        ({"max_archive_bytes": 1_000_000}, "max_archive_bytes 1000000"),
        ({"max_members": 3}, "max_members 3"),
    ):
        data = bomb if "max_archive_bytes" in limits else tar({f"{i}.tex": PAPER for i in range(5)})
        with pytest.raises(Rejected, match=word) as caught:
            read_archive(data, "x.gz", limited(**limits))
        assert caught.value.reason == "archive_too_large"


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        ("\ufeffnaïve \\section{x}".encode(), "naïve"),
        ("naïve \\section{x}".encode("utf-16"), "naïve"),
        ("\ufeffnaïve \\section{x}".encode("utf-16-be"), "naïve"),
        ("naïve \\section{x} and more".encode("utf-16-le"), "naïve"),
        ("\\section{x} naïve “q”".encode("cp1252"), "naïve “q”"),
        ("\\usepackage[latin2]{inputenc} \\section{x} Erdős".encode("iso8859-2"), "Erdős"),
        ("\\usepackage[koi8-r]{inputenc} \\section{x} Мир".encode("koi8-r"), "Мир"),
        (b"\\section{x} a\r\nb\rc\r\r\nd", "a\nb\nc\nd"),
        (b"\\section{x} \x81\xe9", "\x81é"),
    ],
)
def test_decoding(encoded, expected):
    (text,) = read_archive(encoded, "x", SETTINGS).files.values()
    assert expected in text
    assert "\r" not in text and "\ufeff" not in text and "\0" not in text and "\ufffd" not in text


def test_encoding_declared_in_another_file():
    files = {
        "main.tex": b"\\usepackage[latin2]{inputenc}\\begin{document}\\input{a}",
        "a.tex": "Erdős".encode("latin2"),
    }
    archive = read_archive(tar(files), "x", SETTINGS)
    assert archive.files["a.tex"] == "Erdős"
    assert archive.counters["decoded_as_declared"] == 1


def test_tex_without_suffix_and_readme_are_read():
    files = {
        "paper": PAPER,
        "old.txt": "\\magnification 1200 \\bye",
        "00README.XXX": "paper toplevelfile",
        "a.dat": "\\section",
    }
    assert set(read_archive(tar(files), "x", SETTINGS).files) == {"paper", "old.txt", "00README.XXX"}


def test_any_truncation_or_flip_ends_in_an_archive_or_a_reason():
    data = gzip.compress(tar({"a.tex": PAPER, "b/c.sty": "\\def\\x{y}"}), mtime=0)
    plain = tar({"a.tex": PAPER})
    for source in (data, plain):
        for cut in range(0, len(source), max(1, len(source) // 60)):
            flipped = bytearray(source)
            flipped[cut] ^= 0x55
            for variant in (source[:cut], bytes(flipped)):
                try:
                    assert read_archive(variant, "x", SETTINGS).files
                except Rejected as rejected:
                    assert rejected.reason


def test_command_lists_archives_and_reasons(tmp_path, capsys):
    (tmp_path / "good.gz").write_bytes(gzip.compress(tar({"a.tex": PAPER, "f.png": b"x"})))
    (tmp_path / "bad.gz").write_bytes(b"%PDF-1.4")
    bulk = tar({"2301/2301.00001.gz": gzip.compress(PAPER.encode()), "2301/2301.00002.pdf": b"%PDF"})
    (tmp_path / "arXiv_src_2301_001.tar").write_bytes(bulk)
    paths = [str(tmp_path / name) for name in ("good.gz", "bad.gz", "arXiv_src_2301_001.tar")]
    assert extraction.main(["--members", *paths]) == 0
    out = capsys.readouterr().out
    assert "good.gz: multi_file_tar: main file a.tex, 1 TeX files" in out
    assert "bad.gz: rejected: pdf_only" in out
    assert "2301/2301.00001.gz: single_tex: main file 2301.00001.tex" in out
    assert "2 pdf_only" in out


def test_readme_json_is_kept_as_text():
    files = {"00README.json": json.dumps({"sources": []}), "a.tex": PAPER}
    assert "00README.json" in read_archive(tar(files), "x", SETTINGS).files


# PAPER, packed by ncompress's `compress`.
COMPRESSED = base64.b64decode("H52QXMi8GVOnTRk3dMawCTNnzp4wcuikUVimjwIuYsqcSeNmj0CCBhFaRFKGDZs3Li4eJONxYMGDdCwC")


def test_unix_compress():
    archive = read_archive(COMPRESSED, "hep-th9901001.Z", SETTINGS)
    assert archive.kind == "single_tex" and list(archive.files.values()) == [PAPER]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.tex.Z", COMPRESSED), ("a.tex.gz", gzip.compress(PAPER.encode())), ("a.tex.gz", PAPER.encode())],
    ids=["compress", "gzip", "gzip_in_name_alone"],
)
def test_members_that_are_packed_by_themselves(name, content):
    assert read_archive(tar({name: content, "b.eps.Z": b"x"}), "x", SETTINGS).files == {"a.tex": PAPER}


def test_a_corrupt_packed_member_costs_itself_alone():
    archive = read_archive(tar({"main.tex": PAPER, "b.tex.gz": gzip.compress(b"x" * 99)[:-9]}), "x", SETTINGS)
    assert list(archive.files) == ["main.tex"] and archive.counters["member_broken"] == 1


def test_a_packed_member_is_bounded():
    bomb = tar({"main.tex": PAPER, "b.tex.gz": gzip.compress(bytes(5000))})
    assert read_archive(bomb, "x", limited(max_file_bytes=1000)).counters["member_broken"] == 1


def test_zip_of_tex():
    archive = read_archive(zipped({"a/main.tex": PAPER, "fig.png": "x"}), "x.zip", SETTINGS)
    assert archive.files == {"a/main.tex": PAPER} and archive.other_members == {"fig.png": 1}


def test_the_last_of_two_members_of_one_name_counts():
    first, second = tar({"a.tex": PAPER.replace("Hello", "Old")}), tar({"a.tex": PAPER})
    assert read_archive(first[:1024] + second, "x", SETTINGS).files == {"a.tex": PAPER}


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("size", [1 << 41, 1 << 60])
def test_a_wild_declared_size_is_refused_at_once(size):
    assert reason_of(gzip.compress(header("fig.png", size) + bytes(5000))) == "archive_too_large"


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_giant_extended_header_is_not_read(kind):
    data = header("x", 50_000_000, kind) + bytes(50_000_000)
    with pytest.raises(Rejected, match="extended header of 50000000 bytes"):
        read_archive(data, "x", SETTINGS)


def test_all_tex_files_together_are_bounded():
    files: dict[str, str | bytes] = {f"{number}.tex": PAPER for number in range(9)}
    with pytest.raises(Rejected, match=r"5 x data\.max_file_bytes"):
        read_archive(tar(files), "x", limited(max_file_bytes=100))


def test_foreign_bytes_in_utf8_cost_themselves_alone():
    text = PAPER.replace("Hello", "Grüße, Erdős, Čech – naïve Übung").encode().replace(b"Hello", b"") + b"% caf\xe9\n"
    archive = read_archive(text, "x.tex", SETTINGS)
    decoded = archive.files["x.tex"]
    assert "Grüße, Erdős, Čech" in decoded and "café" in decoded and archive.counters["decoded_as_mixed"] == 1


def test_latin_1_with_a_chance_sequence_of_utf8_stays_latin_1():
    text = PAPER.replace("Hello", "é è à ç ö ü Ã© é è").encode("latin-1")
    assert "é è à ç ö ü" in read_archive(text, "x.tex", SETTINGS).files["x.tex"]
