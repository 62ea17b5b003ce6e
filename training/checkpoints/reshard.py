"""Checkpoints for another number of processes, through DeepSpeed's universal format.

Under ZeRO each process saves its own share of the optimizer, cut for the number of processes that trained. `convert`
makes one file per parameter and state of them, from which `load` takes what each of any number of processes needs:
fp32 weights, both moments and step counts come back bit for bit. Without ZeRO (stage 0) a checkpoint is whole as it is.

    deepspeed --num_gpus 4 train.py --resume runs/NAME      # does both where another number of processes made the run
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.errors import UserError

MODEL_FILE = "mp_rank_00_model_states.pt"
SHARDS = "*_optim_states.pt"
STATES = ("fp32", "exp_avg", "exp_avg_sq")
# What torch.load raises for a file that is cut short or holds something else.
DAMAGE = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


def is_partitioned(checkpoint: Path) -> bool:
    """Whether the optimizer is cut into shares (ZeRO): only then another number of processes needs `convert`."""
    return any(checkpoint.glob(SHARDS))


def convert(checkpoint: Path, target: Path, workers: int = 1) -> None:
    """Write `checkpoint` (ZeRO stage 1 or 2) in universal form to `target`, which exists only once it is complete.

    DeepSpeed's converter runs in a process of its own, since it forks; each of its `workers` holds one process's share
    in memory. While it works it needs twice the optimizer's size on disk, afterwards once.

    Raises:
        UserError: a damaged or incomplete checkpoint, or too little room on the disk.
    """
    shapes, size = _inspect(checkpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f"{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise UserError(
            f"{target}: converting {checkpoint} for another number of processes needs {size / 1e9:.3f} GB, "
            f"{free / 1e9:.3f} GB are free. Make room, or go on with as many processes as before"
        )
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", suffix=".partial", dir=target.parent) as scratch:
        made = Path(scratch, "universal")
        problem = _run_converter(checkpoint, made, workers) or _missing(made, shapes)
        if problem:
            raise UserError(
                f"{checkpoint}: cannot be converted for another number of processes ({problem}); go on with as many "
                "processes as before, or delete that folder to go on from the checkpoint before"
            )
        for path in (*made.rglob("*"), made):
            _sync(path)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(made, target)
    _sync(target.parent)


def load(engine: Any, universal: Path) -> None:
    """Put weights, optimizer and DeepSpeed's counters of a converted checkpoint into `engine`, in every process.

    Raises:
        UserError: files that are missing or cannot be read.
    """
    # load_checkpoint has this switch in the configuration alone. It holds for this call, so that the same engine
    # still reads its own checkpoints.
    engine._config.load_universal_checkpoint = True
    try:
        loaded, _ = engine.load_checkpoint(str(universal.parent), tag=universal.name)
    except (*DAMAGE, AssertionError) as error:  # AssertionError: DeepSpeed's way of missing a file
        raise UserError(f"{universal}: cannot be read ({error}); delete that folder, it is made again") from error
    finally:
        engine._config.load_universal_checkpoint = False
    if loaded is None:
        raise UserError(f"{universal}: files are missing; delete that folder, it is made again")
    steps_to_device(engine.optimizer.optimizer)


def steps_to_device(optimizer: Any) -> None:
    """Move step counts to where a fused optimizer wants them, beside its parameters: converted ones are on the CPU."""
    for group in optimizer.param_groups:
        if group.get("fused") or group.get("capturable"):
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                state["step"] = state["step"].to(parameter.device)


def _inspect(checkpoint: Path) -> tuple[dict[str, Any], int]:
    """Shapes of the trained parameters by name, and the bytes that a conversion needs at its height."""
    import torch

    model_file, shards = checkpoint / MODEL_FILE, sorted(checkpoint.glob(SHARDS))
    try:
        model = torch.load(model_file, map_location="cpu", mmap=True, weights_only=False)
        processes, groups = model["dp_world_size"], model["param_shapes"]
    except DAMAGE as error:
        raise UserError(
            f"{model_file}: cannot be read ({error}); delete {checkpoint} to go on from the checkpoint before"
        ) from error
    if groups is None or not shards:
        raise UserError(f"{checkpoint}: nothing to convert; without ZeRO any number of processes loads it as it is")
    if len(shards) != processes:
        raise UserError(
            f"{checkpoint}: {processes} processes made it, the shares ({SHARDS}) of {len(shards)} are here; if the run "
            "was on several machines, their runs folder must be one shared folder. Delete the checkpoint to go on from "
            "the one before"
        )
    shapes = {name: shape for group in groups for name, shape in group.items()}
    size = model_file.stat().st_size + 2 * sum(shard.stat().st_size for shard in shards)
    return shapes, size


def _run_converter(checkpoint: Path, made: Path, workers: int) -> str:
    """Run DeepSpeed's converter from `checkpoint` to `made`; answers what went wrong, or nothing."""
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"]
    command += ["--input_folder", str(checkpoint.resolve()), "--output_folder", str(made.resolve())]
    # Which parameters tensor parallelism split: none, which the converter wants said.
    command += ["--inject_missing_state"]
    command += ["--num_extract_workers", str(workers), "--num_merge_workers", str(workers)]
    process = subprocess.Popen(
        command,
        cwd=made.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        _, errors = process.communicate()
    except BaseException:  # also a signal's: the converter's own workers would wait for ever
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return "" if process.returncode == 0 else (lines[-1] if lines else f"exit status {process.returncode}")


def _missing(universal: Path, shapes: dict[str, Any]) -> str:
    """The first state of a parameter that is not there in full: the converter skips what it does not find."""
    import torch

    for name, shape in shapes.items():
        folder = universal / "zero" / name
        if not (folder / "step.pt").exists():
            return f"no step count of {name}"
        for state in STATES:
            try:
                tensor = torch.load(folder / f"{state}.pt", mmap=True, weights_only=False)["param"]
            except DAMAGE as error:
                return f"{state} of {name}: {error}"
            if tensor.shape != shape:
                return f"{state} of {name} has shape {tuple(tensor.shape)}, not {tuple(shape)}"
    return ""


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
