"""Generation: deterministic by seed, in parts that add up, no special tokens, within the model's context."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from common.paths import ROOT
from evaluation.generate import main
from evaluation.generation.sampling import (
    END,
    FULL,
    LIMIT,
    STOP,
    Sampling,
    Writing,
    choose,
    generate_batch,
    generate_tokens,
    stream_text,
)
from evaluation.models.load import load_model
from tests.helpers.tiny_llama import tiny_llama


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


def test_attention_of_gpus_is_not_left_to_cudnn(folder: Path) -> None:
    import torch

    torch.backends.cuda.enable_cudnn_sdp(True)
    load_model(folder, "cpu")
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_temperature_zero_takes_the_likeliest(loaded) -> None:
    import torch

    ids = loaded.encode("abc")
    made = list(generate_tokens(loaded, ids, Sampling(10, 0, 1.0, 0)))
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
    made = {t for seed in range(8) for t in generate_tokens(loaded, [], Sampling(40, 5.0, 1.0, seed))}
    assert len(made) > 50 and not made & {0, 1, 2, 3} and max(made) < len(loaded.tokenizer)


def test_the_models_context_ends_the_text(loaded) -> None:
    made = list(generate_tokens(loaded, [10] * 50, Sampling(1000, 5.0, 1.0, 3)))
    assert len(made) <= 64 - 51 + 1


def test_top_p_keeps_the_smallest_likeliest_set() -> None:
    import torch

    logits = torch.log(torch.tensor([0.1, 0.5, 0.05, 0.35]))
    generator = torch.Generator().manual_seed(0)
    assert {choose(logits, Sampling(1, 1.0, 0.8, 0), generator) for _ in range(200)} == {1, 3}
    assert {choose(logits, Sampling(1, 1.0, 0.5, 0), generator) for _ in range(50)} == {1}
    assert {choose(logits, Sampling(1, 1.0, 1.0, 0), generator) for _ in range(500)} == {0, 1, 2, 3}
    assert choose(logits, Sampling(1, 0, 0.9, 0), generator) == 1


@pytest.mark.parametrize("text", ["plain text with spaces", "∀x∈ℝ 😀 done", "  two\n\n  lines\n" * 30, "é"])
def test_the_parts_add_up_to_the_text(loaded, text: str) -> None:
    prompt, ids = loaded.encode("Prompt: "), loaded.encode(text)
    parts = list(stream_text(loaded.tokenizer.decode, prompt, iter(ids)))
    assert "".join(parts) == text and "\ufffd" not in "".join(parts)
    assert len(parts) > 1 or len(text) == 1


def test_a_batch_gives_what_each_prompt_gives_alone(loaded) -> None:
    prompts = [loaded.encode(text) for text in ("Let $G$", "", "a", "x" * 40)]
    samplings = [Sampling(30, temperature, 0.9, seed) for seed, temperature in enumerate((0.8, 1.5, 0, 1.0))]
    together = generate_batch(loaded, prompts, samplings)
    for prompt, sampling, (tokens, ended) in zip(prompts, samplings, together, strict=True):
        alone, writing = list(generate_tokens(loaded, prompt, sampling)), Writing(loaded, prompt, sampling)
        "".join(writing)
        assert tokens == alone and ended == writing.ended
    assert together[3][1] in (FULL, END) and len(together[3][0]) <= 24


def test_why_a_text_ended_is_told(loaded) -> None:
    for sampling, prompt, reasons in (
        (Sampling(3, 0.01, 1.0, 0), [10], {LIMIT, END}),
        (Sampling(1000, 5.0, 1.0, 3), [10] * 50, {FULL, END}),
    ):
        writing = Writing(loaded, prompt, sampling)
        text = "".join(writing)
        assert writing.ended in reasons and (text or not writing.tokens)


@pytest.mark.parametrize(
    ("parts", "stops", "expected"),
    [
        (["ab", "cd", "ef"], ["cd"], "ab"),
        (["ab", "c", "de"], ["bcd"], "a"),
        (["aaa", "ab"], ["aab"], "aa"),
        (["ab", "cab", "cd"], ["abcd", "x"], "abc"),
        (["ab", "c"], ["cd"], "abc"),
        (["xyz"], ["yz", "x"], ""),
        (["a"], [""], "a"),
    ],
)
def test_a_stop_string_is_never_printed_however_it_is_cut(loaded, parts, stops, expected) -> None:
    writing = Writing(loaded, [], Sampling(1, 0, 1.0, 0), stops)
    given = list(writing._until_stop(iter(parts)) if writing.stops else iter(parts))
    assert "".join(given) == expected and writing.ended == (STOP if expected != "".join(parts) else None)


def test_stop_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = run(folder, capsys, "--seed", "1")[len("Let $G$") : -1]
    stop = whole[5:8]
    assert (
        run(folder, capsys, "--seed", "1", "--stop", "never there", "--stop", stop)
        == f"Let $G${whole[: whole.index(stop)]}\n"
    )


def test_several_seeds_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = run(folder, capsys, "--seed", "1", "--num", "2")
    assert both == run(folder, capsys, "--seed", "1") + run(folder, capsys, "--seed", "2")


def talk(folder: Path, monkeypatch, capsys, lines: str, *more: str) -> tuple[str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    command = ["--model", str(folder), "--interactive", "--max-new-tokens", "8", "--device", "cpu", *more]
    assert main(command) == 0
    return capsys.readouterr()


def test_prompts_one_after_the_other_until_the_end(folder: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("from a file")
    lines = (
        f"Let $G$\n:begin\ntwo\n\nlines\n:end\n:file {tmp_path / 'p.txt'}\n:seed 4\n:temperature\nLet $G$\n:q\nnever\n"
    )
    out, err = talk(folder, monkeypatch, capsys, lines)
    assert "two\n\nlines" in out and "from a file" in out and "never" not in out
    first, last = out.split("Let $G$")[1].split("two")[0], out.split("Let $G$")[2]
    assert first != last  # another seed
    assert out.split("Let $G$")[2] == run(folder, capsys, "--seed", "4", "--max-new-tokens", "8").removeprefix(
        "Let $G$"
    )
    assert "temperature 0.8, top-p 0.95, seed 4, at most 8 tokens" in err


def test_what_is_wrong_in_a_conversation_does_not_end_it(folder: Path, monkeypatch, capsys) -> None:
    lines = f"{'a' * 100}\n:file /nowhere\n:seed x\n:top-p 7\n:what\nfine\n"
    out, err = talk(folder, monkeypatch, capsys, lines)
    assert out.startswith("fine") and err.count("error: ") == 4 and ":what: no such command" in err
    assert "shorten it" in err and "must be more than 0" in err


def test_ctrl_c_stops_a_text_and_goes_back_to_the_prompt(folder: Path, monkeypatch, capsys) -> None:
    import evaluation.generate as generate

    class Interrupted(Writing):
        def __iter__(self):
            yield "begun"
            if self.prompt[0] == self.loaded.encode("a")[0]:
                raise KeyboardInterrupt
            self.ended = LIMIT

    monkeypatch.setattr(generate, "Writing", Interrupted)
    out, err = talk(folder, monkeypatch, capsys, "a\nb\n")
    assert out == "abegun\nbbegun\n" and "interrupted" in err


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
        (["--prompt", "a" * 100], "the prompt has 100 tokens, the model takes 63 at most; shorten it"),
        (["--prompt", "a\udce9"], "not UTF-8 at character 2"),
        (["--num", "0"], "at least 1"),
        (["--num", "2", "--interactive"], "--num belongs"),
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
