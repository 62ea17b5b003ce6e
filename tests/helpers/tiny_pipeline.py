"""`prepare_dataset.py` run over a tiny corpus, and what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

from data_prep import prepare_dataset

# What depends on the clock, or on where and when the files were written.
UNCOMPARED = ("report/timing.json", "report/report.html", "work/")


def arguments(corpus, out, *more, workers=1, shard_papers=8):
    metadata, source = corpus
    sizes = ["--workers", str(workers), "--set", f"data.shard_papers={shard_papers}", "--set", "data.min_chars=400"]
    return ["--metadata", str(metadata), "--source", str(source), "--out", str(out), *sizes, *more]


def run(corpus, out, *more, **options):
    assert prepare_dataset.main(arguments(corpus, out, *more, **options)) == 0
    return json.loads((out / "manifest.json").read_text())


def outputs(out: Path) -> dict[str, bytes]:
    paths = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(UNCOMPARED)}
