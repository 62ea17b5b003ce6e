"""The folder of a run: its name, what is recorded in it, who trains it, and whether a command starts, resumes or has
finished it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from common.errors import UserError
from common.files import write_json
from common.paths import ROOT, project_path
from common.settings.load import Settings
from common.settings.train import TrainSettings
from tokenizer.learn.fingerprint import ARTEFACTS, MANIFEST
from training.resume import Changes, changes, check_changes

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


def run_folder(name: str, settings: Settings) -> Path:
    """The folder that `name` means: a path, or the name of a run.

    Raises:
        UserError: it is empty, as an unset variable of a shell is.
    """
    if not name.strip():
        raise UserError("no run is named; give its folder, e.g. runs/NAME")
    path = Path(name)
    return path.absolute() if path.exists() else project_path(settings.train.runs) / name


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


def note_finished(run: Run, step: int, early: bool) -> None:
    """The last thing that a run writes."""
    write_json(run.folder / FINISHED, {"step": step, "early": early})


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


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
