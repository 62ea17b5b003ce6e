"""Train the language model that config.json describes on the splits that data_prep/ made.

    deepspeed train.py                                            # the reference run, on all GPUs of this machine
    deepspeed --num_accelerators 2 train.py --config examples/quickstart/config.json      # two processes on a CPU
    python train.py --set train.micro_batch_size=8                # one process

The same command resumes an unfinished run of the same configuration from its last checkpoint; --new starts another.
Results go to runs/<name>/: metrics.jsonl, loss.png, checkpoints/, and export/, which transformers loads.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from settings import (
    Settings,
    UserError,
    add_config_arguments,
    project_path,
    repeated_flags,
    run_command,
    settings_from_args,
)
from training import checkpoint, planner, preflight
from training.engine import (
    build_engine,
    end_process_group,
    resolve_deepspeed_config,
    single_process_environment,
    start_process_group,
)
from training.metrics import MetricsLog, duration, plot_metrics, step_line, validation_line
from training.run_folder import Run, export_model, find_run, hold_run, record_run, tokenizer_origin
from training.schedule import learning_rate

# A process other than 0 that fails waits this long, so that process 0 can speak first: the launcher ends it then.
LET_FIRST_SPEAK_SECONDS = 20


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train the model of config.json; without data or tokenizer, say what is missing.",
        epilog="example: deepspeed train.py --set train.micro_batch_size=16 --set train.gradient_accumulation_steps=64",
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--new", action="store_true", help="start a fresh run although one of this configuration exists"
    )
    parser.add_argument("--check", action="store_true", help="print the checklist and stop")
    parser.add_argument("--local_rank", type=int, default=0, help="given by the deepspeed launcher")
    args = parser.parse_args(argv)
    single_process_environment()
    rank = int(os.environ["RANK"])
    try:
        return _prepare_and_train(args)
    except UserError as error:
        if rank == 0:
            raise
        time.sleep(LET_FIRST_SPEAK_SECONDS)
        raise UserError(f"[process {rank}] {error}") from None


def _prepare_and_train(args: argparse.Namespace) -> int:
    settings = settings_from_args(args)
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ["LOCAL_RANK"])
    local_processes = int(os.environ.get("LOCAL_SIZE") or os.environ.get("LOCAL_WORLD_SIZE") or processes)
    deepspeed_config = resolve_deepspeed_config(project_path(settings.train.deepspeed_config), settings, processes)

    device = preflight.find_device(local_processes, local_rank)
    flags = repeated_flags(args)
    checks = preflight.checklist(settings, device, processes, flags)
    failed = sum(bool(check.todo) for check in checks)
    if args.check or failed:
        if rank == 0:
            print(f"Before training:\n{preflight.render(checks)}", flush=True)
        if failed:
            raise UserError(f"{failed} of {len(checks)} checks failed; do what the arrows say, then the same command")
        return 0

    from tokenizer.token_cache import ensure_token_cache

    tokenizer_folder = project_path(settings.tokenizer.out)
    caches = {
        name: ensure_token_cache(split, tokenizer_folder, settings, builder=rank == 0, flags=flags)
        for name, split in preflight.find_splits(settings).items()
    }
    for name, cache in caches.items():
        if cache.num_tokens <= settings.train.seq_len:
            raise UserError(
                f"{cache.folder}: {cache.num_tokens} tokens do not fill one window of train.seq_len "
                f"{settings.train.seq_len}; lower it, or give the split {name} more text (data.val_fraction for val)"
            )

    start_process_group(device.cuda, local_rank, local_processes)
    run = _agree(lambda: find_run(settings, deepspeed_config, args.new))
    held = _agree(lambda: hold_run(run), keep_on_first=True)
    if run.finished:
        if rank == 0:
            print(f"run {run.name} is finished: see {run.folder / 'loss.png'} and {run.export}; --new starts another")
    else:
        Trainer(settings, deepspeed_config, device, run, caches).train()
    end_process_group()
    if held:
        held.close()
    return 0


def _agree(function: Callable[[], Any], keep_on_first: bool = False) -> Any:
    """What `function` answers or raises in process 0, in every process; `keep_on_first`: in the others, None."""
    import torch.distributed as dist

    value: Any = None
    error: str | None = None
    if dist.get_rank() == 0:
        try:
            value = function()
        except UserError as raised:
            error = str(raised)
    box = [None if keep_on_first else value, error]
    dist.broadcast_object_list(box, src=0)
    if box[1] is not None:
        dist.destroy_process_group()
        raise UserError(box[1])
    return value if keep_on_first else box[0]


class Trainer:
    """One run: the engine, the data in its order, and what is measured on the way."""

    def __init__(
        self,
        settings: Settings,
        deepspeed_config: dict[str, Any],
        device: preflight.Device,
        run: Run,
        caches: dict[str, Any],
    ):
        import torch

        from tokenizer.encoding import token_byte_lengths
        from training.data import PackedSequences

        self.settings, self.train_settings, self.run, self.device = settings, settings.train, run, device
        self.rank, self.processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.tokenizer_folder = project_path(settings.tokenizer.out)
        train = self.train_settings
        self.data = PackedSequences(caches["train"].tokens, train.seq_len, train.seed)
        self.validation = PackedSequences(caches["val"].tokens, train.seq_len, train.seed)
        self.sequences_per_step = train.micro_batch_size * train.gradient_accumulation_steps * self.processes
        self.cache = caches["train"]
        self.engine = build_engine(settings, deepspeed_config, device.cuda)
        self.torch_device = self.engine.device
        byte_lengths = torch.from_numpy(token_byte_lengths(self.tokenizer_folder))
        self.byte_lengths = byte_lengths.to(self.torch_device)
        self.step = self._resume()
        if self.rank == 0:
            details = {
                "processes": self.processes,
                "device": device.name,
                "tokenizer": self.cache.tokenizer,
                "train_sha256": self.cache.source_sha256,
                "tokenizer_origin": tokenizer_origin(self.tokenizer_folder, settings, self.cache.source_sha256),
            }
            for difference in details["tokenizer_origin"]["differences"]:
                print(f"note: {difference}")
            record_run(run, settings, deepspeed_config, details)
            self._introduce()
        self.log = MetricsLog(run.folder, settings, run.name, self.step) if self.rank == 0 else None

    def _state(self) -> checkpoint.State:
        return checkpoint.State(
            step=self.step,
            processes=self.processes,
            position=self.step * self.sequences_per_step,
            tokenizer=self.cache.tokenizer,
            train_sha256=self.cache.source_sha256,
        )

    def _resume(self) -> int:
        self.step = 0
        if self.run.resume is None:
            return 0
        state = checkpoint.read_state(self.run.resume)
        checkpoint.check_state(state, self._state(), self.run.resume)
        checkpoint.load(self.engine, self.run.resume)
        return state.step

    def _introduce(self) -> None:
        settings, train = self.settings, self.train_settings
        parameters = planner.count_parameters(settings.model).total
        tokens = planner.tokens_per_step(train, self.processes)
        epochs = train.max_steps * tokens / max(1, self.data.size * train.seq_len)
        if self.run.resume is None:
            print(f"run {self.run.name}: {self.run.folder}")
        else:
            print(f"run {self.run.name}: resumed from {self.run.resume} at step {self.step}")
        print(
            f"{parameters:,} parameters in {settings.model.dtype} on {self.processes} x {self.device.name}; "
            f"{self.cache.num_tokens:,} training tokens; {train.max_steps} steps of {tokens:,} tokens "
            f"({epochs:.2f} epochs)",
            flush=True,
        )

    def train(self) -> None:
        """Steps from where the run stands to `max_steps`, then the export."""
        train = self.train_settings
        if self.step == 0:
            self._validate()
        resumed_at, started = self.step, time.monotonic()
        interval, interval_steps, paused = started, 0, 0.0
        while self.step < train.max_steps:
            loss, rate = self._train_step()
            interval_steps += 1
            if self.step % train.log_every == 0 or self.step == train.max_steps:
                now = time.monotonic()
                seconds = (now - interval - paused) / interval_steps
                self._report(
                    loss, rate, seconds, (train.max_steps - self.step) * (now - started) / (self.step - resumed_at)
                )
                interval, interval_steps, paused = time.monotonic(), 0, 0.0
            before = time.monotonic()
            if self.step % train.val_every == 0 or self.step == train.max_steps:
                self._validate()
            if self.step % train.save_every == 0 or self.step == train.max_steps:
                self._save()
            paused += time.monotonic() - before
        self._finish()

    def _train_step(self) -> tuple[float, float]:
        """One optimizer step over all processes: its mean loss and its learning rate."""
        import torch
        import torch.distributed as dist

        train, engine = self.train_settings, self.engine
        rate = learning_rate(self.step, train)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=self.torch_device)
        engine.train()
        for micro in range(train.gradient_accumulation_steps):
            first = self.step * self.sequences_per_step + train.micro_batch_size * (micro * self.processes + self.rank)
            tokens = torch.from_numpy(self.data.batch(first, train.micro_batch_size))
            loss = engine(tokens.to(self.torch_device, non_blocking=True))
            engine.backward(loss)
            engine.step()
            total += loss.detach().float()
        norm = engine.get_global_grad_norm()
        # Half precision skips such a step by itself, and lowers its loss scale.
        if norm is not None and not math.isfinite(norm) and self.settings.model.dtype != "float16":
            raise UserError(f"step {self.step + 1}: the norm of the gradient is {float(norm)}{self._way_back()}")
        dist.all_reduce(total)
        self.step += 1
        mean = total.item() / (train.gradient_accumulation_steps * self.processes)
        if not math.isfinite(mean):
            raise UserError(f"step {self.step}: the loss is {mean}{self._way_back()}")
        return mean, rate

    def _way_back(self) -> str:
        saved = checkpoint.finished(self.run.checkpoints)
        return (
            f"; nothing was saved since {saved[-1] if saved else 'the start'}. Lower train.learning_rate, or raise "
            "train.warmup_steps or train.adam_eps"
        )

    def _report(self, loss: float, rate: float, seconds: float, left: float) -> None:
        if self.log is None:
            return
        train = self.train_settings
        tokens = planner.tokens_per_step(train, self.processes)
        speed = tokens / seconds
        peak = planner.peak_flops(self.device.name) if self.settings.model.dtype != "float32" else None
        flops = planner.flops_per_token(self.settings.model, train.seq_len)
        norm = self.engine.get_global_grad_norm()
        record = {
            "step": self.step,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": None if norm is None else float(norm),
            "tokens_per_second": speed,
            "mfu": speed * flops / (peak * self.processes) if peak else None,
            "memory_bytes": self._memory(),
            "tokens": self.step * tokens,
        }
        self.log.write(record)
        print(f"{step_line(record, train.max_steps)}  left {duration(left)}", flush=True)

    def _memory(self) -> int:
        """Peak memory of this process's device, or its resident memory on a CPU; bytes."""
        import torch

        if self.device.cuda:
            return torch.cuda.max_memory_allocated()
        import psutil

        return psutil.Process().memory_info().rss

    def _validate(self) -> None:
        """Loss on the same windows of the validation split every time, spread over it evenly."""
        import torch
        import torch.distributed as dist

        train, data = self.train_settings, self.validation
        count = min(train.val_sequences or data.size, data.size)
        windows = [index * data.size // count for index in range(count)]
        sums = torch.zeros(3, dtype=torch.float64)
        self.engine.eval()
        with torch.no_grad():
            mine = windows[self.rank :: self.processes]
            for start in range(0, len(mine), train.micro_batch_size):
                batch = [torch.from_numpy(data.window(w)) for w in mine[start : start + train.micro_batch_size]]
                tokens = torch.stack(batch).to(self.torch_device)
                losses = self.engine.module.token_losses(tokens)
                sums[0] += losses.double().sum().item()
                sums[1] += losses.numel()
                sums[2] += self.byte_lengths[tokens[:, 1:]].sum().item()
        sums = sums.to(self.torch_device)
        dist.all_reduce(sums)
        if self.log is None:
            return
        nats, tokens_seen, text_bytes = sums.tolist()
        loss = nats / tokens_seen
        record = {
            "step": self.step,
            "val_loss": loss,
            "val_perplexity": math.exp(min(loss, 100)),
            "val_bits_per_byte": nats / math.log(2) / max(1, text_bytes),
            "val_tokens": int(tokens_seen),
        }
        self.log.write(record)
        print(validation_line(record), flush=True)

    def _save(self) -> None:
        import torch

        if not all(torch.isfinite(parameter).all() for parameter in self.engine.module.parameters()):
            raise UserError(f"step {self.step}: the weights are no longer finite{self._way_back()}")
        path = checkpoint.save(self.engine, self.run.checkpoints, self._state(), self.train_settings.keep_last)
        if self.rank == 0:
            plot_metrics(self.run.folder)
            print(f"checkpoint {path}", flush=True)

    def _finish(self) -> None:
        if self.log is not None:
            self.log.close()
            plot = plot_metrics(self.run.folder)
            export = export_model(self.engine.module.model, self.run, self.settings, self.tokenizer_folder)
            print(f"done: loss plot {plot}, model {export}")
            print(
                f"next: python evaluation/perplexity.py --model {export} --data {self._validation_path()}", flush=True
            )

    def _validation_path(self) -> Path:
        return preflight.find_splits(self.settings)["val"].paths[0]


if __name__ == "__main__":
    run_command(main)
