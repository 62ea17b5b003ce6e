"""A source of the Hugging Face hub, streamed from a local server that speaks its protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.paths import ROOT
from tests.helpers.mixtures import split, words


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as `datasets` asks for of a repository with one file."""

    content = "".join(json.dumps({"text": words(number, 40)}) + "\n" for number in range(30)).encode()
    sha = "a" * 40
    asked: list[str]

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        entry = {"type": "file", "path": "data.jsonl", "size": len(self.content), "oid": "b" * 40}
        self._json([entry] if "paths-info" in self.path else {})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        info = {"id": "org/set", "sha": self.sha, "siblings": [{"rfilename": "data.jsonl"}], "private": False}
        entry = {"type": "file", "path": "data.jsonl", "size": len(self.content), "oid": "b" * 40}
        if path.endswith("/data.jsonl"):
            self._send(self.content, "application/octet-stream")
        elif "/tree/" in path:
            self._json([entry])
        elif (path.startswith("/api/datasets/org/set") and "/revision" in path) or path == "/api/datasets/org/set":
            self._json(info)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _json(self, value) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, data: bytes, kind: str) -> None:
        start, stop = 0, len(data)
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(stop, int(last) + 1 if last else stop)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("ETag", '"' + "b" * 40 + '"')
        self.send_header("X-Repo-Commit", self.sha)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[start:stop])


def mix_from_hub(tmp_path: Path, endpoint: str) -> subprocess.CompletedProcess:
    (tmp_path / "mixture.json").write_text(
        json.dumps({"sources": [{"name": "h", "dataset": "org/set", "text": "text"}], "val_fraction": 0.1})
    )
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "data_prep/mix_datasets.py", "--mixture", str(tmp_path / "mixture.json")]
    return subprocess.run(
        [*command, "--out", str(tmp_path / "out"), "--workers", "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_streamed(tmp_path: Path) -> None:
    Hub.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = mix_from_hub(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    assert done.returncode == 0, done.stderr[-3000:] + str(Hub.asked)
    assert len(split(tmp_path / "out")) + len(split(tmp_path / "out", "val")) == 30
    assert any(path.endswith("/data.jsonl") for path in Hub.asked)


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_one_error(tmp_path: Path) -> None:
    done = mix_from_hub(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 2 and "cannot be read from the hub" in done.stderr and "Traceback" not in done.stderr
