"""Checkpoints: everything that a resume needs, under a name that only a finished one bears.

`checkpoints/step-00000250/` holds DeepSpeed's files and `state.json`. It is written as `step-00000250.partial` and
renamed when all processes are done, so that a run killed while saving finds the one before.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from settings import UserError

NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class State:
    """What must be equal for a resume to be exact (all but `step`), and where it goes on."""

    step: int
    processes: int
    # Position of the next window in the order of training (training.data).
    position: int
    tokenizer: str
    train_sha256: str


def finished(folder: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("step-*") if NAME.fullmatch(path.name) and (path / "state.json").exists()]
    return sorted(found)


def read_state(checkpoint: Path) -> State:
    """Raises UserError for a state.json that is damaged."""
    try:
        return State(**json.loads((checkpoint / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{checkpoint / 'state.json'}: cannot be read ({error}); delete {checkpoint} to go on from the one before"
        ) from None


def check_state(found: State, now: State, checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint that another data set, tokenizer or number of processes made.

    Raises:
        UserError: naming both values.
    """
    meaning = {
        "processes": "number of processes",
        "tokenizer": "tokenizer fingerprint",
        "train_sha256": "sha256 of the training split",
    }
    for key, name in meaning.items():
        there, here = getattr(found, key), getattr(now, key)
        if there != here:
            raise UserError(
                f"{checkpoint}: its {name} is {there}, this command's is {here}; go back to the former, or start a "
                "fresh run with --new"
            )


def save(engine: Any, folder: Path, state: State, keep_last: int) -> Path:
    """Write a checkpoint from all processes; older ones beyond `keep_last` go once it has its name."""
    import torch.distributed as dist

    final = folder / f"step-{state.step:08d}"
    partial = final.with_name(final.name + ".partial")
    if dist.get_rank() == 0:
        shutil.rmtree(partial, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    dist.barrier()
    try:
        engine.save_checkpoint(str(folder), tag=partial.name, save_latest=False)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
        free = shutil.disk_usage(folder).free
        raise UserError(
            f"{partial}: cannot be written ({error}); {free / 1e9:.1f} GB are free. Make room and run the same "
            "command: it goes on from the checkpoint before"
        ) from error
    dist.barrier()
    if dist.get_rank() == 0:
        (partial / "state.json").write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        for path in partial.iterdir():
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        _sync(folder)
        for old in finished(folder)[:-keep_last]:
            shutil.rmtree(old)
        for leftover in folder.glob("step-*.partial"):
            shutil.rmtree(leftover)
    dist.barrier()
    return final


def load(engine: Any, checkpoint: Path) -> None:
    """Put weights, optimizer and DeepSpeed's counters of `checkpoint` into `engine`.

    Raises:
        UserError: files that are missing or cannot be read.
    """
    try:
        loaded, _ = engine.load_checkpoint(str(checkpoint.parent), tag=checkpoint.name)
    # AssertionError: DeepSpeed's way of missing a file.
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AssertionError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{checkpoint}: cannot be read ({error}); delete that folder to go on from the checkpoint before"
        ) from error
    if loaded is None:
        raise UserError(f"{checkpoint}: files are missing; delete that folder to go on from the checkpoint before")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
