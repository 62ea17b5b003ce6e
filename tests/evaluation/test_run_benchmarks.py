"""The harness on our models: scores of local tasks against sums of log-likelihoods made by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from evaluation.models.load import load_model
from evaluation.run_benchmarks import main, table
from tests.evaluation.test_perplexity import naive_losses
from tests.helpers.tiny_llama import tiny_llama

QUESTIONS: list[dict[str, Any]] = [
    {"question": f"What is {number} plus one? ", "choices": ["two", "three", f"{number + 1}"], "answer": number % 3}
    for number in range(12)
]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: {kind}
test_split: test
doc_to_text: "{{{{question}}}}Answer:"
{more}
"""
CHOICE = """
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
target_delimiter: " "
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
WRITE = """
doc_to_target: "{{choices[0]}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 6
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lm_eval")
    return tiny_llama(tmp_path_factory.mktemp("run") / "export", context=256)


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    (tmp_path / "tasks").mkdir()
    for name, kind, more in (("local_choice", "multiple_choice", CHOICE), ("local_writing", "generate_until", WRITE)):
        text = TASK.format(name=name, data=data, kind=kind, more=more)
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text)
    return tmp_path / "tasks"


def run(folder: Path, tasks: Path, names: str, *more: str) -> dict:
    command = ["--model", str(folder), "--tasks", names, "--tasks-folder", str(tasks), "--device", "cpu", *more]
    assert main(command) == 0
    return json.loads((folder / "results.json").read_text())["benchmarks"]


def test_choices_are_scored_as_by_hand(folder: Path, tasks: Path, capsys) -> None:
    loaded = load_model(folder, "cpu")
    right = 0
    for question in QUESTIONS:
        sums = []
        for choice in question["choices"]:
            text = f"{question['question']}Answer: {choice}"
            sums.append(-sum(naive_losses(loaded, text)[len(loaded.encode(f"{question['question']}Answer:")) :]))
        right += sums.index(max(sums)) == question["answer"]
    found = run(folder, tasks, "local_choice")
    assert found["local_choice"]["acc"] == pytest.approx(right / len(QUESTIONS)) and 0 < right < len(QUESTIONS)
    assert "acc_stderr" in found["local_choice"] and "local_choice" in capsys.readouterr().out


def test_log_likelihoods_are_those_of_training_context_token_included(folder: Path) -> None:
    from lm_eval.api.instance import Instance

    from evaluation.run_benchmarks import harness_model

    loaded = load_model(folder, "cpu")
    model = harness_model(loaded, 256, 4)
    pairs = [("Let $x$ be", " a point"), ("a ", "b"), ("", "alone")]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    for (context, continuation), (found, _) in zip(pairs, model.loglikelihood(requests), strict=True):
        losses = naive_losses(loaded, context + continuation)
        start = len(loaded.encode(context.rstrip()))
        assert found == pytest.approx(-sum(losses[start:]), rel=1e-4)
    rolling = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("Let $x$ be a point",), 0)])
    assert rolling[0] == pytest.approx(-sum(naive_losses(loaded, "Let $x$ be a point")), rel=1e-4)


def test_writing_begins_where_ours_does(folder: Path, tasks: Path) -> None:
    from lm_eval.api.instance import Instance

    from evaluation.generation.sampling import Sampling, generate_tokens
    from evaluation.run_benchmarks import harness_model

    loaded = load_model(folder, "cpu")
    model = harness_model(loaded, 256, 2)
    prompts = ["Let $G$", "a longer prompt than that"]
    wanted = {"until": ["never"], "max_gen_toks": 6, "do_sample": False}
    found = model.generate_until([Instance("generate_until", {}, (prompt, wanted), 0) for prompt in prompts])
    for prompt, text in zip(prompts, found, strict=True):
        ids = list(generate_tokens(loaded, loaded.encode(prompt), Sampling(6, 0, 1.0, 0)))
        # Ours never writes special tokens, which a model without training may well do.
        assert text == loaded.tokenizer.decode(ids) or any(token in text for token in ("<s>", "<pad>", "<unk>"))
    assert "local_writing" in run(folder, tasks, "local_writing,local_choice", "--limit", "3")


def test_a_table_has_errors_beside_values() -> None:
    shown = table({"t": {"acc": 0.5, "acc_stderr": 0.1, "em strict": 0.25, "em_stderr strict": 0.05}})
    assert [" ".join(line.split()) for line in shown.splitlines()] == [
        "t acc 0.5000 ± 0.1000",
        "t em strict 0.2500 ± 0.0500",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "nosuchtask"], "the harness has no such task"),
        (["--tasks", ","], "names no task"),
        (["--tasks-folder", "/nowhere"], "no such folder"),
        (["--limit", "0"], "must be at least 1"),
        (["--context", "9999", "--tasks", "sciq"], "the model takes 256 tokens at most"),
    ],
)
def test_wrong_arguments_are_named(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(["--model", str(folder), "--device", "cpu", *arguments])


def test_a_task_whose_data_are_not_there_is_named(folder: Path, tasks: Path) -> None:
    (tasks.parent / "questions.jsonl").unlink()
    with pytest.raises(UserError, match="--tasks local_choice: its data cannot be had"):
        run(folder, tasks, "local_choice")


def test_without_the_harness_the_command_to_install_it_is_told(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-benchmarks\.txt"):
        main(["--model", str(folder), "--tasks", "sciq"])
