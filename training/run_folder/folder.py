"""The folder of a run: its name, what is recorded in it, who trains it, and whether a command starts, resumes or has
finished it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from common.errors import UserError
from common.files import write_json
from common.paths import ROOT, project_path
from common.settings.load import Settings
from tokenizer.learn.fingerprint import ARTEFACTS, MANIFEST
from training.run_folder.config_diff import Changes

# Where things lie and how often they are told: the same run whatever these say.
NOT_IDENTITY = {
    "data": {
        *("metadata", "source", "out", "workers", "reject_samples", "shard_papers"),
        *("output_file_bytes", "compress"),  # the row of tokens is the same in every layout of the files
    },
    "train": {
        *("runs", "run_name", "log_every", "wandb", "wandb_project", "deepspeed_config"),
        *("keep_last", "keep_every", "background_checkpoints", "hang_seconds"),
        "gradient_checkpointing",  # the same numbers, made twice
    },
}
# Noted when the last step, the export and the plot are done.
FINISHED = "finished.json"
# The export of a run that then went on, until it has another.
PREVIOUS_EXPORT = "export.previous"
PACKAGES = ("torch", "transformers", "deepspeed", "tokenizers", "sentencepiece", "numpy")


@dataclass(frozen=True)
class Run:
    """A run's folder, and whether nothing is left to do in it."""

    folder: Path
    finished: bool = False
    # What this command changes of the run's configuration.
    changed: Changes = field(default_factory=dict)

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


def run_folder(name: str, settings: Settings) -> Path:
    """The folder that `name` means: a path, or the name of a run.

    Raises:
        UserError: it is empty, as an unset variable of a shell is.
    """
    if not name.strip():
        raise UserError("no run is named; give its folder, e.g. runs/NAME")
    path = Path(name)
    return path.absolute() if path.exists() else project_path(settings.train.runs) / name


def note_finished(run: Run, step: int, early: bool) -> None:
    """The last thing that a run writes."""
    write_json(run.folder / FINISHED, {"step": step, "early": early})


def hold_run(run: Run) -> IO[str]:
    """Keep other commands out of a run's folder until the answer is closed, or this process ends in whatever way.

    The file `lock` says who holds it, for `train.py --stop`.

    Raises:
        UserError: another process holds it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = (run.folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, host = holder(run.folder) or ("?", "?")
        raise UserError(
            f"{run.folder}: process {pid} on {host} is training this run; stop it with python train.py --stop "
            f"{run.folder}, or give this one another train.run_name"
        ) from None
    lock.truncate(0)
    lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    lock.flush()
    return lock


def holder(folder: Path) -> tuple[int, str] | None:
    """Process id and host of the process that trains the run in `folder`; None where none does.

    Raises:
        UserError: no run is there.
    """
    try:
        lock = (folder / "lock").open("r")
    except OSError as error:
        raise UserError(f"{folder}: no run that was started here ({error.strerror}: {folder / 'lock'})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            pass
        try:
            noted = json.load(lock)
            return int(noted["pid"]), str(noted["host"])
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{folder / 'lock'}: held, but does not say by whom; find it with pgrep -f train.py"
            ) from None


def record_run(run: Run, settings: Settings, deepspeed_config: dict[str, Any], details: dict[str, Any]) -> None:
    """Write `config.json` (usable with --config) and `run.json` (versions, commit, identity, each start) into the
    folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / FINISHED).unlink(missing_ok=True)
    if run.export.exists():  # of an earlier end: nobody is to take it for that of this one
        shutil.rmtree(run.folder / PREVIOUS_EXPORT, ignore_errors=True)
        os.replace(run.export, run.folder / PREVIOUS_EXPORT)
    path = run.folder / "run.json"
    starts = json.loads(path.read_text(encoding="utf-8")).get("starts", []) if path.exists() else []
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    recorded = {
        "command": sys.argv,
        "git_commit": git_commit(),
        "versions": versions,
        **details,
        "identity": identity(settings, deepspeed_config),
    }
    started = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{key: recorded.get(key) for key in ("step", "processes", "device", "git_commit", "command")},
        "changed": run.changed,
    }
    write_json(run.folder / "config.json", settings.to_dict())
    write_json(path, recorded | {"starts": [*starts, started]})


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
    shutil.rmtree(run.folder / PREVIOUS_EXPORT, ignore_errors=True)
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
