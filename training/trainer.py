"""One run from where it stands to its end: the loop, and all that is measured, saved and decided on the way.

train.py prepares what a `Trainer` needs and calls `train`; importing this starts nothing.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import project_path
from training.checkpoints import manager as checkpoint
from training.collectives import is_lost_peer, peer_lost
from training.data import step_seed
from training.metrics import StepClock, duration, gpu_utilization, loss_text, plot_metrics, step_line, validation_line
from training.optim import learning_rate
from training.plan import speed as speed_plan
from training.rendezvous import one_line
from training.run_folder.folder import export_model, note_finished
from training.run_folder.init_from import PRETRAINING
from training.spikes import WINDOW_STEPS, badness, document_ids, judge, spike_limit
from training.startup import Startup
from training.stopping import LAUNCHER_PATIENCE_SECONDS, Stopped
from training.validation import after_validation

# The processor prepares at most this many micro-batches ahead of a GPU, so that a request to stop is heard in time.
MICRO_BATCHES_AHEAD = 2
CATEGORIES_SHOWN = 8
# Times that a run goes back to the same checkpoint before it is taken to diverge.
MAX_REWINDS = 3


class Trainer(Startup):
    """One run: the loop, and all that is decided on the way."""

    def train(self) -> None:
        """Steps from where the run stands to `max_steps`, then the export; or until it is asked to stop."""
        self.watchdog.training()
        try:
            self._run()
            self._finish()
        except Stopped as stopped:
            self._leave(stopped)
        except RuntimeError as error:
            raise self._told(error) from error
        finally:
            self.watchdog.stop()
            self.loader.close()
            if self.log is not None:
                self.log.close()

    def _run(self) -> None:
        train, began, first = self.train_settings, time.monotonic(), self.state.step
        self.clock = StepClock()
        while True:
            step, ends = self.state.step, self.state.step >= train.max_steps
            if (ends or step % train.val_every == 0) and not self.state.validated:
                self._validate()
            ends = ends or self._stops_early()
            best = train.keep_best and self.state.best_step == step
            if step != self.saved_step and (ends or best or step % train.save_every == 0):
                self._save(must=ends)
            self.clock.lap("pause")
            if ends:
                return
            self._train_step()
            if self.log is not None and (self.state.step % train.log_every == 0 or self.state.step == train.max_steps):
                done = max(1, self.state.step - first)
                self._report((train.max_steps - self.state.step) * (time.monotonic() - began) / done)
            self._look_at_loss()

    def _stops_early(self) -> bool:
        patience, since = self.train_settings.early_stop_patience, self.state.validations_since_best
        return patience is not None and since >= patience and self.state.step > 0

    def _agree(self) -> None:
        """What the processes tell each other between micro-batches: requests to stop, and checkpoints written.

        Raises:
            Stopped: in all processes, where one was asked to stop.
        """
        # In this order: a writer that ends in between counts as writing.
        writing = self.checkpoints.writing
        stop, writing_somewhere, failed = self.control.highest(
            self.stop.code, int(writing), int(self.checkpoints.error is not None)
        )
        if self.checkpoints.pending and not writing_somewhere:
            self._saved(self.checkpoints.settle(failed > 0))
        if stop:
            raise Stopped(stop)

    def _train_step(self) -> None:
        """One optimizer step over all processes."""
        import torch

        train, engine, clock = self.train_settings, self.engine, self.clock
        self.watchdog.beat(f"step {self.state.step + 1}")
        self.rate = learning_rate(self.state.step, train)
        for group in engine.optimizer.param_groups:
            group["lr"] = self.rate
        if self.settings.model.attention_dropout:
            torch.manual_seed(step_seed(train.seed, self.state.step, self.rank))
        engine.train()
        losses: list[Any] = []
        weights: list[float] = []
        for _ in range(train.gradient_accumulation_steps):
            self._agree()
            clock.lap("agree")
            batch = self.loader.next()
            clock.lap("data")
            tokens = batch.tokens.to(self.torch_device, non_blocking=True)
            learnt = None if batch.learnt is None else batch.learnt.to(self.torch_device, non_blocking=True)
            loss = engine(tokens, learnt, batch.weight, batch.apart)
            clock.lap("forward")
            engine.backward(loss)
            clock.lap("backward")
            engine.step()
            clock.lap("optimizer")
            losses.append(loss.detach())
            weights.append(batch.weight)
            self._keep_pace()
            self.watchdog.beat(f"step {self.state.step + 1}")
        weighted = torch.stack(losses).float().tolist()
        # Where no token is learnt (train.learn_from=answers) there is no loss, in a micro-batch or in all of the step.
        self.micro_losses = [loss / weight if weight else None for loss, weight in zip(weighted, weights, strict=True)]
        sums = torch.tensor([math.fsum(weighted), math.fsum(weights)], dtype=torch.float64)
        total, weight_of_all = self.control.add(sums).tolist()
        self.loss = total / (train.gradient_accumulation_steps * self.processes) if weight_of_all else None
        norm = engine.get_global_grad_norm()
        self.grad_norm = None if norm is None or (self.loss is None and float(norm) == 0.0) else float(norm)
        self.read_from = self.state.position
        self.state = replace(self.state, step=self.state.step + 1, validated=False)
        clock.lap("agree")
        clock.steps += 1

    def _keep_pace(self) -> None:
        """Wait for the GPU where it has fallen behind by more than MICRO_BATCHES_AHEAD."""
        if not self.device.cuda:
            return
        import torch

        event = torch.cuda.Event()
        event.record()
        self.events.append(event)
        if len(self.events) > MICRO_BATCHES_AHEAD:
            self.events.popleft().synchronize()

    def _look_at_loss(self) -> None:
        """Report a loss out of line with its documents, and go back or end the run where the configuration says so."""
        train, recent = self.train_settings, self.state.recent_losses
        found = judge(self.loss, recent, train.spike_sigmas)
        # Half precision skips a step of infinite gradients by itself, and lowers its loss scale.
        if self.grad_norm is not None and not math.isfinite(self.grad_norm) and self.settings.model.dtype != "float16":
            found = "not_finite"
        if found != "not_finite" and self.loss is not None:
            self.state = replace(self.state, recent_losses=[*recent, self.loss][-WINDOW_STEPS:])
        if found is None:
            return
        what = f"loss {loss_text(self.loss)}, gradient norm {self.grad_norm}"
        if found == "spike":
            what += f": a spike, the loss was expected below {spike_limit(recent, train.spike_sigmas or 0):.4f}"
        self._report_documents(found, what)
        if train.on_spike == "rewind":
            self._rewind()
        elif found == "not_finite":
            saved = checkpoint.finished(self.run.checkpoints)
            raise UserError(
                f"step {self.state.step}: {what}; nothing was saved since {saved[-1] if saved else 'the start'}. "
                f"metrics.jsonl names the documents read; lower train.learning_rate, raise train.warmup_steps or "
                f"train.adam_eps, or skip such steps with train.on_spike=rewind"
            )

    def _report_documents(self, event: str, what: str) -> None:
        """Log the documents of the step just done, those of the micro-batch with the highest loss first."""
        train = self.train_settings
        losses = self.control.gather(self.micro_losses)
        if self.log is None:
            return
        by_micro = [
            (losses[rank][micro], micro, rank) for micro in range(len(losses[0])) for rank in range(len(losses))
        ]
        worst = max(by_micro, key=lambda found: badness(found[0]))
        size = train.micro_batch_size

        def spans(first: int, count: int) -> list[tuple[int, int]]:
            return [self.data.span(self.data.index_at(first + index)) for index in range(count)]

        worst_first = self.read_from + (worst[1] * self.processes + worst[2]) * size
        self.log.event(
            self.state.step,
            event,
            what,
            loss=self.loss,
            grad_norm=self.grad_norm,
            worst_micro_batch_loss=worst[0],
            worst_documents=document_ids(self.cache, spans(worst_first, size)),
            documents=document_ids(self.cache, spans(self.read_from, self.sequences_per_step)),
        )

    def _rewind(self) -> None:
        """Back to the last checkpoint, on with the windows after the step just done (PaLM, Chowdhery et al., 2022)."""
        self._saved(self.checkpoints.finish())
        # A checkpoint is whole, or it was not named: one that is damaged by now is passed over as on any resume.
        path, passed_over = self.control.told_by_first(
            lambda: checkpoint.last_good(self.run.checkpoints, before=self.state.step - 1)
        )
        for line in passed_over:
            self._say(line)
        if path is None:
            raise UserError(
                f"step {self.state.step}: no checkpoint to go back to; lower train.learning_rate, or train.save_every "
                "if the loss was well before"
            )
        after = self.state.position
        self.rewinds[checkpoint.step_of(path)] += 1
        if self.rewinds[checkpoint.step_of(path)] > MAX_REWINDS:
            raise UserError(
                f"step {self.state.step}: went back to {path} {MAX_REWINDS} times, and the loss is out of line again: "
                "the run diverges. Lower train.learning_rate (--resume keeps the run)"
            )
        state = checkpoint.read_state(path)
        lost = self.state.step - state.step
        self._load(path, replace(state, skipped=after - state.step * self.sequences_per_step))
        self.saved_step = self.state.step
        self.loader.close()
        self.loader = self._start_loader()
        if self.log is not None:
            self.log.back_to(self.state.step)
            self.log.event(
                self.state.step,
                "rewind",
                f"back to {path}: {lost} step(s) are done again, on the data after them",
                skipped_sequences=lost * self.sequences_per_step,
            )

    def _report(self, left: float) -> None:
        assert self.log is not None
        train, steps, seconds = self.train_settings, self.clock.steps, self.clock.take()
        took = sum(seconds.values()) - seconds["pause"]
        tokens = speed_plan.tokens_per_step(train, self.processes)
        speed = tokens * steps / took
        record = {
            "step": self.state.step,
            "loss": self.loss,
            "learning_rate": self.rate,
            "grad_norm": self.grad_norm,
            "tokens_per_second": speed,
            "tokens_per_second_per_device": speed / self.processes,
            "mfu": speed_plan.mfu(self.settings.model, train.seq_len, speed, self.device.name, self.processes),
            "memory_bytes": self._memory(),
            "gpu_utilization": gpu_utilization(self.torch_device) if self.device.cuda else None,
            "data_wait": seconds["data"] / took,
            "step_seconds": took / steps,
            "seconds_left": left,
            "tokens": self.state.step * tokens,
        }
        self.log.write(record)
        print(step_line(record, train.max_steps), flush=True)
        self.clock.lap("report")

    def _memory(self) -> int:
        """Peak memory of this process's device since the last report, or its resident memory on a CPU; bytes."""
        import torch

        if self.device.cuda:
            peak = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            return peak
        import psutil

        return psutil.Process().memory_info().rss

    def _between_batches(self) -> None:
        self.watchdog.beat(f"validation at step {self.state.step}")
        self._agree()

    def _validate(self) -> None:
        self.engine.eval()
        record = self.validation.record(self.engine.module, self.state.step, self._between_batches)
        if self.pretraining is not None:
            prefix = f"{PRETRAINING}_"
            record |= self.pretraining.record(self.engine.module, self.state.step, self._between_batches, prefix)
        self.state = after_validation(self.state, record["val_bits_per_byte"], self.train_settings.early_stop_gain)
        if self.log is not None:
            self.log.write(record)
            print(validation_line(record), flush=True)

    def _save(self, must: bool = False) -> None:
        """Begin a checkpoint of this step; one that `must` be there is waited for, and ends the run if it fails."""
        import torch

        if not all(torch.isfinite(parameter).all() for parameter in self.engine.module.parameters()):
            raise UserError(
                f"step {self.state.step}: the weights are no longer finite; lower train.learning_rate, or raise "
                "train.warmup_steps or train.adam_eps"
            )
        self.watchdog.beat(f"checkpoint of step {self.state.step}")
        self._saved(self.checkpoints.save(self.state), must)
        self.saved_step = self.state.step
        if must:
            self._saved(self.checkpoints.finish(), must)
        if self.log is not None:
            self._plot()

    def _plot(self) -> str:
        """Draw loss.png; what became of it. No reason to end a run: report_run.py draws it from metrics.jsonl again."""
        path = self.run.folder / "loss.png"
        try:
            return str(plot_metrics(self.run.folder))
        except (OSError, ImportError) as error:
            self._say(f"note: {path}: not drawn: {error}")
            return "not drawn"

    def _saved(self, failed: str | None, must: bool = False) -> None:
        """What came of a checkpoint: one that failed is told, and training goes on to the next."""
        if failed is None:
            return
        if must:
            raise UserError(
                f"checkpoint of step {self.state.step}: {failed}; make room, and run the same command again"
            )
        if self.log is not None:
            message = f"no checkpoint: {failed}. Make room; the next one is tried at the next save_every"
            self.log.event(self.state.step, "checkpoint_failed", message)

    def _leave(self, stopped: Stopped) -> None:
        """Save what is not saved yet, as all processes have agreed to."""
        step, saved = self.state.step, checkpoint.finished(self.run.checkpoints)
        holds = checkpoint.step_of(saved[-1]) if saved else 0
        message = f"stopping: {stopped}"
        if self.saved_step != step:
            took = self.checkpoints.seconds
            message += f"; saving step {step}" + (f", which took {duration(took)} last time" if took else "")
            if self.stop.launched and took > LAUNCHER_PATIENCE_SECONDS / 2:
                message += (
                    f" (the launcher kills after {LAUNCHER_PATIENCE_SECONDS} s: where that is too soon, step {holds} "
                    f"holds and {step - holds} step(s) are lost; train.py --stop has no limit)"
                )
        self._say(message)
        if self.saved_step != step:
            self._save(must=True)
        else:
            self._saved(self.checkpoints.finish(), must=True)
        if self.log is not None:
            self.log.event(step, "stopped", f"saved; the same command goes on from step {step}", reason=str(stopped))

    def _finish(self) -> None:
        """Export, by category, plot: of the best validation's weights where those are wanted."""
        self._saved(self.checkpoints.finish(), must=True)
        step, best, early = self.state.step, self.state.best_step, self._stops_early()
        if early and self.log is not None:
            since = self.state.validations_since_best
            self.log.event(step, "early_stop", f"{since} validations were not better than step {best}'s")
        if self.train_settings.keep_best and best is not None and best not in (0, step):
            self._load_best(self.run.checkpoints / checkpoint.name_of(best))
        self.engine.eval()
        categories = self.validation.by_category(self.engine.module, self._between_batches)
        if self.log is None:
            return
        self.log.write({"step": step, "val_by_category": categories})
        for name, record in list(categories.items())[:CATEGORIES_SHOWN]:
            print(f"  {name:<20} {record['bits_per_byte']:.4f} bits per byte, {record['tokens']:,} tokens")
        plot = self._plot()
        self.watchdog.beat("export")
        export = export_model(self.engine.module.model, self.run, self.settings, self.tokenizer_folder)
        note_finished(self.run, step, early)
        print(f"done: loss plot {plot}, model {export}")
        data = project_path(self.settings.data.out)
        print(f"next: python evaluation/perplexity.py --model {export} --data {data}", flush=True)

    def _load_best(self, path: Path) -> None:
        """Weights of the best validation, for the export; the run stays where it stands."""
        wrong = self.control.told_by_first(
            lambda: checkpoint.damage(path) if path.exists() else "not kept, or no longer there"
        )
        if wrong:
            self._say(f"note: {path}: {wrong}; the last step is exported instead of the best")
            return
        self._say(f"export: {path.name}, the best validation")
        ended = self.state
        self._load(path, checkpoint.read_state(path))
        self.state = ended

    def _told(self, error: RuntimeError) -> Exception:
        """An error that says what to do, of those that torch raises for other reasons than a defect."""
        import torch

        where = f"step {self.state.step + 1}"
        if isinstance(error, torch.OutOfMemoryError):
            return UserError(
                f"{where}: {self.device.name} is out of memory ({one_line(error)}); set "
                "train.gradient_checkpointing=all, or halve train.micro_batch_size and double "
                "train.gradient_accumulation_steps with --resume"
            )
        return peer_lost(where, error) if is_lost_peer(error) else error
