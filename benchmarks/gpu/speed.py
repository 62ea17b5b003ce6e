"""Steps e and f: `measure` of benchmarks/training/train_gpu.py, variant by variant, faster than its own command.

Each variant is a process of its own, as there. But it is forked from a process that has imported everything, and it
draws its weights on the GPU: the command takes half a minute a variant for that. Two rows are added: cuDNN's attention
before the others, and the best of each knob together. Step f profiles one step of the fastest variant.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.notes import CPU, DEVICE, HERE, PARTS, Notes, left
from benchmarks.training import train_gpu
from common.settings.load import load_settings

OURS, PUBLISHED = train_gpu.OURS, train_gpu.PUBLISHED
# In order of value: (variant, its knobs). "cudnn" is not a knob of train.py.
FIRST: list[tuple[str, dict[str, Any]]] = [
    ("published", PUBLISHED),
    ("ours", OURS),
    ("ours, loss of Liger", {**OURS, "loss_kernel": "liger"}),
    ("ours, cuDNN's attention", {**OURS, "cudnn": True}),
    ("ours, layers of transformers", {**OURS, "layer_kernels": "torch"}),
    ("ours, full loss", {**OURS, "loss_kernel": "full"}),
    ("ours, compiled", {**OURS, "compile": True}),
]
LAST: list[tuple[str, dict[str, Any]]] = [
    ("ours, compiled, layers of transformers", {**OURS, "compile": True, "layer_kernels": "torch"}),
    ("ours, document masking", {**OURS, "document_masking": True}),
    ("ours, all checkpointed", {**OURS, "gradient_checkpointing": "all"}),
    # The same as ours on an H100 and an H200: there the forecast needs no checkpointing with Liger's layers.
    ("ours, no checkpointing", {**OURS, "gradient_checkpointing": "none"}),
]
LENGTHS = (32, 64) if CPU else train_gpu.SEQUENCE_LENGTHS
STEPS = 2 if CPU else 6
WORTH = 1.01  # a knob that gives less is noise
USUAL_SECONDS, COMPILE_SECONDS = (15, 30) if CPU else (14, 45)
# Failures that are no defect: no memory, or no time left.
USUAL_FAILURES = ("out of memory", "not reached", "killed after")
NO_WORD = "the process died without a word; see speed.log"
SHOWN_KERNELS = 25


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measure one variant in this process."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    import training.model

    knobs = dict(job["knobs"])
    cudnn = knobs.pop("cudnn", False)
    train_gpu.VARIANTS[job["variant"]] = knobs
    settings = load_settings()
    if CPU:
        settings = replace(settings, model=replace(settings.model, **train_gpu.TINY))
    chosen = train_gpu.variant_settings(settings, job["variant"], job["seq_len"], job["micro_batch_size"])
    build = training.model.build_model

    def on_device(*args: Any, **kwargs: Any) -> Any:
        with torch.device(DEVICE):
            made = build(*args, **kwargs)
        if not CPU:  # the fp32 weights that were drawn are gone
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return made

    training.model.build_model = on_device
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    attention = sdpa_kernel(order, set_priority=True) if cudnn else contextlib.nullcontext()
    profile = Path(job["profile"]) if job.get("profile") else None
    with attention:
        return train_gpu.measure(chosen, DEVICE, job.get("steps", STEPS), profile)


def measure_or_say(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return measure(job)
    except BaseException as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def one_variant(job: str) -> int:
    """Measure the variant in the JSON object `job`, and print its figures as the last line."""
    print(json.dumps(measure_or_say(json.loads(job))))
    return 0


def forked(job: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Measure in a fork of this process."""
    read, write = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            pipe.write(json.dumps(measure_or_say(job)))
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    ends = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > ends:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(read)
            return {"failed": f"killed after {seconds:.0f} s"}
        time.sleep(0.02)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    return json.loads(text) if text else {"failed": NO_WORD}


def fresh(job: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Measure in a new process."""
    command = [sys.executable, str(HERE / "step.py"), "variant", json.dumps(job)]
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"killed after {seconds:.0f} s"}
    lines = ended.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"failed": NO_WORD}


class Runner:
    """Measures variants in forks, or in fresh processes from the first fork on that cannot use the GPU."""

    def __init__(self, forks: bool):
        self.forks = forks

    def largest_that_fits(self, job: dict[str, Any]) -> dict[str, Any]:
        """One variant with the largest micro-batch that fits."""
        micro = job["micro_batch_size"]
        while True:
            job = job | {"micro_batch_size": micro}
            row = (forked if self.forks else fresh)(job, max(5, left() - 3))
            wrong = row.get("failed", "")
            if self.forks and any(word in wrong for word in ("initialization error", "forked subprocess", "NVML")):
                print(f"a fork cannot use the GPU here ({wrong}); fresh processes from now on", flush=True)
                self.forks = False
            elif "out of memory" not in wrong or micro == 1:
                return row | {key: job[key] for key in ("variant", "seq_len", "micro_batch_size")}
            else:
                micro //= 2


class Table:
    """Rows as they come, on disk at once."""

    def __init__(self, notes: Notes, runner: Runner):
        self.notes, self.runner = notes, runner
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, knobs: dict[str, Any], seq_len: int) -> None:
        row: dict[str, Any] = {"variant": name, "seq_len": seq_len, "micro_batch_size": "-", "failed": "not reached"}
        if left() >= (COMPILE_SECONDS if knobs.get("compile") else USUAL_SECONDS):
            began = time.monotonic()
            job = {"variant": name, "knobs": knobs, "seq_len": seq_len, "micro_batch_size": micro_batch(seq_len)}
            row = self.runner.largest_that_fits(job) | {"knobs": knobs, "took": time.monotonic() - began}
        self.rows.append(row)
        self.notes.keep("speed", self.rows)
        self.notes.text.write_text(self.text() + "\n", encoding="utf-8")
        print(json.dumps(row), flush=True)

    def text(self) -> str:
        """The table of train_gpu.py, what a variant could not have here, and the speed of each over ours."""
        speeds = {(r["seq_len"], r["variant"]): r["tokens_per_second"] for r in self.rows if "failed" not in r}
        lines = [
            f"{length}: {name}: {speed / speeds[length, 'ours']:.3f} x ours"
            for (length, name), speed in speeds.items()
            if (length, "ours") in speeds and name != "ours"
        ]
        missing = {f"{r['variant']}: {note}": None for r in self.rows for note in r.get("notes", [])}
        return "\n".join([train_gpu.table(self.rows), "", *missing, *lines])

    def best(self, seq_len: int) -> dict[str, Any]:
        """Knobs of ours with each knob that made it faster by itself."""
        done = {r["variant"]: r for r in self.rows if r["seq_len"] == seq_len and "failed" not in r}
        knobs = dict(OURS)
        for row in done.values():
            if "ours" in done and row["tokens_per_second"] > WORTH * done["ours"]["tokens_per_second"]:
                knobs |= {key: value for key, value in row["knobs"].items() if value != OURS.get(key)}
        return knobs


def micro_batch(seq_len: int) -> int:
    return 2 if CPU else max(1, 32 * 768 // seq_len)


def main() -> int:
    # Whether there is a GPU must be asked without touching it, or no fork of this process could use it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    # Imported before any fork; nothing here may touch the GPU.
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    import training.model  # noqa: F401

    table = Table(Notes("e"), Runner(forks=True))
    for name, knobs in FIRST:
        for seq_len in LENGTHS:
            table.add(name, knobs, seq_len)
    for seq_len in LENGTHS:
        if (knobs := table.best(seq_len)) != OURS:
            table.add("ours, the best of each knob", knobs, seq_len)
    for name, knobs in LAST:
        for seq_len in LENGTHS:
            table.add(name, knobs, seq_len)
    print(table.text())
    rows = table.rows
    wrong = [r for r in rows if "failed" in r and not any(word in r["failed"] for word in USUAL_FAILURES)]
    print(f"torch {torch.__version__}, {len(rows)} rows, {len(wrong)} failed", flush=True)
    return 1 if wrong or all("failed" in row for row in rows) else 0


def profile(path: str) -> int:
    """Profile one step of the fastest variant of step e at the first length; of ours where e has found nothing."""
    notes, seq_len = Notes("f"), LENGTHS[0]
    job = {"variant": "ours", "knobs": OURS, "seq_len": seq_len, "micro_batch_size": micro_batch(seq_len)}
    done = [r for r in _rows_of_e() if "failed" not in r and r["seq_len"] == seq_len]
    if done:
        fastest = max(done, key=lambda r: r["tokens_per_second"])
        job |= {key: fastest[key] for key in ("variant", "knobs", "micro_batch_size")}
    found = Runner(forks=False).largest_that_fits(job | {"profile": path, "steps": 1})
    print(json.dumps(found))
    if "failed" in found:
        notes.check("profile", False, found["failed"])
        return 1
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    columns = _cells(next(line for line in lines if line.strip().startswith("Name")))
    by = "Self CUDA" if "Self CUDA" in columns else "Self CPU"
    notes.line(f"{job['variant']} at {seq_len} tokens, one step; by kernel and operator, {by}:\n")
    if not CPU and by == "Self CPU":
        notes.check("profile", False, "the profiler saw no kernels on the GPU")
    rows = [cells for line in lines if "%" in line and len(cells := _cells(line)) == len(columns) and cells != columns]
    place, share = columns.index(by), columns.index(f"{by} %")
    notes.line("| kernel | time | share | calls |\n| --- | --- | --- | --- |")
    for cells in sorted(rows, key=lambda cells: -float(cells[share].rstrip("%") or 0))[:SHOWN_KERNELS]:
        notes.line(f"| {cells[0][:70]} | {cells[place]} | {cells[share]} | {cells[-1]} |")
    for line in lines[-3:]:
        if "time total" in line:
            notes.line(f"\n{line.strip()}")
    return 1 if notes.bad else 0


def _rows_of_e() -> list[dict[str, Any]]:
    try:
        return json.loads((PARTS / "e.json").read_text(encoding="utf-8"))["speed"]
    except (OSError, ValueError, KeyError):
        return []


def _cells(line: str) -> list[str]:
    return [part.strip() for part in line.split("  ") if part.strip()]
