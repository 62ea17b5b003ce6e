"""The command on a tiny model: the same twice, people's figures beside, copies named, texts made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UserError
from evaluation.evaluate_generations import figures, main
from evaluation.generation.texts import Text
from tests.helpers import tiny_world
from tests.helpers.tiny_llama import tiny_llama


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    tiny_world.make_world(folder)
    tiny_llama(folder / "run/export", context=256)
    (folder / "run/run.json").write_text("{}")
    return folder


def evaluate(world: Path, out: Path, *more: str) -> dict:
    command = ["--config", str(world / "config.json"), "--out", str(out), *more]
    assert main(command) == 0
    return json.loads((out / "generations.json").read_text())


def test_a_model_and_people_side_by_side_the_same_twice(world: Path, tmp_path: Path, capsys) -> None:
    command = ["--model", str(world / "run/export"), "--num", "4", "--prompt-tokens", "40", "--max-new-tokens", "60"]
    result = evaluate(world, tmp_path / "a", *command, "--device", "cpu")
    assert set(result["groups"]) == {"continued", "from nothing", "human"}
    assert {name: group["texts"] for name, group in result["groups"].items()} == {
        "continued": 4,
        "from nothing": 4,
        "human": 4,
    }
    printed = capsys.readouterr().out
    assert "well-formed as far as they go" in printed and "longest copy of all" in printed
    page = (tmp_path / "a/report.html").read_text()
    assert "What the model writes" in page and (tmp_path / "a/copies.png").stat().st_size > 1000
    again = evaluate(world, tmp_path / "b", *command, "--device", "cpu")
    assert again == result
    assert (tmp_path / "a/generations.jsonl").read_bytes() == (tmp_path / "b/generations.jsonl").read_bytes()
    texts = [json.loads(line) for line in (tmp_path / "a/generations.jsonl").read_text().splitlines()]
    human = next(text for text in texts if text["group"] == "human")
    continued = next(text for text in texts if text["group"] == "continued" and text["id"] == human["id"])
    assert continued["prompt"] == human["prompt"] and continued["text"] != human["text"]
    document = next(str(d["text"]) for i in range(100, 106) if (d := tiny_world.document(i))["id"] == human["id"])
    assert document.startswith(human["prompt"] + human["text"])
    noted = json.loads((world / "run/results.json").read_text())["generations"]
    assert set(noted) == {"continued", "human"} and "balanced" in noted["human"]


def test_texts_made_elsewhere_and_the_document_they_copy(world: Path, tmp_path: Path) -> None:
    source = tiny_world.document(7)
    copy = str(source["text"])[20:150]
    tiny_world.write_jsonl(
        tmp_path / "texts.jsonl",
        [
            {"id": "copy", "text": f"@@@ {copy}"},
            {"id": "broken", "prompt": "\\begin{a}", "text": "\\begin{a} x } @@@@"},
            {"id": "ended", "text": "{ @@@@", "ended": True},
        ],
    )
    result = evaluate(world, tmp_path / "out", "--texts", str(tmp_path / "texts.jsonl"))
    copied, broken, ended = (json.loads(line) for line in (tmp_path / "out/generations.jsonl").read_text().splitlines())
    assert copied["copied_from"] == source["id"] and copied["copy"].endswith(copy)
    assert copied["longest_copy"] >= len(copy) and copied["copied"]["50"] >= len(copy)
    assert (broken["fault"], broken["text"], ended["fault"]) == ("brace", " x } @@@@", "unclosed")
    given = result["groups"]["given"]
    assert given["balanced"] == pytest.approx(1 / 3) and given["faults"] == {"brace": 1, "unclosed": 1}
    assert given["texts_with_copy_of_50"] == pytest.approx(1 / 3)


def test_without_an_engine_nothing_is_said_of_compiling(world: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("evaluation.generation.compiler.ENGINES", ())
    tiny_world.write_jsonl(tmp_path / "texts.jsonl", [{"text": "x"}])
    result = evaluate(world, tmp_path / "out", "--texts", str(tmp_path / "texts.jsonl"), "--no-copies")
    assert result["groups"]["given"]["compiles"] is None and "no TeX engine" in capsys.readouterr().out


def test_figures_by_hand() -> None:
    none = {"16": 0, "32": 0, "50": 0}
    texts = [
        Text(
            "g",
            "a",
            "",
            "x",
            True,
            {"fault": None, "tokens": 100, "repetition": 0.6, "longest_copy": 0, "copied": none},
        ),
        Text(
            "g",
            "b",
            "",
            "y",
            False,
            {
                "fault": "brace",
                "tokens": 100,
                "repetition": 0.2,
                "longest_copy": 60,
                "copied": {"16": 60, "32": 60, "50": 60},
            },
        ),
    ]
    found = figures(texts)
    assert (found["balanced"], found["ended"], found["looping"], found["repetition"]) == (0.5, 0.5, 0.5, 0.4)
    assert found["copied"]["50"] == 0.3 and found["compiles"] is None and found["texts_with_copy_of_50"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num", "0"], "--num 0: must be at least 1"),
        (["--prompt-tokens", "250"], "the model takes 255 tokens at most"),
        (["--temperature", "-1"], "0 or more"),
        (["--engine", "nothing"], "--engine nothing: not installed"),
        (["--data", "/nowhere"], "no such file or folder"),
    ],
)
def test_wrong_arguments_are_named(world: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(world, tmp_path, "--model", str(world / "run/export"), "--device", "cpu", *arguments)


def test_an_empty_file_of_texts_is_named(world: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("")
    with pytest.raises(UserError, match="no texts in it"):
        evaluate(world, tmp_path, "--texts", str(tmp_path / "texts.jsonl"))
