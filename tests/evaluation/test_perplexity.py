"""Perplexity: windows, agreement with one naive forward pass, bits per byte, the file it writes, its errors."""

from __future__ import annotations

import json
import math
import random
import shutil
import statistics
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.files import atomic_write
from common.settings.load import load_settings
from evaluation.models.load import chosen_model, context_token_of, load_model, newest_export
from evaluation.perplexity import main, score_documents
from evaluation.scoring.breakdown import KINDS, Document, Score, by_group, figures, paired_difference, token_bytes
from evaluation.scoring.positions import position_loss, ranges
from evaluation.scoring.ratio import Ratio
from evaluation.scoring.windows import Window, window_losses, windows
from tests.helpers.tiny_llama import tiny_llama

TEXTS = [
    "Let $G$ be a finite group.\n\nThen $|G| = \\sum_{i} n_i^2$.",
    "x",
    " ".join(random.Random(3).choice(["norm", "\\alpha", "space", "map", "∈"]) for _ in range(60)),
    "A literal </s> and <s> in a text.",
]
RECORDS = [
    {"id": f"2401.{i:05d}", "text": text} | ({} if i == 3 else {"categories": ["math.GR"], "year": 2023 + i % 2})
    for i, text in enumerate(TEXTS)
]
DOCUMENTS = [Document(str(record["id"]), str(record["text"]), "none", "none") for record in RECORDS]


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


def naive_losses(loaded, text: str) -> list[float]:
    """All tokens in one pass, one at a time: the definition."""
    import torch

    ids = [loaded.context_token, *loaded.encode(text)]
    with torch.inference_mode():
        log_probabilities = loaded.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [-float(log_probabilities[i - 1, ids[i]]) for i in range(1, len(ids))]


@pytest.mark.parametrize("batch_size", [0, 1, 3])
def test_a_window_over_all_equals_one_naive_pass(folder: Path, batch_size: int) -> None:
    loaded = load_model(folder, "cpu")
    scores = list(score_documents(loaded, DOCUMENTS, 512, 256, batch_size))
    for score, text in zip(scores, TEXTS, strict=True):
        assert score.nats == pytest.approx(sum(naive_losses(loaded, text)), rel=1e-4)
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
    [score] = score_documents(loaded, [DOCUMENTS[2]], context, stride)
    assert score.nats == pytest.approx(expected, rel=1e-4)


def test_kinds_of_text_have_the_tokens_that_begin_in_them_and_sum_up_to_the_whole(folder: Path) -> None:
    loaded = load_model(folder, "cpu")
    code, formula = "\\begin{verbatim}\nf(x)\n\\end{verbatim}", "\\[y=∈1\\]"
    bibliography = "\\begin{thebibliography}{9}\\bibitem{a} B.\\end{thebibliography}"
    text = f"Let $x^2$ be.\n{code}\n{formula}\n{bibliography}"
    [score] = score_documents(loaded, [Document("a", text, "math.GR", "2024")], 512, 256)
    assert score.kind_nats is not None and score.kind_bytes is not None
    assert score.kind_nats.sum() == pytest.approx(score.nats) and score.kind_bytes.sum() == len(text.encode())
    losses = naive_losses(loaded, text)
    names = list(KINDS.values())
    # The tokenizer has one token a character but for the one of three bytes, which is a token too.
    for name, part in (("inline mathematics", "$x^2$"), ("code", code), ("bibliography", bibliography)):
        start = text.index(part)
        assert score.kind_nats[names.index(name)] == pytest.approx(sum(losses[start : start + len(part)]), rel=1e-4)
        assert score.kind_bytes[names.index(name)] == len(part.encode())
    assert score.kind_bytes[names.index("displayed mathematics")] == len(formula.encode())


def test_bytes_of_tokens_sum_up_to_the_text_whatever_they_share() -> None:
    # α in two byte tokens, a space before the first token, € in one token with what follows.
    assert token_bytes(" aα€x", [1, 2, 2, 3]).tolist() == [2, 2, 0, 4]


def test_the_ratio_and_its_error_by_hand() -> None:
    ratio = Ratio.of([(2.0, 1.0), (3.0, 3.0), (0.0, 0.0)])
    # 5 / 4; residuals 2 - 1.25 and 3 - 3.75; 2 / (2 - 1) * (0.75^2 + 0.75^2) = 2.25, its root over 4.
    assert ratio and astuple(ratio) == (1.25, pytest.approx(1.5 / 4), 2)
    assert Ratio.of([(2.0, 4.0)]) == Ratio(0.5, None, 1) and Ratio.of([(0.0, 0.0)]) is None


def test_the_standard_error_is_that_of_many_draws() -> None:
    """Against the definition: the spread of the ratio over many samples of documents."""
    draw = random.Random(0)

    def sample(size: int) -> list[tuple[float, float]]:
        lengths = [draw.uniform(1, 100) for _ in range(size)]
        return [(length * draw.gauss(1.0, 0.3), length) for length in lengths]

    found = [ratio for _ in range(400) if (ratio := Ratio.of(sample(60)))]
    spread = statistics.stdev(ratio.value for ratio in found)
    errors = [ratio.standard_error for ratio in found if ratio.standard_error is not None]
    assert len(errors) == 400 and statistics.fmean(errors) == pytest.approx(spread, rel=0.1)


def test_figures_of_all_documents_and_of_groups() -> None:
    scores = [
        Score("a", "x", "2020", 8 * math.log(2), 4, 8),
        Score("b", "y", "2021", 48 * math.log(2), 12, 16),
        Score("c", "x", "2021", 8 * math.log(2), 4, 8),
    ]
    result = figures(scores)
    assert result["bits_per_byte"] == pytest.approx(64 / 32)
    assert result["perplexity_per_token"] == pytest.approx(2 ** (64 / 20))
    groups = by_group(scores, lambda score: score.category)
    assert list(groups) == ["x", "y"] and groups["x"]["bits_per_byte"] == 1.0 and groups["x"]["standard_error"] == 0.0
    assert groups["y"]["standard_error"] is None and groups["x"]["documents"] == 2
    better = [replace(score, nats=score.nats / 2) for score in scores]
    assert paired_difference(better, scores).value == pytest.approx(-1.0)
    assert paired_difference(scores, scores) == Ratio(0.0, 0.0, 3)
    with pytest.raises(ValueError, match="different documents"):
        paired_difference(scores, scores[::-1])


def test_positions_are_those_of_whole_windows(folder: Path) -> None:
    import numpy as np

    loaded = load_model(folder, "cpu")
    text = TEXTS[2] * 2
    ids = loaded.encode(text)
    found = position_loss(loaded, [(ids, np.ones(len(ids), np.int64)), (ids[:9], np.ones(9, np.int64))], 16)
    assert found["windows"] == (len(ids) + 1) // 16 and ranges(16)[0] == (1, 2) and ranges(16)[-1][1] == 16
    last = found["positions"][-1]
    assert (last["start"], last["end"]) == ranges(16)[-1]
    tokens = [loaded.context_token, *ids]
    by_hand = []
    for start in range(0, len(tokens) - 15, 16):
        window = tokens[start : start + 16]
        losses = window_losses(loaded, [Window(0, window, 1)])[0]
        by_hand += losses[last["start"] - 1 : last["end"] - 1].tolist()
    assert last["nats_per_token"] == pytest.approx(statistics.fmean(by_hand), rel=1e-5)
    assert last["bits_per_byte"] == pytest.approx(statistics.fmean(by_hand) / math.log(2), rel=1e-5)


def peer(folder: Path) -> Path:
    """A model of another kind, with a byte-level tokenizer of its own."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([*TEXTS] * 4, vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    wrapped.save_pretrained(folder)
    size: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(wrapped), bos_token_id=0, eos_token_id=0, **size)).save_pretrained(folder)
    return folder


def test_a_model_and_a_peer_with_another_tokenizer_in_one_report(
    folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = peer(tmp_path / "peer"), tmp_path / "out"
    command = ["--model", str(folder), str(other), "--data", str(data), "--context", "32", "--positions", "32"]
    assert main([*command, "--out", str(out), "--device", "cpu"]) == 0
    result = json.loads((out / "perplexity.json").read_text())
    ours, theirs = result["models"]
    assert ours["bytes"] == theirs["bytes"] == sum(len(text.encode()) for text in TEXTS)
    assert ours["tokens"] != theirs["tokens"] and ours["tokenizer"] != theirs["tokenizer"]
    for model in (ours, theirs):
        assert sum(kind["bytes"] for kind in model["by_kind"].values()) == model["bytes"]
        assert model["by_kind"].keys() >= {"prose", "inline mathematics"} and model["positions"]["windows"] > 0
        assert set(model["by_category"]) == {"math.GR", "none"} and list(model["by_year"]) == ["2023", "2024", "none"]
    [difference] = result["differences_from_first"]
    assert difference["less"] == pytest.approx(theirs["bits_per_byte"] - ours["bits_per_byte"])
    page = (out / "report.html").read_text()
    assert "peer/" in page or ">peer<" in page
    for name in ("by_kind", "by_category", "by_year", "positions"):
        assert (out / f"{name}.png").stat().st_size > 1000
    lines = [json.loads(line) for line in (out / "documents.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [record["id"] for record in RECORDS]
    assert {"bits_per_byte", "tokens"} == set(lines[0][theirs["name"]])
    # A model that is of no run has its results beside its weights.
    noted = json.loads((other / "results.json").read_text())["perplexity"]
    assert noted["bits_per_byte"] == theirs["bits_per_byte"] and noted["tokenizer"] == theirs["tokenizer"]
    printed = capsys.readouterr().out
    assert f"{theirs['bits_per_byte']:.4f}" in printed and printed.count("perplexity per token") == 2


def test_a_run_has_its_results_beside_its_metrics(folder: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs/one"
    shutil.copytree(folder, run / "export")
    (run / "run.json").write_text("{}")
    (run / "config.json").write_text(json.dumps({"train": {"seq_len": 16}}))
    (run / "results.json").write_text(json.dumps({"other": 1, "perplexity": {"old": 2}}))
    assert main(["--model", str(run / "export"), "--data", str(data), "--device", "cpu", "--context", "64"]) == 0
    noted = json.loads((run / "results.json").read_text())
    assert noted["other"] == 1 and "old" not in noted["perplexity"] and noted["perplexity"]["context"] == 64
    result = json.loads((run / "perplexity/perplexity.json").read_text())["models"][0]
    assert result["trained_at"] == 16 and result["name"] == "one" and "positions" not in result


def test_every_form_of_a_split_gives_the_same(folder: Path, data: Path, tmp_path: Path) -> None:
    found = []
    lines = data.read_bytes().splitlines(keepends=True)
    for form, names in (
        ("plain", ["val.jsonl"]),
        ("compressed", ["val.jsonl.zst"]),
        ("numbered", [f"val-0000{n}-of-00002.jsonl.zst" for n in range(2)]),
    ):
        for number, name in enumerate(names):
            with atomic_write(tmp_path / form / name) as file:
                file.write(b"".join(lines[number :: len(names)] if len(names) > 1 else lines))
        out = tmp_path / f"out-{form}"
        command = ["--model", str(folder), "--data", str(tmp_path / form), "--device", "cpu", "--out", str(out)]
        assert main(command) == 0
        found.append(json.loads((out / "perplexity.json").read_text())["models"][0]["bits_per_byte"])
    assert found[0] == found[1] == pytest.approx(found[2])


def test_limit(folder: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "result"
    command = ["--model", str(folder), "--data", str(data), "--limit", "2", "--out", str(out), "--device", "cpu"]
    assert main(command) == 0
    assert json.loads((out / "perplexity.json").read_text())["models"][0]["documents"] == 2


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
        (["--data", "{tmp}/absent.jsonl"], "no such file or folder"),
        (["--data", "{tmp}/bare"], "numbered and compressed ones neither"),
        (["--positions", "2000"], "--positions 2000: .* takes 1024 tokens at most; .*export_model.py --context 2000"),
        (["--positions", "900"], "no document has so many tokens, the longest has"),
        (["--out", "{tmp}/other.jsonl"], "no folder can be made there"),
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
    (tmp_path / "bare").mkdir()
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


def changed(folder: Path, target: Path, name: str, change) -> Path:
    """A copy of the model in which one file has been changed."""
    shutil.copytree(folder, target)
    (target / name).write_bytes(change((folder / name).read_bytes()))
    return target


def config_with(**keys):
    return lambda content: json.dumps(json.loads(content) | keys).encode()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.safetensors", lambda content: content[: len(content) // 2], "weights are damaged"),
        ("model.safetensors", lambda content: b"nothing of the kind", "weights are damaged"),
        ("model.safetensors", lambda content: content[:-4] + b"\0\0\xc0\x7f", "weights are not finite"),
        ("config.json", config_with(num_hidden_layers=3), r"lack 9 tensor\(s\) that config.json asks for"),
        ("config.json", config_with(num_hidden_layers=1), r"have 9 tensor\(s\) that config.json does not know"),
        ("config.json", config_with(intermediate_size=48), "of another shape than config.json says"),
        ("config.json", lambda _: b"{", "config.json: cannot be read"),
        ("config.json", config_with(model_type="nothing"), "not a model that AutoModelForCausalLM loads"),
        ("tokenizer.json", lambda _: b"{}", "no tokenizer that AutoTokenizer loads"),
    ],
)
def test_a_damaged_model_says_what_is_wrong(folder: Path, tmp_path: Path, name: str, change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(changed(folder, tmp_path / "model", name, change), "cpu")


def test_a_run_means_its_export_and_a_much_smaller_tokenizer_is_told(folder: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run / "export")
    (run / "run.json").write_text("{}")
    settings = load_settings()
    assert chosen_model(run, settings) == chosen_model(run / "export", settings) == run / "export"
    assert chosen_model(folder, settings) == folder
    load_model(run / "export", "cpu")
    assert "belong together" not in capsys.readouterr().err
    peer(tmp_path / "peer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "peer" / name, run / "export")
    load_model(run / "export", "cpu")
    assert "belong together?" in capsys.readouterr().err


def test_a_tokenizer_larger_than_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    shutil.copytree(folder, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"new{i}" for i in range(20)])
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=r"the tokenizer has [\d,]+ entries and the model [\d,]+ embeddings"):
        load_model(tmp_path / "model", "cpu")
