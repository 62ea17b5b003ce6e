"""DeepSpeed: its configuration resolved, its engine built, and what it needs to run without a compiler."""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from settings import Settings, UserError


def resolve_deepspeed_config(path: Path, settings: Settings, processes: int) -> dict[str, Any]:
    """`ds_config.json` with each "auto" filled in from `config.json`.

    Raises:
        UserError: an unreadable file, a value that contradicts `config.json`, or a section that train.py owns.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
    for section in ("optimizer", "scheduler"):
        if section in config:
            raise UserError(f"{path}: '{section}' is train.py's own (see the train section of config.json); remove it")
    stage = config.get("zero_optimization", {}).get("stage", 0)
    if stage not in (0, 1, 2):
        raise UserError(f"{path}: zero_optimization.stage is {stage}, train.py knows 0, 1 and 2 (2 is the reference)")

    train = settings.train
    values = {
        ("train_batch_size",): train.micro_batch_size * train.gradient_accumulation_steps * processes,
        ("train_micro_batch_size_per_gpu",): train.micro_batch_size,
        ("gradient_accumulation_steps",): train.gradient_accumulation_steps,
        ("gradient_clipping",): train.max_grad_norm,
        ("bf16", "enabled"): settings.model.dtype == "bfloat16",
        ("fp16", "enabled"): settings.model.dtype == "float16",
    }
    for keys, value in values.items():
        *parents, last = keys
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        if section.get(last, "auto") not in ("auto", value):
            raise UserError(
                f"{path}: '{'.'.join(keys)}' is {json.dumps(section[last])}, config.json makes it {json.dumps(value)}; "
                'write "auto" there and change config.json'
            )
        section[last] = value
    return config


def quiet() -> None:
    """Leave the screen to our own lines: DeepSpeed's INFO and torch's deprecation notes say nothing about the run."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"deepspeed|torch\.distributed")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)


def single_process_environment() -> None:
    """Plain `python train.py`: the variables that the launcher sets (without them DeepSpeed looks for MPI)."""
    defaults = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def without_compiler() -> None:
    """Keep DeepSpeed from compiling its shared-memory collectives for the CPU at first use.

    The build takes a minute, fails without a compiler, and leaves a lock behind when it is killed; gloo does the same
    work. The table is internal to DeepSpeed 0.19, hence one place and a test.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def start_process_group(cuda: bool, local_rank: int, local_processes: int) -> None:
    """Join the other processes: NCCL on GPUs, gloo on the CPU, whose cores are shared out evenly."""
    import torch

    if cuda:
        torch.cuda.set_device(local_rank)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_processes))
        without_compiler()
    import deepspeed

    quiet()
    deepspeed.init_distributed("nccl" if cuda else "gloo", verbose=False)


def end_process_group() -> None:
    """Leave the other processes in order: a gloo thread that outlives the interpreter can abort the whole process."""
    import torch.distributed as dist

    dist.barrier()
    dist.destroy_process_group()


def build_engine(settings: Settings, deepspeed_config: dict[str, Any], cuda: bool) -> Any:
    """The DeepSpeed engine around a fresh model and torch's fused AdamW."""
    import deepspeed
    import torch

    from training.model import NextTokenLoss, build_model
    from training.schedule import decay_groups

    module = NextTokenLoss(build_model(settings))
    if cuda:
        module = module.cuda()
    train = settings.train
    optimizer = torch.optim.AdamW(
        decay_groups(module.parameters(), train.weight_decay),
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_eps,
        fused=True,
    )
    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=deepspeed_config)
    return engine
