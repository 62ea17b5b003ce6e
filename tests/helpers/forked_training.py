"""Training of a tiny model by any number of processes of this machine, without the launcher: for tests of checkpoints.

    python -m tests.helpers.forked_training PLAN.json

The plan is a list of phases. {"convert": [checkpoint, target]} makes a universal checkpoint; the others train: see
`Phase`. torch and DeepSpeed are imported once, and each phase forks its processes from here.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from transformers import LlamaConfig, LlamaForCausalLM

from training.checkpoints import reshard
from training.engine import quiet, without_compiler
from training.optim import decay_groups

# Sequences of one step over all processes, and the inputs of one.
BATCH, LENGTH = 12, 16
ENTRIES = 211


@dataclass
class Phase:
    """Train from step `start` to `until`; `save` once `save_at` steps are done, or begin with `load`."""

    processes: int
    dtype: str
    tied: bool
    deepspeed: dict[str, Any]
    # Receives {"losses": of each step, and what `states` answers, as saved or loaded}.
    out: str
    until: int
    start: int = 0
    load: str | None = None
    save: str | None = None
    save_at: int | None = None


def main(plan: str) -> int:
    torch.set_num_threads(1)  # before the forks: a pool of threads would not survive them
    for entry in json.loads(Path(plan).read_text()):
        if "convert" in entry:
            checkpoint, target = map(Path, entry["convert"])
            reshard.convert(checkpoint, target, workers=2)
        else:
            run_phase(Phase(**entry))
    return 0


def run_phase(phase: Phase) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(phase.processes):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_process(phase, rank, port)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    if any([os.waitpid(child, 0)[1] for child in children]):  # a list: all are waited for
        raise SystemExit(f"{phase} failed")


def run_process(phase: Phase, rank: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(phase.processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    without_compiler()
    quiet()
    deepspeed.init_distributed("gloo", verbose=False)
    engine = build_engine(phase)
    found: dict[str, Any] = {}
    if phase.load:
        checkpoint = Path(phase.load)
        if (checkpoint / "zero").exists():
            reshard.load(engine, checkpoint)
        else:
            engine.load_checkpoint(str(checkpoint.parent), tag=checkpoint.name)
        found |= states(engine)

    losses = found["losses"] = []
    for step in range(phase.start, phase.until):
        for group in engine.optimizer.param_groups:
            group["lr"] = 3e-3 / (step + 1) ** 0.5
        total = torch.zeros(())
        for micro in range(BATCH // phase.processes):
            tokens = window(step * BATCH + micro * phase.processes + rank)
            loss = engine(input_ids=tokens, labels=tokens).loss
            engine.backward(loss)
            engine.step()
            total += loss.detach().float()
        dist.all_reduce(total)
        losses.append(total.item() / BATCH)
        if phase.save and step + 1 == phase.save_at:
            checkpoint = Path(phase.save)
            engine.save_checkpoint(str(checkpoint.parent), tag=checkpoint.name, save_latest=False)
            found |= states(engine)
    if rank == 0:
        torch.save(found, phase.out)
    dist.barrier()
    dist.destroy_process_group()


def build_engine(phase: Phase) -> Any:
    """A Llama of some 30,000 parameters, torch's AdamW in two groups, and DeepSpeed around both, as in train.py."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=ENTRIES,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=phase.tied,
        initializer_range=0.1,
    )
    model = LlamaForCausalLM(config).to(getattr(torch, phase.dtype))
    optimizer = torch.optim.AdamW(decay_groups(model.parameters(), 0.1), lr=1e-3, betas=(0.9, 0.95), fused=True)
    sizes = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": BATCH // phase.processes,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": phase.dtype == "bfloat16"},
        "steps_per_print": 1_000_000,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=sizes | phase.deepspeed)
    return engine


def window(position: int) -> torch.Tensor:
    """The tokens at `position` of the order of training: int64 [1, LENGTH], something that can be learnt."""
    start = torch.randint(ENTRIES, (1,), generator=torch.Generator().manual_seed(position))
    return ((start + 7 * torch.arange(LENGTH)) % ENTRIES)[None]


def states(engine: Any) -> dict[str, Any]:
    """Of each parameter the weights, fp32 weights and moments, gathered; step counts of the optimizer and engine."""
    wrapped = getattr(engine.optimizer, "optimizer", engine.optimizer)
    found = {}
    for name, parameter in engine.module.named_parameters():
        if hasattr(parameter, "_hp_mapping"):
            full = [_gather(parameter, wrapped, key) for key in reshard.STATES]
        else:  # no ZeRO: every process has it all
            master = _master(engine.optimizer, parameter)
            full = [master.detach().clone(), *(wrapped.state[master][key].clone() for key in reshard.STATES[1:])]
        found[name] = [parameter.detach().clone(), *full]
    steps = [float(state["step"]) for state in wrapped.state.values()]
    return {"states": found, "steps": [*steps, engine.global_steps]}


def _gather(parameter: Any, optimizer: Any, key: str) -> torch.Tensor:
    """One state of a parameter from all processes' shares, by the addresses that ZeRO keeps of them."""
    full, mapping = torch.zeros(parameter.numel()), parameter._hp_mapping
    if mapping is not None:
        share = optimizer.param_groups[mapping.param_group_index]["params"][0]
        values = share.detach() if key == "fp32" else optimizer.state[share][key]
        here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
        full.narrow(0, there.start, there.numel).copy_(values.narrow(0, here.start, here.numel))
    dist.all_reduce(full)
    return full.view(parameter.shape)


def _master(optimizer: Any, parameter: Any) -> Any:
    """The fp32 copy of a parameter where DeepSpeed keeps one without ZeRO, or the parameter itself."""
    for low, high in zip(getattr(optimizer, "fp16_groups", []), getattr(optimizer, "fp32_groups", []), strict=True):
        for one, copy in zip(low, high, strict=True):
            if one is parameter:
                return copy
    return parameter


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
