"""The sample corpus: arXiv's layout, what was planted, the same bytes twice."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import itertools
import json
import random
import re
import shutil
import tarfile
import xml.etree.ElementTree as ElementTree
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from data_prep.papers.archives import list_archives
from data_prep.papers.ids import month_of, paper_id_of
from data_prep.papers.metadata import first_year, read_snapshot, record_problem
from tools import make_sample_corpus
from tools.make_sample_corpus import Ids, main, ordinary_papers, planted_papers
from tools.sample.grammar import Paper, write_paper

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
    with pytest.raises(UserError, match="at most 1000000"):
        main(["--out", str(tmp_path / "x"), "--papers", "1000001"])
    with pytest.raises(UserError, match="--out"):
        main([])


def test_a_large_sample_has_identifiers_that_arxiv_could_have_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many papers as fill the old months many times over; each has the same text and no archive, to be quick."""
    paper = write_paper(random.Random(0), scale=0.1)
    archives = itertools.cycle(("math.AG", "hep-th", "cs.LG", "stat.ML", "math-ph"))

    def same_paper(rng: random.Random, **how: Any) -> Paper:
        return dataclasses.replace(paper, categories=next(archives), sections=list(paper.sections))

    monkeypatch.setattr(make_sample_corpus, "write_paper", same_paper)
    monkeypatch.setattr(make_sample_corpus, "source_archive", lambda *arguments, **how: b"")
    ids = Ids()
    ordinary = ordinary_papers(0, 24_000, ids)
    planted, _ = planted_papers(0, ordinary, ids)
    entries = [entry for entry, _ in ordinary] + planted
    assert len({entry.id for entry in entries}) == len(entries) > 24_000
    for entry in entries:
        assert paper_id_of(entry.id) == (entry.id, None), entry.id
        assert paper_id_of(entry.member) == (entry.id, None), entry.member
        month, number = month_of(entry.id), entry.id.rpartition("/")[2][4:].lstrip(".")
        old, four, five = "/" in entry.id, len(number) == 4, len(number) == 5
        assert (old, four, five) == (month < "200704", "200704" <= month < "201501", month >= "201501"), entry.id
        assert "200309" <= month <= "202412" and 1 <= int(number) <= 20_000, entry.id
        if entry.record:
            assert record_problem(entry.record) is None
            created = parsedate_to_datetime(entry.record["versions"][0]["created"])
            assert f"{created:%Y%m}" == month and first_year(entry.record) == int(month[:4])


def test_numbers_run_on_from_month_to_month_and_year_to_year() -> None:
    ids = Ids({"0412": 998, "0703": 999, "1412": 9_999})
    assert [ids.take("0412", "hep-th") for _ in range(2)] == ["hep-th/0412999", "hep-th/0501001"]
    assert (ids.take("0703"), ids.take("1412"), ids.take("1412")) == ("0704.0001", "1501.00001", "1501.00002")


def test_a_sample_whose_months_are_full_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With months of three papers: archives in the tars of their months, and a manifest that lists them all."""
    monkeypatch.setattr(make_sample_corpus, "LAST_NUMBERS", {3: 3, 4: 4, 5: 5})
    assert main(["--out", str(tmp_path / "raw"), "--papers", "48"]) == 0
    truth = json.loads((tmp_path / "raw" / "truth.json").read_text())
    problems: list[str] = []
    archives = list_archives(tmp_path / "raw" / "src", problems)
    assert problems == [] and len(archives) == truth["archives"] == len({archive.paper_id for archive in archives})
    assert all(month_of(archive.paper_id)[2:] == archive.name[:4] for archive in archives)
    lines = list(read_snapshot(tmp_path / "raw" / "arxiv-metadata-oai-snapshot.json"))
    assert len(lines) == truth["metadata_records"] and [line.problem for line in lines if line.record is None] == []


def test_a_large_sample_of_an_earlier_version_is_not_taken_for_one_of_this(corpus: Path, tmp_path: Path) -> None:
    assert make_sample_corpus.arguments_of(7_992, 0)["generator"] == 3  # the same bytes as ever
    shutil.copytree(corpus, tmp_path / "raw")
    truth = json.loads((corpus / "truth.json").read_text())
    truth["arguments"]["papers"] = 60_000
    (tmp_path / "raw" / "truth.json").write_text(json.dumps(truth))
    with pytest.raises(UserError, match=r"'generator': 3\}, asked for is .*'generator': 4\}; remove it"):
        main(["--out", str(tmp_path / "raw"), "--papers", "60000"])


def test_a_small_sample_is_the_same_as_ever() -> None:
    """The figures of the quickstart depend on it. Sizes of archives depend on zlib too, so the texts are compared."""
    ids = Ids()
    whole = hashlib.sha256()
    for entry, paper in ordinary_papers(0, PAPERS, ids):
        assert entry.record
        whole.update(json.dumps(entry.record, sort_keys=True).encode() + paper.single_file().encode())
    assert whole.hexdigest() == "49f585c65f863a3043ddd5db563ed8cde72e96c6f7ed4c971f5de873acd35dda"
