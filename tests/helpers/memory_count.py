"""Bytes of the tensors that are alive, and their peak, on a machine without the device or the memory for them.

    python -m tests.helpers.memory_count PLAN.json     # a training step under DeepSpeed on the CPU, see `count_step`

Under torch's fake tensors a pass of the reference model takes no memory and seconds.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """`now` and `peak` of the storages that operations make within this context; those in `known` count from the
    start, those in `without` never."""

    def __init__(self, known: Sequence[Any] = (), without: Sequence[Any] = ()):
        super().__init__()
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in without}
        self.now = self.peak = 0
        for tensor in known:
            self._add(tensor)

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self.sizes or tensor.is_meta:
            return
        self.sizes[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, storage._cdata)

    def _remove(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf)
        return result


def count_pass(settings: Any, checkpointed: int, monkeypatch: Any) -> int:
    """Peak bytes of activations, loss and gradients within one forward and backward pass of `settings`, without
    weights and without their gradients, which ZeRO takes away as they are made."""
    import transformers.models.llama.modeling_llama as llama
    from torch._subclasses.fake_tensor import FakeTensorMode

    from training import model as model_module
    from training.kernels import resolve_kernels

    # It cannot look into fake tensors and would make a mask that training does not have.
    monkeypatch.setattr(llama, "create_causal_mask", lambda **_: None)
    # Fake weights cannot change their precision: they are made in it.
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_: self)
    monkeypatch.setattr(llama.LlamaForCausalLM, "to", lambda self, *_: self)
    kernels = resolve_kernels(settings, cuda=False)
    before = torch.get_default_dtype()
    torch.set_default_dtype(model_module.DTYPES[settings.model.dtype])
    try:
        with FakeTensorMode():
            model = model_module.build_model(settings, kernels, checkpointed).train()
            torch.set_default_dtype(before)
            module = model_module.NextTokenLoss(model, kernels)
            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
            tokens = torch.zeros((settings.train.micro_batch_size, settings.train.seq_len + 1), dtype=torch.long)
            with LiveBytes(without=list(model.parameters())) as live:
                module(tokens).backward()
    finally:
        torch.set_default_dtype(before)
    return live.peak


def count_step(overrides: list[str], rank: int, processes: int, deepspeed_config: dict[str, Any]) -> dict[str, int]:
    """Bytes of one process before, and at the peaks of backward and of the optimizer's step of its third step."""
    from common.settings.load import load_settings
    from training.engine import build_engine, start_process_group
    from training.kernels import resolve_kernels

    settings = load_settings(overrides=overrides)
    start_process_group(False, rank, processes, 120)
    engine = build_engine(settings, deepspeed_config, False, resolve_kernels(settings, cuda=False), 0)
    tokens = torch.randint(3, 60, (settings.train.micro_batch_size, settings.train.seq_len + 1))
    rounds = settings.train.gradient_accumulation_steps

    def forward_and_backward() -> None:
        engine.backward(engine(tokens))

    for _ in range(2 * rounds):  # the optimizer's states exist after the first step
        forward_and_backward()
        engine.step()
    gc.collect()
    alive = [found for found in gc.get_objects() if issubclass(type(found), torch.Tensor) and found is not tokens]
    found: dict[str, int] = {}
    with LiveBytes(known=alive) as live:
        del alive
        found["states"] = live.now
        for index in range(rounds):
            forward_and_backward()
            if index == rounds - 1:
                found["backward"], live.peak = live.peak, live.now
            engine.step()
    return found | {"step": live.peak}


def main(plan: str) -> int:
    """Run the processes of a plan {"overrides", "processes", "deepspeed", "out"}, each writes out.RANK."""
    torch.set_num_threads(1)
    import deepspeed  # noqa: F401  once, before the forks

    todo = json.loads(Path(plan).read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(todo["processes"]):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(todo["processes"])}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                found = count_step(todo["overrides"], rank, todo["processes"], todo["deepspeed"])
                Path(f"{todo['out']}.{rank}").write_text(json.dumps(found))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    return max(os.waitpid(child, 0)[1] for child in children)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
