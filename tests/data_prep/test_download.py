"""Downloads against local servers that speak the protocols, with failures injected."""

import functools
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from common.errors import UserError
from common.paths import ROOT
from data_prep import download
from data_prep.fetch import bulk_tars, eprints, harvest, http_client
from data_prep.fetch.http_client import HttpClient, HttpFailure, retry_after
from data_prep.papers.archives import list_archives
from tests.helpers.faulty_server import FaultyServer, in_front_of
from tests.helpers.small_disk import on_a_small_disk

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
RECORD = {
    "id": "2301.00001",
    "title": "On lattices",
    "comments": None,
    "categories": "math.NT",
    "license": None,
    "abstract": "  We study lattices.\n",
    "versions": [{"version": "v1", "created": "Sun, 1 Jan 2023 00:00:00 GMT"}],
    "update_date": "2023-01-02",
}


def run(*arguments, **environment):
    command = [sys.executable, str(ROOT / "data_prep/download.py"), *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def quick(monkeypatch):
    """Pauses after failures that a test can wait for."""
    monkeypatch.setattr(bulk_tars, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(bulk_tars, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(http_client, "LONGEST_PAUSE", 0.02)


def quick_client(said=None):
    return HttpClient(0, first_pause=0.01, say=(said.append if said is not None else lambda text: None))


# ---- the HTTP client


def serve(body, **headers):
    return FaultyServer(lambda path, query, received: (200, headers, body))


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
    said = []
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
    counted = []
    with serve(BODY, ETag='"one"') as server:
        server.faults.extend(["drop", (503, {"Retry-After": "0"}), "refuse", "drop"])
        quick_client().download(server.url, tmp_path / "file", counted.append)
    assert (tmp_path / "file").read_bytes() == BODY
    assert sum(counted) == len(BODY) and min(counted) >= 0
    assert "Range" in server.requests[1][2] and "If-Range" in server.requests[1][2]
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("tag", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_strong_tag_it_begins_again(tmp_path, quick, tag):
    counted = []
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


# ---- bulk tars


def bulk_tar(month, papers):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(1, papers + 1):
            noise = random.Random(number).randbytes(60_000).hex().encode()
            data = gzip.compress(b"\\documentclass{article}\\begin{document}" + noise + b"\\end{document}")
            info = tarfile.TarInfo(f"{month}/{month}.{number:05d}.gz")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


TARS = {
    f"src/arXiv_src_{month}_{number:03d}.tar": bulk_tar(month, 20 + number)
    for month in ("9912", "2301", "2302")
    for number in (1, 2)
}


def manifest(tars):
    entries = "".join(
        f"<file><content_md5sum>{'0' * 32}</content_md5sum><filename>{key}</filename>"
        f"<first_item>a</first_item><last_item>b</last_item><md5sum>{hashlib.md5(data).hexdigest()}</md5sum>"
        f"<num_items>{20 + int(key[-7:-4])}</num_items><seq_num>1</seq_num><size>{len(data)}</size>"
        f"<timestamp>2023-02-01 00:00:00</timestamp><yymm>{key[14:18]}</yymm></file>"
        for key, data in reversed(tars.items())
    )
    return f"<?xml version='1.0'?><arXivSRC>{entries}<timestamp>Thu</timestamp></arXivSRC>".encode()


@pytest.fixture(scope="module")
def s3():
    """moto's S3 server with the bucket `arxiv`."""
    server_module = pytest.importorskip("moto.server", reason="pip install -r tests/requirements.txt")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    client.create_bucket(Bucket="arxiv")
    for key, data in {**TARS, bulk_tars.MANIFEST: manifest(TARS)}.items():
        client.put_object(Bucket="arxiv", Key=key, Body=data)
    yield url
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch, quick):
    """The same behind a server whose answers can be made to fail; boto3 finds it by the environment."""
    with FaultyServer(in_front_of(s3), ranges=False) as server:
        for key, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": server.url}.items():
            monkeypatch.setenv(key, value)
        yield server


def sources(folder, *arguments):
    return download.main(["sources", "--out", str(folder), *arguments])


def assert_whole(folder, months=("9912", "2301", "2302")):
    wanted = {key.rpartition("/")[2]: data for key, data in TARS.items() if key[14:18] in months}
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".tar"}
    assert found == wanted
    assert not list(folder.glob("*.part"))
    subprocess.run(["md5sum", "--check", "--status", "MD5SUMS"], cwd=folder, check=True)


def test_the_list_tells_bytes_and_cost_and_fetches_nothing(tmp_path, bucket, capsys):
    assert sources(tmp_path, "--list", "--price", "1000") == 0
    printed = capsys.readouterr().out
    size = sum(map(len, TARS.values()))
    assert "1999-12" in printed and "2023-02" in printed
    assert f"{size / 1e9 * 1000:,.2f} USD at 1000 USD/GB" in printed and "0 of 6 tars" in printed
    assert not list(tmp_path.glob("*.tar"))


def test_without_yes_and_terminal_nothing_is_spent(tmp_path, bucket):
    result = run("sources", "--out", tmp_path)
    assert result.returncode == 2 and "--yes" in result.stderr and not list(tmp_path.glob("*.tar*"))


def test_the_question_is_asked_and_no_means_no(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert sources(tmp_path) == 0 and not list(tmp_path.glob("*.tar*"))
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert sources(tmp_path, "--months", "9912:9912") == 0
    assert_whole(tmp_path, ["9912"])


def test_a_range_of_months_by_requester_pays_alone(tmp_path, bucket):
    assert sources(tmp_path, "--months", "9911:2301", "--yes") == 0
    assert_whole(tmp_path, ["9912", "2301"])
    assert all(headers.get("x-amz-request-payer") == "requester" for _, _, headers in bucket.requests)
    archives = list_archives(tmp_path)  # and prepare_dataset.py finds the papers in it
    assert len(archives) == 2 * (21 + 22) and archives[0].paper_id == "9912.00001"


def test_a_second_run_fetches_what_is_missing(tmp_path, bucket, capsys):
    assert sources(tmp_path, "--yes", "--months", "2301:2301") == 0
    asked = len(bucket.requests)
    assert sources(tmp_path, "--yes") == 0
    assert_whole(tmp_path)
    assert len(bucket.requests) - asked == 1 + 4  # the manifest, and the four others
    assert "2 of 6 tars are in" in capsys.readouterr().out


def test_drops_refusals_and_503_cost_only_what_was_lost(tmp_path, bucket):
    bucket.faults.extend([None, "drop", (503, {"Retry-After": "1"}), "refuse", "drop", None, "drop", (500, {}), "drop"])
    assert sources(tmp_path, "--yes") == 0
    assert_whole(tmp_path)
    starts = [headers["Range"] for _, _, headers in bucket.requests if "Range" in headers]
    assert any(not start.startswith("bytes=0-") for start in starts)


def test_corrupt_bytes_are_fetched_again(tmp_path, bucket):
    bucket.faults.extend([None, "corrupt"])
    assert sources(tmp_path, "--yes") == 0
    assert_whole(tmp_path)


def test_a_tar_that_stays_corrupt_fails_alone(tmp_path, bucket, capsys):
    bucket.faults.extend([None, "corrupt", "corrupt"])
    assert sources(tmp_path, "--yes", "--parallel", "1") == 1
    printed = capsys.readouterr()
    assert "md5 is" in printed.err and "1 failed" in printed.out
    assert len(list(tmp_path.glob("*.tar"))) == 5
    assert sources(tmp_path, "--yes") == 0
    assert_whole(tmp_path)


def test_part_of_a_killed_run_is_continued(tmp_path, bucket):
    key, data = next(iter(TARS.items()))
    (tmp_path / (key.rpartition("/")[2] + ".part")).write_bytes(data[:700_000])
    assert sources(tmp_path, "--yes", "--months", "9912:9912") == 0
    assert_whole(tmp_path, ["9912"])
    assert any(headers.get("Range", "").startswith("bytes=700000-") for _, _, headers in bucket.requests)


def test_a_damaged_part_is_found_out(tmp_path, bucket):
    key = next(iter(TARS))
    (tmp_path / (key.rpartition("/")[2] + ".part")).write_bytes(b"\0" * 700_000)
    assert sources(tmp_path, "--yes", "--months", "9912:9912") == 0
    assert_whole(tmp_path, ["9912"])


def test_a_tar_of_another_tool_is_checked_not_fetched(tmp_path, bucket):
    for key, data in TARS.items():
        (tmp_path / key.rpartition("/")[2]).write_bytes(data)
    assert sources(tmp_path, "--yes") == 0
    assert_whole(tmp_path)
    assert len(bucket.requests) == 1


def test_verify_finds_a_tar_that_has_rotted(tmp_path, bucket):
    assert sources(tmp_path, "--yes") == 0
    victim = sorted(tmp_path.glob("*.tar"))[2]
    data = bytearray(victim.read_bytes())
    data[1000] ^= 1
    victim.write_bytes(data)
    assert sources(tmp_path, "--yes", "--verify") == 0
    assert_whole(tmp_path)


def test_verifying_one_month_leaves_the_others_notes(tmp_path, bucket):
    assert sources(tmp_path, "--yes") == 0
    assert sources(tmp_path, "--yes", "--verify", "--months", "2301:2301") == 0
    assert (tmp_path / "MD5SUMS").read_text().count("\n") == 6


def test_a_wrong_file_is_named_fetched_again_and_not_certified(tmp_path, bucket, capsys):
    key, data = next(iter(TARS.items()))
    victim = tmp_path / key.rpartition("/")[2]
    victim.write_bytes(b"\0" * len(data))
    assert sources(tmp_path, "--list") == 0
    assert f"{victim.name}: is not the file" in capsys.readouterr().err and not (tmp_path / "MD5SUMS").exists()
    victim.write_bytes(data)  # put right by the user
    asked = len(bucket.requests)
    assert sources(tmp_path, "--yes", "--months", "9912:9912") == 0
    assert len(bucket.requests) - asked == 1 + 1  # the manifest, and the month's other tar


def test_an_end_of_input_at_the_question_is_no(tmp_path, bucket, monkeypatch):
    def end(question):
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", end)
    assert sources(tmp_path) == 0 and not list(tmp_path.glob("*.tar*"))


class LyingBucket(FaultyServer):
    """A bucket whose tars are answered by `answer(data, start) -> (status, headers, body)`."""

    def __init__(self, answer, monkeypatch):
        def all_answers(path, query, headers):
            key = path.removeprefix("/arxiv/")
            if key == bulk_tars.MANIFEST:
                return 200, {}, manifest(TARS)
            return answer(TARS[key], int(headers["Range"][6:].partition("-")[0]))

        super().__init__(all_answers, ranges=False)
        for key, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": self.url}.items():
            monkeypatch.setenv(key, value)


@pytest.mark.parametrize("start, told", [(0, "given up after 8 failures"), (5, "the manifest says")])
def test_answers_without_bytes_or_with_others_end(tmp_path, monkeypatch, quick, capsys, start, told):
    def answer(data, asked):
        return 206, {"Content-Range": f"bytes {asked + start}-{len(data) - 1}/{len(data)}"}, b""

    with LyingBucket(answer, monkeypatch):
        assert sources(tmp_path, "--yes") == 1
    printed = capsys.readouterr()
    assert told in printed.err and "6 failed" in printed.out
    assert start or ("waiting" in printed.err and "try 7 of 8" in printed.err)


def test_interrupted_among_failures_it_ends_soon_and_says_so(tmp_path, monkeypatch):
    with LyingBucket(lambda data, asked: (503, {}, b""), monkeypatch) as server:
        command = [sys.executable, str(ROOT / "data_prep/download.py"), "sources", "--out", str(tmp_path), "--yes"]
        heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background ignore it
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
        while len(server.requests) < 6:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=bulk_tars.TIMEOUT)
    assert process.returncode == 130 and "stopping" in told and "Traceback" not in told


@pytest.mark.parametrize(
    "name, value",
    [
        ("AWS_PROFILE", "of-nobody"),
        ("AWS_CONFIG_FILE", "{folder}/config"),
        ("AWS_ENDPOINT_URL_S3", "no url"),
    ],
)
def test_an_aws_setup_that_cannot_be_used_is_one_error(tmp_path, bucket, monkeypatch, name, value):
    (tmp_path / "config").write_text("garbage\n[x\n")
    monkeypatch.setenv(name, value.format(folder=tmp_path))
    with pytest.raises(UserError, match="AWS set-up"):
        sources(tmp_path, "--list")


def test_credentials_that_cannot_be_made_are_one_error(tmp_path, bucket, monkeypatch):
    (tmp_path / "config").write_text("[default]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for key in CREDENTIALS:
        monkeypatch.delenv(key)
    with pytest.raises(UserError, match="retrieving credentials"):
        sources(tmp_path, "--list")


def test_a_manifest_that_says_it_twice_counts_once():
    twice = manifest(TARS).replace(
        b"<arXivSRC>", b"<arXivSRC>" + manifest(TARS)[manifest(TARS).index(b"<file>") :].partition(b"<timestamp>Thu")[0]
    )
    assert bulk_tars.parse_manifest(twice) == bulk_tars.parse_manifest(manifest(TARS))


def test_killed_at_random_moments_it_ends_whole(tmp_path, bucket):
    command = [sys.executable, str(ROOT / "data_prep/download.py"), "sources", "--out", str(tmp_path), "--yes"]
    moments = random.Random(3)
    bucket.pause = 0.1
    unfinished = 0
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5 + moments.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        unfinished += bool(list(tmp_path.glob("*.part")))
    assert unfinished  # some of the kills met a download
    bucket.pause = 0
    assert sources(tmp_path, "--yes") == 0
    assert_whole(tmp_path)


def test_too_little_space_is_told_before_anything_is_fetched(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(UserError, match=r"0\.00 GB are free.*--months"):
        sources(tmp_path, "--yes")
    assert not list(tmp_path.glob("*.tar*"))


def test_a_full_disk_is_one_error_and_the_next_run_goes_on(tmp_path, bucket):
    # The check beforehand is fooled: the disk fills while the tars come in.
    fooled = (
        "import shutil; shutil.disk_usage = lambda path: shutil._ntuple_diskusage(0, 0, 10**12); "
        "from data_prep.download import main; from common.cli import run_command; run_command(main)"
    )
    again = f"{sys.executable} data_prep/download.py sources --out {tmp_path} --yes"
    script = (
        f"{sys.executable} -c '{fooled}' sources --out {tmp_path} --yes; echo status $?; "
        f"mount -o remount,size=100m {tmp_path} && {again}; echo status $?; cd {tmp_path} && md5sum --check MD5SUMS"
    )
    result = on_a_small_disk(tmp_path, "4m", script)
    assert "status 2" in result.stdout and "status 0" in result.stdout, result.stdout + result.stderr
    assert "no space left" in result.stderr and "Traceback" not in result.stderr
    assert result.stdout.count(": OK") == 6


def test_no_credentials_no_access(tmp_path, bucket, monkeypatch):
    bucket.faults.append((403, {}))
    with pytest.raises(UserError, match="refuses the credentials"):
        sources(tmp_path, "--yes")
    for key in CREDENTIALS:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(UserError, match="no AWS credentials"):
        sources(tmp_path, "--yes")


@pytest.mark.parametrize(
    "data, told",
    [
        (b"<arXivSRC><file>", "not XML"),
        (b"<arXivSRC></arXivSRC>", "lists no file"),
        (b"<html><body>log in</body></html>", "it begins with b'<html>"),
        (manifest(TARS).replace(b"<size>", b"<size>x"), "entry 1"),
        (manifest(TARS).replace(b"<size>", b"<size>-"), "entry 1.*size -"),
        (manifest(TARS).replace(b"src/arXiv", b"../../arXiv"), "entry 1"),
        (manifest(TARS).replace(b"<md5sum>", b"<md5sum>z"), "md5sum"),
    ],
)
def test_bad_manifests(data, told):
    with pytest.raises(UserError, match=told):
        bulk_tars.parse_manifest(data)


def test_months_that_the_manifest_lacks(tmp_path, bucket):
    with pytest.raises(UserError, match="from 199912 to 202302"):
        sources(tmp_path, "--yes", "--months", "2401:2402")


# ---- the metadata snapshot

LINES = b"".join(json.dumps({**RECORD, "id": f"2301.{number:05d}"}).encode() + b"\n" for number in range(1, 500))


def zipped(data=LINES, name="arxiv-metadata-oai-snapshot.json"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, data)
    return out.getvalue()


def encrypted(data):
    data = bytearray(data)
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def metadata(folder, *arguments):
    snapshot = f"data.metadata={folder}/snapshot.json"
    return download.main(["metadata", "--set", snapshot, "--seconds-between", "0", *arguments])


@pytest.mark.parametrize("data", [zipped(), gzip.compress(LINES), LINES], ids=["zip", "gz", "jsonl"])
def test_a_snapshot_had_already_is_unpacked(tmp_path, data):
    (tmp_path / "archive").write_bytes(data)
    assert metadata(tmp_path, "--from", str(tmp_path / "archive")) == 0
    assert (tmp_path / "snapshot.json").read_bytes() == LINES
    assert (tmp_path / "archive").exists()


def test_the_snapshot_is_downloaded_and_unpacked(tmp_path, monkeypatch):
    with serve(zipped(), ETag='"one"') as server:
        server.faults.append((503, {"Retry-After": "0"}))
        assert metadata(tmp_path, "--url", server.url) == 0
    assert (tmp_path / "snapshot.json").read_bytes() == LINES
    assert sorted(os.listdir(tmp_path)) == [".download.lock", "snapshot.json"]


@pytest.mark.parametrize(
    "data, told",
    [
        (zipped()[:-30], "damaged"),
        (zipped()[:100] + b"\x55\x55" + zipped()[102:], "damaged"),
        (gzip.compress(LINES)[:-4], "damaged"),
        (gzip.compress(LINES)[:-8] + b"\0\0\0\0" + gzip.compress(LINES)[-4:], "damaged"),
        (zipped(name="readme.txt"), "expected one .json"),
        (b"<html>log in</html>", "no metadata record"),
        (b'{"id": "x"}\n', "no metadata record"),
        (b"", "empty"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (encrypted(zipped()), "encrypted"),
    ],
)
def test_a_damaged_or_wrong_snapshot_leaves_the_old_one(tmp_path, data, told):
    (tmp_path / "snapshot.json").write_bytes(b"old\n")
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(UserError, match=told):
        metadata(tmp_path, "--from", str(tmp_path / "archive"))
    with serve(data) as server, pytest.raises(UserError, match="download it again"):
        metadata(tmp_path, "--url", server.url)
    assert (tmp_path / "snapshot.json").read_bytes() == b"old\n"
    assert sorted(os.listdir(tmp_path)) == [".download.lock", "archive", "snapshot.json"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_of_other_methods_may_be_damaged_too(tmp_path, method):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        packed.writestr("x.json", LINES)
    data = bytearray(out.getvalue())
    data[60] ^= 0x77
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        metadata(tmp_path, "--from", str(tmp_path / "archive"))


def test_a_download_from_elsewhere_is_not_taken_for_this_one(tmp_path, monkeypatch):
    with serve(zipped()) as one, serve(LINES[: LINES.index(b"\n") + 1]) as other:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(download, "unpack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            metadata(tmp_path, "--url", one.url)
        (tmp_path / "snapshot.json.host-7.tmp").write_bytes(b"left by a kill")
        assert metadata(tmp_path, "--url", other.url) == 0
    assert len(snapshot_of(tmp_path)) == 1
    assert sorted(os.listdir(tmp_path)) == [".download.lock", "snapshot.json"]


def test_a_refused_snapshot_tells_how_to_get_it_by_hand(tmp_path):
    with FaultyServer(lambda *_: (401, {}, b"")) as server, pytest.raises(UserError, match=r"by hand.*--from"):
        metadata(tmp_path, "--url", server.url)


# ---- OAI-PMH


def raw_record(paper_id, datestamp="2023-06-01", title="A title", deleted=False, versions=2):
    status = ' status="deleted"' if deleted else ""
    header = (
        f"<header{status}><identifier>oai:arXiv.org:{paper_id}</identifier><datestamp>{datestamp}</datestamp></header>"
    )
    if deleted:
        return f"<record>{header}</record>"
    history = "".join(
        f'<version version="v{number}"><date>Tue, {number} Mar 2022 18:00:00 GMT</date><size>9kb</size></version>'
        for number in range(1, versions + 1)
    )
    return (
        f"<record>{header}<metadata><arXivRaw xmlns='http://arxiv.org/OAI/arXivRaw/'><id>{paper_id}</id>"
        f"<submitter>Someone</submitter>{history}<title>{title}</title><authors>A. Author</authors>"
        "<categories>math.NT cs.IT</categories><comments>10 pages &amp; more</comments>"
        "<license>http://creativecommons.org/licenses/by/4.0/</license><abstract>  It is shown.\n</abstract>"
        "</arXivRaw></metadata></record>"
    )


def oai_page(records, token=None, size=None):
    more = f'<resumptionToken completeListSize="{size}">{token or ""}</resumptionToken>' if size else ""
    return oai_answer(f"<ListRecords>{''.join(records)}{more}</ListRecords>")


def oai_answer(inner):
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
        f"<responseDate>2023-06-02T00:00:00Z</responseDate><request>x</request>{inner}</OAI-PMH>"
    ).encode()


class OaiServer(FaultyServer):
    """Pages of `records`, three a page; knows its own tokens alone."""

    def __init__(self, records):
        self.expired = False
        self.queries = []
        super().__init__(lambda path, query, headers: (200, {"Content-Type": "text/xml"}, self.page(query)))
        self.records = records

    def page(self, query):
        self.queries.append(query)
        token = query.get("resumptionToken")
        assert query["verb"] == "ListRecords" and (token is None) == ("metadataPrefix" in query)
        start = int(token.partition("|")[2]) if token else 0
        if token and self.expired:
            self.expired = False
            return oai_answer('<error code="badResumptionToken">expired</error>')
        following = start + 3
        token = f"key|{following}" if following < len(self.records) else None
        return oai_page(self.records[start:following], token, len(self.records))


def updates(folder, server, *arguments):
    snapshot = f"data.metadata={folder}/snapshot.json"
    fixed = ["--set", snapshot, "--oai-url", server.url, "--seconds-between", "0"]
    return download.main(["updates", *fixed, *arguments])


def snapshot_of(folder):
    return [json.loads(line) for line in (folder / "snapshot.json").read_bytes().splitlines()]


IDS = ["2301.00001", "0704.0002", "hep-th/9901001", "2301.00003", "2301.00005", "2301.00006", "2301.00007"]


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


def test_an_expired_token_begins_again(tmp_path):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        server.faults.extend([None, (503, {"Retry-After": "99999"})])
        with pytest.raises(UserError):
            updates(tmp_path, server)
        server.expired = True
        assert updates(tmp_path, server) == 0
    assert len(snapshot_of(tmp_path)) == len(IDS)


def test_a_merge_that_was_killed_is_done_again(tmp_path, monkeypatch):
    with OaiServer([raw_record(name) for name in IDS]) as server:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(harvest.Store, "merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            updates(tmp_path, server)
        asked = len(server.requests)
        assert updates(tmp_path, server) == 0
        assert len(server.requests) == asked
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


def dated(folder, *days):
    lines = [{**RECORD, "id": f"2301.{number:05d}", "update_date": day} for number, day in enumerate(days, 1)]
    (folder / "snapshot.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def begins(server):
    """From which day each list was asked for."""
    return [query.get("from") for query in server.queries if "resumptionToken" not in query]


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


def test_fewer_records_than_stated_are_told_and_asked_for_again(tmp_path, capsys):
    dated(tmp_path, "2023-01-02")
    server = OaiServer([])
    server.page = lambda query: server.queries.append(query) or oai_page([raw_record("2306.00001")], None, 9)
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


def test_a_store_that_is_damaged_at_the_merge_is_told(tmp_path, monkeypatch):
    fetch = harvest.Store.fetch

    def damage(store, *arguments):
        fetch(store, *arguments)
        store.path.write_bytes(b"\0" * store.path.stat().st_size)

    monkeypatch.setattr(harvest.Store, "fetch", damage)
    with OaiServer([raw_record(name) for name in IDS]) as server, pytest.raises(UserError, match="remove it"):
        updates(tmp_path, server)


def test_a_year_that_there_is_not_spoils_one_record(tmp_path, capsys):
    record = raw_record("2306.00002").replace("Mar 2022", "Mar 99999999999999999999")
    with OaiServer([raw_record("2306.00001"), record]) as server:
        assert updates(tmp_path, server) == 0
    assert len(snapshot_of(tmp_path)) == 1 and "2306.00002: versions" in capsys.readouterr().err


# ---- single papers


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


def papers(folder, server, *arguments):
    fixed = ["--out", str(folder), "--eprint-url", f"{server.url}/e-print", "--seconds-between", "0"]
    return download.main(["papers", *arguments, *fixed])


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


def test_arxivs_rate_cannot_be_turned_up(tmp_path):
    result = run("papers", "2301.00001", "--out", tmp_path, "--seconds-between", "0.5")
    assert result.returncode == 2 and "one request in 3 seconds" in result.stderr


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["papers"], "no paper named"),
        (["papers", "hello"], "'hello' is not an arXiv identifier"),
        (["papers", "--yes", "2301.00001"], "--yes belongs to 'sources'"),
        (["sources", "--since", "2020-01-01"], "--since belongs to 'updates'"),
        (["sources", "--parallel", "0"], "--parallel is 0"),
        (["sources", "--price", "-1"], "--price is -1"),
        (["sources", "--price", "nan"], "--price is nan"),
        (["updates", "--since", "yesterday"], "--since is 'yesterday', expected a date"),
        (["updates", "--until", "2023-13-01"], "--until is '2023-13-01'"),
        (["sources", "--months", "2313:2314"], "expected YYMM:YYMM"),
        (["papers", "2301.00001", "--seconds-between", "nan"], "--seconds-between is nan"),
        (["papers", "2301.00001", "--seconds-between", "1e20"], "--seconds-between is 1e+20"),
        (["papers", "2301.00001", "--contact", "łukasz@example.org"], "--contact is"),
        (["papers", "2301.00001", "--eprint-url", "http://[bad"], "not a URL"),
        (["metadata", "--url", "http://[bad"], "not a URL"),
        (["metadata", "--out", "elsewhere"], "--out belongs to 'sources' and 'papers'"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, told):
    out = ["--out", tmp_path] if arguments[0] in ("sources", "papers") else []
    places = ["--set", f"data.source={tmp_path}", "--set", f"data.metadata={tmp_path}/snapshot.json"]
    result = run(*arguments, *out, *places)
    assert result.returncode == 2 and told in result.stderr and "Traceback" not in result.stderr


def test_two_downloads_do_not_share_a_folder(tmp_path):
    import fcntl

    with open(tmp_path / ".download.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run("papers", "2301.00001", "--out", tmp_path)
    assert result.returncode == 2 and "another download" in result.stderr
