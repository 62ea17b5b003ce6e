"""Runs beside each other: what differed, which of them can be ranked, and means over seeds. Imported, not run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

from evaluation.run_data.data import Record, RunData, flat, short

# The same numbers, told under another name: train.py makes them from config.json.
TOLD_ELSEWHERE = {
    "deepspeed." + key
    for key in (
        *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"),
        *("gradient_clipping", "bf16.enabled", "fp16.enabled"),
    )
}
SEED = "train.seed"
# Facts that change what is learnt; device, commit and versions should not.
LEARNT_FROM = ("processes", "tokenizer", "train_sha256", "val_sha256")
FINGERPRINTS = {"tokenizer", "train_sha256", "val_sha256", "git_commit"}
NOT_NOTED = "(not noted)"
# Figures that are averaged over seeds.
AVERAGED = ("best_bits_per_byte", "final_bits_per_byte", "final_loss", "tokens_per_second")


def configuration(run: RunData) -> Record:
    """The run's configuration, flat."""
    return {key: value for key, value in flat(run.identity).items() if key not in TOLD_ELSEWHERE}


def properties(run: RunData) -> Record:
    """All that a run may differ in from another: configuration, recomputation, and where and of what it was made."""
    checkpointing = run.settings.get("gradient_checkpointing", NOT_NOTED)
    return configuration(run) | {"train.gradient_checkpointing": checkpointing} | run.facts


def differences(runs: Sequence[RunData]) -> tuple[dict[str, list[Any]], list[str]]:
    """What differed: values by key, one for each run; and keys that only some of the runs note, all the same."""
    all_of = [properties(run) for run in runs]
    differ, partly = {}, []
    for key in dict.fromkeys(key for found in all_of for key in found):
        values = [found.get(key, NOT_NOTED) for found in all_of]
        kinds = {json.dumps(value, sort_keys=True) for value in values}
        if len(kinds) > 1 and len(kinds - {json.dumps(NOT_NOTED)}) > 1:
            differ[key] = values
        elif len(kinds) > 1:
            partly.append(key)
    return dict(sorted(differ.items(), key=lambda item: _place(item[0]))), sorted(partly)


def _place(key: str) -> tuple[int, str]:
    """Training first, then the model, the data, DeepSpeed, and where the run ran."""
    sections = ("train", "", "data", "deepspeed")
    section = key.partition(".")[0] if "." in key else ""
    facts = {*FINGERPRINTS, "processes", "device", "versions"}
    place = 4 if key in facts or section in facts or section not in sections else sections.index(section)
    return place, key


def value_text(key: str, value: Any) -> str:
    """A differing value for a table or a legend."""
    if value == NOT_NOTED:
        return "–"
    if key in FINGERPRINTS:
        changed = "+" if str(value).endswith("+changes") else ""
        return short(value) + changed
    return value if isinstance(value, str) else json.dumps(value)


def validation_split(run: RunData) -> str:
    """What a validation was read from: figures of two runs can be compared where it is the same.

    The training split stands in for a validation split that was not noted: both were made together.
    """
    noted = run.details.get("val_sha256")
    return f"sha256 {short(noted)}" if noted else f"beside training split {short(run.details.get('train_sha256'))}"


def groups(runs: Sequence[RunData], summaries: Sequence[Record]) -> list[Record]:
    """Runs that differ in the seed alone, of two or more seeds: mean and standard deviation of what came of them.

    Only runs that came to their end count; the standard deviation is that of a sample (n - 1).
    """
    gathered: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        gathered.setdefault(group_key(run), []).append(number)
    found = []
    for members in gathered.values():
        members.sort(key=lambda number: str(runs[number].train.get("seed")).zfill(20))
        seeds = [runs[number].train.get("seed") for number in members]
        if len(set(map(str, seeds))) < 2:
            continue
        ended = [number for number in members if runs[number].state in ("finished", "stopped early")]
        metrics = dict.fromkeys(key for number in ended for key in runs[number].results)
        figures = {key: [summaries[number][key] for number in ended] for key in AVERAGED}
        figures |= {f"results.{key}": [runs[number].results.get(key) for number in ended] for key in metrics}
        found.append(
            {
                "runs": [runs[number].name for number in members],
                "numbers": members,
                "seeds": seeds,
                "ended": len(ended),
                **{key: mean_and_deviation(values) for key, values in figures.items()},
            }
        )
    return found


def group_key(run: RunData) -> str:
    """Equal for runs that differ in the seed alone."""
    alike = {key: value for key, value in configuration(run).items() if key != SEED}
    return json.dumps([alike, [run.details.get(key) for key in LEARNT_FROM]], sort_keys=True)


def mean_and_deviation(values: Sequence[Any]) -> Record | None:
    """Mean and sample standard deviation; None where a run lacks the figure, or there are less than two."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < 2 or len(numbers) < len(values):
        return None
    return {"mean": statistics.fmean(numbers), "deviation": statistics.stdev(numbers), "runs": len(numbers)}
