"""Harvests from a local OAI-PMH server: where they begin, go on and end, and what the snapshot then holds."""

import json
import os

import pytest

from common.errors import UserError
from data_prep.fetch import harvest
from tests.helpers.download.commands import LINES, RECORD, metadata, quick_client, snapshot_of, updates
from tests.helpers.download.faulty_server import FaultyServer
from tests.helpers.download.oai_server import IDS, OaiServer, begins, dated, oai_answer, oai_page, raw_record


def test_a_harvest_makes_a_snapshot(tmp_path):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        assert updates(tmp_path, server) == 0
    records = snapshot_of(tmp_path)
    assert [record["id"] for record in records] == [
        "hep-th/9901001",
        "0704.0002",
        *sorted(set(IDS) - {"0704.0002", "hep-th/9901001"}),
    ]
    assert records[0] == {
        "id": "hep-th/9901001",
        "submitter": "Someone",
        "authors": "A. Author",
        "title": "A title",
        "comments": "10 pages & more",
        "journal-ref": None,
        "doi": None,
        "report-no": None,
        "categories": "math.NT cs.IT",
        "license": "http://creativecommons.org/licenses/by/4.0/",
        "abstract": "  It is shown.\n",
        "versions": [
            {"version": "v1", "created": "Tue, 1 Mar 2022 18:00:00 GMT"},
            {"version": "v2", "created": "Tue, 2 Mar 2022 18:00:00 GMT"},
        ],
        "update_date": "2023-06-01",
    }
    assert "from" not in server.queries[0] and len(server.queries) == 3
    assert sorted(os.listdir(tmp_path)) == [".download.lock", "snapshot.json", "snapshot.json.harvested.json"]


def test_updates_begin_at_the_newest_date_and_keep_all_other_lines(tmp_path, capsys):
    old = [
        json.dumps({**RECORD, "id": name, "update_date": date})
        for name, date in [("2301.00001", "2023-01-02"), ("2301.00002", "2023-05-30"), ("2301.00003", "2023-02-02")]
    ]
    lines = [old[0], "not json, kept as it is", *old[1:]]
    (tmp_path / "snapshot.json").write_text("\n".join(lines))  # no newline at the end
    records = [
        raw_record("2301.00003", title="New title"),
        raw_record("2301.00009"),
        raw_record("2301.00001", deleted=True),
    ]
    with OaiServer(records) as server:
        assert updates(tmp_path, server, "--subject", "math") == 0
    assert server.queries[0]["from"] == "2023-05-30" and server.queries[0]["set"] == "math"
    made = (tmp_path / "snapshot.json").read_text().splitlines()
    assert made[:2] == [lines[1], lines[2]]
    assert [json.loads(line)["title"] for line in made[2:]] == ["New title", "A title"]
    assert "1 records updated, 1 records added, 1 records deleted" in capsys.readouterr().out


def test_nothing_new_changes_nothing(tmp_path):
    (tmp_path / "snapshot.json").write_bytes(LINES)
    with FaultyServer(lambda *_: (200, {}, oai_answer('<error code="noRecordsMatch"/>'))) as server:
        assert updates(tmp_path, server) == 0
    assert (tmp_path / "snapshot.json").read_bytes() == LINES


def test_failures_on_the_way_lose_nothing(tmp_path, quick):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        server.faults.extend([(503, {"Retry-After": "0"}), "drop", None, "drop"])
        store = harvest.Store(tmp_path / "snapshot.json")
        with store.usable():
            store.begin(harvest.Plan({}, {}, True))
            store.fetch(quick_client(), server.url, {})
            store.merge(tmp_path / "snapshot.json")
    assert len(snapshot_of(tmp_path)) == len(IDS)


def test_a_run_that_was_stopped_goes_on_with_its_token(tmp_path):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        server.faults.extend([None, (503, {"Retry-After": "99999"})])
        with pytest.raises(UserError, match="hours"):
            updates(tmp_path, server, "--since", "2020-01-01")
        assert updates(tmp_path, server, "--since", "2020-01-01") == 0
        assert [query.get("resumptionToken") for query in server.queries] == [None, "key|3", "key|6"]
        assert server.queries[0]["from"] == "2020-01-01"
    assert len(snapshot_of(tmp_path)) == len(IDS)


def test_another_harvest_than_the_one_that_was_stopped_begins_anew(tmp_path, capsys):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        server.faults.extend([None, (503, {"Retry-After": "99999"})])
        with pytest.raises(UserError, match="hours"):
            updates(tmp_path, server, "--since", "2020-01-01")
        assert updates(tmp_path, server, "--since", "2021-01-01") == 0
        assert server.queries[1]["from"] == "2021-01-01"
    assert len(snapshot_of(tmp_path)) == len(IDS) and "going on" not in capsys.readouterr().out


def test_a_damaged_store_is_told(tmp_path):
    (tmp_path / "snapshot.json.updates").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with OaiServer([]) as server, pytest.raises(UserError, match=r"updates: cannot be used.*remove it"):
        updates(tmp_path, server)


def test_a_merge_that_was_killed_is_done_again(tmp_path, monkeypatch):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(harvest.Store, "merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            updates(tmp_path, server)
        asked = len(server.requests)
        assert updates(tmp_path, server) == 0
        assert len(server.requests) == asked
    assert len(snapshot_of(tmp_path)) == len(IDS)


def test_a_harvest_of_one_set_or_of_late_days_moves_no_other_harvests_beginning(tmp_path, capsys):
    dated(tmp_path, "2023-01-02")
    with OaiServer([raw_record("2306.00001", datestamp="2023-06-01")]) as server:
        updates(tmp_path, server, "--subject", "math")
        updates(tmp_path, server, "--since", "2023-05-01")
        assert "changes before 2023-05-01 are still missing" in capsys.readouterr().err
        updates(tmp_path, server)
        updates(tmp_path, server)
        updates(tmp_path, server, "--subject", "cs")
    # The server's clock says 2023-06-02, but nothing in the snapshot is newer than the day before.
    assert begins(server) == ["2023-01-02", "2023-05-01", "2023-01-02", "2023-06-01", "2023-06-01"]


def test_a_set_is_harvested_from_its_own_day_on(tmp_path):
    with OaiServer([raw_record("2306.00001", datestamp="2023-06-01")]) as server:
        updates(tmp_path, server, "--subject", "math")
        updates(tmp_path, server, "--subject", "math")
        updates(tmp_path, server)
        updates(tmp_path, server)
    assert begins(server) == [None, "2023-06-01", None, "2023-06-01"]


def test_a_harvest_until_a_day_is_complete_up_to_it(tmp_path):
    dated(tmp_path, "2023-01-02")
    with OaiServer([raw_record("2306.00001", datestamp="2023-06-01")]) as server:
        updates(tmp_path, server, "--until", "2023-03-01")
        updates(tmp_path, server)
    assert begins(server) == ["2023-01-02", "2023-03-01"]


def test_a_snapshot_put_there_by_hand_is_older_than_the_mark(tmp_path):
    dated(tmp_path, "2023-05-05")
    with OaiServer([]) as server:
        updates(tmp_path, server)
        dated(tmp_path, "2022-01-01")
        updates(tmp_path, server)
    assert begins(server) == ["2023-05-05", "2022-01-01"]


def test_dates_that_are_none_or_to_come_are_no_beginning(tmp_path):
    dated(tmp_path, "2023-01-02", "9999-01-01", "soon", None)
    with OaiServer([raw_record("2301.00002", title="New title")]) as server:
        updates(tmp_path, server)
    assert begins(server) == ["2023-01-02"]
    assert [record["title"] for record in snapshot_of(tmp_path)][1] == "New title"


def test_a_harvest_from_before_a_new_snapshot_does_not_overwrite_it(tmp_path, monkeypatch):
    stale = [raw_record("2301.00001", datestamp="2023-02-02", title="Old title"), raw_record("2301.00009")]
    with OaiServer(stale) as server:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(harvest.Store, "merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            updates(tmp_path, server)
        dated(tmp_path, "2023-05-05")  # put there by hand
        assert updates(tmp_path, server) == 0
        assert [record["title"] for record in snapshot_of(tmp_path)] == ["On lattices", "A title"]
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(harvest.Store, "merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            updates(tmp_path, server)
    (tmp_path / "archive").write_bytes(LINES)
    assert metadata(tmp_path, "--from", str(tmp_path / "archive")) == 0  # by us: what was harvested is dropped
    assert sorted(os.listdir(tmp_path)) == [".download.lock", "archive", "snapshot.json"]


def test_damaged_marks_are_told(tmp_path):
    dated(tmp_path, "2023-01-02")
    (tmp_path / "snapshot.json.harvested.json").write_text('{"all": "yesterday"}')
    with OaiServer([]) as server, pytest.raises(UserError, match=r"harvested.json: damaged.*--since"):
        updates(tmp_path, server)


def test_a_selection_that_was_refused_is_forgotten(tmp_path):
    def answer(path, query, headers):
        wrong = query.get("set") == "mathh"
        return 200, {}, oai_answer('<error code="badArgument">no such set</error>') if wrong else oai_page([])

    dated(tmp_path, "2023-01-02")
    with FaultyServer(answer) as server:
        with pytest.raises(UserError, match="no such set"):
            updates(tmp_path, server, "--subject", "mathh")
        assert updates(tmp_path, server) == 0
        assert "set=" not in server.requests[-1][1]
        with pytest.raises(UserError, match="is after --until"):
            updates(tmp_path, server, "--since", "2023-02-01", "--until", "2023-01-01")


def test_a_store_that_is_damaged_at_the_merge_is_told(tmp_path, monkeypatch):
    fetch = harvest.Store.fetch

    def damage(store, *arguments):
        fetch(store, *arguments)
        store.path.write_bytes(b"\0" * store.path.stat().st_size)

    monkeypatch.setattr(harvest.Store, "fetch", damage)
    with OaiServer([raw_record(name) for name in IDS]) as server, pytest.raises(UserError, match="remove it"):
        updates(tmp_path, server)
