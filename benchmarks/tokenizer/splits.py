"""The texts on which tokenizers are compared: what they are trained on, whole papers held out, whole sources held out.

    python data_prep/prepare_dataset.py --out DATASET --set data.metadata=CORPUS/arxiv-metadata-snapshot.json \\
        --set data.source=CORPUS/src --set data.categories=null
    python benchmarks/tokenizer/splits.py --dataset DATASET --sources-json CORPUS/sources.json --out TEXTS

Writes `train.jsonl`, `val.jsonl` (papers held out, one in twenty of each source in training) and
`held_out_sources.jsonl` (every paper of the sources named with --hold-out), and `sources.json` (id -> source).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/tokenizer/splits.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from common.files import atomic_write, write_json
from common.jsonl import read_jsonl, split_paths

HELD_OUT_SOURCES = ("jirilebl", "teorth", "ImperialCollegeLondon", "AlexKontorovich", "dfm")
ONE_IN = 20


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Split a dataset into training texts, held-out papers and held-out sources.",
        epilog="example: python benchmarks/tokenizer/splits.py --dataset data --sources-json corpus/sources.json "
        "--out texts",
    )
    parser.add_argument("--dataset", type=Path, required=True, help="folder that prepare_dataset.py wrote")
    parser.add_argument("--sources-json", type=Path, required=True, help="id -> {source: PROJECT/FILE}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hold-out", nargs="*", default=HELD_OUT_SOURCES, metavar="SOURCE")
    args = parser.parse_args(argv)
    sources = {
        name: about["source"].split("/")[0]
        for name, about in json.loads(args.sources_json.read_text(encoding="utf-8")).items()
    }
    documents: dict[str, list[dict]] = defaultdict(list)
    for split in ("train", "val"):
        for path in split_paths(args.dataset, split):
            for record in read_jsonl(path):
                documents[sources[record["id"]]].append(record)
    splits: dict[str, list[dict]] = {"train": [], "val": [], "held_out_sources": []}
    for source, records in sorted(documents.items()):
        if source in args.hold_out:
            splits["held_out_sources"] += records
            continue
        records.sort(key=lambda record: hashlib.sha256(record["id"].encode()).digest())
        splits["val"] += records[: len(records) // ONE_IN]
        splits["train"] += records[len(records) // ONE_IN :]
    args.out.mkdir(parents=True, exist_ok=True)
    for name, records in splits.items():
        sizes: Counter[str] = Counter()
        with atomic_write(args.out / f"{name}.jsonl") as file:
            for record in sorted(records, key=lambda record: record["id"]):
                file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
                sizes[sources[record["id"]]] += len(record["text"].encode())
        print(f"{name:18} {len(records):4} papers  {sum(sizes.values()) / 1e6:6.2f} MB  {dict(sizes)}")
    write_json(args.out / "sources.json", {r["id"]: s for s, records in documents.items() for r in records})
    return 0


if __name__ == "__main__":
    run_command(main)
