"""Ids from names, archives from bulk tars (damaged ones too) and folders, months."""

import os
import tarfile

import pytest

from common.errors import UserError
from data_prep.papers.archives import ArchiveRef, list_archives, read_bytes, source_files
from data_prep.papers.ids import month_of, order_key, paper_id_of, parse_months
from data_prep.source import main
from tests.helpers.tiny_corpus import bulk_tar


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0704/0704.0001.gz", ("0704.0001", None)),
        ("2301.00001v2.tar.gz", ("2301.00001", 2)),
        ("2301.00001", ("2301.00001", None)),
        ("2301.00001v12", ("2301.00001", 12)),
        ("2301.00001.PDF", ("2301.00001", None)),
        ("2301.00001.tar", ("2301.00001", None)),
        ("0001/math0001001.gz", ("math/0001001", None)),
        ("hep-th9901001.gz", ("hep-th/9901001", None)),
        ("hep-th9901001v3.tar.gz", ("hep-th/9901001", 3)),
        ("math.AG0301002.gz", ("math/0301002", None)),
        ("math.AG/0301002", ("math/0301002", None)),
        ("math-ph0301002.gz", ("math-ph/0301002", None)),
        ("cond-mat.mes-hall9901001v1.gz", ("cond-mat/9901001", 1)),
        ("hep-th/9901001.gz", ("hep-th/9901001", None)),
        ("math_0301002.tar.gz", ("math/0301002", None)),
        ("2313.00001.gz", None),  # no thirteenth month
        ("math0013001.gz", None),
        ("0001/9901001.gz", None),
        ("figure0001001.gz", None),  # no archive of that name
        ("x2301.00001.gz", None),
        ("2301.00001.tar.gz.part", None),
        ("2301.001.gz", None),
        ("arXiv_src_2301_001.tar", None),
        ("README.md", None),
        ("", None),
    ],
)
def test_ids_of_names(name, expected):
    assert paper_id_of(name) == expected


def test_ids_sort_by_month_across_the_century():
    ids = ["2301.00001", "math/0001001", "hep-th/9107001", "0704.0001", "math/9912001", "astro-ph/0001002"]
    assert sorted(ids, key=order_key) == [
        "hep-th/9107001",
        "math/9912001",
        "astro-ph/0001002",
        "math/0001001",
        "0704.0001",
        "2301.00001",
    ]
    assert month_of("hep-th/9107001") == "199107"


def test_months():
    assert parse_months("9107:0704") == ("199107", "200704")
    assert parse_months(None) is None
    for wrong in ("0704:9107", "2301", "2313:2401", "2301-2303", "23011:2303"):
        with pytest.raises(UserError, match="months"):
            parse_months(wrong)


def test_bulk_tars_and_single_archives(tmp_path):
    bulk_tar(tmp_path / "arXiv_src_0001_001.tar", [("0001/math0001001.gz", b"old"), ("0001/README", b"x")])
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "2301.00001v2.tar.gz").write_bytes(b"second")
    (tmp_path / "more" / "2301.00001v1.tar.gz").write_bytes(b"first")
    (tmp_path / "more" / "notes.txt").write_bytes(b"none")
    problems: list[str] = []
    refs = list_archives(tmp_path, problems)
    assert [(ref.paper_id, ref.version, read_bytes(ref)) for ref in refs] == [
        ("math/0001001", None, b"old"),
        ("2301.00001", 2, b"second"),
        ("2301.00001", 1, b"first"),
    ]
    assert problems == ["arXiv_src_0001_001.tar: 1 members whose names are no paper's"]


def test_of_several_archives_a_source_beats_a_pdf_and_no_version_is_the_latest(tmp_path):
    for name in ("2301.00001v9.pdf", "2301.00001v2.gz", "2301.00001v10.gz", "2301.00001.gz"):
        (tmp_path / name).write_bytes(b"x")
    names = [ref.name for ref in list_archives(tmp_path)]
    assert names == ["2301.00001.gz", "2301.00001v10.gz", "2301.00001v2.gz", "2301.00001v9.pdf"]


MEMBERS = [(f"2301/2301.0000{i}.gz", bytes([i]) * 700) for i in range(1, 6)]


def test_a_truncated_tar_yields_what_is_there(tmp_path):
    path = tmp_path / "arXiv_src_2301_001.tar"
    bulk_tar(path, MEMBERS)
    # Each member takes 512 + 1024 bytes: cut within the third one's content.
    path.write_bytes(path.read_bytes()[: 2 * 1536 + 512 + 100])
    problems: list[str] = []
    refs = list_archives(tmp_path, problems)
    assert [(ref.paper_id[-1], len(read_bytes(ref))) for ref in refs] == [("1", 700), ("2", 700), ("3", 100)]
    assert len(problems) == 1 and "cut off at 100 of 700" in problems[0]


def test_a_tar_cut_between_members_is_reported(tmp_path):
    path = tmp_path / "arXiv_src_2301_001.tar"
    bulk_tar(path, MEMBERS)
    path.write_bytes(path.read_bytes()[: 2 * 1536])
    problems: list[str] = []
    assert len(list_archives(tmp_path, problems)) == 2
    assert len(problems) == 1 and "no end mark" in problems[0]


@pytest.mark.parametrize("member", [0, 2, 4])
def test_a_damaged_header_costs_its_member_alone(tmp_path, member):
    path = tmp_path / "arXiv_src_2301_001.tar"
    bulk_tar(path, MEMBERS)
    data = bytearray(path.read_bytes())
    data[member * 1536 : member * 1536 + 100] = b"\xff" * 100
    path.write_bytes(data)
    problems: list[str] = []
    refs = list_archives(tmp_path, problems)
    assert [ref.paper_id[-1] for ref in refs] == [str(i) for i in range(1, 6) if i != member + 1]
    assert all(set(read_bytes(ref)) == {int(ref.paper_id[-1])} for ref in refs)
    assert len(problems) == 1 and "damaged" in problems[0]


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\xff" * 5000])
def test_what_is_no_tar_is_reported(tmp_path, content):
    (tmp_path / "arXiv_src_2301_001.tar").write_bytes(content)
    bulk_tar(tmp_path / "arXiv_src_2302_001.tar", MEMBERS)
    problems: list[str] = []
    assert len(list_archives(tmp_path, problems)) == 5
    assert len(problems) == 1 and "arXiv_src_2301_001.tar" in problems[0]


def test_python_tars_with_extended_headers(tmp_path):
    with tarfile.open(tmp_path / "bulk.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        (tmp_path / "x").write_bytes(b"abc")
        info = tar.gettarinfo(str(tmp_path / "x"), arcname="2301/" + "sub/" * 40 + "2301.00001.gz")
        with open(tmp_path / "x", "rb") as file:
            tar.addfile(info, file)
    refs = list_archives(tmp_path)
    assert [(ref.paper_id, read_bytes(ref)) for ref in refs] == [("2301.00001", b"abc")]


def test_missing_folder_and_file_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"download\.py sources"):
        list_archives(tmp_path / "absent")
    with pytest.raises(UserError, match="cannot be read"):
        read_bytes(ArchiveRef("2301.00001", None, "2301.00001.gz", str(tmp_path / "gone"), 0, 3))


def test_command(tmp_path, capsys):
    bulk_tar(tmp_path / "bulk.tar", MEMBERS)
    assert main(["--source", str(tmp_path), "--list"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5 and "5 archives of 5 papers" in err


def test_tars_joined_end_to_end_are_read_to_the_end(tmp_path):
    for number in (1, 2):
        bulk_tar(tmp_path / f"{number}.tar", MEMBERS[number : number + 1])
    joined = tmp_path / "joined"
    joined.mkdir()
    (joined / "all.tar").write_bytes(b"".join((tmp_path / f"{number}.tar").read_bytes() for number in (1, 2)))
    problems: list[str] = []
    assert [ref.paper_id for ref in list_archives(joined, problems)] == ["2301.00002", "2301.00003"]
    assert len(problems) == 1 and "follow an end mark" in problems[0]


def test_links_are_followed_and_what_is_no_file_is_skipped(tmp_path):
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    (elsewhere / "2301.00001.gz").write_bytes(b"x")
    (source / "sub").symlink_to(elsewhere)
    (source / "loop").symlink_to(source)
    (source / "2301.00002.gz").symlink_to(tmp_path / "nothing")
    os.mkfifo(source / "2301.00003.gz")
    skipped: list[str] = []
    assert [path.name for path in source_files(source, skipped.append)] == ["2301.00001.gz"]
    assert len(skipped) == 2
