"""The sample corpus: arXiv's layout, what was planted, the same bytes twice."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from common.errors import UserError
from tools.make_sample_corpus import main

PAPERS = 48


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "raw"
    assert main(["--out", str(folder), "--papers", str(PAPERS)]) == 0
    return folder


@pytest.fixture(scope="module")
def truth(corpus: Path) -> dict:
    return json.loads((corpus / "truth.json").read_text())


@pytest.fixture(scope="module")
def records(corpus: Path) -> list[dict]:
    return [json.loads(line) for line in (corpus / "arxiv-metadata-oai-snapshot.json").read_text().splitlines()]


@pytest.fixture(scope="module")
def members(corpus: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted((corpus / "src").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile():
                    found[member.name] = content(tar, member)
    return found


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file, f"{member.name}: not a file"
    return file.read()


def member_of(paper_id: str, suffix: str = ".gz") -> str:
    flat = paper_id.replace("/", "")
    return f"{re.sub('[^0-9.]', '', paper_id)[:4]}/{flat}{suffix}"


def tex_of(data: bytes) -> dict[str, str]:
    raw = gzip.decompress(data)
    try:
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            return {m.name: content(tar, m).decode() for m in tar if not m.name.endswith(".pdf")}
    except tarfile.ReadError:
        return {"": raw.decode("utf-8")}


def test_records_have_the_fields_of_the_public_snapshot(records: list[dict]) -> None:
    fields = (
        "id submitter authors title comments journal-ref doi report-no categories license abstract versions "
        "update_date authors_parsed"
    ).split()
    assert all(list(record) == fields for record in records)
    assert len({record["id"] for record in records}) == len(records)
    assert any("/" in record["id"] for record in records) and any("." in record["id"] for record in records)


def test_every_identifier_is_one_that_arxiv_could_have_given(records: list[dict]) -> None:
    archives = "math|cs|math-ph|hep-th|hep-ph|hep-lat|gr-qc|quant-ph"
    for record in records:
        assert re.fullmatch(rf"({archives})/0[0-6]\d{{5}}|\d{{4}}\.\d{{4,5}}", record["id"]), record["id"]


def test_members_are_named_as_in_arxivs_bulk_tars(members: dict[str, bytes]) -> None:
    for name in members:
        assert re.fullmatch(r"\d{4}/([a-z-]+\d{7}|\d{4}\.\d{4,5})\.(gz|pdf)", name), name


def test_manifest_describes_the_tars(corpus: Path) -> None:
    entries = ElementTree.parse(corpus / "src" / "arXiv_src_manifest.xml").getroot().findall("file")
    assert len(entries) == len(list((corpus / "src").glob("*.tar")))
    for entry in entries:
        data = (corpus / entry.findtext("filename", "")).read_bytes()
        assert entry.findtext("md5sum") == hashlib.md5(data).hexdigest()
        assert int(entry.findtext("size", "")) == len(data)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert int(entry.findtext("num_items", "")) == sum(member.isfile() for member in tar)


def test_planted_troubles_are_what_they_are_called(truth: dict, records: list[dict], members: dict[str, bytes]) -> None:
    by_id = {record["id"]: record for record in records}
    assert members[member_of(truth["pdf_only"][0], ".pdf")].startswith(b"%PDF-")
    with pytest.raises(EOFError):
        gzip.decompress(members[member_of(truth["truncated_gzip"][0])])
    assert all("withdrawn" in by_id[i]["comments"].lower() for i in truth["withdrawn"])
    assert b"withdrawn" in gzip.decompress(members[member_of(truth["withdrawn_stub"][0])])
    assert all(member_of(i) not in members for i in truth["metadata_without_source"])
    assert all(i not in by_id and member_of(i) in members for i in truth["source_without_metadata"])
    with pytest.raises(UnicodeDecodeError):
        gzip.decompress(members[member_of(truth["latin_1"][0])]).decode("utf-8")
    first, again = truth["exact_duplicates"][0]
    assert members[member_of(first)] == members[member_of(again)]


def test_ordinary_papers_come_as_one_file_and_as_several(members: dict[str, bytes], truth: dict) -> None:
    left_out = {member_of(truth[kind][0]) for kind in ("truncated_gzip", "latin_1")}
    sizes = [len(tex_of(data)) for name, data in members.items() if name.endswith(".gz") and name not in left_out]
    assert sizes.count(1) > 10 and sum(size > 3 for size in sizes) > 10


def test_counts_add_up(truth: dict, records: list[dict], members: dict[str, bytes]) -> None:
    assert len(records) == truth["metadata_records"] and len(members) == truth["archives"]
    assert truth["ordinary_papers"] == PAPERS
    assert len(records) - len(truth["metadata_without_source"]) == len(members) - len(truth["source_without_metadata"])


def test_the_same_arguments_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "again"), "--papers", str(PAPERS)]) == 0
    names = {path.relative_to(corpus) for path in corpus.rglob("*") if path.is_file()}
    assert names == {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert all((corpus / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]  # nothing temporary is left


def test_a_second_run_says_that_the_sample_exists(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert main(["--out", str(corpus), "--papers", str(PAPERS)]) == 0
    assert "exists already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}


def test_other_arguments_do_not_overwrite_a_sample(corpus: Path) -> None:
    with pytest.raises(UserError, match="asked for"):
        main(["--out", str(corpus), "--papers", str(PAPERS), "--seed", "5"])


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not a sample corpus"):
        main(["--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 40"):
        main(["--out", str(tmp_path / "x"), "--papers", "3"])
    with pytest.raises(UserError, match="--out"):
        main([])
