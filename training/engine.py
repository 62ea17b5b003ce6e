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
from training.collectives import is_lost_peer
from training.rendezvous import ends_when_stuck, meeting, one_line

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
NCCL_ADVICE = (
    "NCCL_SOCKET_IFNAME=NAME chooses the interface of NCCL, NCCL_DEBUG=INFO has it say what it does "
    "(lines of ~/.deepspeed_env where deepspeed starts other machines)"
)
# What DeepSpeed does with its own optimizers alone. Its refusals advise the `optimizer` section, which is ours.
OF_DEEPSPEEDS_OPTIMIZERS = {
    "zero_optimization": ("zenflow",),
    "bf16": ("bf16_master_weights_and_grads", "bf16_optimizer_states"),
    "fp16": ("fp16_master_weights_and_grads",),
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
    except (OSError, ValueError, RecursionError) as error:
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
    _check_zero(path, config)
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
    _check_optimizer(path, config)
    if settings.model.dtype == "float16" and not config.get("zero_optimization", {}).get("stage", 0):
        raise UserError(
            f"{path}: zero_optimization.stage is 0 and dtype is float16: DeepSpeed would divide the gradients by a "
            "loss scale that it has not multiplied the loss by; set the stage to 1 or 2, or dtype to bfloat16"
        )
    return config


def _check_zero(path: Path, config: dict[str, Any]) -> None:
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise UserError(f"{path}: 'zero_optimization' is {json.dumps(zero)}, expected an object")
    stage = zero.get("stage", 0)
    if type(stage) is not int or stage not in (0, 1, 2):
        raise UserError(
            f"{path}: zero_optimization.stage is {json.dumps(stage)}, train.py knows 0, 1 and 2 (2 is the reference)"
        )
    for key in ("reduce_bucket_size", "allgather_bucket_size"):
        number = zero.get(key, 1)
        if not isinstance(number, int | float) or number < 1:
            raise UserError(f"{path}: 'zero_optimization.{key}' is {json.dumps(number)}, must be a number of elements")


def _check_optimizer(path: Path, config: dict[str, Any]) -> None:
    """Refuse what DeepSpeed would refuse with advice that train.py cannot follow, and say what works instead."""
    for section, keys in OF_DEEPSPEEDS_OPTIMIZERS.items():
        for key in keys:
            if config.get(section, {}).get(key) not in (None, False):
                raise UserError(
                    f"{path}: '{section}.{key}' works with DeepSpeed's own optimizers alone, and train.py trains with "
                    "torch's AdamW on fp32 weights; remove it"
                )
    zero = config.get("zero_optimization", {})
    stage, offload = zero.get("stage", 0), zero.get("offload_optimizer") or {}
    device = offload.get("device", "none") if isinstance(offload, dict) else "none"
    if zero.get("cpu_offload"):  # the old name of the same
        device = "cpu"
    if device != "none" and (not stage or config.get("zero_force_ds_cpu_optimizer", True)):
        todo = [] if stage else ["set zero_optimization.stage to 1 or 2"]
        if config.get("zero_force_ds_cpu_optimizer", True):
            todo.append(
                'write "zero_force_ds_cpu_optimizer": false beside "zero_optimization": train.py\'s optimizer is '
                "torch's AdamW, which runs on the CPU as well"
            )
        if device != "cpu":
            todo.append('write "device": "cpu", for stages 1 and 2 put nothing on a disk')
        raise UserError(f"{path}: to offload the optimizer (to {json.dumps(device)}), {'; '.join(todo)}")
    if zero.get("legacy_stage1"):
        raise UserError(f"{path}: DeepSpeed has no 'zero_optimization.legacy_stage1' any more; remove it")
    if zero.get("compute_grad_norm") is False:
        raise UserError(
            f"{path}: 'zero_optimization.compute_grad_norm' is false, and train.py logs the norm and stops where it is "
            "not finite; remove it"
        )


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


def start_process_group(
    cuda: bool, local_rank: int, local_processes: int, timeout_seconds: float, run: str = ""
) -> None:
    """Join the other processes of `run`: NCCL on GPUs, gloo on the CPU, whose cores are shared out evenly
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
    rank, backend = int(os.environ["RANK"]), "nccl" if cuda else "gloo"
    timeout = datetime.timedelta(seconds=timeout_seconds)
    advice = NCCL_ADVICE if cuda else "another process hangs or is gone: see its output"
    try:
        met = meeting(rank, int(os.environ["WORLD_SIZE"]), run)
        with met, ends_when_stuck(rank, f"connecting by {backend}", advice):
            deepspeed.init_distributed(backend, verbose=False, timeout=timeout)
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        raise UserError(
            f"process {rank} does not connect to the others by {backend} ({one_line(error)}); {advice}"
        ) from error


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
    from deepspeed.accelerator import get_accelerator
    from deepspeed.runtime.config import DeepSpeedConfigError
    from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
    from deepspeed.runtime.zero.utils import ZeRORuntimeException

    from training.model import NextTokenLoss, build_model
    from training.optim import decay_groups
    from training.run_folder.init_from import load_initial

    train = settings.train
    accelerator, dtype = get_accelerator(), settings.model.dtype
    has = {"float16": accelerator.is_fp16_supported(), "bfloat16": accelerator.is_bf16_supported(), "float32": True}
    if not has[dtype]:
        others = " or ".join(name for name, supported in has.items() if supported)
        raise UserError(f"dtype is {dtype}, in which this device does not compute; set dtype to {others}")
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
    # All of these are its ways of refusing values.
    except (
        *(pydantic.ValidationError, DeepSpeedConfigError, ZeRORuntimeException),
        *(AssertionError, TypeError, ValueError, AttributeError, NotImplementedError),
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{settings.train.deepspeed_config}: DeepSpeed refuses it: {reason}") from error
    if isinstance(engine.optimizer, FP16_UnfusedOptimizer):
        undo_step_of_zeros(engine.optimizer)
    return engine


def undo_step_of_zeros(optimizer: Any) -> None:
    """Take back the step of zero gradients that DeepSpeed's half-precision optimizer without ZeRO begins with.

    It counts as a step, so Adam's bias correction would be one ahead, and it decays the fp32 weights once at the full
    learning rate. The optimizer makes its state at its first own step, or a checkpoint has it.
    """
    import torch

    with torch.no_grad():
        for weights, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
            for weight, master in zip(weights, masters, strict=True):
                master.copy_(weight)
    optimizer.optimizer.state.clear()
