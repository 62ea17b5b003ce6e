"""Checkpoints: everything that a resume needs, under a name that only a finished one bears.

`checkpoints/step-00000250/` holds DeepSpeed's files and `state.json`, which names every file with its size and sha256
and ends with its own.
It is written as `step-00000250.partial`, from a copy in memory while training goes on, and renamed once all processes
have written theirs: a run killed meanwhile finds the one before. Random numbers need no file: each step's are drawn
from a seed of its own (training/data.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from training.collectives import Control

NAME = re.compile(r"step-(\d{8})")
PARTIAL = ".partial"
HASH_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class State:
    """Where a run stands, and what must be equal for another process to go on exactly from there."""

    step: int
    processes: int
    # Windows that one step reads over all processes, and those left out so far (training/spikes.py): the next window
    # stands at position step * sequences_per_step + skipped of the order of training.
    sequences_per_step: int
    skipped: int
    tokenizer: str
    train_sha256: str
    val_sha256: str
    # Whether this step's validation is in metrics.jsonl, the best one so far, and how many were not better since.
    validated: bool = False
    best_step: int | None = None
    best_bits_per_byte: float | None = None
    validations_since_best: int = 0
    # Losses that the next ones are compared with.
    recent_losses: list[float] = field(default_factory=list)
    # The whole configuration, in the shape of config.json.
    configuration: dict[str, Any] = field(default_factory=dict)

    @property
    def position(self) -> int:
        return self.step * self.sequences_per_step + self.skipped


def finished(folder: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if NAME.fullmatch(path.name))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name[len("step-") :])


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def state_text(state: State, files: dict[str, Any]) -> str:
    """The content of state.json: the state, size and sha256 of each file, and the sha256 of all that."""
    content = asdict(state) | {"files": files}
    return json.dumps(content | {"sha256": _sha256_of(content)}, indent=2) + "\n"


def _sha256_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(checkpoint: Path) -> tuple[State, dict[str, tuple[int, str]]]:
    """The state, and (bytes, sha256) of each file; UserError where state.json is not what was written."""
    path = checkpoint / "state.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        noted = content.pop("sha256")
        if noted != _sha256_of(content):
            raise ValueError("its content is not what was written")
        files = {str(name): (note["bytes"], note["sha256"]) for name, note in content.pop("files").items()}
        return State(**content), files
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error!r}); delete {checkpoint} to go on from the one before"
        ) from None


def read_state(checkpoint: Path) -> State:
    """Raises UserError for a state.json that is damaged."""
    return _read(checkpoint)[0]


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, read whole; None if they are what was written."""
    try:
        state, wanted = _read(checkpoint)
    except UserError:
        return "state.json is missing or damaged"
    if state.step != step_of(checkpoint):
        return f"state.json is that of step {state.step}"

    def check(name: str) -> str | None:
        path, (size, sha256) = checkpoint / name, wanted[name]
        try:
            found = path.stat().st_size
            if found != size:
                return f"{name} has {found:,} bytes of {size:,}"
            return None if _sha256(path) == sha256 else f"{name} is not what was written (its sha256 differs)"
        except OSError as error:
            return f"{name}: {error.strerror}"

    with ThreadPoolExecutor(4) as pool:  # hashing lets go of the interpreter
        return next((found for found in pool.map(check, wanted) if found), None)


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            sha.update(block)
    return sha.hexdigest()


def last_good(folder: Path, before: int | None = None) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint (of a step up to `before`), and a line for each newer one that is damaged.

    Those are set aside under another name, so that they do not count as the last ones.

    Raises:
        UserError: there are checkpoints and all of them are damaged.
    """
    damaged: list[tuple[Path, str]] = []
    for checkpoint in reversed(finished(folder)):
        if before is not None and step_of(checkpoint) > before:
            continue
        wrong = damage(checkpoint)
        if wrong is None:
            return checkpoint, [_set_aside(path, reason) for path, reason in damaged]
        damaged.append((checkpoint, wrong))
    if damaged:
        raise UserError(
            f"{folder}: none of its {len(damaged)} checkpoints can be used ({damaged[0][0].name}: {damaged[0][1]}); "
            "put a copy back, delete the folder to begin at step 0, or start a fresh run with --new"
        )
    return None, []


def _set_aside(checkpoint: Path, reason: str) -> str:
    aside = checkpoint.with_name(checkpoint.name + ".damaged")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(checkpoint, aside)
    return f"{checkpoint}: {reason}; passed over, and set aside as {aside.name}"


def check_state(found: State, now: State, checkpoint: Path, micro_batch_size: int) -> None:
    """Refuse to go on from a checkpoint that another data set, tokenizer or batch made.

    Raises:
        UserError: naming both values.
    """
    meaning = {
        "tokenizer": "tokenizer fingerprint",
        "train_sha256": "sha256 of the training split",
        "val_sha256": "sha256 of the validation split",
    }
    for key, name in meaning.items():
        there, here = getattr(found, key), getattr(now, key)
        if there != here:
            raise UserError(
                f"{checkpoint}: its {name} is {there}, this command's is {here}; go back to the former, or start a "
                "fresh run with --new"
            )
    if found.sequences_per_step != now.sequences_per_step:
        batch = batch_of(found.sequences_per_step, now.processes, micro_batch_size)
        todo = f"take a number of processes that divides {found.sequences_per_step}"
        if batch is not None:
            flags = f"--set train.micro_batch_size={batch[0]} --set train.gradient_accumulation_steps={batch[1]}"
            todo = f"keep the step's size with --resume {checkpoint.parents[1]} {flags}"
        raise UserError(
            f"{checkpoint}: each step of it reads {found.sequences_per_step} sequences over {found.processes} "
            f"process(es), this command's {now.sequences_per_step} over {now.processes}; {todo}"
        )


def batch_of(sequences: int, processes: int, micro_batch_size: int) -> tuple[int, int] | None:
    """(micro-batch, accumulation) that make a step of `sequences`, the micro-batch no larger than it was; None if none
    do."""
    for micro in range(micro_batch_size, 0, -1):
        accumulation, rest = divmod(sequences, micro * processes)
        if accumulation and not rest:
            return micro, accumulation
    return None


@dataclass(frozen=True)
class Keep:
    """Which finished checkpoints stay: the last ones, those of every so many steps, that of the best validation."""

    last: int
    every: int | None
    best: bool

    def of(self, steps: Iterable[int], best_step: int | None) -> set[int]:
        ordered = sorted(steps)
        stay = {*ordered[-self.last :], *([best_step] if self.best else [])}
        return {step for step in ordered if step in stay or (self.every is not None and step % self.every == 0)}


class Checkpoints:
    """Writes a run's checkpoints. All processes call `save`, `settle` and `finish` in the same order."""

    def __init__(self, engine: Any, folder: Path, control: Control, keep: Keep, background: bool):
        from training.checkpoints.async_writer import SnapshotEngine

        self.engine, self.folder, self.control = engine, folder, control
        self.keep, self.background = keep, background
        self.snapshots = SnapshotEngine(copy=background)
        engine.checkpoint_engine = self.snapshots
        self.writer: Any = None
        self.state: State | None = None
        self.started = 0.0
        # How long the last one took to write, seconds; 0 where none was.
        self.seconds = 0.0
        if control.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in (*folder.glob("*" + PARTIAL), *folder.glob("*.universal")):
                shutil.rmtree(leftover)
        control.barrier()

    @property
    def writing(self) -> bool:
        """Whether this process still writes."""
        return self.writer is not None and self.writer.writing

    @property
    def error(self) -> Exception | None:
        """Why this process could not write."""
        return None if self.writer is None else self.writer.error

    @property
    def pending(self) -> bool:
        """Whether a checkpoint has been taken that does not bear its name yet: the same in all processes."""
        return self.state is not None

    def save(self, state: State) -> str | None:
        """Take a copy of the state and begin to write it; waits for the one before. Answers what failed, or None.

        In the foreground the checkpoint is finished when this returns.
        """
        failed = self.finish()
        from training.checkpoints import async_writer as snapshot

        partial = self._partial(state.step)
        if self.control.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        self.control.barrier()
        self.engine.save_checkpoint(str(self.folder), tag=partial.name, save_latest=False)
        files, self.snapshots.taken = self.snapshots.taken, []
        need = sum(self.control.gather(snapshot.size(files)))
        free = self.control.told_by_first(lambda: shutil.disk_usage(self.folder).free)
        if free < need:
            if self.control.rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
            return f"it takes {need / 1e9:.2f} GB and {free / 1e9:.2f} GB are free in {self.folder}"
        self.state, self.started = state, time.monotonic()
        self.writer = snapshot.Writer(files, partial, self.control.rank)
        return failed if self.background else self.finish() or failed

    def finish(self) -> str | None:
        """Wait until what has been taken is on disk under its name; what failed, or None."""
        if not self.pending:
            return None
        self.writer.wait()
        return self.settle(self.control.highest(int(self.error is not None))[0] > 0)

    def settle(self, failed: bool) -> str | None:
        """Name what all processes have written; `failed`: some could not, and it goes. Answers why, or None."""
        state, error = self.state, self.error
        assert state is not None
        self.state = self.writer = None
        partial = self._partial(state.step)
        if failed:
            errors = [text for text in self.control.gather(None if error is None else str(error)) if text]
            if self.control.rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
            return f"{partial}: cannot be written ({errors[0]})"
        self.seconds = time.monotonic() - self.started
        if self.control.rank == 0:
            self._name(partial, state)
        self.control.barrier()
        return None

    def _partial(self, step: int) -> Path:
        return self.folder / (name_of(step) + PARTIAL)

    def _name(self, partial: Path, state: State) -> None:
        files: dict[str, Any] = {}
        for note in sorted(partial.glob("files-*.json")):
            files |= json.loads(note.read_text(encoding="utf-8"))
            note.unlink()
        (partial / "state.json").write_text(state_text(state, files), encoding="utf-8")
        _sync(partial / "state.json")
        _sync(partial)
        final = partial.with_suffix("")
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        _sync(self.folder)
        there = {step_of(path): path for path in finished(self.folder)}
        stay = self.keep.of(there, state.best_step)
        for step, path in there.items():
            if step not in stay:
                shutil.rmtree(path)


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
