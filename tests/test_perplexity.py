"""Perplexity: windows, agreement with one naive forward pass, bits per byte, the file it writes, its errors."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from evaluation.load import context_token_of, load_model, newest_export
from evaluation.perplexity import main, score_documents, summarize, windows
from settings import UserError, load_settings
from tests.tiny_llama import tiny_llama

TEXTS = [
    "Let $G$ be a finite group.\n\nThen $|G| = \\sum_{i} n_i^2$.",
    "x",
    " ".join(random.Random(3).choice(["norm", "\\alpha", "space", "map", "∈"]) for _ in range(60)),
    "A literal </s> and <s> in a text.",
]
RECORDS = [{"id": f"2401.{i:05d}", "text": text} for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("run") / "export")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "val.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    return path


@pytest.mark.parametrize("length", [0, 1, 5, 7, 8, 9, 23, 64])
@pytest.mark.parametrize(("context", "stride"), [(8, 4), (8, 1), (8, 7), (2, 1), (100, 50)])
def test_every_token_is_scored_once_with_enough_before_it(length: int, context: int, stride: int) -> None:
    ids = list(range(100, 100 + length))
    scored = []
    for window in windows(ids, 2, context, stride):
        assert 2 <= len(window.tokens) <= context and window.first >= 1
        for position in range(window.first, len(window.tokens)):
            index = window.tokens[position] - 100
            assert position >= min(context - stride, index + 1)
            scored.append(window.tokens[position])
    assert scored == ids


def naive_nll(loaded, text: str) -> float:
    """All tokens in one pass, one at a time: the definition."""
    import torch

    ids = [loaded.context_token, *loaded.encode(text)]
    with torch.inference_mode():
        log_probabilities = loaded.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return -sum(float(log_probabilities[i - 1, ids[i]]) for i in range(1, len(ids)))


@pytest.mark.parametrize("batch_size", [0, 1, 3])
def test_a_window_over_all_equals_one_naive_pass(folder: Path, batch_size: int) -> None:
    loaded = load_model(folder, "cpu")
    scores = score_documents(loaded, RECORDS, 512, 256, batch_size)
    for score, text in zip(scores, TEXTS, strict=True):
        assert score.nll == pytest.approx(naive_nll(loaded, text), rel=1e-4)
        assert score.bytes == len(text.encode()) and score.tokens == len(loaded.encode(text))


def test_sliding_windows_equal_each_token_from_its_window(folder: Path) -> None:
    import torch

    loaded = load_model(folder, "cpu")
    context, stride = 16, 6
    ids = loaded.encode(TEXTS[2])
    expected, scored, tokens = 0.0, 1, [loaded.context_token, *ids]
    while scored < len(tokens):
        end = min(len(tokens), context if scored == 1 else scored + stride)
        start = max(0, end - context)
        with torch.inference_mode():
            table = loaded.model(torch.tensor([tokens[start:end]])).logits[0].double().log_softmax(-1)
        expected -= sum(float(table[i - start - 1, tokens[i]]) for i in range(scored, end))
        scored = end
    [score] = score_documents(loaded, [RECORDS[2]], context, stride)
    assert score.nll == pytest.approx(expected, rel=1e-4)


def test_figures_of_all_documents() -> None:
    from evaluation.perplexity import Score

    result = summarize([Score("a", 8 * math.log(2), 4, 8), Score("b", 48 * math.log(2), 12, 16)])
    assert result["bits_per_byte"] == pytest.approx(56 / 24)
    assert result["perplexity_per_token"] == pytest.approx(2 ** (56 / 16))
    assert result["document_bits_per_byte_mean"] == pytest.approx(2.0)
    assert result["document_bits_per_byte_standard_error"] == pytest.approx(1.0)
    assert summarize([Score("a", 1.0, 1, 1)])["document_bits_per_byte_standard_error"] is None


def test_the_command_prints_and_writes_its_result(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(folder), "--data", str(data), "--device", "cpu", "--context", "64"]) == 0
    printed = capsys.readouterr().out
    result = json.loads((folder.parent / "perplexity-val.json").read_text())
    assert f"{result['bits_per_byte']:.4f}" in printed and "with the tokenizer of" in printed
    assert result["documents"] == 4 and result["before_each_document"] == "</s>"
    assert (
        result["bytes"] == sum(len(text.encode()) for text in TEXTS) == sum(d["bytes"] for d in result["per_document"])
    )
    assert [d["id"] for d in result["per_document"]] == [record["id"] for record in RECORDS]
    assert printed.index("bits per byte") < printed.index("perplexity per token")


def test_limit_and_out(folder: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "result.json"
    assert (
        main(["--model", str(folder), "--data", str(data), "--limit", "2", "--out", str(out), "--device", "cpu"]) == 0
    )
    assert json.loads(out.read_text())["documents"] == 2


def test_the_newest_export_is_the_default(folder: Path, tmp_path: Path) -> None:
    settings = load_settings(overrides=[f"train.runs={tmp_path}"])
    with pytest.raises(UserError, match="no exported model"):
        newest_export(settings)
    for name in ("old", "new"):
        (tmp_path / name / "export").mkdir(parents=True)
        (tmp_path / name / "export" / "config.json").write_text("{}")
    import os

    os.utime(tmp_path / "old" / "export" / "config.json", (1, 1))
    assert newest_export(settings) == tmp_path / "new" / "export"


def test_before_a_document_stands_the_tokenizers_own_bos_or_else_eos() -> None:
    class Fake:
        def __init__(self, bos, eos, adds):
            self.bos_token_id, self.eos_token_id, self.adds = bos, eos, adds

        def encode(self, text: str) -> list[int]:
            return [self.bos_token_id] if self.adds else []

    assert context_token_of(Fake(1, 2, False)) == 2
    assert context_token_of(Fake(1, 2, True)) == 1
    assert context_token_of(Fake(1, None, False)) == 1
    with pytest.raises(UserError, match="neither"):
        context_token_of(Fake(None, None, False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "{tmp}/absent"], "no such folder"),
        (["--model", "{tmp}"], "no config.json"),
        (["--data", "{tmp}/absent.jsonl"], "no such file"),
        (["--data", "{tmp}/empty.jsonl"], "no documents"),
        (["--data", "{tmp}/other.jsonl"], "no 'text'"),
        (["--context", "5000"], "at most"),
        (["--context", "1"], "at least 2"),
        (["--context", "64", "--stride", "64"], "less than the context"),
        (["--limit", "0"], "at least 1"),
        (["--device", "warp"], "--device cpu"),
    ],
)
def test_wrong_arguments_are_named(
    folder: Path, data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "other.jsonl").write_text('{"title": "x"}\n')
    given = {"--model": str(folder), "--data": str(data), "--device": "cpu"}
    given |= dict(zip(arguments[::2], (value.format(tmp=tmp_path) for value in arguments[1::2]), strict=True))
    with pytest.raises(UserError, match=message):
        main([part for pair in given.items() for part in pair])


def test_a_folder_without_weights_or_tokenizer_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match="no weights"):
        load_model(tmp_path, "cpu")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="tokenizer"):
        load_model(tmp_path, "cpu")
