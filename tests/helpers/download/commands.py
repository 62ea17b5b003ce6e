"""The subcommands of data_prep/download.py as tests call them, and the records that they work on."""

import json
import os
import subprocess
import sys

from common.paths import ROOT
from data_prep import download
from data_prep.fetch.http_client import HttpClient

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
LINES = b"".join(json.dumps({**RECORD, "id": f"2301.{number:05d}"}).encode() + b"\n" for number in range(1, 500))


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


def sources(folder, *arguments):
    return download.main(["sources", "--out", str(folder), *arguments])


def metadata(folder, *arguments):
    snapshot = f"data.metadata={folder}/snapshot.json"
    return download.main(["metadata", "--set", snapshot, "--seconds-between", "0", *arguments])


def updates(folder, server, *arguments):
    snapshot = f"data.metadata={folder}/snapshot.json"
    fixed = ["--set", snapshot, "--oai-url", server.url, "--seconds-between", "0"]
    return download.main(["updates", *fixed, *arguments])


def papers(folder, server, *arguments):
    fixed = ["--out", str(folder), "--eprint-url", f"{server.url}/e-print", "--seconds-between", "0"]
    return download.main(["papers", *arguments, *fixed])


def snapshot_of(folder):
    return [json.loads(line) for line in (folder / "snapshot.json").read_bytes().splitlines()]


def quick_client(said=None):
    return HttpClient(0, first_pause=0.01, say=(said.append if said is not None else lambda text: None))
