"""What a run begins or goes on with: engine, data, checkpoints, validation, and its record."""

from __future__ import annotations

import os
import shutil
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.paths import project_path
from common.settings.load import Settings
from training.checkpoints import manager as checkpoint
from training.checkpoints import reshard
from training.collectives import Control
from training.data import Loader, PackedSequences
from training.engine import build_engine
from training.metrics import MetricsLog
from training.plan import memory as memory_plan
from training.plan import speed as speed_plan
from training.plan.parameters import count_parameters
from training.run_folder import preflight
from training.run_folder.config_diff import changes_text
from training.run_folder.folder import Run, record_run, tokenizer_origin
from training.run_folder.init_from import PRETRAINING, find_initial
from training.stopping import StopRequest
from training.validation import Validation
from training.watchdog import START_SECONDS, Watchdog


class Startup:
    """One run from where it stands: the engine, the data in its order, and what is measured on the way."""

    def __init__(
        self,
        settings: Settings,
        deepspeed_config: dict[str, Any],
        device: preflight.Device,
        run: Run,
        caches: dict[str, Any],
        control: Control,
    ):
        self.settings, self.train_settings, self.run, self.device = settings, settings.train, run, device
        self.control, self.rank, self.processes = control, control.rank, control.processes
        self.deepspeed_config = deepspeed_config
        self.tokenizer_folder = project_path(settings.tokenizer.out)
        train = self.train_settings
        self.watchdog = Watchdog(train.hang_seconds, f"process {self.rank}")
        control.beat = lambda: self.watchdog.beat("waiting for process 0")
        self.stop = StopRequest()
        self.stop.listen()
        # From here on: the first exchange over NCCL has no time limit of its own.
        self.watchdog.start(START_SECONDS)
        try:
            self._begin(caches)
        except BaseException:
            self.watchdog.stop()
            raise

    def _begin(self, caches: dict[str, Any]) -> None:
        """Engine, data and validation, as the last checkpoint has them or from nothing."""
        import torch

        from tokenizer.cache.encoding import token_byte_lengths
        from training.kernels import resolve_kernels

        settings, train, deepspeed_config = self.settings, self.train_settings, self.deepspeed_config
        run, device, control = self.run, self.device, self.control
        self.cache = caches["train"]
        self.answers_only = train.learn_from == "answers"
        self.data = PackedSequences(self.cache.tokens, train.seq_len, train.seed, self.answers_only)
        self.sequences_per_step = train.micro_batch_size * train.gradient_accumulation_steps * self.processes
        self.rewinds: Counter[int] = Counter()
        self.events: deque[Any] = deque()

        resume, passed_over = control.told_by_first(lambda: checkpoint.last_good(run.checkpoints))
        for line in passed_over:
            self._say(line)
        self.state = checkpoint.State(
            step=0,
            processes=self.processes,
            sequences_per_step=self.sequences_per_step,
            skipped=0,
            tokenizer=self.cache.tokenizer,
            train_sha256=self.cache.source_sha256,
            val_sha256=caches["val"].source_sha256,
            configuration=settings.to_dict(),
        )
        if resume is not None:
            state = checkpoint.read_state(resume)
            checkpoint.check_state(state, self.state, resume, train.micro_batch_size)
        kernels = resolve_kernels(settings, device.cuda)
        for note in kernels.notes:
            self._say(f"note: {note}")
        layers = memory_plan.choose_checkpointing(
            settings, deepspeed_config, self.processes, device.memory, device.cuda
        )
        initial = find_initial(settings) if resume is None else None
        self.watchdog.beat("building the model and DeepSpeed's engine")
        self.engine = build_engine(settings, deepspeed_config, device.cuda, kernels, layers, initial)
        self.initial = initial
        self.torch_device = self.engine.device
        keep = checkpoint.Keep(train.keep_last, train.keep_every, train.keep_best)
        self.checkpoints = checkpoint.Checkpoints(self.engine, run.checkpoints, control, keep, self._in_background())
        if resume is not None:
            self._load(resume, state)
        self.saved_step = self.state.step
        self.loader = self._start_loader()

        byte_lengths = torch.from_numpy(token_byte_lengths(self.tokenizer_folder)).to(self.torch_device)

        def validation(cache: Any, answers_only: bool = False) -> Validation:
            part = (train.seq_len, train.val_sequences, settings.data.split_seed, train.micro_batch_size)
            return Validation(cache, *part, byte_lengths, control, answers_only)

        self.validation = validation(caches["val"], self.answers_only)
        # What a model that is trained on was pretrained with, measured whole.
        self.pretraining = validation(caches[PRETRAINING]) if PRETRAINING in caches else None
        self.log: MetricsLog | None = None
        if self.rank == 0:
            self._record(resume)

    def _say(self, line: str) -> None:
        if self.rank == 0:
            print(line, flush=True)

    def _in_background(self) -> bool:
        """Whether a copy of what this machine's processes save fits into its memory beside them."""
        import psutil

        if not self.train_settings.background_checkpoints:
            return False
        local = int(os.environ.get("LOCAL_SIZE") or os.environ.get("LOCAL_WORLD_SIZE") or self.processes)
        need = local * memory_plan.snapshot_bytes(self.settings, self.processes)
        available = psutil.virtual_memory().available
        fits = self.control.highest(int(need > available))[0] == 0
        if not fits:
            self._say(
                f"note: checkpoints are written in the foreground: a copy in memory takes {need / 2**30:.1f} GiB, "
                f"{available / 2**30:.1f} GiB are free (train.background_checkpoints)"
            )
        return fits

    def _record(self, resume: Path | None) -> None:
        settings, run, train = self.settings, self.run, self.train_settings
        origin = tokenizer_origin(self.tokenizer_folder, settings, self.cache.source_sha256)
        details = {
            "step": self.state.step,
            "processes": self.processes,
            "device": self.device.name,
            "tokenizer": self.cache.tokenizer,
            "train_sha256": self.cache.source_sha256,
            "val_sha256": self.validation.cache.source_sha256,
            "tokenizer_origin": origin,
        }
        for difference in origin["differences"]:
            print(f"note: {difference}")
        if self.initial is not None:
            details["init_from"] = str(self.initial.folder)
            print(f"begins with the weights of {self.initial.folder}")
            for difference in self.initial.notes(settings):
                print(f"note: {difference}")
        record_run(run, settings, self.deepspeed_config, details)
        # Begun again from nothing, it writes all of it anew, the validation of step 0 too.
        self.log = MetricsLog(run.folder, settings, run.name, self.state.step if resume else -1)
        parameters = count_parameters(settings.model).total
        tokens = speed_plan.tokens_per_step(train, self.processes)
        epochs = train.max_steps * tokens / max(1, self.data.size * train.seq_len)
        print(f"run {run.name}: {run.folder}" + (f", resumed at step {self.state.step}" if resume else ""))
        print(
            f"{parameters:,} parameters in {settings.model.dtype} on {self.processes} x {self.device.name}; "
            f"{self.cache.num_tokens:,} training tokens; {train.max_steps} steps of {tokens:,} tokens "
            f"({epochs:.2f} epochs)",
            flush=True,
        )
        if run.changed:
            print(f"changed:\n{changes_text(run.changed)}", flush=True)
        if resume is not None:
            lost = self.log.reached - self.state.step
            again = f"; the run had come to step {self.log.reached}: {lost} step(s) are done again" if lost else ""
            self.log.event(
                self.state.step,
                "resumed",
                f"resumed on {self.processes} process(es){again}",
                processes=self.processes,
                changed=run.changed,
                lost_steps=lost,
            )

    def _load(self, path: Path, state: checkpoint.State) -> None:
        """Weights, optimizer and place in the run, as `path` has them."""
        self.watchdog.beat(f"loading {path}")
        if state.processes == self.processes or not reshard.is_partitioned(path):
            checkpoint.load(self.engine, path)
        else:
            self._say(f"{path} was made by {state.processes} process(es): sharing it out anew for {self.processes}")
            shared_out = path.with_name(path.name + ".universal")
            self.control.told_by_first(lambda: reshard.convert(path, shared_out, os.cpu_count() or 1))
            reshard.load(self.engine, shared_out)
            self.control.told_by_first(lambda: shutil.rmtree(shared_out))
        # A step that learnt nothing once counted as a loss of 0.
        losses = [loss for loss in state.recent_losses if loss]
        self.state = replace(
            state, processes=self.processes, configuration=self.settings.to_dict(), recent_losses=losses
        )

    def _start_loader(self) -> Loader:
        micro = self.train_settings.micro_batch_size
        return Loader(
            self.data,
            position=self.state.position,
            sequences_per_step=self.sequences_per_step,
            stride=micro * self.processes,
            offset=micro * self.rank,
            count=micro,
            pin=self.device.cuda,
            eos_token_id=self.settings.model.eos_token_id if self.train_settings.document_masking else None,
        )
