"""From a record of a source to a text with answers, or to the reason why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from data_prep.mixtures.config import SourceSettings
from data_prep.mixtures.records import Rejected, digest_of, normalized, to_text
from tests.helpers.mixtures import answers_of, mix, plain


def source(**keys) -> SourceSettings:
    return SourceSettings(name="s", files=["x.jsonl"], **keys)


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
