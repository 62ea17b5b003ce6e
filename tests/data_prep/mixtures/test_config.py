"""What is wrong with a mixture is named; the example is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from common.paths import ROOT
from data_prep.mixtures.config import load_mixture
from tests.helpers.mixtures import mix, plain, words, write_jsonl


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
    ("text", "message"),
    [
        ("{", r"m\.json:1:2: not valid JSON"),
        ("[" * 200_000, r"m\.json: not valid JSON"),
        (f'{{"seed": {"1" * 5000}}}', r"m\.json: not valid JSON: Exceeds the limit"),
        ('{"sources": [{"name": "a", "weight": NaN}]}', r"'sources\[0\].weight' is nan, must be at least 0"),
        (
            '{"sources": [{"name": "a", "repeats": 1e400}]}',
            r"'sources\[0\].repeats' is inf, must be between 0 and 1000",
        ),
        ('{"val_fraction": -Infinity, "sources": [{}]}', "'val_fraction' is -inf, must be between 0 and 0.5"),
    ],
    ids=["cut", "nested", "digits", "nan", "inf", "-inf"],
)
def test_a_mixture_file_that_is_no_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_mixture(tmp_path / "m.json")


def test_the_example_is_a_mixture() -> None:
    mixture = load_mixture(ROOT / "examples/post_training/mixture.json")
    assert [source.name for source in mixture.sources] == ["problems", "papers"]
