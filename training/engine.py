"""DeepSpeed: its configuration resolved, its engine built, and what it needs to run without a compiler."""

from __future__ import annotations

import datetime
import difflib
import json
import logging
import os
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.settings.load import Settings

if TYPE_CHECKING:
    from training.kernels import Kernels
    from training.run_folder.init_from import Initial

# Sections that DeepSpeed 0.19 reads; it takes any other in silence.
SECTIONS = {
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"),
    *(
        "bf16",
        "fp16",
        "torch_autocast",
        "data_types",
        "communication_data_type",
        "seq_parallel_communication_data_type",
    ),
    *("zero_optimization", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "offload_optimizer", "aio"),
    *("prescale_gradients", "gradient_predivide_factor", "gradient_allreduce_op", "sparse_gradients"),
    *("disable_allgather", "steps_per_print", "wall_clock_breakdown", "memory_breakdown", "dump_state"),
    *("checkpoint", "activation_checkpointing", "flops_profiler", "comms_logger", "timers", "compile"),
    *("tensorboard", "wandb", "comet", "csv_monitor", "disable_python_gc", "graph_harvesting"),
    *("dataloader_drop_last", "use_data_before_expert_parallelism", "train_steps"),
}
# Ours to turn: they would take the checkpoints, or the arithmetic, out of train.py's hands.
TRAINERS_OWN = ("optimizer", "scheduler", "checkpoint", "torch_autocast", "activation_checkpointing")


def resolve_deepspeed_config(path: Path, settings: Settings, processes: int) -> dict[str, Any]:
    """`ds_config.json` with each "auto" filled in from `config.json`.

    Raises:
        UserError: an unreadable file, a value that contradicts `config.json`, or a section that train.py owns.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(config).__name__}")
    for section in config:
        if section in TRAINERS_OWN:
            raise UserError(f"{path}: '{section}' is train.py's own (see the train section of config.json); remove it")
        if section not in SECTIONS:
            near = difflib.get_close_matches(section, SECTIONS, 1)
            raise UserError(
                f"{path}: unknown section '{section}'; "
                + (f"did you mean '{near[0]}'?" if near else f"DeepSpeed knows {', '.join(sorted(SECTIONS))}")
            )
    zero = config.get("zero_optimization", {})
    stage = zero.get("stage", 0) if isinstance(zero, dict) else zero
    if stage not in (0, 1, 2):
        raise UserError(f"{path}: zero_optimization.stage is {stage}, train.py knows 0, 1 and 2 (2 is the reference)")

    for key, least in (("reduce_bucket_size", 1), ("allgather_bucket_size", 1)):
        number = zero.get(key, least) if isinstance(zero, dict) else least
        if not isinstance(number, int | float) or number < least:
            raise UserError(f"{path}: 'zero_optimization.{key}' is {json.dumps(number)}, must be a number of elements")
    prints = config.get("steps_per_print", 1)
    if type(prints) is not int or prints < 1:
        raise UserError(
            f"{path}: 'steps_per_print' is {json.dumps(prints)}, must be a whole number of steps, at least 1"
        )

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
            if not isinstance(section, dict):
                raise UserError(f"{path}: '{parent}' is {json.dumps(section)}, expected an object")
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
    defaults = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    if "WORLD_SIZE" not in os.environ:  # alone: a port that no other run of this machine has taken
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            defaults["MASTER_PORT"] = str(probe.getsockname()[1])
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def without_compiler() -> None:
    """Keep DeepSpeed from compiling its shared-memory collectives for the CPU at first use.

    The build takes a minute, fails without a compiler, and leaves a lock behind when it is killed; gloo does the same
    work. The table is internal to DeepSpeed 0.19, hence one place and a test.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def without_nvml() -> None:
    """Let DeepSpeed ask torch how much memory a GPU has left, as it does where NVML's package is missing.

    By NVML it takes CUDA_VISIBLE_DEVICES for whole numbers, and ends a run whose GPUs are named GPU-... or MIG-...; and
    the whole card of a MIG slice may be closed to it. Internal to DeepSpeed 0.19 as well.
    """
    from deepspeed.accelerator import cuda_accelerator, get_accelerator

    get_accelerator()  # what it makes first would fetch NVML again
    cuda_accelerator.pynvml = None


def start_process_group(cuda: bool, local_rank: int, local_processes: int, timeout_seconds: float) -> None:
    """Join the other processes: NCCL on GPUs, gloo on the CPU, whose cores are shared out evenly
    unless OMP_NUM_THREADS says how many a process takes."""
    import torch

    if cuda:
        torch.cuda.set_device(local_rank)
    else:
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_processes))
        without_compiler()
    import deepspeed

    quiet()
    timeout = datetime.timedelta(seconds=timeout_seconds)
    try:
        deepspeed.init_distributed("nccl" if cuda else "gloo", verbose=False, timeout=timeout)
    except torch.distributed.DistNetworkError as error:
        port = os.environ["MASTER_PORT"]
        if "EADDRINUSE" not in str(error):
            raise
        raise UserError(
            f"port {port} is taken, by another run perhaps; give this one its own: "
            f"deepspeed --master_port {int(port) + 1} train.py"
        ) from None


def end_process_group() -> None:
    """Leave the other processes in order: a gloo thread that outlives the interpreter can abort the whole process."""
    import torch.distributed as dist

    dist.barrier()
    dist.destroy_process_group()


def build_engine(
    settings: Settings,
    deepspeed_config: dict[str, Any],
    cuda: bool,
    kernels: Kernels,
    checkpointed_layers: int,
    initial: Initial | None = None,
) -> Any:
    """The DeepSpeed engine around a model, fresh or with `initial` weights, and torch's AdamW.

    Raises:
        UserError: DeepSpeed refuses its configuration, or the weights are not to be had.
    """
    import deepspeed
    import pydantic
    import torch
    from deepspeed.runtime.config import DeepSpeedConfigError
    from deepspeed.runtime.zero.utils import ZeRORuntimeException

    from training.model import NextTokenLoss, build_model
    from training.optim import decay_groups
    from training.run_folder.init_from import load_initial

    train = settings.train
    model = build_model(settings, kernels, checkpointed_layers)
    if initial is not None:  # before DeepSpeed takes its own copy of the weights
        load_initial(model, initial)
    module = NextTokenLoss(model, kernels, settings.model.eos_token_id if train.document_masking else None)
    if cuda:
        module = module.cuda()
        without_nvml()
    optimizer = torch.optim.AdamW(
        decay_groups(module.parameters(), train.weight_decay),
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_eps,
        fused=kernels.fused_adamw,
    )
    try:
        engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=deepspeed_config)
    # All of these are its ways of refusing values (ValueError: fp16 on a CPU).
    except (
        *(pydantic.ValidationError, DeepSpeedConfigError, ZeRORuntimeException),
        *(AssertionError, TypeError, ValueError, AttributeError),
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{settings.train.deepspeed_config}: DeepSpeed refuses it: {reason}") from error
    return engine
