"""Three loops that train the same model on the same data: what train_cpu.py beside it compares. Imported, not run.

Each takes `steps` steps, one process, and answers for each step after WARM_UP_STEPS its seconds and its processor time
(of all threads, which other work on the machine hardly changes), and the loss of every step.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.paths import project_path
from common.settings.load import Settings, load_settings

PEERS = {
    "ours": "train.py",
    "trainer": "transformers' Trainer + DeepSpeed",
    "plain": "plain PyTorch",
}
WARM_UP_STEPS = 2


def run_peer(name: str, config: Path, overrides: Sequence[str], steps: int) -> dict[str, Any]:
    """Run one of PEERS in this process."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        fixed = {
            **{"runs": scratch, "run_name": "benchmark", "wandb": "disabled", "log_every": 1, "max_steps": steps},
            # A constant rate: with DeepSpeed the Trainer takes no schedule of another's.
            **{
                "warmup_steps": 0,
                "min_lr_ratio": 1.0,
                "val_every": steps,
                "val_sequences": 1,
                "save_every": steps,
                "keep_last": 1,
            },
            **{"early_stop_patience": None, "keep_every": None, "on_spike": "log", "gradient_checkpointing": "none"},
        }
        flags = [*overrides, *(f"train.{key}={_json(value)}" for key, value in fixed.items())]
        if name == "ours":
            return _ours(config, flags, steps)
        settings = load_settings(config, flags)
        return (_trainer if name == "trainer" else _plain)(settings, steps, scratch)


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


def train_cache(settings: Settings, flags: str = "") -> Any:
    """The token cache of the train split, made where it is missing."""
    from tokenizer.cache.ensure import ensure_token_cache
    from tokenizer.cache.plan import dataset_split

    return ensure_token_cache(dataset_split(settings, "train", flags), project_path(settings.tokenizer.out), settings)


def _ours(config: Path, flags: Sequence[str], steps: int) -> dict[str, Any]:
    """train.py itself; its Trainer is watched where it reports a step."""
    import train
    from training.trainer import Trainer

    laps: list[Counter[str]] = []
    losses: list[float] = []
    processor: list[float] = []

    class Watched(Trainer):
        def _report(self, left: float) -> None:
            laps.append(Counter(self.clock.seconds))
            assert self.loss is not None  # all tokens are learnt
            losses.append(self.loss)
            processor.append(time.process_time())
            super()._report(left)

    train.Trainer = Watched  # type: ignore[misc]
    train.main(["--config", str(config), *(part for flag in flags for part in ("--set", flag))])
    timed = laps[WARM_UP_STEPS:]
    for lap in timed:
        del lap["pause"]
    phases: Counter[str] = Counter()
    for lap in timed:
        phases.update(lap)
    seconds = [sum(lap.values()) for lap in timed]
    return {"seconds": seconds, "processor": _steps_of(processor), "losses": losses, "phases": dict(phases)}


def _steps_of(times: Sequence[float]) -> list[float]:
    """Differences of the times at the end of each step, after the warm-up."""
    return [after - before for before, after in zip(times[WARM_UP_STEPS - 1 :], times[WARM_UP_STEPS:], strict=False)]


def _parts(settings: Settings) -> tuple[Any, Any, Any]:
    """Model with its loss, AdamW over fp32 or the model's own parameters, data in the order of training."""
    from training.data import PackedSequences
    from training.kernels import resolve_kernels
    from training.model import NextTokenLoss, build_model

    kernels = resolve_kernels(settings, cuda=False)
    module = NextTokenLoss(build_model(settings, kernels), kernels)
    train = settings.train
    return module, kernels, PackedSequences(train_cache(settings).tokens, train.seq_len, train.seed)


def _adamw(settings: Settings, parameters: Sequence[Any], fused: bool) -> Any:
    import torch

    from training.optim import decay_groups

    train = settings.train
    return torch.optim.AdamW(
        decay_groups(parameters, train.weight_decay),
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_eps,
        fused=fused,
    )


def step_master(optimizer: Any, master: Sequence[Any], own: Sequence[Any], max_norm: float) -> None:
    """AdamW on the fp32 copies `master` with the gradients of the model's `own` parameters, which then follow them."""
    import torch

    with torch.no_grad():
        for copy, parameter in zip(master, own, strict=True):
            copy.grad = parameter.grad.float()
            parameter.grad = None
    torch.nn.utils.clip_grad_norm_(master, max_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        for copy, parameter in zip(master, own, strict=True):
            parameter.copy_(copy)


def _plain(settings: Settings, steps: int, scratch: str) -> dict[str, Any]:
    """The loop that one writes by hand: weights in the model's precision, fp32 copies that AdamW steps."""
    import torch

    from training.optim import learning_rate

    train = settings.train
    module, kernels, data = _parts(settings)
    module.train()
    own = [parameter for parameter in module.parameters()]
    master = [torch.nn.Parameter(parameter.detach().float().clone()) for parameter in own]
    optimizer = _adamw(settings, master, kernels.fused_adamw)
    position, losses, seconds, processor = 0, [], [], []
    for step in range(steps):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, train)
        total = 0.0
        for _ in range(train.gradient_accumulation_steps):
            tokens = torch.from_numpy(data.batch(position, train.micro_batch_size))
            position += train.micro_batch_size
            loss = module(tokens) / train.gradient_accumulation_steps
            loss.backward()
            total += loss.item()
        step_master(optimizer, master, own, train.max_grad_norm)
        losses.append(total)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time())
    return {"seconds": seconds[WARM_UP_STEPS:], "processor": _steps_of(processor), "losses": losses}


def _trainer(settings: Settings, steps: int, scratch: str) -> dict[str, Any]:
    """transformers' Trainer with the same DeepSpeed configuration, logging each step as ours does."""
    import json

    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from training.engine import quiet, resolve_deepspeed_config, single_process_environment, without_compiler

    single_process_environment()
    without_compiler()
    quiet()
    train = settings.train
    module, kernels, data = _parts(settings)

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return steps * train.gradient_accumulation_steps * train.micro_batch_size

        def __getitem__(self, position: int) -> Any:
            return {"tokens": torch.from_numpy(data.at(position))}

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.config = module, module.model.config

        def forward(self, tokens: Any) -> Any:
            return {"loss": self.inner(tokens)}

    windows = Windows()

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(windows)

    seconds: list[float] = []
    losses: list[float] = []
    processor: list[float] = []

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.last = getattr(self, "last", None) or time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            now = time.perf_counter()
            seconds.append(now - self.last)
            processor.append(time.process_time())
            self.last = now

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            if logs and "loss" in logs:
                losses.append(float(logs["loss"]))

    config = resolve_deepspeed_config(project_path(train.deepspeed_config), settings, 1)
    ds = Path(scratch, "ds.json")
    ds.write_text(json.dumps(config))
    arguments = TrainingArguments(
        output_dir=scratch,
        max_steps=steps,
        per_device_train_batch_size=train.micro_batch_size,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        max_grad_norm=train.max_grad_norm,
        learning_rate=train.learning_rate,
        lr_scheduler_type="constant",
        bf16=settings.model.dtype == "bfloat16",
        use_cpu=True,
        deepspeed=str(ds),
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
        seed=train.seed,
    )
    optimizer = _adamw(settings, list(module.parameters()), kernels.fused_adamw)
    loop = InOrder(
        model=Module(),
        args=arguments,
        train_dataset=windows,
        optimizers=(optimizer, None),
        callbacks=[Watch()],
    )
    loop.train()
    return {"seconds": seconds[WARM_UP_STEPS:], "processor": _steps_of(processor), "losses": losses}
