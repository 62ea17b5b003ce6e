"""Bulk tars from a local S3 server with failures injected: manifest, checksums, resuming, credentials."""

import functools
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from common.errors import UserError
from common.paths import ROOT
from data_prep.fetch import bulk_tars
from data_prep.papers.archives import list_archives
from tests.helpers.download.commands import sources
from tests.helpers.download.s3_bucket import CREDENTIALS, TARS, LyingBucket, assert_whole, manifest
from tests.helpers.small_disk import on_a_small_disk


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
