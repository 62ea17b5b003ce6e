"""The command that evaluates tokenizers: its report, its page, its tables, its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UserError
from tests.helpers.tokenizer.known_tokenizers import PAPER, lower_case, peer, write_jsonl
from tokenizer.evaluate_tokenizer import main


@pytest.fixture(scope="module")
def evaluated(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    peer(folder / "a" / "tokenizer")
    peer(folder / "b" / "tokenizer", lower_case)
    write_jsonl(folder / "val.jsonl", [PAPER, PAPER.replace("map", "set")], categories=["math.AG"])
    write_jsonl(folder / "other.jsonl", ["plain words, <b>no</b> formulas"], categories=["cs.LG"])
    (folder / "sources.json").write_text('{"0": "book", "1": "paper"}')
    arguments = [pair, folder / "a" / "tokenizer", folder / "b" / "tokenizer", "--out", folder / "out"]
    arguments += ["--texts", folder / "val.jsonl", folder / "other.jsonl", "--sources", folder / "sources.json"]
    assert main([*map(str, arguments), "--chunks", "300", "--rounds", "2", "--workers", "1"]) == 0
    return folder


def test_the_report_holds_every_measure(evaluated: Path, pair: Path) -> None:
    report = json.loads((evaluated / "out" / "report.json").read_text())
    names = [pair.name, "a/tokenizer", "b/tokenizer"]
    assert [tokenizer["name"] for tokenizer in report["tokenizers"]] == names
    assert [tokenizer["entries"] for tokenizer in report["tokenizers"]] == [400, 261, 261]
    val, other = report["texts"]
    assert val["documents"] == 2 and val["bytes"] == 2 * len(PAPER.encode()) and val["commands"][r"\alpha"] == 6
    assert other["commands"] == {}
    for name in names:
        found = report["results"]["val.jsonl"][name]
        assert found["by_source"]["groups"].keys() == {"book", "paper"} and found["bytes_per_token"] > 1
        assert found["by_category"]["groups"].keys() == {"math.AG"}
        assert found["commands"]["most_frequent_alone"] and found["entries"]["never_used"] > 0
        assert report["results"]["other.jsonl"][name]["commands"]["whole"] is None
        assert report["speed"][name]["mb_per_s"] > 0 and report["speed"][name]["rounds"] == 2
    trips = report["round_trips"]
    assert trips[names[0]]["chunks"]["compared"] == 300 and trips[names[0]]["not_compared"] is None
    assert trips[names[0]]["chunks"]["unequal"] == trips[names[0]]["chunks"]["lossy"] == 0
    assert trips[names[1]]["chunks"]["lossy"] == 0 and trips[names[2]]["documents"]["lossy"] == 2
    assert set(report["versions"]) == {"sentencepiece", "transformers", "tokenizers"}


def test_the_page_shows_text_cut_into_tokens(evaluated: Path, pair: Path) -> None:
    page = (evaluated / "out" / "report.html").read_text()
    for title in ("Prose with formulas", "A theorem", "A displayed formula", "Definitions", "Wilson", "lossy"):
        assert title in page
    assert page.count("<figure>") == 9 and page.count("data:image/png;base64,") == 4
    assert '<span class="c0">' in page and "<i>\u00b7</i>" in page and "does not come back" in page
    # Text of documents is text, not HTML.
    assert "<b>no</b>" not in page and "http" not in page.replace("http-equiv", "")
    for name in ("compression", "commands", "groups", "entries"):
        assert (evaluated / "out" / f"{name}.png").stat().st_size > 5_000


def test_the_tables_fit_a_terminal(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    out = evaluated / "again"
    arguments = ["--texts", str(evaluated / "val.jsonl"), "--out", str(out), "--chunks", "0", "--workers", "1"]
    assert main([str(evaluated / "a" / "tokenizer"), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "Bytes per token: val.jsonl (2 documents" in printed and "wrong prefix" in printed
    assert "boundary-clean" in printed and str(out / "report.html") in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 120


def test_the_configured_tokenizer_and_split_are_the_default(
    tmp_path: Path, evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, tokenizer = tmp_path / "data", peer(tmp_path / "ours")
    write_jsonl(data / "val-00001-of-00001.jsonl.zst", [PAPER])
    sets = [f"tokenizer.out={tokenizer}", f"data.out={data}"]
    arguments = [flag for value in sets for flag in ("--set", value)]
    assert main([*arguments, "--chunks", "10", "--rounds", "1", "--workers", "1"]) == 0
    assert "val.jsonl (1 documents" in capsys.readouterr().out
    assert (tokenizer / "report" / "evaluation" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{t}", "--texts", "{d}/none.jsonl"],
            "none.jsonl: no such file; give JSONL with --texts, or make it: python data",
        ),
        (["{t}", "--texts", "{d}/empty.jsonl"], "empty.jsonl: no text in it"),
        (["{t}", "--texts", "{d}/no_text.jsonl"], "no_text.jsonl:1: the record has no 'text'"),
        (["{t}", "--texts", "{d}/broken.jsonl"], "broken.jsonl:1:.*not valid JSON"),
        (["{d}/none", "--texts", "{d}/empty.jsonl"], "none: no such file or folder"),
        (
            ["--set", "tokenizer.out={d}/none", "--texts", "{d}/x"],
            "train one first: python tokenizer/train_tokenizer.py --set",
        ),
        (["{t}", "--texts", "{d}/empty.jsonl", "--sources", "{d}/broken.jsonl"], "cannot be read as JSON"),
        (["{t}", "--texts", "{d}/empty.jsonl", "--sources", "{d}/list.json"], "expected an object of names by id"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    tokenizer = peer(tmp_path / "tokenizer")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "no_text.jsonl").write_text('{"id": "1"}\n')
    (tmp_path / "broken.jsonl").write_text("{no\n")
    (tmp_path / "list.json").write_text('["a"]')
    with pytest.raises(UserError, match=message) as error:
        main([argument.format(t=tokenizer, d=tmp_path) for argument in arguments])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [["--max-bytes", "0"], ["--chunks", "-1"], ["--chunks", "x"], ["--rounds", "0"]])
def test_numbers_out_of_range_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err
