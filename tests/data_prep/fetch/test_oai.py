"""OAI-PMH answers that are wrong, damaged or without end, from a local server."""

import pytest

from common.errors import UserError
from tests.helpers.download.commands import snapshot_of, updates
from tests.helpers.download.faulty_server import FaultyServer
from tests.helpers.download.oai_server import IDS, OaiServer, begins, dated, oai_answer, oai_page, raw_record


def test_an_expired_token_begins_again(tmp_path):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        server.faults.extend([None, (503, {"Retry-After": "99999"})])
        with pytest.raises(UserError):
            updates(tmp_path, server)
        server.expired = True
        assert updates(tmp_path, server) == 0
    assert len(snapshot_of(tmp_path)) == len(IDS)


@pytest.mark.parametrize(
    "answer, told",
    [
        (oai_answer('<error code="badArgument">wrong date</error>'), "badArgument: wrong date"),
        (b"<html><body>busy</body></html>", "not OAI-PMH, 3 times"),
        (oai_page([raw_record("2301.00001")])[:-40], "not OAI-PMH, 3 times"),
        (oai_page([]).replace(b"UTF-8", b"of-nobody"), "not OAI-PMH, 3 times"),
        (oai_page([]).replace(b"2023-06-02", b"today"), "responseDate is 'today"),
    ],
)
def test_answers_that_cannot_be_used(tmp_path, answer, told):
    with FaultyServer(lambda *_: (200, {}, answer)) as server, pytest.raises(UserError, match=told):
        updates(tmp_path, server)


def test_a_record_that_cannot_be_used_is_told_and_costs_no_other(tmp_path, capsys):
    with OaiServer([raw_record("2301.00001"), raw_record("2301.00002", versions=0)]) as server:
        assert updates(tmp_path, server) == 0
    assert [record["id"] for record in snapshot_of(tmp_path)] == ["2301.00001"]
    assert "2301.00002: versions" in capsys.readouterr().err


BAD_TOKEN = oai_answer('<error code="badResumptionToken">expired</error>')


@pytest.mark.parametrize(
    "answer, told",
    [
        (lambda token: BAD_TOKEN if token else oai_page([raw_record("2306.00001")], "a", 9), "forgotten its own"),
        (lambda token: oai_page([raw_record("2306.00001")], "b" if token == "a" else "a", 9), "token 'a' again"),
        (lambda token: oai_page([raw_record("2306.00001")], "a", 9), "token 'a' again"),
    ],
    ids=["every token refused", "a circle", "the same"],
)
def test_lists_without_end_end(tmp_path, answer, told):
    server = FaultyServer(lambda path, query, headers: (200, {}, answer(query.get("resumptionToken"))))
    with server, pytest.raises(UserError, match=told):
        updates(tmp_path, server)
    assert len(server.requests) < 20


def test_a_list_that_breaks_off_is_not_taken_as_complete(tmp_path):
    def answer(path, query, headers):
        if "resumptionToken" in query:
            return 200, {}, oai_answer('<error code="noRecordsMatch"/>')
        return 200, {}, oai_page([raw_record("2306.00001")], "a", 9000)

    with (
        FaultyServer(answer) as server,
        pytest.raises(UserError, match=r"no records for a resumption.*remove .*updates"),
    ):
        updates(tmp_path, server)
    assert not (tmp_path / "snapshot.json").exists()


def test_fewer_records_than_stated_are_told_and_asked_for_again(tmp_path, capsys, monkeypatch):
    dated(tmp_path, "2023-01-02")
    server = OaiServer([])

    def page(query):
        server.queries.append(query)
        return oai_page([raw_record("2306.00001")], None, 9)

    monkeypatch.setattr(server, "page", page)
    with server:
        assert updates(tmp_path, server) == updates(tmp_path, server) == 0
    assert "8 records more than it gave" in capsys.readouterr().err
    assert begins(server) == ["2023-01-02"] * 2


@pytest.mark.parametrize("wrong", ["\x0b", "&#8;", "&#x1F;"])
def test_characters_that_xml_forbids_cost_nothing_else(tmp_path, capsys, wrong):
    records = [raw_record("2306.00001", title=f"On {wrong}lattices"), raw_record("2306.00002")]
    with OaiServer(records) as server:
        assert updates(tmp_path, server) == 0
    assert [record["title"] for record in snapshot_of(tmp_path)] == ["On lattices", "A title"]
    assert "what XML forbids" in capsys.readouterr().err


def test_what_was_wrong_is_told_after_a_restart_too(tmp_path, capsys):
    with OaiServer([raw_record(name, versions=name != IDS[0]) for name in IDS]) as server:
        server.faults.extend([None, (503, {"Retry-After": "99999"})])
        with pytest.raises(UserError, match="hours"):
            updates(tmp_path, server)
        assert updates(tmp_path, server) == 0
    assert f"{IDS[0]}: versions" in capsys.readouterr().err


def test_a_year_that_there_is_not_spoils_one_record(tmp_path, capsys):
    record = raw_record("2306.00002").replace("Mar 2022", "Mar 99999999999999999999")
    with OaiServer([raw_record("2306.00001"), record]) as server:
        assert updates(tmp_path, server) == 0
    assert len(snapshot_of(tmp_path)) == 1 and "2306.00002: versions" in capsys.readouterr().err
