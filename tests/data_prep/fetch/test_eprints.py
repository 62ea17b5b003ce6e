"""Single papers from a local server: names, versions, damaged answers, identifiers."""

import gzip
import io
import json
import os
import tarfile

import pytest

from common.errors import UserError
from data_prep.fetch import eprints
from data_prep.papers.archives import list_archives
from tests.helpers.download.commands import papers, quick_client
from tests.helpers.download.faulty_server import FaultyServer, serve


def tar_gz():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("main.tex")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"\\bye\n"))
    return out.getvalue()


EPRINTS = {
    "/e-print/2301.00001": ({"Content-Disposition": 'attachment; filename="arXiv-2301.00001v3.tar.gz"'}, tar_gz()),
    "/e-print/2301.00001v1": ({}, tar_gz()),
    "/e-print/hep-th/9901001": ({"Content-Encoding": "x-gzip"}, gzip.compress(b"\\documentstyle{article}")),
    "/e-print/2301.00004": ({"Content-Type": "application/pdf"}, b"%PDF-1.5 ..."),
    "/e-print/2301.00005": ({"Content-Type": "text/html"}, b"<html>no source</html>"),
}


def eprint_server():
    def answer(path, query, headers):
        return (200, *EPRINTS[path]) if path in EPRINTS else (404, {}, b"")

    return FaultyServer(answer)


def test_papers_get_arxivs_names_and_are_found_by_the_pipeline(tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("# wanted\narXiv:2301.00004\n\n2301.00001 # again\n")
    with eprint_server() as server:
        status = papers(
            tmp_path, server, "2301.00001", "2301.00001v1", "hep-th/9901001", "--ids", str(tmp_path / "ids.txt")
        )
    assert status == 0 and "4 fetched" in capsys.readouterr().out
    found = {(ref.paper_id, ref.version, ref.name) for ref in list_archives(tmp_path / "eprints")}
    assert found == {
        ("2301.00001", 3, "2301/2301.00001v3.tar.gz"),
        ("2301.00001", 1, "2301/2301.00001v1.tar.gz"),
        ("2301.00004", None, "2301/2301.00004.pdf"),
        ("hep-th/9901001", None, "9901/hep-th9901001.gz"),
    }


def test_papers_that_are_there_are_not_asked_for(tmp_path):
    with eprint_server() as server:
        assert papers(tmp_path, server, "2301.00001") == papers(tmp_path, server, "2301.00001", "2301.00001v3") == 0
    assert len(server.requests) == 1


def test_papers_that_there_are_not_stop_nothing(tmp_path, capsys):
    with eprint_server() as server:
        assert papers(tmp_path, server, "2301.99999", "2301.00005", "2301.00004") == 1
    printed = capsys.readouterr()
    assert "1 HTTP status 404" in printed.out and "1 fetched" in printed.out and "1 not an archive" in printed.out
    assert "2301.99999: HTTP status 404" in printed.err
    assert [ref.paper_id for ref in list_archives(tmp_path)] == ["2301.00004"]


def test_corrupt_and_broken_answers_are_asked_for_again(tmp_path, quick):
    with eprint_server() as server:
        server.faults.extend(["corrupt", None, "drop", (503, {"Retry-After": "0"})])
        counts = eprints.fetch_papers(
            quick_client(), f"{server.url}/e-print", [("2301.00001", None), ("hep-th/9901001", None)], tmp_path
        )
    assert counts == {"fetched": 2}
    assert gzip.decompress((tmp_path / "eprints/9901/hep-th9901001.gz").read_bytes()).startswith(b"\\documentstyle")


def test_a_paper_that_stays_damaged_is_not_kept(tmp_path, capsys):
    with eprint_server() as server:
        server.faults.extend(["corrupt", "corrupt"])
        assert papers(tmp_path, server, "2301.00001") == 1
    assert "damaged gzip" in capsys.readouterr().err and not list(tmp_path.rglob("*0001*"))


def test_ids_as_people_write_them(tmp_path):
    (tmp_path / "ids").write_bytes(b"\xef\xbb\xbf2301.00001\r\narxiv:2301.00002\r\narXiv: hep-th/9901001\r\n")
    found = eprints.read_ids([], [tmp_path / "ids"])
    assert found == [("2301.00001", None), ("2301.00002", None), ("hep-th/9901001", None)]
    with pytest.raises(UserError, match="not an arXiv identifier"):
        eprints.read_ids(["2301.00001v0"], [])


def test_the_version_is_of_the_paper_and_lasts_through_a_kill(tmp_path):
    data = tar_gz()
    place = tmp_path / "eprints/2301"
    place.mkdir(parents=True)
    name = 'attachment; filename="arXiv-2301.00001v3.tar.gz"'
    (place / "2301.00001.arrived.part").write_bytes(data)  # only the rename was missing
    kept = {"ETag": '"one"', "Content-Disposition": name}
    (place / "2301.00001.arrived.part.headers").write_text(json.dumps(kept))
    with serve(data, **kept) as server:
        assert papers(tmp_path, server, "2301.00001", "2301.00002") == 0
    assert sorted(os.listdir(place)) == ["2301.00001v3.tar.gz", "2301.00002.tar.gz"]


def test_a_refused_client_stops(tmp_path):
    with FaultyServer(lambda *_: (403, {}, b"")) as server, pytest.raises(UserError, match="refuses this client"):
        papers(tmp_path, server, "2301.00001", "2301.00002")
    assert len(server.requests) == 1
