"""The checklist before a run: data, tokenizer, token cache, device and memory, disk, each with its state and what to
do.

Nothing is allocated and no process group exists yet; of the heavy libraries torch alone is imported.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep import jsonl
from settings import Settings, UserError, project_path
from tokenizer import token_cache
from tokenizer.fingerprint import tokenizer_fingerprint
from training import planner

GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One line of the list; `todo` is what to do, and empty where all is well."""

    name: str
    state: str
    todo: str = ""


@dataclass(frozen=True)
class Device:
    """What this process trains on. `memory`: bytes that a process may use (of a GPU; its share of RAM on a CPU)."""

    kind: str
    name: str
    memory: int

    @property
    def cuda(self) -> bool:
        return self.kind == "cuda"


def find_device(local_processes: int, local_rank: int) -> Device:
    """The GPU of `local_rank`, or this process's share of the machine's memory."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(local_rank % torch.cuda.device_count())
        return Device("cuda", properties.name, properties.total_memory)
    import psutil

    memory = psutil.virtual_memory()
    return Device("cpu", f"CPU, {os.cpu_count()} cores", memory.available // local_processes)


def split_paths(settings: Settings) -> dict[str, Path]:
    out = project_path(settings.data.out)
    return {name: out / f"{name}.jsonl" for name in ("train", "val")}


def checklist(settings: Settings, device: Device, processes: int, flags: str = "") -> list[Check]:
    """Everything that a run needs, looked at without changing anything; `flags` are repeated in the commands to run."""
    splits = split_paths(settings)
    folder = project_path(settings.tokenizer.out)
    data = _data(splits, flags)
    tokenizer = _tokenizer(folder, settings, flags)
    return [
        data,
        tokenizer,
        _token_cache(splits, folder, ready=not (data.todo or tokenizer.todo)),
        _memory(settings, device, processes),
        _disk(settings),
    ]


def render(checks: list[Check]) -> str:
    """The list as people read it."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"  [{'!!' if check.todo else 'ok'}] {check.name:<{width}}  {check.state}")
        if check.todo:
            lines.append(f"       {'':<{width}}  -> {check.todo}")
    return "\n".join(lines)


def _data(splits: dict[str, Path], flags: str) -> Check:
    missing = [str(path) for path in splits.values() if not path.exists()]
    if missing:
        plain = ""
        if any(jsonl.split_paths(path.parent, name) for name, path in splits.items()):
            plain = (
                " --set data.compress=false --set data.output_file_bytes=null  (the trainer reads single plain files)"
            )
        return Check("data", f"missing: {', '.join(missing)}", f"python data_prep/prepare_dataset.py{flags}{plain}")
    empty = [str(path) for path in splits.values() if path.stat().st_size == 0]
    if empty:
        return Check("data", f"empty: {', '.join(empty)}", f"python data_prep/prepare_dataset.py{flags}")
    sizes = ", ".join(f"{name} {path.stat().st_size / 1e6:,.1f} MB" for name, path in splits.items())
    return Check("data", sizes)


def _tokenizer(folder: Path, settings: Settings, flags: str) -> Check:
    train = f"python tokenizer/train_tokenizer.py{flags}"
    wanted = settings.model.vocab_size
    try:
        fingerprint = tokenizer_fingerprint(folder)
        spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        size = len(set(spec["model"]["vocab"].values()) | {token["id"] for token in spec["added_tokens"]})
        ids = {token["content"]: token["id"] for token in spec["added_tokens"]} | spec["model"]["vocab"]
    except (OSError, UserError):
        return Check("tokenizer", f"missing: {folder / 'tokenizer.json'}", train)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Check("tokenizer", f"{folder / 'tokenizer.json'} cannot be read: {error}", train)
    if size != wanted:
        return Check(
            "tokenizer",
            f"{folder} has {size:,} entries, vocab_size is {wanted:,}",
            f"{train}, or train with --set vocab_size={size}",
        )
    for key, piece in (("bos_token_id", "<s>"), ("eos_token_id", "</s>"), ("pad_token_id", "<pad>")):
        given = getattr(settings.model, key)
        if piece in ids and given is not None and ids[piece] != given:
            return Check(
                "tokenizer", f"{folder}: {piece} is token {ids[piece]}, {key} is {given}", f"--set {key}={ids[piece]}"
            )
    return Check("tokenizer", f"{folder}, {size:,} entries, fingerprint {fingerprint[:12]}")


def _token_cache(splits: dict[str, Path], folder: Path, ready: bool) -> Check:
    if not ready:
        return Check("token cache", "not made yet", "made by train.py itself once data and tokenizer are there")
    fingerprint = tokenizer_fingerprint(folder)
    stale = [name for name, path in splits.items() if not token_cache.is_current(path, fingerprint)]
    if not stale:
        return Check("token cache", "made")
    size = sum(splits[name].stat().st_size for name in stale)
    free = shutil.disk_usage(splits["train"].parent).free
    state = f"will be made now for {', '.join(stale)}: {size / 1e6:,.1f} MB of text"
    if free < 2 * size:
        return Check(
            "token cache", state, f"make room: {2 * size / 1e9:.1f} GB may be needed, {free / 1e9:.1f} are free"
        )
    return Check("token cache", state)


def _memory(settings: Settings, device: Device, processes: int) -> Check:
    model, train = settings.model, settings.train
    need = planner.process_bytes(model, train, processes, device.cuda)
    parameters = planner.count_parameters(model).total
    where = "GPU" if device.cuda else "process"
    state = (
        f"{device.name}: {parameters:,} parameters need about {need / GIB:.1f} GiB a {where} "
        f"({planner.state_bytes(model, processes) / GIB:.1f} states, "
        f"{planner.activation_bytes(model, train) / GIB:.1f} activations and logits), "
        f"{device.memory / GIB:.1f} GiB are there"
    )
    if need <= device.memory:
        return Check("device", state)
    return Check("device", state, _smaller(settings, device, processes))


def _smaller(settings: Settings, device: Device, processes: int) -> str:
    """The mildest change that fits: checkpointing, smaller micro-batches with more accumulation, or another model."""
    train = settings.train
    checkpointing = "" if train.gradient_checkpointing else " --set train.gradient_checkpointing=true"
    micro = train.micro_batch_size
    while micro >= 1:
        changed = replace(train, micro_batch_size=micro, gradient_checkpointing=True)
        if planner.process_bytes(settings.model, changed, processes, device.cuda) <= device.memory:
            accumulation = -(-train.micro_batch_size * train.gradient_accumulation_steps // micro)
            batch = f" --set train.micro_batch_size={micro} --set train.gradient_accumulation_steps={accumulation}"
            return "the same batch in less memory:" + checkpointing + (batch if micro < train.micro_batch_size else "")
        micro //= 2
    return (
        "more or larger devices (deepspeed --num_gpus N train.py), or a smaller model, e.g. "
        "--config examples/quickstart/config.json"
    )


def _disk(settings: Settings) -> Check:
    runs = project_path(settings.train.runs)
    existing = next(path for path in (runs, *runs.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    one = planner.checkpoint_bytes(settings.model)
    need = one * (settings.train.keep_last + 1)  # a new one is whole before the oldest goes
    state = f"{settings.train.keep_last + 1} checkpoints of {one / 1e9:.2f} GB, {free / 1e9:.1f} GB free in {existing}"
    if free < need:
        return Check(
            "disk", state, "make room, lower train.keep_last, or put runs elsewhere with --set train.runs=FOLDER"
        )
    return Check("disk", state)
