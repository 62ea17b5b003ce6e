"""Datasets and mixtures as `datasets` reads them by their card: late types, empty splits, every form of files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from common.files import write_bytes
from common.jsonl import find_split, read_jsonl
from common.settings.data import DataSettings
from common.settings.load import load_settings
from data_prep.pipeline.dataset_card import dataset_card
from data_prep.pipeline.shards import dataset_record
from data_prep.pipeline.write_splits import SplitWriter, file_names
from tests.helpers.mixtures import mix, plain, words, write_jsonl
from tests.helpers.tiny_corpus import make_corpus, record
from tests.helpers.tiny_pipeline import run

# What `datasets` looks at before it fixes its types, and more than that.
SEEN = 10 << 20
LETTERS = 100_000
PLAIN: dict[str, Any] = {}
COMPRESSED, NUMBERED = {"compress": True}, {"output_file_bytes": 4_000_000, "compress": True}


def loaded(out: Path, cache: Path, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """Records by split, as `load_dataset(OUT)` gives them."""
    from datasets import load_dataset

    data = load_dataset(str(out), cache_dir=str(cache), **options)
    return {split: list(rows) for split, rows in data.items()}


def settings_with(**knobs: Any) -> DataSettings:
    return load_settings(overrides=[f"data.{key}={json.dumps(value)}" for key, value in knobs.items()]).data


def write_dataset(out: Path, lines: dict[str, list[bytes]], manifest: dict[str, Any], settings: DataSettings) -> None:
    """Splits of these lines, and the card of a dataset like that of `manifest`."""
    out.mkdir()
    splits = {}
    for split, records in lines.items():
        total = sum(map(len, records))
        with SplitWriter(out, file_names(split, total, settings), total) as writer:
            for line in records:
                writer.write(line, len(line), len(line))
        splits[split] = writer.summary()
    write_bytes(out / "README.md", dataset_card(manifest | {"splits": splits}).encode())


def paper_lines(licenses: Iterable[str | None]) -> list[bytes]:
    found = []
    for number, license in enumerate(licenses):
        metadata = record(f"2301.{number + 1:05d}", license=license)
        line = json.dumps(dataset_record(metadata, f"{number} " + "x" * LETTERS) | {"cluster": metadata["id"]})
        found.append(line.encode() + b"\n")
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without validation."""
    folder = tmp_path_factory.mktemp("dataset")
    run(make_corpus(folder / "raw", plain=6), folder / "out", "--set", "data.val_fraction=0")
    return folder / "out"


@pytest.fixture(scope="module")
def manifest(made: Path) -> dict[str, Any]:
    return json.loads((made / "manifest.json").read_text())


@pytest.mark.parametrize("knobs", [PLAIN, COMPRESSED, NUMBERED], ids=["plain", "compressed", "numbered"])
def test_a_license_that_is_null_for_longer_than_datasets_looks(tmp_path: Path, manifest, knobs) -> None:
    """The oldest papers come first, and have none."""
    nulls = SEEN // LETTERS + 2
    lines = {"train": paper_lines([None] * nulls + ["a", "b"]), "val": paper_lines(["c"])}
    write_dataset(tmp_path / "out", lines, manifest, settings_with(**knobs))
    for options in ({}, {"streaming": True}):
        read = loaded(tmp_path / "out", tmp_path / "cache", **options)
        assert read["train"] == [json.loads(line) for line in lines["train"]]
        assert read["validation"] == [json.loads(line) for line in lines["val"]]


@pytest.mark.parametrize("knobs", [PLAIN, COMPRESSED, NUMBERED], ids=["plain", "compressed", "numbered"])
def test_a_mixture_whose_answers_and_licenses_come_late(tmp_path: Path, knobs) -> None:
    late = {"name": "late", "template": "{q} {a}", "answers": ["a"], "license": "mit"}
    # One document lies in the middle of its split, after more than `datasets` looks at.
    one = write_jsonl(tmp_path / "late.jsonl", [{"q": words(1, 40), "a": 7}])
    many = write_jsonl(
        tmp_path / "many.jsonl", [{"text": f"{number} " + "x" * LETTERS} for number in range(2 * SEEN // LETTERS + 4)]
    )
    flags = [word for key, value in knobs.items() for word in ("--set", f"data.{key}={json.dumps(value)}")]
    out = mix(tmp_path, {"val_fraction": 0, "sources": [plain(many), late | {"files": [str(one)]}]}, *flags)
    written = [entry for path in find_split(out, "train") for entry in read_jsonl(path)]
    place = next(number for number, entry in enumerate(written) if "answers" in entry)
    assert sum(len(entry["text"]) for entry in written[:place]) > SEEN and written[place]["license"] == "mit"
    for options in ({}, {"streaming": True}):
        read = loaded(out, tmp_path / "cache", **options)
        assert read == {"train": [{"answers": None} | entry for entry in written]}


@pytest.mark.parametrize("knobs", [PLAIN, COMPRESSED], ids=["plain", "compressed"])
@pytest.mark.parametrize("there", ["train", "val"])
def test_a_split_that_is_empty_keeps_the_other_one_readable(tmp_path: Path, manifest, knobs, there: str) -> None:
    lines: dict[str, list[bytes]] = {"train": [], "val": []} | {there: paper_lines([None, "a"])}
    write_dataset(tmp_path / "out", lines, manifest, settings_with(**knobs))
    for options in ({}, {"streaming": True}):
        read = loaded(tmp_path / "out", tmp_path / "cache", **options)
        assert read == {"train" if there == "train" else "validation": [json.loads(line) for line in lines[there]]}


def test_files_of_a_split_that_nothing_is_left_for(tmp_path: Path, manifest) -> None:
    """A document of more than a file's bytes."""
    (first, last), settings = paper_lines([None, "a"]), settings_with(output_file_bytes=30_000)
    write_dataset(tmp_path / "out", {"train": [first, last], "val": []}, manifest, settings)
    assert [path.stat().st_size > 0 for path in find_split(tmp_path / "out", "train")].count(False) > 1
    read = loaded(tmp_path / "out", tmp_path / "cache")
    assert read == {"train": [json.loads(first), json.loads(last)]}


def test_a_dataset_without_documents_does_not_read_as_its_samples_of_rejects(tmp_path: Path, manifest) -> None:
    write_dataset(tmp_path / "out", {"train": [], "val": []}, manifest, settings_with())
    write_jsonl(tmp_path / "out/rejected/too_short.jsonl", [{"id": "x", "text": "left out"}])
    assert loaded(tmp_path / "out", tmp_path / "cache", streaming=True) == {"train": []}


def test_without_validation_through_the_commands(tmp_path: Path, made: Path) -> None:
    assert (made / "val.jsonl").read_bytes() == b""
    assert loaded(made, tmp_path / "cache") == {"train": list(read_jsonl(made / "train.jsonl"))}
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": words(number, 40)} for number in range(3)])
    mixed = mix(tmp_path, {"val_fraction": 0, "sources": [plain(path)]}, out="mixed")
    assert [set(entry) - {"answers"} for entry in loaded(mixed, tmp_path / "cache")["train"]] == [
        set(entry) for entry in read_jsonl(mixed / "train.jsonl")
    ]


def test_the_command_of_the_card_is_true(tmp_path: Path, manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    lines = paper_lines([None, "a"])
    write_dataset(tmp_path / "out", {"train": lines, "val": lines}, manifest, settings_with())
    card = (tmp_path / "out/README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path / "out")
    found: dict[str, Any] = {}
    exec(code, found)
    assert {split: len(rows) for split, rows in found["data"].items()} == {"train": 2, "validation": 2}


def test_cards_name_the_fields_that_are_written_and_their_types(tmp_path: Path, manifest) -> None:
    from datasets import Features, List, Value
    from huggingface_hub import DatasetCard

    from data_prep.mixtures.card import mixture_card
    from data_prep.pipeline.record import MixtureRecord, PaperRecord, fields

    string, whole = Value("string"), Value("int64")
    paper = {
        "id": string,
        "text": string,
        "title": string,
        "categories": List(string),
        "year": whole,
        "license": string,
    }
    paper["cluster"] = string
    mixed = paper | {"source": string, "answers": List(List(whole))}
    cards = [
        (dataset_card(manifest), PaperRecord, paper),
        (mixture_card({"splits": manifest["splits"], "sources": {}}), MixtureRecord, mixed),
    ]
    for card, kind, features in cards:
        # As `datasets` writes them itself, in the order of the records.
        assert DatasetCard(card).data.to_dict()["dataset_info"]["features"] == Features(features)._to_yaml_list()
        assert list(fields(kind)) == list(features) and all(f"| `{name}` | " in card for name in features)
    assert [*dataset_record(record("2301.00001"), "x"), "cluster"] == list(paper)
