"""What may change when a run goes on: the differences between its configuration and this command's, and which of them
leave it the same run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import project_path
from common.settings.load import Settings
from common.settings.train import TrainSettings
from training.run_folder.config_diff import Changes, changes, value_text
from training.run_folder.folder import FINISHED, Run, identity

# Everything else makes another model, another order of the data or another optimizer out of the run.
CHANGEABLE = {
    f"train.{key}"
    for key in (
        *("learning_rate", "min_lr_ratio", "warmup_steps", "max_steps"),
        *("micro_batch_size", "gradient_accumulation_steps"),  # their product over the processes must stay
        *("gradient_checkpointing", "loss_kernel", "layer_kernels", "attention", "fused_adamw", "compile"),
        *("val_every", "early_stop_patience", "early_stop_gain", "keep_best"),
        *("save_every", "keep_last", "keep_every", "background_checkpoints", "hang_seconds", "log_every"),
        *("spike_sigmas", "on_spike"),
    )
} | {"deepspeed.zero_optimization." + key for key in ("overlap_comm", "reduce_bucket_size", "allgather_bucket_size")}


def check_changes(run: Path, found: Changes) -> None:
    """Raises UserError where a change would make another run of it, naming each with both values."""
    refused = {key: values for key, values in found.items() if key not in CHANGEABLE}
    if not refused:
        return
    listed = "; ".join(f"{key}: {value_text(old)} there, {value_text(new)} here" for key, (old, new) in refused.items())
    raise UserError(
        f"{run}: cannot go on with {listed}. A run may change {', '.join(sorted(CHANGEABLE))}; put the others back "
        f"(--config {run / 'config.json'} has them), or start another run without --resume"
    )


def find_run(settings: Settings, deepspeed_config: dict[str, Any], new: bool) -> Run:
    """The run that this configuration means: a fresh one, or the newest of that name or, without a name, of any.

    Raises:
        UserError: `train.run_name` is taken by a run of another configuration.
    """
    wanted = json.loads(json.dumps(identity(settings, deepspeed_config)))
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    runs, name = project_path(settings.train.runs), settings.train.run_name or digest[:8]
    taken = 0
    while (runs / _numbered(name, taken + 1)).exists():
        taken += 1
    if new:
        return Run(runs / _numbered(name, taken + 1))
    folders = [runs / _numbered(name, number) for number in range(taken, 0, -1)]
    if not taken and settings.train.run_name is None:  # a run that went on with changes keeps the name it had
        folders = sorted((path.parent for path in runs.glob("*/run.json")), reverse=True)
        folders = [folder for folder in folders if _recorded_identity(folder) == wanted]
    if not folders:
        return Run(runs / name)
    recorded = {folder: _recorded_identity(folder) for folder in folders}
    same = [folder for folder in folders if recorded[folder] in (None, wanted)]
    if not same:
        listed = "; ".join(
            f"{key}: {json.dumps(old)} there, {json.dumps(new)} here"
            for key, (old, new) in list(changes(recorded[folders[0]], wanted).items())[:3]
        )
        raise UserError(
            f"{folders[0]} is a run of another configuration ({listed}); go on with it by --resume {folders[0]}, give "
            "this one a train.run_name of its own, or start with --new"
        )
    return Run(same[0], _is_finished(same[0], settings))


def resumed_run(folder: Path, settings: Settings, deepspeed_config: dict[str, Any]) -> Run:
    """The run in `folder`, to go on with this configuration.

    Raises:
        UserError: no run is there, or the configuration differs in what makes the run that run.
    """
    there = _recorded_identity(folder) if folder.is_dir() else None
    if there is None:
        raise UserError(
            f"{folder}: not a run that was started (it has no run.json); runs lie in {settings.train.runs}/"
        )
    changed = changes(there, identity(settings, deepspeed_config))
    check_changes(folder, changed)
    return Run(folder, not changed and _is_finished(folder, settings), changed)


def _is_finished(folder: Path, settings: Settings) -> bool:
    try:
        noted = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
        done = noted["step"] >= settings.train.max_steps or noted["early"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / FINISHED}: cannot be read ({error!r}); delete it") from None
    return done and (folder / "export").exists()


def _recorded_identity(folder: Path) -> Any:
    """The configuration that a run was started with; None where it was killed before it noted one."""
    path = folder / "run.json"
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(noted["identity"], dict) or not isinstance(noted.get("starts", []), list):
            raise ValueError("identity or starts are not what was written")
        # A run that is older than a knob had its default.
        defaults = {spec.name: spec.default for spec in fields(TrainSettings) if spec.default is not MISSING}
        return noted["identity"] | {"train": defaults | noted["identity"]["train"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it, or start a fresh run with --new") from None


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
