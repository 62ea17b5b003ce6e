"""The folder of a run: its name, what is recorded in it, and whether a command starts, resumes or has finished it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from settings import ROOT, Settings, UserError, project_path
from tokenizer.fingerprint import ARTEFACTS, MANIFEST
from training import checkpoint

# Where things lie and how often they are told: the same run whatever these say.
NOT_IDENTITY = {
    "data": {
        *("metadata", "source", "out", "workers", "reject_samples", "shard_papers"),
        *("output_file_bytes", "compress"),  # the row of tokens is the same in every layout of the files
    },
    "train": {"runs", "run_name", "log_every", "keep_last", "wandb", "wandb_project", "deepspeed_config"},
}
# Written by tokenizer/train_tokenizer.py.
PACKAGES = ("torch", "transformers", "deepspeed", "tokenizers", "sentencepiece", "numpy")


@dataclass(frozen=True)
class Run:
    """A run's folder, and the checkpoint to go on from where there is one."""

    folder: Path
    resume: Path | None = None
    finished: bool = False

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def export(self) -> Path:
        return self.folder / "export"


def identity(settings: Settings, deepspeed_config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without paths and logging: what makes a run that run."""
    config = settings.to_dict()
    # A tokenizer counts by its files, whose fingerprint each checkpoint carries, and not by the knobs that it had.
    del config["tokenizer"]
    for section, keys in NOT_IDENTITY.items():
        config[section] = {key: value for key, value in config[section].items() if key not in keys}
    return config | {"deepspeed": deepspeed_config}


def find_run(settings: Settings, deepspeed_config: dict[str, Any], new: bool) -> Run:
    """The run that this configuration means: a fresh one, or the newest of that name with its last checkpoint.

    Raises:
        UserError: `train.run_name` is taken by a run of another configuration.
    """
    wanted = identity(settings, deepspeed_config)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    runs, name = project_path(settings.train.runs), settings.train.run_name or digest[:8]
    taken = 0
    while (runs / _numbered(name, taken + 1)).exists():
        taken += 1
    if new or not taken:
        return Run(runs / _numbered(name, taken + 1))
    folders = [runs / _numbered(name, number) for number in range(taken, 0, -1)]
    recorded = {folder: _recorded_identity(folder) for folder in folders}
    same = [folder for folder in folders if recorded[folder] in (None, json.loads(json.dumps(wanted)))]
    if not same:
        raise UserError(
            f"{folders[0]} is a run of another configuration ({_difference(recorded[folders[0]], wanted)}); give this "
            "one a train.run_name of its own, or start with --new"
        )
    folder = same[0]
    saved = checkpoint.finished(folder / "checkpoints")
    done = bool(saved) and checkpoint.read_state(saved[-1]).step >= settings.train.max_steps
    return Run(folder, saved[-1] if saved else None, done and (folder / "export").exists())


def _recorded_identity(folder: Path) -> Any:
    """The configuration that a run was started with; None where it was killed before it noted one."""
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["identity"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it, or start a fresh run with --new") from None


def hold_run(run: Run) -> IO[str]:
    """Keep other commands out of a run's folder until the answer is closed, or this process ends in whatever way.

    Raises:
        UserError: another process holds it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = (run.folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{run.folder}: another process is training this run; wait for it or stop it (a killed launcher leaves its "
            "trainers behind: pgrep -f train.py), or give this one another train.run_name"
        ) from None
    return lock


def record_run(run: Run, settings: Settings, deepspeed_config: dict[str, Any], details: dict[str, Any]) -> None:
    """Write `config.json` (usable with --config) and `run.json` (versions, commit, identity) into the folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    _write(run.folder / "config.json", settings.to_dict())
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    recorded = {
        "command": sys.argv,
        "git_commit": git_commit(),
        "versions": versions,
        **details,
        "identity": identity(settings, deepspeed_config),
    }
    _write(run.folder / "run.json", recorded)


def tokenizer_origin(folder: Path, settings: Settings, train_sha256: str) -> dict[str, Any]:
    """What the tokenizer in use was trained on and how, as noted beside it, and in what that differs from this run.

    None of it changes an id, so a run may differ in all of it, knowingly.
    """
    path = folder / MANIFEST
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        there, knobs = noted["input"]["sha256"], dict(noted["knobs"])
    except FileNotFoundError:  # not of this project's making
        return {"input_sha256": None, "knobs": None, "differences": []}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"input_sha256": None, "knobs": None, "differences": [f"{path}: cannot be read ({error!r})"]}
    differences = []
    if there != train_sha256:
        differences.append(
            f"{folder}: the tokenizer was trained on another text (sha256 {str(there)[:12]}) than this run's train "
            f"split ({train_sha256[:12]}); python tokenizer/train_tokenizer.py makes one from that"
        )
    now = asdict(settings.tokenizer) | {"vocab_size": settings.model.vocab_size}
    for key, value in knobs.items():
        if key in now and now[key] != value:
            differences.append(
                f"{folder}: the tokenizer was trained with {key} {value}, the configuration has {now[key]}"
            )
    return {"input_sha256": there, "knobs": knobs, "differences": differences}


def export_model(model: Any, run: Run, settings: Settings, tokenizer_folder: Path) -> Path:
    """A folder that AutoModelForCausalLM and AutoTokenizer load: weights, model keys alone, tokenizer."""
    from transformers import GenerationConfig, LlamaConfig

    temporary = run.export.with_name("export.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    LlamaConfig(**settings.model_dict()).save_pretrained(temporary)
    special = {key: value for key, value in settings.model_dict().items() if key.endswith("_token_id")}
    GenerationConfig(**special).save_pretrained(temporary)
    for name in ARTEFACTS:
        if (tokenizer_folder / name).exists():
            shutil.copy2(tokenizer_folder / name, temporary)
    shutil.rmtree(run.export, ignore_errors=True)
    os.replace(temporary, run.export)
    return run.export


def git_commit() -> str | None:
    """The commit of this checkout, with `+changes` where files differ from it; None outside of git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _difference(there: Any, here: Any, prefix: str = "") -> str:
    """The first few keys in which two configurations differ."""
    found = []
    for key in sorted({*there, *here}):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [_difference(old, new, f"{prefix}{key}.")] if old != new else []
        elif old != new:
            found.append(f"{prefix}{key}: {json.dumps(old)} there, {json.dumps(new)} here")
    return "; ".join(found[:3])


def _write(path: Path, value: Any) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
