"""What a run's folder holds, read once: its record, its curves as arrays, what happened, later evaluations.

Runs of every age are read: what an older one did not note is NaN, None or empty. Imported, not run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.settings.model import ModelSettings
from evaluation.run_data.results import RESULTS, read_results
from training.metrics import read_metrics
from training.plan.parameters import count_parameters
from training.run_folder.folder import FINISHED, holder

Record = dict[str, Any]
Columns = dict[str, np.ndarray]

STEP_KEYS = (
    *("loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu", "memory_bytes"),
    *("gpu_utilization", "data_wait", "step_seconds", "tokens"),
)
VALIDATION_KEYS = (
    *("val_loss", "val_perplexity", "val_bits_per_byte", "val_tokens"),
    *("pretraining_val_loss", "pretraining_val_perplexity", "pretraining_val_bits_per_byte"),
)
# In run.json: the configuration, which is told apart, and what differs from start to start.
NO_FACTS = {"identity", "starts", "command", "step", "time", "tokenizer_origin"}


@dataclass(frozen=True)
class RunData:
    """A run. Columns are float64 arrays of one length with `step` among them, rising; NaN is what was not noted."""

    folder: Path
    # run.json, and the section `train` of config.json with what makes no other run (paths, logging, memory).
    details: Record
    settings: Record
    # `step` and STEP_KEYS, an element a logged step.
    steps: Columns
    # `step` and VALIDATION_KEYS, an element a validation.
    validations: Columns
    events: list[Record]
    categories: dict[str, Record]
    results: Record
    # "finished", "stopped early", "training now" or "unfinished".
    state: str

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def identity(self) -> Record:
        return self.details["identity"]

    @property
    def train(self) -> Record:
        """The section `train` of the run's configuration."""
        return self.identity["train"]

    @property
    def tokenizer(self) -> str:
        """How results name the tokenizer that a perplexity belongs to."""
        size = self.identity.get("vocab_size")
        entries = f", {size:,} entries" if isinstance(size, int) else ""
        return f"tokenizer {short(self.details.get('tokenizer'))}{entries}"

    @property
    def parameters(self) -> int | None:
        """Parameters of the model; None where the record lacks a key of it."""
        known = {field.name for field in dataclasses.fields(ModelSettings)}
        try:
            model = ModelSettings(**{key: value for key, value in self.identity.items() if key in known})
        except TypeError:  # a key is missing
            return None
        return count_parameters(model).total

    @property
    def facts(self) -> Record:
        """What else run.json notes of where and how the run ran, flat: device, versions, fingerprints …"""
        return flat({key: value for key, value in self.details.items() if key not in NO_FACTS})

    def happened(self, kind: str) -> list[Record]:
        return [event for event in self.events if event["event"] == kind]


def short(fingerprint: Any) -> str:
    """The first 8 digits of a fingerprint, which people tell them apart by."""
    return str(fingerprint)[:8] if fingerprint else "unknown"


def run_folder(given: Path, runs: Path) -> Path:
    """The folder that a command line means: a path, or the name of a run in `runs`."""
    return given.absolute() if given.exists() or not (runs / given).exists() else runs / given


def find_runs(runs: Path) -> list[Path]:
    """Folders in `runs` that hold a run or what is left of one, the last written last.

    Raises:
        UserError: there is none.
    """
    found = {path.parent for name in ("run.json", "metrics.jsonl") for path in runs.glob(f"*/{name}")}
    if not found:
        raise UserError(f"{runs}: no run in it; train one first (deepspeed train.py), or name another folder")

    def written(folder: Path) -> tuple[int, str]:
        times = [path.stat().st_mtime_ns for name in ("run.json", "metrics.jsonl") if (path := folder / name).exists()]
        return max(times), folder.name

    return sorted(found, key=written)


def read_run(folder: Path) -> RunData:
    """Read the run in `folder`; it may be in progress, and its last line cut short.

    Raises:
        UserError: no run is there, or one of its files is damaged.
    """
    details = _read_details(folder)
    records = read_metrics(folder / "metrics.jsonl")
    steps = [r for r in records if "event" not in r and "loss" in r]
    validations = [r for r in records if "event" not in r and "val_loss" in r]
    categories = [r["val_by_category"] for r in records if isinstance(r.get("val_by_category"), dict)]
    columns = _columns(folder, steps, STEP_KEYS)
    columns["loss"][columns["loss"] == 0] = np.nan  # once noted for steps in which no token was learnt
    reached = int(columns["step"][-1]) if steps else 0
    return RunData(
        folder=folder,
        details=details,
        settings=_read_settings(folder / "config.json"),
        steps=columns,
        validations=_columns(folder, validations, VALIDATION_KEYS),
        events=[r for r in records if "event" in r],
        categories=categories[-1] if categories else {},
        results=flat(read_results(folder / RESULTS)),
        state=_state(folder, reached, details["identity"]["train"].get("max_steps")),
    )


def _read_details(folder: Path) -> Record:
    path = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that train.py made, in train.runs")
    if not path.exists():
        raise UserError(f"{folder}: not a run, it has no run.json; name a folder that train.py made")
    details = _read_object(path, "restore it, or name other runs")
    identity = details.get("identity")
    if not isinstance(identity, dict) or not isinstance(identity.get("train"), dict):
        raise UserError(f"{path}: has no configuration under 'identity'; restore it, or name other runs")
    starts = details.get("starts", [])
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        raise UserError(f"{path}: 'starts' is no list of starts; restore it, or name other runs")
    return details


def _read_settings(path: Path) -> Record:
    train = _read_object(path, "restore it, or name other runs").get("train") if path.exists() else None
    return train if isinstance(train, dict) else {}


def _read_object(path: Path, remedy: str) -> Record:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}; {remedy}")
    return value


def _columns(folder: Path, records: Iterable[Record], keys: Sequence[str]) -> Columns:
    """Arrays by key; of two records of a step the later one counts."""
    last = {record["step"]: record for record in records}
    rows = [last[step] for step in sorted(last)]
    columns = {"step": np.array([row["step"] for row in rows], dtype=float)}
    for key in keys:
        try:
            columns[key] = np.array([row.get(key) for row in rows], dtype=float)
        except (TypeError, ValueError):
            wrong = next(row for row in rows if not isinstance(row.get(key), int | float | None))
            raise UserError(
                f"{folder / 'metrics.jsonl'}: step {wrong['step']} has {json.dumps(wrong[key])} as '{key}', expected "
                "a number; delete that line"
            ) from None
    return columns


def _state(folder: Path, reached: int, planned: Any) -> str:
    if (folder / FINISHED).exists():
        noted = _read_object(folder / FINISHED, "delete it")
        return "stopped early" if noted.get("early") else "finished"
    if (folder / "lock").exists():
        try:
            if holder(folder) is not None:
                return "training now"
        except UserError:  # held, but does not say by whom
            return "training now"
    # Older runs noted no end: the export was the last thing that they made.
    done = isinstance(planned, int) and reached >= planned and (folder / "export").exists()
    return "finished" if done else "unfinished"


def flat(value: Record, prefix: str = "") -> Record:
    """Nested objects as one, with dotted keys."""
    found: Record = {}
    for key, item in value.items():
        found |= flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return found
