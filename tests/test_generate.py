"""Generation: deterministic by seed, in parts that add up, no special tokens, within the model's context."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.generate import choose, generate_tokens, main, stream_text
from evaluation.load import load_model
from settings import UserError
from tests.tiny_llama import tiny_llama

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("run") / "export", context=64)


@pytest.fixture(scope="module")
def loaded(folder: Path):
    return load_model(folder, "cpu")


def run(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert (
        main(["--model", str(folder), "--prompt", "Let $G$", "--max-new-tokens", "20", "--device", "cpu", *more]) == 0
    )
    return capsys.readouterr().out


def test_a_seed_decides_the_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(folder, capsys, "--seed", "1")
    assert first.startswith("Let $G$") and first == run(folder, capsys, "--seed", "1")
    assert first != run(folder, capsys, "--seed", "2")


def test_temperature_zero_takes_the_likeliest(loaded) -> None:
    import torch

    ids = loaded.encode("abc")
    made = list(generate_tokens(loaded, ids, 10, temperature=0, top_p=1.0, seed=0))
    sequence = [loaded.context_token, *ids]
    for token in made:  # without a cache, one full pass each
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([sequence])).logits[0, -1]
        logits = logits.clone()  # one that may be written to
        logits[[0, 1, 3]] = float("-inf")
        logits[len(loaded.tokenizer) :] = float("-inf")
        assert token == int(logits.argmax())
        sequence.append(token)


def test_special_and_empty_entries_are_never_made(loaded) -> None:
    made = {t for seed in range(8) for t in generate_tokens(loaded, [], 40, temperature=5.0, top_p=1.0, seed=seed)}
    assert len(made) > 50 and not made & {0, 1, 2, 3} and max(made) < len(loaded.tokenizer)


def test_the_models_context_ends_the_text(loaded) -> None:
    made = list(generate_tokens(loaded, [10] * 50, 1000, temperature=5.0, top_p=1.0, seed=3))
    assert len(made) <= 64 - 51 + 1


def test_top_p_keeps_the_smallest_likeliest_set() -> None:
    import torch

    logits = torch.log(torch.tensor([0.1, 0.5, 0.05, 0.35]))
    generator = torch.Generator().manual_seed(0)
    assert {choose(logits, 1.0, 0.8, generator) for _ in range(200)} == {1, 3}
    assert {choose(logits, 1.0, 0.5, generator) for _ in range(50)} == {1}
    assert {choose(logits, 1.0, 1.0, generator) for _ in range(500)} == {0, 1, 2, 3}
    assert choose(logits, 0, 0.9, generator) == 1


@pytest.mark.parametrize("text", ["plain text with spaces", "∀x∈ℝ 😀 done", "  two\n\n  lines\n" * 30, "é"])
def test_the_parts_add_up_to_the_text(loaded, text: str) -> None:
    prompt, ids = loaded.encode("Prompt: "), loaded.encode(text)
    parts = list(stream_text(loaded, prompt, iter(ids)))
    assert "".join(parts) == text and "\ufffd" not in "".join(parts)
    assert len(parts) > 1 or len(text) == 1


def test_a_prompt_from_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompt.txt").write_text("Soit $é$", encoding="utf-8")
    assert main(["--model", str(folder), "--prompt-file", str(tmp_path / "prompt.txt"), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("Soit $é$")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-new-tokens", "0"], "at least 1"),
        (["--temperature", "-1"], "0 or more"),
        (["--temperature", "nan"], "0 or more"),
        (["--top-p", "0"], "more than 0"),
        (["--seed", "-1"], "between 0"),
        (["--prompt", "a" * 100], "shorten"),
        (["--model", "/nowhere/at/all"], "no such folder"),
        (["--prompt-file", "/nowhere/at/all"], "cannot be read"),
    ],
)
def test_wrong_arguments_are_named(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(["--model", str(folder), "--device", "cpu", *arguments])


@pytest.mark.parametrize(
    "script",
    [
        "tools/make_sample_corpus.py",
        "tokenizer/train_tokenizer.py",
        "evaluation/perplexity.py",
        "evaluation/generate.py",
    ],
)
def test_help_answers_without_heavy_imports(script: str, tmp_path: Path) -> None:
    code = (
        "import runpy, sys\nsys.argv = [sys.argv[1], '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'sentencepiece', 'matplotlib'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "example:" in done.stdout and "--set" in done.stdout and "--config" in done.stdout
