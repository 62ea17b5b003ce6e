"""A bucket of bulk tars: its content, its manifest, a server that lies about it, and how a whole copy looks."""

import gzip
import hashlib
import io
import random
import subprocess
import tarfile

from data_prep.fetch import bulk_tars
from tests.helpers.download.faulty_server import FaultyServer

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


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


class ServedBucket(FaultyServer):
    """A bucket of `objects` (key -> bytes) whose manifest lists `listed` instead; it serves ranges as S3 does.

    `etag` gives an object's ETag, None for a server without: by default that of an upload in pieces, which is no md5.
    `once` (key -> bytes) is served in place of an object, for one answer each.
    """

    def __init__(self, monkeypatch, objects, listed, etag=lambda data: f"{hashlib.md5(data).hexdigest()[::-1]}-7"):
        self.objects, self.listed, self.etag = dict(objects), dict(listed), etag
        self.once: dict[str, list[bytes]] = {}
        super().__init__(self.object_or_part, ranges=False)
        for key, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": self.url}.items():
            monkeypatch.setenv(key, value)

    def object_or_part(self, path, query, headers):
        key = path.removeprefix("/arxiv/")
        if key == bulk_tars.MANIFEST:
            return 200, {}, manifest(self.listed)
        data = self.once[key].pop(0) if self.once.get(key) else self.objects[key]
        tag = self.etag(data)
        named = {"ETag": f'"{tag}"'} if tag else {}
        if headers.get("If-Match", f'"{tag}"') != f'"{tag}"':
            return 412, named, b""
        start = int(headers["Range"].removeprefix("bytes=").partition("-")[0])
        if start >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
        return 206, {**named, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]

    def tars_asked(self):
        """Ranges asked for of tars, in order."""
        return [headers.get("Range") for _, path, headers in self.requests if path.endswith(".tar")]


def assert_whole(folder, months=("9912", "2301", "2302")):
    wanted = {key.rpartition("/")[2]: data for key, data in TARS.items() if key[14:18] in months}
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".tar"}
    assert found == wanted
    assert not list(folder.glob("*.part"))
    subprocess.run(["md5sum", "--check", "--status", "MD5SUMS"], cwd=folder, check=True)
