"""From a record of a source to a text with answers, or to the reason why there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import UserError
from data_prep.mixtures.config import SourceSettings
from data_prep.mixtures.records import Rejected, digest_of, normalized, to_text
from tests.data_prep.latex.test_clean import CASES
from tests.helpers.mixtures import answers_of, mix, plain, split


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


@pytest.mark.parametrize("case", CASES["unicode_text"])
def test_mixtures_are_cleaned_of_what_papers_are(case: str) -> None:
    raw, cleaned = CASES["unicode_text"][case]
    messages = [{"role": "user", "content": raw}, {"role": "assistant", "content": raw}]
    made = source(template=f"{raw} {{a}} {raw}", answers=["a"])
    text, spans = to_text(made, "f:1", {"a": raw})
    # A document has no blanks around it.
    assert text == f"{cleaned} {cleaned.strip()} {cleaned}".strip() and answers_of(text, spans) == [cleaned.strip()]
    assert to_text(source(text="t"), "f:1", {"t": raw})[0] == cleaned.strip()
    roles = {"user": f"{raw}: {{content}}\n", "assistant": f"{{content}}{raw}"}
    text, spans = to_text(source(messages="m", roles=roles), "f:1", {"m": messages})
    assert text == f"{cleaned}: {cleaned.strip()}\n{cleaned.strip()}{cleaned}".strip()
    assert answers_of(text, spans) == [f"{cleaned.strip()}{cleaned}".rstrip()]


def test_braces_of_a_roles_own_text_stay_where_they_are() -> None:
    roles = {"user": "{{q}} {content} {{/q}}\n", "assistant": "{{a}} {content} {{/a}}"}
    messages = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
    text, spans = to_text(source(messages="m", roles=roles), "f:1", {"m": messages})
    assert text == "{q} 1+1? {/q}\n{a} 2 {/a}" and answers_of(text, spans) == ["2 {/a}"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_a_number_that_is_none_makes_no_text(number: str) -> None:
    for keys in ({"text": "a"}, {"template": "{a}"}, {"template": "{q} {a}", "answers": ["a"]}):
        with pytest.raises(Rejected) as found:
            to_text(source(**keys), "f:1", f'{{"q": "x", "a": {number}}}'.encode())
        assert found.value.reason == "not_finite" and "a is " in found.value.detail
    # Where nobody reads it, it does no harm.
    assert to_text(source(text="q"), "f:1", f'{{"q": "x", "a": {number}}}'.encode())[0] == "x"


@pytest.mark.parametrize(
    ("number", "text"),
    [("7", "7"), ("-0.5", "-0.5"), ("1.0", "1.0"), ("1e308", "1e+308"), ("1" + "0" * 400, "1" + "0" * 400)],
)
def test_a_number_is_the_text_that_it_is_written_as(number: str, text: str) -> None:
    made = source(template="{a}", answers=["a"])
    assert to_text(made, "f:1", f'{{"a": {number}}}'.encode()) == (text, [[0, len(text)]])


def test_numbers_of_every_kind_of_file(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    lines = [f'{{"q": "question {number}", "a": {number}}}' for number in ("1.5", "NaN", "Infinity", "-Infinity")]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"q": "too large", "a": 1e400}']))
    (tmp_path / "a.json").write_text(f"[{','.join([*lines, lines[1]])}]")
    table = pyarrow.Table.from_pylist([json.loads(line) for line in [*lines, lines[1]]])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.json", "a.parquet"):
        made = {"name": "n", "files": [str(tmp_path / name)], "template": "{q} is {a}", "answers": ["a"]}
        out = mix(tmp_path, {"val_fraction": 0, "sources": [made]}, out=f"{name}.out")
        assert [entry["text"] for entry in split(out)] == ["question 1.5 is 1.5"]
        told = json.loads((out / "manifest.json").read_text())["sources"]["n"]
        assert told["reasons"] == {"not_finite": 4} and (out / "rejected/not_finite.jsonl").stat().st_size


def test_texts_are_normalized_and_a_sign_makes_another_text() -> None:
    assert normalized(" e\u0301\r\na\x00b\ud800 ") == "é\nab"
    assert digest_of("Solve  $x+1$\n") == digest_of("solve $X+1$") != digest_of("Solve $x-1$")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"x", r"expected \.jsonl, \.jsonl\.zst, \.json or \.parquet"),
        ("a.parquet", b"PAR1 nothing", r"a\.parquet: cannot be read"),
        ("a.json", b"{}", "expected a list of records"),
        ("a.json", b"[", r"a\.json: cannot be read"),
        ("a.json", b"[" * 200_000, r"a\.json: cannot be read: JSON nested too deeply"),
        ("a.jsonl.zst", b"nothing", "the compressed file is damaged"),
        ("a.jsonl", b"\n", "the mixture has no documents"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        mix(tmp_path, {"sources": [plain(tmp_path / name)]})
