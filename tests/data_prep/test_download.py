"""The command that downloads: its arguments, its questions, and the metadata snapshot from a local server."""

import gzip
import io
import os
import zipfile

import pytest

from common.errors import UserError
from data_prep import download
from tests.helpers.download.commands import LINES, metadata, run, snapshot_of, sources
from tests.helpers.download.faulty_server import FaultyServer, serve
from tests.helpers.download.s3_bucket import TARS, assert_whole

# ---- arguments and questions


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


def test_an_end_of_input_at_the_question_is_no(tmp_path, bucket, monkeypatch):
    def end(question):
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", end)
    assert sources(tmp_path) == 0 and not list(tmp_path.glob("*.tar*"))


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


# ---- the metadata snapshot


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
