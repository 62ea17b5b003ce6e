r"""Public benchmarks of a model, by EleutherAI's lm-eval, an optional requirement.

    pip install -r requirements-benchmarks.txt
    python evaluation/run_benchmarks.py --model runs/NAME/export
    python evaluation/run_benchmarks.py --tasks sciq,gsm8k --limit 100
    python evaluation/run_benchmarks.py --tasks my_task --tasks-folder my_tasks      # tasks of one's own, local data

The harness has the tasks and their scores; what is ours is how a text is given to the model: after the token that every
document of its training came after, and cut to the length that it was trained at. The tasks' data come from the hub.
Scores go to the results file of the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/run_benchmarks.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from evaluation.models.load import LoadedModel, chosen_model, load_model, trained_length
from evaluation.run_data.results import read_results, record_results, results_file

# Those that the reference run reports on, as the harness calls them; it has no SciBench.
REFERENCE = ("gsm8k", "hendrycks_math", "aime", "sciq", "pubmedqa")
INSTALL = "pip install -r requirements-benchmarks.txt"


def harness_model(loaded: LoadedModel, context: int, batch_size: int) -> Any:
    """The model as the harness wants it."""
    import torch
    from lm_eval.models.huggingface import HFLM

    class Model(HFLM):
        """Texts begin after the context token; nothing in them is read as a special token."""

        def tok_encode(
            self, string: str, add_special_tokens: Any = None, left_truncate_len: int | None = None, **_: Any
        ) -> list[int]:
            ids = loaded.encode(string)
            return ids[-left_truncate_len:] if left_truncate_len else ids

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            # Blanks go with what comes after them, as in the harness's own.
            bare = context.rstrip()
            whole, start = self.tok_encode(context + continuation), self.tok_encode(bare)
            return [loaded.context_token, *start], whole[len(start) :]

        def tok_batch_encode(
            self,
            strings: list[str],
            padding_side: str = "left",
            left_truncate_len: int | None = None,
            truncation: bool = False,
        ) -> tuple[Any, Any]:
            rows = [[loaded.context_token, *self.tok_encode(string)] for string in strings]
            rows = [row[-left_truncate_len:] if left_truncate_len else row for row in rows]
            width = max(map(len, rows))
            ids = torch.full((len(rows), width), self.tokenizer.pad_token_id, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for number, row in enumerate(rows):
                ids[number, width - len(row) :] = torch.tensor(row)
                mask[number, width - len(row) :] = 1
            return ids, mask

    return Model(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        backend="causal",
        max_length=context,
        batch_size=batch_size,
        device=str(loaded.device),
        prefix_token_id=loaded.context_token,
    )


def run_task(model: Any, task: str, manager: Any, limit: int | None, shots: int | None) -> dict[str, Any]:
    """Scores of a task or a group of tasks: {task: {metric: value}}.

    Raises:
        UserError: its data cannot be had.
    """
    from datasets.exceptions import DatasetsError
    from lm_eval import simple_evaluate

    try:
        found = simple_evaluate(
            model=model, tasks=[task], num_fewshot=shots, limit=limit, task_manager=manager, log_samples=False
        )
    except (OSError, DatasetsError) as error:  # the network's and the hub's errors are OSErrors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"--tasks {task}: its data cannot be had ({reason}); they come from the hub: see to the network, or leave "
            "the task out"
        ) from None
    assert found is not None
    return {name: _scores(scores) for name, scores in found["results"].items()}


def _scores(scores: dict[str, Any]) -> dict[str, float]:
    """`acc,none` and `acc_stderr,none` as acc and acc_stderr; a filter that is not the plain one keeps its name."""
    found = {}
    for key, value in scores.items():
        metric, _, kept = key.partition(",")
        if isinstance(value, int | float) and not isinstance(value, bool) and kept:
            found[metric if kept == "none" else f"{metric} {kept}"] = float(value)
    return found


def table(results: dict[str, dict[str, float]]) -> str:
    """Scores with their standard errors, a line each."""
    lines = []
    for task, scores in results.items():
        for metric, value in scores.items():
            name, _, kept = metric.partition(" ")
            if name.endswith("_stderr"):
                continue
            error = scores.get(f"{name}_stderr {kept}".strip())
            lines.append(f"{task:<28} {metric:<24} {value:.4f}" + (f" ± {error:.4f}" if error is not None else ""))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Benchmarks of a model, by lm-eval.",
        epilog="example: python evaluation/run_benchmarks.py --model runs/NAME/export --tasks sciq,gsm8k --limit 100",
    )
    parser.add_argument("--model", type=Path, help="model folder (default: the newest runs/*/export)")
    parser.add_argument(
        "--tasks", default=",".join(REFERENCE), help=f"names, by commas (default: {','.join(REFERENCE)})"
    )
    parser.add_argument("--tasks-folder", type=Path, help="folder with YAML files of further tasks")
    parser.add_argument("--limit", type=int, help="the first N questions of each task only")
    parser.add_argument("--shots", type=int, help="examples before each question (default: the tasks' own number)")
    parser.add_argument("--context", type=int, help="tokens at most (default: the length of training, where known)")
    parser.add_argument("--batch-size", type=int, default=8, help="questions at once (default: 8)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the GPU where there is one)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    for name in ("limit", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")
    tasks = [task for task in args.tasks.split(",") if task]
    if not tasks:
        raise UserError("--tasks: names no task")
    if args.tasks_folder and not args.tasks_folder.is_dir():
        raise UserError(f"--tasks-folder {args.tasks_folder}: no such folder")
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError(f"lm-eval is not installed: {INSTALL}") from None
    manager = TaskManager(include_path=str(args.tasks_folder.absolute()) if args.tasks_folder else None)
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown:
        raise UserError(f"--tasks {','.join(unknown)}: the harness has no such task; `lm-eval ls tasks` lists them")
    loaded = load_model(chosen_model(args.model, settings), args.device)
    context = args.context or min(trained_length(loaded.folder) or loaded.max_context, loaded.max_context)
    if not 2 <= context <= loaded.max_context:
        raise UserError(f"--context {context}: the model takes {loaded.max_context} tokens at most")
    model = harness_model(loaded, context, args.batch_size)
    results: dict[str, dict[str, float]] = {}
    for task in tasks:  # each noted when it is done: some take hours
        results |= run_task(model, task, manager, args.limit, args.shots)
        before = read_results(results_file(loaded.folder)).get("benchmarks", {})
        place = record_results(loaded.folder, "benchmarks", {**before, **results})
    print(table(results))
    print(f"{loaded.folder}: at most {context} tokens; written to {place}")
    return 0


if __name__ == "__main__":
    run_command(main)
