"""The checklist before a run: data, tokenizer, token cache, device and memory, disk, each with its state and what to
do.

Nothing is allocated and no process group exists yet; of the heavy libraries torch alone is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import COMPRESSED
from common.jsonl import find_split
from common.paths import project_path
from common.settings.load import Settings
from tokenizer.cache import ensure
from tokenizer.cache.plan import Split, dataset_split, size_text
from tokenizer.learn.fingerprint import IDENTITY, tokenizer_fingerprint
from training.engine import resolve_deepspeed_config
from training.plan import memory as memory_plan
from training.plan.nvidia_driver import Trouble, cpu_wanted, gpu_trouble
from training.plan.parameters import count_parameters
from training.run_folder.init_from import PRETRAINING, find_initial, pretraining_split

GIB = 2**30


@dataclass(frozen=True)
class Check:
    """One line of the list; `todo` is what to do, and empty where all is well."""

    name: str
    state: str
    todo: str = ""


@dataclass(frozen=True)
class Device:
    """What this process trains on. `memory`: bytes that a process may use (of a GPU; its share of RAM on a CPU).
    `trouble`: why it is not the GPU that the machine has; such a run does not begin."""

    kind: str
    name: str
    memory: int
    trouble: Trouble | None = None

    @property
    def cuda(self) -> bool:
        return self.kind == "cuda"


def find_device(local_processes: int, local_rank: int) -> Device:
    """The GPU of `local_rank`; this process's share of the machine's memory where there is none, where the CPU is
    wanted, and, with the reason, where torch cannot use the GPU."""
    import torch

    trouble = gpu_trouble(local_rank)
    if trouble is None and not cpu_wanted() and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(local_rank % torch.cuda.device_count())
        return Device("cuda", properties.name, properties.total_memory)
    import psutil

    memory = psutil.virtual_memory()
    return Device("cpu", f"CPU, {os.cpu_count()} cores", memory.available // local_processes, trouble)


def find_splits(settings: Settings) -> dict[str, Split]:
    """Both splits, in whatever form they lie in data.out; UserError where one does not."""
    return {name: dataset_split(settings, name) for name in ("train", "val")}


def training_splits(settings: Settings) -> tuple[dict[str, Split], str | None]:
    """The splits that a run reads, that of pretraining among them where it has one; and a note where that is not found.

    Raises:
        UserError: a split that is not there.
    """
    pretraining, note = pretraining_split(settings)
    return find_splits(settings) | ({PRETRAINING: pretraining} if pretraining else {}), note


def checklist(settings: Settings, device: Device, processes: int, flags: str = "", begins: bool = True) -> list[Check]:
    """Everything that a run needs, looked at without changing anything.

    Args:
        flags: repeated in the commands to run.
        begins: the run has no checkpoint to go on from, so the weights to begin with must be there.
    """
    folder = project_path(settings.tokenizer.out)
    data = _data(settings, flags)
    tokenizer = _tokenizer(folder, settings, flags)
    wanted = begins and settings.train.init_from is not None
    initial = [_initial(settings, ready=not tokenizer.todo)] if wanted else []
    return [
        data,
        tokenizer,
        *initial,
        _token_cache(settings, folder, flags, ready=not any(check.todo for check in (data, tokenizer, *initial))),
        _memory(settings, device, processes),
        _disk(settings, processes),
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


def _data(settings: Settings, flags: str) -> Check:
    make = f"python data_prep/prepare_dataset.py{flags}"
    out = project_path(settings.data.out)
    found = {}
    for name in ("train", "val"):
        try:
            found[name] = find_split(out, name)
        except UserError as error:  # in two forms, or incomplete
            return Check("data", str(error), "do that, then the same command")
    missing = [f"{out / name}.jsonl" for name, paths in found.items() if not paths]
    if missing:
        return Check("data", f"missing: {', '.join(missing)}", make)
    sizes = {name: sum(path.stat().st_size for path in paths) for name, paths in found.items()}
    empty = [str(found[name][0]) for name, size in sizes.items() if size == 0]
    if empty:
        return Check("data", f"empty: {', '.join(empty)}", make)
    return Check("data", ", ".join(f"{name} {_described(found[name], size)}" for name, size in sizes.items()))


def _described(paths: list[Path], size: int) -> str:
    files = f" in {len(paths):,} files" if len(paths) > 1 else ""
    return f"{size / 1e6:,.1f} MB{files}{' compressed' if paths[0].suffix == COMPRESSED else ''}"


def _tokenizer(folder: Path, settings: Settings, flags: str) -> Check:
    train = f"python tokenizer/train_tokenizer.py{flags}"
    wanted = settings.model.vocab_size
    try:
        fingerprint = tokenizer_fingerprint(folder)
        spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        size = len(set(spec["model"]["vocab"].values()) | {token["id"] for token in spec["added_tokens"]})
        ids = {token["content"]: token["id"] for token in spec["added_tokens"]} | spec["model"]["vocab"]
    except UserError as error:
        absent = [str(folder / name) for name in IDENTITY if not (folder / name).exists()]
        return Check("tokenizer", f"missing: {', '.join(absent)}" if absent else str(error).partition("; ")[0], train)
    except OSError as error:
        return Check("tokenizer", f"{folder / 'tokenizer.json'}: cannot be read: {error.strerror}", train)
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


def _initial(settings: Settings, ready: bool) -> Check:
    if not ready:
        return Check("weights", f"{settings.train.init_from}: not looked at yet", "a tokenizer first")
    try:
        found = find_initial(settings)
        _, note = pretraining_split(settings)
    except UserError as error:
        return Check("weights", str(error), "do that, then the same command")
    assert found is not None
    return Check("weights", "; ".join([str(found.folder), *found.notes(settings), *([note] if note else [])]))


def _token_cache(settings: Settings, folder: Path, flags: str, ready: bool) -> Check:
    if not ready:
        return Check("token cache", "not made yet", "made by train.py itself once data and tokenizer are there")
    try:
        splits, _ = training_splits(settings)
        works = {name: ensure.work_left(split, folder, settings) for name, split in splits.items()}
    except UserError as error:
        return Check("token cache", str(error), "do that, then the same command")
    left = {name: work for name, work in works.items() if work}
    if not left:
        return Check("token cache", "made")
    state = "will be made now: " + "; ".join(f"{name} {work}" for name, work in left.items())
    if sum(work.seconds for work in left.values()) > ensure.LONG_SECONDS:
        state += f" (beforehand, without a GPU: python tokenizer/token_cache.py{flags})"
    need = sum(work.disk_bytes for work in left.values())
    free = shutil.disk_usage(project_path(settings.data.out)).free
    if free < need:
        return Check("token cache", state, f"make room: {need / 1e9:.2f} GB may be needed, {free / 1e9:.2f} are free")
    return Check("token cache", state)


def _memory(settings: Settings, device: Device, processes: int) -> Check:
    if device.trouble is not None:
        return Check("device", device.trouble.state, device.trouble.todo)
    deepspeed_config = resolve_deepspeed_config(project_path(settings.train.deepspeed_config), settings, processes)
    count, memory = _planned(settings, deepspeed_config, device, processes)
    layers, wanted = settings.model.num_hidden_layers, settings.train.gradient_checkpointing
    state = (
        f"{device.name}: {count_parameters(settings.model).total:,} parameters need about "
        f"{memory.total / GIB:.1f} GiB a {'GPU' if device.cuda else 'process'} ({memory.states / GIB:.1f} states, "
        f"{(memory.activations + memory.layer) / GIB:.1f} activations, {memory.logits / GIB:.1f} logits), "
        f"{device.memory / GIB:.1f} GiB are there; gradient checkpointing: {count} of {layers} layers"
        + (" (auto)" if wanted == "auto" else "")
    )
    if memory.total <= device.memory:
        return Check("device", state)
    return Check("device", state, _smaller(settings, deepspeed_config, device, processes))


def _planned(
    settings: Settings, deepspeed_config: dict[str, Any], device: Device, processes: int
) -> tuple[int, memory_plan.Memory]:
    """Checkpointed layers, and the memory of a process with them."""
    count = memory_plan.choose_checkpointing(settings, deepspeed_config, processes, device.memory, device.cuda)
    return count, memory_plan.process_memory(settings, deepspeed_config, processes, count, device.cuda)


def _smaller(settings: Settings, deepspeed_config: dict[str, Any], device: Device, processes: int) -> str:
    """The mildest change that fits: what costs nothing, checkpointing, smaller micro-batches, or another model."""
    train, changes = settings.train, dict[str, Any]()
    steps: list[dict[str, Any]] = [{"loss_kernel": "auto"}, {"attention": "sdpa"}, {"gradient_checkpointing": "auto"}]
    micro, batch = train.micro_batch_size, train.micro_batch_size * train.gradient_accumulation_steps
    while micro > 1:
        micro //= 2
        while batch % micro:
            micro -= 1
        steps.append({"micro_batch_size": micro, "gradient_accumulation_steps": batch // micro})
    for step in steps:
        if all(getattr(train, key) == value for key, value in step.items()):
            continue
        changes |= step
        changed = replace(settings, train=replace(train, **changes))
        if _planned(changed, deepspeed_config, device, processes)[1].total <= device.memory:
            flags = "".join(f" --set train.{key}={value}" for key, value in changes.items())
            return f"the same batch in less memory:{flags}"
    return (
        "more or larger devices (deepspeed --num_gpus N train.py), or a smaller model, e.g. "
        "--config examples/quickstart/config.json"
    )


def _disk(settings: Settings, processes: int) -> Check:
    runs = project_path(settings.train.runs)
    existing = next(path for path in (runs, *runs.parents) if path.exists())
    elsewhere = "put runs elsewhere with --set train.runs=FOLDER"
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check("disk", f"{existing}: cannot be written: {error.strerror}", f"make it writable, or {elsewhere}")
    free = shutil.disk_usage(existing).free
    one, count = memory_plan.checkpoint_bytes(settings.model), memory_plan.checkpoints_kept(settings.train)
    need = one * count + memory_plan.export_bytes(settings.model)
    state = (
        f"{count} checkpoint{'s' * (count > 1)} of {size_text(one)} and the export are {size_text(need)}, "
        f"{size_text(free)} free in {existing}"
    )
    if settings.train.background_checkpoints:
        state += "; " + _copies(settings, processes)
    fewer = "lower train.keep_last" + (" or raise train.keep_every" if settings.train.keep_every else "")
    # What a run that goes on has there already is not known here: the least that it needs must be free.
    if free < one + memory_plan.export_bytes(settings.model):
        return Check("disk", state, f"make room, {fewer}, or {elsewhere}")
    if free < need:
        state += f"; that is not enough for a run that begins: make room in time, or {fewer}"
    return Check("disk", state)


def _copies(settings: Settings, processes: int) -> str:
    """Whether copies of what this machine's processes save fit into its memory, from which they are written."""
    import psutil

    local = int(os.environ.get("LOCAL_SIZE") or os.environ.get("LOCAL_WORLD_SIZE") or processes)
    need, free = local * memory_plan.snapshot_bytes(settings, processes), psutil.virtual_memory().available
    way = "in the background" if need <= free else "in the foreground"
    return f"written {way}: copies take {need / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free"
