"""Mixtures: how records become texts, what is left out and why, weights, order, and that the result depends on nothing
else."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import atomic_write
from common.jsonl import read_jsonl
from common.paths import ROOT
from common.settings.load import load_settings
from data_prep.mix_datasets import main
from data_prep.mixtures.config import SourceSettings, load_mixture
from data_prep.mixtures.records import Rejected, digest_of, normalized, to_text
from tests.helpers import tiny_world
from tools.make_problem_set import main as make_problems
from tools.make_problem_set import problems

WORDS = [f"word{number}" for number in range(4000)]


def words(seed: int, count: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def write_jsonl(path: Path, records: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())
    return path


def mix(tmp_path: Path, mixture: dict, *more: str, out: str = "out") -> Path:
    path = tmp_path / "mixture.json"
    path.write_text(json.dumps(mixture))
    assert main(["--mixture", str(path), "--out", str(tmp_path / out), "--workers", "1", *more]) == 0
    return tmp_path / out


def split(out: Path, name: str = "train") -> list[dict]:
    return list(read_jsonl(out / f"{name}.jsonl"))


def plain(path: Path, **keys) -> dict:
    return {"name": keys.pop("name", "plain"), "files": [str(path)], "text": "text", **keys}


# ---- from a record to a text


def source(**keys) -> SourceSettings:
    return SourceSettings(name="s", files=["x.jsonl"], **keys)


def answers_of(text: str, spans: list) -> list[str]:
    return [text[start:end] for start, end in spans]


def test_a_template_takes_values_as_they_are_and_knows_where_answers_are() -> None:
    made = source(template="{{Q}}: {q}\n\nA: {a}\n", answers=["a"])
    text, spans = to_text(made, "f:1", {"q": "\\frac{1}{x} {a}", "a": "  $\\{x\\}$\r\n{q}  "})
    assert text == "{Q}: \\frac{1}{x} {a}\n\nA: $\\{x\\}$\n{q}"
    assert answers_of(text, spans) == ["$\\{x\\}$\n{q}"]
    assert to_text(source(template="{q}"), "f:1", {"q": 3}) == ("3", None)


def test_messages_have_the_assistants_part_as_answer_with_what_ends_it() -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2 "},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"},
    ]
    text, spans = to_text(source(messages="m"), "f:1", {"m": messages})
    assert text == "Be short.\n\nUser: 1+1?\n\nAssistant: 2\n\nUser: 2+2?\n\nAssistant: 4"
    assert answers_of(text, spans) == ["2\n\n", "4"]
    shared = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    text, spans = to_text(source(messages="conversations"), "f:1", {"conversations": shared})
    assert text == "User: a\n\nAssistant: b" and answers_of(text, spans) == ["b"]


@pytest.mark.parametrize(
    ("keys", "record", "reason"),
    [
        ({"text": "t"}, b"{not json", "bad_record"),
        ({"text": "t"}, b"\xff\xfe", "bad_record"),
        ({"text": "t"}, b"[1]", "bad_record"),
        ({"text": "t"}, {"u": "x"}, "missing_field"),
        ({"text": "t"}, {"t": None}, "missing_field"),
        ({"text": "t"}, {"t": True}, "missing_field"),
        ({"text": "t"}, {"t": " \n\x00 "}, "empty"),
        ({"template": "Q {q} A {a}", "answers": ["a"]}, {"q": "x", "a": ""}, "empty"),
        ({"messages": "m"}, {"m": "text"}, "bad_messages"),
        ({"messages": "m"}, {"m": [{"role": "tool", "content": "x"}]}, "bad_messages"),
        ({"messages": "m"}, {"m": [{"role": ["user"], "content": "x"}]}, "bad_messages"),
        ({"messages": "m"}, {"m": [{"role": "user", "content": ["x"]}]}, "bad_messages"),
        ({"messages": "m"}, {"m": [{"role": "user", "content": "x"}]}, "empty"),
    ],
)
def test_a_record_that_makes_no_text_has_a_reason(keys: dict, record, reason: str) -> None:
    with pytest.raises(Rejected) as found:
        to_text(source(**keys), "f:1", record)
    assert found.value.reason == reason


def test_texts_are_normalized_and_a_sign_makes_another_text() -> None:
    assert normalized(" e\u0301\r\na\x00b\ud800 ") == "é\nab?"
    assert digest_of("Solve  $x+1$\n") == digest_of("solve $X+1$") != digest_of("Solve $x-1$")


# ---- what is left out


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


def test_replay_is_not_compared_with_what_it_is_from(tmp_path: Path) -> None:
    records = [tiny_world.document(number) | {"text": words(number, 60)} for number in range(10)]
    path = write_jsonl(tmp_path / "before/train.jsonl", records)
    sources = [plain(path, name="replay", replay=True, val=False), plain(path, name="again")]
    out = mix(tmp_path, {"against": [str(tmp_path / "before")], "val_fraction": 0.5, "sources": sources})
    told = json.loads((out / "manifest.json").read_text())["sources"]
    assert told["replay"]["written"] == {"train": 10, "val": 0}
    assert told["again"]["reasons"] == {"exact_duplicate": 10}


def test_near_duplicates_that_stay_are_in_one_split(tmp_path: Path) -> None:
    records = []
    for number in range(40):
        base = words(number, 100)
        records += [{"text": base}, {"text": base + " more"}]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    out = mix(tmp_path, {"near_duplicates": "keep", "val_fraction": 0.3, "sources": [plain(path)]})
    by_split = {name: Counter(record["cluster"] for record in split(out, name)) for name in ("train", "val")}
    assert not by_split["train"].keys() & by_split["val"].keys() and len(by_split["val"]) > 3
    assert set((by_split["train"] + by_split["val"]).values()) == {2}


# ---- how much of each, and in which order


def two_sources(tmp_path: Path, **mixture) -> tuple[dict, Path, Path]:
    first = write_jsonl(tmp_path / "a.jsonl", [{"text": words(number, 40)} for number in range(100)])
    second = write_jsonl(tmp_path / "b.jsonl", [{"text": words(1000 + number, 40)} for number in range(300)])
    return {"val_fraction": 0, **mixture}, first, second


def test_weights_are_shares_of_the_bytes(tmp_path: Path) -> None:
    base, first, second = two_sources(tmp_path)
    out = mix(tmp_path, base | {"sources": [plain(first, name="a", weight=3), plain(second, name="b", weight=1)]})
    told = json.loads((out / "manifest.json").read_text())["sources"]
    whole = told["a"]["train_bytes"] + told["b"]["train_bytes"]
    assert told["a"]["repeats"] == 1.0 and told["a"]["train_bytes"] / whole == pytest.approx(0.75, abs=0.005)
    assert told["b"]["reasons"]["not_wanted"] + told["b"]["written"]["train"] == 300
    names = [record["source"] for record in split(out)]
    # Sources are spread over the whole: any quarter has its share of both.
    for quarter in range(4):
        part = names[quarter * len(names) // 4 : (quarter + 1) * len(names) // 4]
        assert part.count("a") / len(part) == pytest.approx(0.75, abs=0.05)


def test_repeats_are_whole_rounds_and_a_part_by_hash(tmp_path: Path) -> None:
    base, first, _ = two_sources(tmp_path)
    out = mix(tmp_path, base | {"sources": [plain(first, name="a", repeats=2.5)]})
    uses = Counter(record["id"].partition("#")[0] for record in split(out))
    assert set(uses.values()) == {2, 3} and sum(uses.values()) == pytest.approx(250, abs=2)
    ids = [record["id"] for record in split(out)]
    assert len(set(ids)) == len(ids) and "a/1#2" in ids
    texts = {record["id"]: record["text"] for record in split(out)}
    assert texts["a/1"] == texts["a/1#2"] and {record["cluster"] for record in split(out)} == set(uses)


def test_more_than_there_is_is_refused(tmp_path: Path) -> None:
    base, first, second = two_sources(tmp_path, total_bytes=10**6)
    sources = [plain(first, name="a", weight=3), plain(second, name="b", weight=1)]
    with pytest.raises(
        UserError, match=r"source a: its [\d,]+ bytes would be read .* times for 75.0% .* max_repeats is 1"
    ):
        mix(tmp_path, base | {"sources": sources})


def test_limits_take_the_first_documents(tmp_path: Path) -> None:
    base, first, second = two_sources(tmp_path)
    sources = [plain(first, name="a", max_documents=7), plain(second, name="b", max_bytes=1000)]
    out = mix(tmp_path, base | {"sources": sources})
    told = json.loads((out / "manifest.json").read_text())["sources"]
    assert told["a"]["records"] == told["a"]["written"]["train"] == 7
    assert 1000 <= told["b"]["train_bytes"] < 1000 + 400


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


# ---- the same whatever happens


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


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


def test_numbered_compressed_files(tmp_path: Path) -> None:
    base, first, _ = two_sources(tmp_path)
    mixture = base | {"sources": [plain(first, name="a", repeats=3)]}
    whole = (mix(tmp_path, mixture, out="plain") / "train.jsonl").read_bytes()
    out = mix(tmp_path, mixture, "--set", "data.compress=true", "--set", "data.output_file_bytes=30000")
    files = sorted(out.glob("train-*.jsonl.zst"))
    assert len(files) == -(-len(whole) // 30000)
    assert [record for path in files for record in read_jsonl(path)] == split(tmp_path / "plain")


# ---- wrong input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "a list 'sources' that is not empty"),
        ({"sources": [3]}, r"sources\[0\]' is no object"),
        ({"sed": 1}, "unknown key 'sed'; did you mean 'seed'"),
        ({"val_fraction": 0.9}, "'val_fraction' is 0.9, must be between"),
        ({"total_bytes": 10}, "no source has a weight"),
        ({"source": {"weigth": 1}}, r"unknown key 'sources\[0\].weigth'; did you mean"),
        ({"source": {"name": "a/b"}}, "'name' is \"a/b\""),
        ({"source": {"files": None}}, "give either 'files' or 'dataset'"),
        ({"source": {"dataset": "x/y"}}, "give either 'files' or 'dataset'"),
        ({"source": {"template": "{x}"}}, "give one of 'text', 'template' and 'messages', not 2"),
        ({"source": {"text": None}}, "not 0 of them"),
        ({"source": {"weight": 1, "repeats": 1}}, "'weight' or 'repeats', not both"),
        ({"source": {"answers": ["x"]}}, "'answers' names fields of a 'template'"),
        ({"source": {"text": None, "template": "none"}}, "the template has no {field}"),
        ({"source": {"text": None, "template": "{x"}}, "a brace of the text itself is written twice"),
        ({"source": {"text": None, "template": "{x.y}"}}, "{x.y} is no name of a field"),
        ({"source": {"text": None, "template": "{x:>9}"}}, "is no name of a field"),
        ({"source": {"text": None, "template": "{x}", "answers": ["y"]}}, "'answers' names 'y', the template has x"),
        ({"source": {"text": None, "messages": "m", "roles": {"user": "none"}}}, "must have {content} once"),
        ({"source": {"files": ["/nowhere/*.jsonl"]}}, "/nowhere/.*no such file"),
        ({"against": ["/nowhere"]}, "against: /nowhere: no dataset there"),
        ({"benchmarks": "/nowhere"}, "/nowhere: no such folder"),
    ],
)
def test_a_wrong_mixture_is_named(tmp_path: Path, change: dict, message: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": words(number, 40)} for number in range(5)])
    entry = {key: value for key, value in (plain(path) | change.pop("source", {})).items() if value is not None}
    with pytest.raises(UserError, match=message):
        mix(tmp_path, {"sources": [entry]} | change)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"x", r"expected \.jsonl, \.jsonl\.zst, \.json or \.parquet"),
        ("a.parquet", b"PAR1 nothing", r"a\.parquet: cannot be read"),
        ("a.json", b"{}", "expected a list of records"),
        ("a.json", b"[", r"a\.json: cannot be read"),
        ("a.jsonl.zst", b"nothing", "the compressed file is damaged"),
        ("a.jsonl", b"\n", "the mixture has no documents"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        mix(tmp_path, {"sources": [plain(tmp_path / name)]})


def test_a_name_that_is_not_ascii(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": words(number, 40)} for number in range(30)])
    train = split(mix(tmp_path, {"val_fraction": 0.1, "sources": [plain(path, name="aé", repeats=2)]}))
    assert {record["cluster"] for record in train} == {record["id"].partition("#")[0] for record in train}
    assert {record["source"] for record in train} == {"aé"}


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


def test_a_dataset_of_prepare_dataset_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_text('{"format": 2, "splits": {}}')
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": words(1, 40)}])
    with pytest.raises(UserError, match="did not make; write elsewhere with --out"):
        mix(tmp_path, {"sources": [plain(path)]})


def test_the_example_is_a_mixture() -> None:
    mixture = load_mixture(ROOT / "examples/post_training/mixture.json")
    assert [source.name for source in mixture.sources] == ["problems", "papers"]


# ---- the hub


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


# ---- the problem set


def test_problems_are_distinct_deterministic_and_right(tmp_path: Path) -> None:
    made = problems(400, seed=1)
    assert len({record["problem"] for record in made}) == 400 and made == problems(400, seed=1)
    assert set(Counter(record["kind"] for record in made)) == {
        *("linear", "quadratic", "derivative", "integral", "series", "divisor", "modular", "determinant")
    }
    import math
    import re

    for record in made:
        numbers = [int(number) for number in re.findall(r"-?\d+", record["problem"])]
        last = int(re.findall(r"-?\d+", record["solution"])[-1])
        if record["kind"] == "divisor":
            assert last == math.gcd(*numbers)
        elif record["kind"] == "determinant":
            a, b, c, d = numbers
            assert last == a * d - b * c
        elif record["kind"] == "series":
            start, difference, count = numbers
            assert last == sum(start + difference * place for place in range(count))
    assert make_problems(["--out", str(tmp_path / "p.jsonl"), "--count", "20"]) == 0
    assert len(list(read_jsonl(tmp_path / "p.jsonl"))) == 20
    with pytest.raises(UserError, match="must be at least 1"):
        make_problems(["--count", "0"])
