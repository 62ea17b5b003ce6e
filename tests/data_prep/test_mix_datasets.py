"""The command that mixes datasets: every record is written or has a reason, and the result depends on nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UserError
from common.jsonl import read_jsonl
from common.settings.load import load_settings
from tests.helpers import tiny_world
from tests.helpers.mixtures import answers_of, content, mix, plain, split, two_sources, words, write_jsonl

# ---- what it writes


def test_every_record_is_written_or_has_a_reason(tmp_path: Path) -> None:
    shared, earlier = words(1, 80), words(2, 80)
    tiny_world.write_jsonl(tmp_path / "before/train.jsonl", [tiny_world.document(0) | {"text": earlier}])
    tiny_world.write_jsonl(tmp_path / "before/val.jsonl", [tiny_world.document(1) | {"text": words(3, 80)}])
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions/q.txt").write_text(words(4, 30) + "\n\nshort question")
    records = [
        {"text": shared},
        {"text": shared.upper()},
        {"text": shared.rsplit(" ", 3)[0] + " x y z"},
        {"text": earlier + " and " + words(12, 20)},
        {"text": words(3, 80)},
        {"text": words(5, 30) + " " + words(4, 30)},
        {"text": 7},
        {"no": 1},
        *({"text": words(100 + number, 60)} for number in range(20)),
    ]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    mixture = {
        "against": [str(tmp_path / "before")],
        "benchmarks": str(tmp_path / "questions"),
        "val_fraction": 0.2,
        "sources": [plain(path)],
    }
    out = mix(tmp_path, mixture)
    manifest = json.loads((out / "manifest.json").read_text())
    told = manifest["sources"]["plain"]
    assert told["records"] == len(records)
    assert told["reasons"] == {
        "exact_duplicate": 1,
        "near_duplicate": 1,
        "in_pretraining": 1,
        "in_pretraining_validation": 1,
        "benchmark_overlap": 1,
        "missing_field": 1,
    }
    train, val = split(out), split(out, "val")
    assert told["written"] == {"train": len(train), "val": len(val)} and len(train) + len(val) == 22 and val
    details = {path.stem: next(read_jsonl(path)) for path in (out / "rejected").iterdir()}
    assert set(details) == set(told["reasons"])
    assert details["exact_duplicate"]["detail"] == "the same text as plain/1"
    assert details["near_duplicate"]["detail"].startswith("plain/1: like document 1 (estimated Jaccard 0.")
    assert "q.txt:1" in details["benchmark_overlap"]["detail"]
    assert details["missing_field"]["detail"].startswith(f"{path}:8: text is missing")
    assert manifest["compared"]["benchmarks"]["too_short"] == 1
    page = (out / "report/report.html").read_text()
    assert "near_duplicate" in page and (out / "report/mixture.png").stat().st_size > 1000
    assert not (out / "work").exists()


def test_a_record_has_the_keys_of_the_dataset_and_its_answers(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"p": f"What is {n}?", "s": f"It is {n}."} for n in range(30)])
    entry = {"name": "p", "files": [str(path)], "template": "{p}\n{s}", "answers": ["s"], "license": "mit"}
    out = mix(tmp_path, {"val_fraction": 0.1, "sources": [entry]})
    record = split(out)[0]
    keys = ["id", "text", "title", "categories", "year", "license", "cluster", "source", "answers"]
    assert list(record) == keys and record["categories"] == ["p"] and record["license"] == "mit"
    assert answers_of(record["text"], record["answers"]) == [record["text"].split("\n")[1]]
    # The token cache reads them, and what is read only is what stands before.
    folder = tmp_path / "world"
    settings = load_settings(tiny_world.make_world(folder), [f"data.out={out}"])
    from tokenizer.cache.ensure import ensure_token_cache
    from tokenizer.cache.plan import dataset_split

    cache = ensure_token_cache(dataset_split(settings, "train"), folder / "tokenizer", settings)
    assert cache.num_read_only == sum(record["answers"][0][0] for record in split(out))
    assert cache.source_sha256 == json.loads((out / "manifest.json").read_text())["splits"]["train"]["sha256"]


def test_what_was_changed_in_the_characters_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    texts = [words(number, 40) for number in range(6)]
    texts[1] += "\u2581a\u2581\u200b"
    texts[2] += "\u2581e\u0301"
    records = [{"text": text} for text in texts] + [{"text": "\u2581", "no": 1}, {"no": "\u2581"}]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    out = mix(tmp_path, {"val_fraction": 0, "sources": [plain(path), plain(path, name="none", max_documents=1)]})
    told = json.loads((out / "manifest.json").read_text())["sources"]
    changed = {"decomposed_characters": 1, "invisible_characters": 1, "sentencepiece_blanks": 3}
    assert told["plain"]["changed"] == changed and told["none"]["changed"] == {}
    assert {entry["text"] for entry in split(out)} >= {f"{words(1, 40)}_a_", f"{words(2, 40)}_é", "_"}
    shown = capsys.readouterr().out
    assert all(f"  {what:<26}{count:>10,}  texts" in shown for what, count in changed.items())
    page = (out / "report/report.html").read_text()
    assert "<td>sentencepiece blanks</td><td>3</td><td>0</td>" in page


def test_numbered_compressed_files(tmp_path: Path) -> None:
    base, first, _ = two_sources(tmp_path)
    mixture = base | {"sources": [plain(first, name="a", repeats=3)]}
    whole = (mix(tmp_path, mixture, out="plain") / "train.jsonl").read_bytes()
    out = mix(tmp_path, mixture, "--set", "data.compress=true", "--set", "data.output_file_bytes=30000")
    files = sorted(out.glob("train-*.jsonl.zst"))
    assert len(files) == -(-len(whole) // 30000)
    assert [record for path in files for record in read_jsonl(path)] == split(tmp_path / "plain")


def test_datasets_finds_the_splits(tmp_path: Path, monkeypatch) -> None:
    import datasets

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = write_jsonl(tmp_path / "a.jsonl", [{"q": words(number, 30), "a": f"{number}."} for number in range(40)])
    entry = {"name": "p", "files": [str(path)], "template": "{q} {a}", "answers": ["a"]}
    out = mix(tmp_path, {"val_fraction": 0.2, "sources": [entry]})
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: part.num_rows for name, part in loaded.items()} == {
        "train": len(split(out)),
        "validation": len(split(out, "val")),
    }
    record = loaded["train"][0]
    assert answers_of(record["text"], record["answers"]) == [record["text"].rsplit(" ", 1)[1]]


# ---- the same whatever happens


def test_any_number_of_workers_any_form_of_files_and_a_second_run_give_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    import pyarrow
    import pyarrow.parquet

    records = [{"text": words(number % 900, 40)} for number in range(1000)]
    path = write_jsonl(tmp_path / "in/a.jsonl", records)
    one = mix(tmp_path, {"sources": [plain(path)]})
    two = mix(tmp_path, {"sources": [plain(path)]}, "--workers", "3", out="two")
    assert content(one) == content(two)
    before = content(one)
    capsys.readouterr()
    mix(tmp_path, {"sources": [plain(path)]})
    assert "made of this mixture already" in capsys.readouterr().out and content(one) == before
    write_jsonl(tmp_path / "in/b.jsonl.zst", records)
    (tmp_path / "in/c.json").write_text(json.dumps(records))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "in/d.parquet", row_group_size=100)
    for name in ("b.jsonl.zst", "c.json", "d.parquet"):
        again = mix(tmp_path, {"sources": [plain(tmp_path / "in" / name)]}, out=name)
        assert (again / "train.jsonl").read_bytes() == (one / "train.jsonl").read_bytes()


def test_a_killed_run_goes_on_with_the_sources_that_it_has_read(tmp_path: Path, monkeypatch) -> None:
    from data_prep.mixtures import source_stage as stage

    base, first, second = two_sources(tmp_path)
    mixture = base | {"sources": [plain(first, name="a"), plain(second, name="b")]}
    straight = content(mix(tmp_path, mixture, out="straight"))
    made, real = [], stage._make

    def killed(source, *rest):
        made.append(source.name)
        if made == ["a", "b"]:
            raise KeyboardInterrupt
        real(source, *rest)

    monkeypatch.setattr(stage, "_make", killed)
    with pytest.raises(KeyboardInterrupt):
        mix(tmp_path, mixture)
    assert not (tmp_path / "out/train.jsonl").exists()
    assert content(mix(tmp_path, mixture)) == straight and made == ["a", "b", "b"]


def test_what_a_kill_left_goes_and_two_at_a_time_do_not_mix(tmp_path: Path, monkeypatch) -> None:
    import fcntl

    base, first, _ = two_sources(tmp_path)
    mixture = base | {"sources": [plain(first, name="a")]}
    (tmp_path / "out/work").mkdir(parents=True)
    for leftover in ("out/train.jsonl.host-1.tmp", "out/work/a-1.jsonl.host-1.tmp"):
        (tmp_path / leftover).write_text("half")
    with (tmp_path / "out/work/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"another mix_datasets\.py is writing there"):
            mix(tmp_path, mixture)
    out = mix(tmp_path, mixture)
    assert content(out) == content(mix(tmp_path, mixture, out="straight"))


def test_a_dataset_of_prepare_dataset_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_text('{"format": 2, "splits": {}}')
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": words(1, 40)}])
    with pytest.raises(UserError, match="did not make; write elsewhere with --out"):
        mix(tmp_path, {"sources": [plain(path)]})


def test_a_mixture_of_other_code_is_kept_by_the_command_that_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common import provenance

    mixture = {"sources": [plain(write_jsonl(tmp_path / "in/a.jsonl", [{"text": words(n, 40)} for n in range(30)]))]}
    with monkeypatch.context() as other:
        other.setattr(provenance, "module_hashes", lambda roots: {"of another layout": "0"})
        before = content(made := mix(tmp_path, mixture))
    card = (made / "README.md").read_text()
    (made / "README.md").write_text("# A card without types\n")
    capsys.readouterr()
    mix(tmp_path, mixture, "--accept-stale")
    shown = capsys.readouterr().out
    assert "made of this mixture already" in shown and content(made) == before
    assert "README.md: written anew" in shown and (made / "README.md").read_text() == card and "features:" in card
    mix(tmp_path, mixture)
    shown = capsys.readouterr().out
    assert "by other code than today's, so it is made again" in shown and "made of this mixture already" not in shown
    command = next(line.strip() for line in shown.splitlines() if line.endswith("--accept-stale"))
    assert "data_prep/mix_datasets.py --mixture" in command
