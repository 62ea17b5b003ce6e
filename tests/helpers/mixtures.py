"""Mixtures of small files: their texts, their sources, and mix_datasets.py run on them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from common.files import atomic_write
from common.jsonl import read_jsonl
from data_prep.mix_datasets import main

WORDS = [f"word{number}" for number in range(4000)]


def words(seed: int, count: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def write_jsonl(path: Path, records: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())
    return path


def plain(path: Path, **keys) -> dict:
    return {"name": keys.pop("name", "plain"), "files": [str(path)], "text": "text", **keys}


def two_sources(tmp_path: Path, **mixture) -> tuple[dict, Path, Path]:
    first = write_jsonl(tmp_path / "a.jsonl", [{"text": words(number, 40)} for number in range(100)])
    second = write_jsonl(tmp_path / "b.jsonl", [{"text": words(1000 + number, 40)} for number in range(300)])
    return {"val_fraction": 0, **mixture}, first, second


def mix(tmp_path: Path, mixture: dict, *more: str, out: str = "out") -> Path:
    path = tmp_path / "mixture.json"
    path.write_text(json.dumps(mixture))
    assert main(["--mixture", str(path), "--out", str(tmp_path / out), "--workers", "1", *more]) == 0
    return tmp_path / out


def split(out: Path, name: str = "train") -> list[dict]:
    return list(read_jsonl(out / f"{name}.jsonl"))


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def answers_of(text: str, spans: list[list[int]] | None) -> list[str]:
    return [text[start:end] for start, end in spans or []]
