"""A manifest that is older than the tars of the bucket: what the bucket has is kept, said, and not paid for again."""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from common.errors import UserError
from common.paths import ROOT
from data_prep.fetch import bulk_tars
from tests.helpers.download.commands import sources
from tests.helpers.download.s3_bucket import TARS, ServedBucket

KEY = "src/arXiv_src_2301_001.tar"
NAME = KEY.rpartition("/")[2]
DATA = TARS[KEY]
# What the manifest speaks of, of the same size, and what a transfer that goes wrong may give.
EARLIER = DATA[:-3] + b"old"
DAMAGED = [DATA[:place] + b"?" + DATA[place + 1 :] for place in (5000, 6000, 7000)]


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def stale(monkeypatch, quick):
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: EARLIER}) as server:
        yield server


def assert_kept(folder, data=DATA):
    assert (folder / NAME).read_bytes() == data
    assert not list(folder.glob("*.part"))
    subprocess.run(["md5sum", "--check", "--status", "MD5SUMS"], cwd=folder, check=True)


def test_two_equal_downloads_are_kept_told_and_remembered(tmp_path, stale, capsys):
    assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    printed = capsys.readouterr()
    assert "1 tars downloaded, 0 failed" in printed.out
    assert f"md5 {md5(DATA)} (two downloads are equal)" in printed.err and f"lists {len(DATA):,} bytes" in printed.err
    assert len(stale.tars_asked()) == 2

    assert sources(tmp_path, "--yes") == 0
    assert f"1 tars are right as the bucket has them; the manifest lists others: {NAME}" in capsys.readouterr().out
    assert sources(tmp_path, "--yes", "--verify") == 0
    assert len(stale.tars_asked()) == 2


@pytest.mark.parametrize("wrong", ["md5", "size", "both"])
def test_an_etag_that_is_the_md5_spares_the_second_download(tmp_path, monkeypatch, quick, capsys, wrong):
    earlier = {"md5": EARLIER, "size": DATA + b"more", "both": EARLIER[:-700]}[wrong]
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: earlier}, etag=md5) as server:
        assert sources(tmp_path, "--yes") == 0
        assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert len(server.tars_asked()) == 1 and "the bucket's ETag says so" in capsys.readouterr().err


@pytest.mark.parametrize("size", [len(DATA) // 2, len(DATA) + 1, len(DATA) * 3 // 2])
def test_another_size_than_the_manifests(tmp_path, monkeypatch, quick, size):
    data = (DATA * 2)[:size]
    with ServedBucket(monkeypatch, {KEY: data}, {KEY: DATA}, etag=lambda data: None) as server:
        assert sources(tmp_path, "--yes") == 0
        assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path, data)
    assert len(server.tars_asked()) == 2


@pytest.mark.parametrize("first_digits", ["24", "09"])
def test_a_size_that_is_wrong_beside_a_right_md5(tmp_path, monkeypatch, quick, capsys, first_digits):
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: DATA}) as server:
        plain = server.answer

        def with_another_size(path, query, headers):
            status, found, body = plain(path, query, headers)
            return status, found, body.replace(b"<size>14", b"<size>" + first_digits.encode())

        server.answer = with_another_size
        for more in [(), (), ("--verify",), (), ("--verify",), ()]:
            assert sources(tmp_path, "--yes", *more) == 0
            assert len(server.tars_asked()) == 1
            assert_kept(tmp_path)
        assert "1 tars are right as the bucket has them" in capsys.readouterr().out
        server.answer = plain
        assert sources(tmp_path, "--yes") == 0
    assert len(server.tars_asked()) == 1 and not (tmp_path / "bucket_findings.json").exists()


def test_a_tar_of_many_times_the_size_is_not_paid_for_unasked(tmp_path, monkeypatch, quick, capsys):
    with ServedBucket(monkeypatch, {KEY: DATA * 3}, {KEY: DATA}):
        assert sources(tmp_path, "--yes") == 1
    assert "more than 2 times what was asked for" in capsys.readouterr().err
    assert (tmp_path / (NAME + ".part")).stat().st_size == 0


def test_different_downloads_are_refused_until_one_comes_again(tmp_path, stale, capsys):
    stale.once[KEY] = [DAMAGED[0], DAMAGED[1]]
    assert sources(tmp_path, "--yes") == 1
    printed = capsys.readouterr()
    assert f"md5 is {md5(DAMAGED[0])} and then {md5(DAMAGED[1])}" in printed.err and "1 failed" in printed.out
    assert not (tmp_path / NAME).exists() and not list(tmp_path.glob("*.part"))

    stale.once[KEY] = [DATA, DAMAGED[2]]
    assert sources(tmp_path, "--yes") == 1
    assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert len(stale.tars_asked()) == 5


def test_equal_downloads_that_bucket_and_manifest_contradict_are_damaged(tmp_path, monkeypatch, quick, capsys):
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: DATA}, etag=lambda data: md5(DATA)) as server:
        for _ in range(2):
            server.once[KEY] = [DAMAGED[0], DAMAGED[0]]
            assert sources(tmp_path, "--yes") == 1
            assert "and so does the bucket, so it was damaged on the way" in capsys.readouterr().err
        assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)


def test_a_damaged_download_and_then_the_manifests(tmp_path, monkeypatch, quick):
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: DATA}) as server:
        server.once[KEY] = [DAMAGED[0]]
        assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert not (tmp_path / "bucket_findings.json").exists()


def test_killed_in_the_second_download_it_does_not_pay_for_the_first_again(tmp_path, stale):
    command = [sys.executable, str(ROOT / "data_prep/download.py"), "sources", "--out", str(tmp_path), "--yes"]
    plain = stale.answer

    def slow_from_the_second_on(path, query, headers):
        stale.pause = 0.3 if len(stale.tars_asked()) > 1 else 0
        return plain(path, query, headers)

    stale.answer = slow_from_the_second_on
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(stale.tars_asked()) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stale.answer, stale.pause = plain, 0
    assert not (tmp_path / NAME).exists()

    assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert len(stale.tars_asked()) == 3  # the third goes on where the second was


def test_killed_before_it_gets_its_name_nothing_is_paid_for_again(tmp_path, stale, monkeypatch):
    killed_before_the_rename(tmp_path, monkeypatch)
    assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert len(stale.tars_asked()) == 2


@pytest.mark.parametrize("etag", [md5, None, lambda data: None], ids=["md5", "in_pieces", "none"])
@pytest.mark.parametrize("listed", [DATA, DATA[:-3] + b"old"], ids=["listed", "unlisted"])
def test_a_whole_part_is_no_proof_of_what_the_bucket_has_by_now(tmp_path, monkeypatch, quick, capsys, etag, listed):
    """Killed before the rename; then bucket and manifest have another object."""
    kind = {"etag": etag} if etag else {}
    newer = DATA[:-3] + b"new"
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: listed}, **kind) as server:
        killed_before_the_rename(tmp_path, monkeypatch)
        server.objects[KEY] = server.listed[KEY] = newer
        asked = len(server.tars_asked())
        capsys.readouterr()
        assert sources(tmp_path, "--yes") == 0
        assert_kept(tmp_path, newer)
        assert server.tars_asked()[asked:][-1] == "bytes=0-" and len(server.tars_asked()) <= asked + 2
    assert "kept as the bucket has it" not in capsys.readouterr().err
    assert not (tmp_path / "bucket_findings.json").exists()


@pytest.mark.parametrize("etag", [md5, None], ids=["md5", "in_pieces"])
def test_a_whole_part_that_the_bucket_still_has_costs_a_byte(tmp_path, monkeypatch, quick, etag):
    """Killed before the rename; then the manifest changes, and is wrong."""
    kind = {"etag": etag} if etag else {}
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: EARLIER}, **kind) as server:
        killed_before_the_rename(tmp_path, monkeypatch)
        server.listed[KEY] = DATA[:-3] + b"new"
        asked = len(server.tars_asked())
        assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert server.tars_asked()[asked:] == [f"bytes={len(DATA) - 1}-"]


def killed_before_the_rename(folder, monkeypatch):
    def killed(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bulk_tars.os, "replace", rename_all_but_tars(killed))
        with pytest.raises(KeyboardInterrupt):
            sources(folder, "--yes")
    assert not (folder / NAME).exists() and (folder / (NAME + ".part")).exists()


def rename_all_but_tars(otherwise):
    rename = os.replace
    return lambda source, target: (otherwise if str(target).endswith(".tar") else rename)(source, target)


def test_a_later_manifest_is_honored(tmp_path, stale, capsys):
    assert sources(tmp_path, "--yes") == 0
    newer = EARLIER[:-3] + b"new"
    stale.objects[KEY] = stale.listed[KEY] = newer
    capsys.readouterr()
    assert sources(tmp_path, "--yes") == 0
    assert f"{NAME}: is not the file that the manifest means" in capsys.readouterr().err
    assert_kept(tmp_path, newer)
    assert not (tmp_path / "bucket_findings.json").exists()


@pytest.mark.parametrize("size", [0, 500])
def test_a_later_manifest_that_lists_what_is_kept(tmp_path, stale, size):
    stale.objects[KEY] = kept = DATA + b"0" * size
    assert sources(tmp_path, "--yes") == 0
    stale.listed[KEY] = kept
    assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path, kept)
    assert len(stale.tars_asked()) == 2 and not (tmp_path / "bucket_findings.json").exists()


def test_a_later_manifest_that_is_wrong_again_costs_one_download(tmp_path, stale):
    assert sources(tmp_path, "--yes") == 0
    stale.listed[KEY] = EARLIER[:-3] + b"new"
    for _ in range(2):
        assert sources(tmp_path, "--yes") == 0
        assert_kept(tmp_path)
    assert len(stale.tars_asked()) == 3  # two downloads, of whichever runs, are equal


def test_a_kept_tar_that_rots_or_goes_is_fetched_once(tmp_path, stale):
    assert sources(tmp_path, "--yes") == 0
    (tmp_path / NAME).write_bytes(DAMAGED[0])
    assert sources(tmp_path, "--yes", "--verify") == 0
    assert_kept(tmp_path)
    (tmp_path / NAME).unlink()
    assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert len(stale.tars_asked()) == 4


@pytest.mark.parametrize("data", [None, DATA[:-1], DAMAGED[0]], ids=["gone", "short", "rotten"])
def test_a_kept_tar_that_is_not_there_is_not_called_right(tmp_path, stale, capsys, data):
    assert sources(tmp_path, "--yes") == 0
    assert sources(tmp_path, "--list") == 0
    assert "1 tars are right as the bucket has them" in capsys.readouterr().out
    (tmp_path / NAME).unlink() if data is None else (tmp_path / NAME).write_bytes(data)
    assert sources(tmp_path, "--list", "--verify") == 0
    printed = capsys.readouterr().out
    assert "0 of 1 tars are in" in printed and "are right as the bucket has them" not in printed


def test_a_part_of_an_object_that_was_replaced_is_begun_anew(tmp_path, monkeypatch, quick, capsys):
    """The two halves of different objects would be a download that is paid for and thrown away."""
    with ServedBucket(monkeypatch, {KEY: EARLIER}, {KEY: EARLIER}) as server:
        server.faults.extend([None, "drop", (403, {})])  # of the manifest, then half of the tar, then no access
        with pytest.raises(UserError, match="refuses the credentials"):
            sources(tmp_path, "--yes")
        assert json.loads((tmp_path / "bucket_findings.json").read_text())["parts"]
        half = (tmp_path / (NAME + ".part")).stat().st_size
        assert 0 < half < len(DATA)
        server.objects[KEY] = server.listed[KEY] = DATA
        asked = len(server.tars_asked())
        assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)
    assert server.tars_asked()[asked:] == [f"bytes={half}-", "bytes=0-"]
    assert "replaced in the bucket since its first bytes came" in capsys.readouterr().err
    assert not (tmp_path / "bucket_findings.json").exists()


@pytest.mark.parametrize("honors_if_match", [True, False])
def test_an_etag_that_never_stays_is_refused_in_the_end(tmp_path, monkeypatch, quick, capsys, honors_if_match):
    """Each beginning is paid for: a server, or a proxy, that names another object at each answer must not go on."""
    tags = map("tag-{}".format, itertools.count())
    with ServedBucket(monkeypatch, {KEY: DATA}, {KEY: DATA}, etag=lambda data: next(tags)) as server:
        plain = server.answer

        def cut_short(path, query, headers):
            if not path.endswith(".tar"):
                return plain(path, query, headers)
            server.faults.append("drop")  # the next request, which is of the tar again
            heeded = {name: value for name, value in headers.items() if honors_if_match or name != "If-Match"}
            return plain(path, query, heeded)

        server.answer = cut_short
        server.faults.extend([None, "drop"])
        assert sources(tmp_path, "--yes") == 1
        begun = server.tars_asked().count("bytes=0-")
        assert begun == 1 + bulk_tars.MOST_BEGUN_ANEW == 3 and len(server.tars_asked()) == 2 * begun
        assert f"{NAME}: begun anew 2 times, and the server has another object once more" in capsys.readouterr().err
        server.answer, server.etag = plain, md5
        server.faults.clear()
        assert sources(tmp_path, "--yes") == 0
    assert_kept(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"tars": {"x": {}}, "parts": {}}', '{"tars": {}, "parts": {"x": 1}}'])
def test_damaged_findings_are_one_error(tmp_path, stale, text):
    (tmp_path / "bucket_findings.json").write_text(text)
    with pytest.raises(UserError, match=r"bucket_findings\.json: damaged .*; remove it"):
        sources(tmp_path, "--yes")
