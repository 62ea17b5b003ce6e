"""The HTTP client against a local server that fails: pauses, retries, and downloads that go on where they broke."""

import gzip
import os
import random
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from common.errors import UserError
from data_prep.fetch.http_client import HttpClient, HttpFailure, retry_after
from tests.helpers.download.commands import quick_client
from tests.helpers.download.faulty_server import FaultyServer, serve


def test_user_agent_names_the_tool_and_the_contact(tmp_path):
    with serve(b"text") as server:
        HttpClient(0, contact="someone@example.org").get(server.url)
    agent = server.requests[0][2]["User-Agent"]
    assert "arxiv-to-model" in agent and "mailto:someone@example.org" in agent


def test_requests_keep_their_distance_from_start_to_start():
    with serve(b"text") as server:
        client, began = HttpClient(0.2), time.monotonic()
        for _ in range(3):
            client.get(server.url)
        # At the client: when a busy machine's server hears of a request says less.
        assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for_and_told(as_date):
    said: list[str] = []
    wait = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True) if as_date else "1"
    with serve(b"text") as server:
        server.faults.append((503, {"Retry-After": wait}))
        assert quick_client(said).get(server.url) == b"text"
    assert server.requests[1][0] - server.requests[0][0] >= (0.5 if as_date else 1)
    assert "503" in said[0] and "as it asks" in said[0]


def test_retry_after_of_hours_ends_with_the_time_to_come_back():
    with serve(b"text") as server:
        server.faults.append((503, {"Retry-After": "7200"}))
        with pytest.raises(UserError, match=r"come back in 2\.0 hours"):
            quick_client().get(server.url)


@pytest.mark.parametrize(
    "value, seconds",
    [
        (None, None),
        ("17", 17),
        ("soon", None),
        ("-5", None),
        ("9" * 400, float("inf")),
        ("Tue, 1 Mar 99999999999999999999 18:00:00 GMT", None),
    ],
)
def test_retry_after_values(value, seconds):
    assert retry_after(value) == seconds


def test_a_server_that_always_fails_is_given_up(quick):
    with serve(b"text") as server:
        server.faults.extend([(503, {})] * 20)
        with pytest.raises(UserError, match="8 times in a row"):
            quick_client().get(server.url)
    assert len(server.requests) == 8


def test_no_server_is_one_error(quick):
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9"):
        quick_client().get("http://127.0.0.1:9/nothing")


def test_a_refusal_is_final():
    with FaultyServer(lambda *_: (404, {}, b"")) as server, pytest.raises(HttpFailure) as failure:
        quick_client().get(server.url)
    assert failure.value.status == 404 and len(server.requests) == 1


BODY = random.Random(1).randbytes(3_000_000)


def test_a_dropped_download_goes_on_where_it_broke(tmp_path, quick):
    counted: list[int] = []
    with serve(BODY, ETag='"one"') as server:
        server.faults.extend(["drop", (503, {"Retry-After": "0"}), "refuse", "drop"])
        quick_client().download(server.url, tmp_path / "file", counted.append)
    assert (tmp_path / "file").read_bytes() == BODY
    assert sum(counted) == len(BODY) and min(counted) >= 0
    assert "Range" in server.requests[1][2] and "If-Range" in server.requests[1][2]
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("tag", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_strong_tag_it_begins_again(tmp_path, quick, tag):
    counted: list[int] = []
    with serve(BODY, **tag) as server:
        server.faults.append("drop")
        quick_client().download(server.url, tmp_path / "file", counted.append)
    assert (tmp_path / "file").read_bytes() == BODY and "Range" not in server.requests[1][2]
    assert sum(counted) == len(BODY) and min(counted) < 0


def test_a_download_that_breaks_at_the_same_place_each_time_is_given_up(tmp_path, quick):
    with serve(BODY) as server:
        server.faults.extend(["drop"] * 30)
        with pytest.raises(UserError, match="times in a row"):
            quick_client().download(server.url, tmp_path / "file")
    assert len(server.requests) < 12


def test_a_file_that_changed_meanwhile_is_not_mixed(tmp_path, quick):
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    (tmp_path / "file.part.headers").write_text('{"ETag": "\\"old\\""}')
    with serve(BODY, ETag='"new"') as server:
        quick_client().download(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


def test_all_was_there_but_the_rename(tmp_path):
    (tmp_path / "file.part").write_bytes(BODY)
    (tmp_path / "file.part.headers").write_text('{"ETag": "\\"one\\""}')
    with serve(BODY, ETag='"one"') as server:
        quick_client().download(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY and os.listdir(tmp_path) == ["file"]


def test_bytes_are_kept_as_the_server_has_them(tmp_path):
    packed = gzip.compress(b"\\documentclass{article}")
    with serve(packed, **{"Content-Encoding": "x-gzip"}) as server:
        quick_client().download(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == packed


def test_the_bytes_that_were_not_asked_for_are_not_appended(tmp_path, quick):
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    (tmp_path / "file.part.headers").write_text('{"ETag": "\\"one\\""}')
    span = {"ETag": '"one"', "Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}

    def answer(path, query, headers):
        return (206, span, BODY) if "Range" in headers else (200, {"ETag": '"one"'}, BODY)

    with FaultyServer(answer, ranges=False) as server:
        quick_client().download(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_server_that_gives_less_than_was_asked_for_is_asked_for_the_rest(tmp_path, quick):
    def answer(path, query, headers):
        start = int(headers["Range"][6:-1]) if "Range" in headers else 0
        piece = BODY[start : start + 1_000_000]
        return 206, {"ETag": '"one"', "Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(BODY)}"}, piece

    with FaultyServer(answer, ranges=False) as server:
        quick_client().download(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY and len(server.requests) == 3


@pytest.mark.parametrize("url", ["http://[bad", "ftp://127.0.0.1/x", "http://127.0.0.1:99999999/"])
def test_what_is_no_address_is_one_error(url, quick):
    with pytest.raises(UserError):
        quick_client().get(url)


def test_a_redirect_to_nowhere_is_one_error(quick):
    with FaultyServer(lambda *_: (302, {"Location": "http://[bad"}, b"")) as server, pytest.raises(UserError):
        quick_client().get(server.url)
