"""Step d: config.json's model (1.63 billion parameters) through `deepspeed train.py` on one GPU.

Memory against the forecast, tokens/s and MFU; gradients added up in bf16 (ds_config.json as shipped), then in fp32. The
weights are random, the text is the quickstart's, its tokenizer is filled up to config.json's vocabulary. A run ends
after its steps by kill -9, since a last checkpoint would be 23 GB. Both start at once, because drawing the weights on
the CPU takes half a minute; the second leaves the GPU to the first until that has ended (hooked_train.py).
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.launched import end_all, kill_tree, make_room, notes_of, print_end, read_log, start_training
from benchmarks.gpu.notes import CPU, DATA, HERE, LOGS, ROOT, RUNS, WORK, Notes, left
from common.paths import project_path
from common.settings.load import load_settings
from training.engine import resolve_deepspeed_config
from training.metrics import read_metrics
from training.plan import memory as memory_plan
from training.plan.parameters import count_parameters
from training.run_folder import preflight

GIB = 2**30
GO = WORK / "go"
NAMES = ("reference_bf16", "reference_fp32_gradients")
WARM_UP, STEPS = (1, 3) if CPU else (2, 6)
FORECAST_LIMIT = 0.10  # the peak's relative distance from the forecast
FORECAST_SECONDS = 100
KNOBS: dict[str, Any] = {"gradient_accumulation_steps": 4, "max_steps": 1000, "val_every": 1000000}
KNOBS |= {"save_every": 1000000, "val_sequences": 8, "keep_last": 1, "keep_every": "null", "log_every": 1}
KNOBS |= {"wandb": "disabled"}
MODEL: dict[str, Any] = {}
if CPU:
    KNOBS |= {"gradient_accumulation_steps": 2, "micro_batch_size": 2, "seq_len": 64}
    MODEL = {"hidden_size": 32, "intermediate_size": 88, "num_hidden_layers": 2, "num_attention_heads": 2}
    MODEL |= {"num_key_value_heads": 2}


@dataclass
class Run:
    name: str
    process: subprocess.Popen[Any]
    overrides: list[str]
    began: float
    first_step: float | None = None  # seconds after the start


def forecast(overrides: str) -> int:
    """Print as JSON what training/plan/memory.py forecasts for a run on this device with these overrides."""
    settings = load_settings(overrides=json.loads(overrides))
    config = resolve_deepspeed_config(project_path(settings.train.deepspeed_config), settings, 1)
    device = preflight.find_device(1, 0)
    count = memory_plan.choose_checkpointing(settings, config, 1, device.memory, device.cuda)
    memory = memory_plan.process_memory(settings, config, 1, count, device.cuda)
    found: dict[str, Any] = {"total": memory.total, "count": count, "layers": settings.model.num_hidden_layers}
    found |= {"name": device.name, "there": device.memory, "parameters": count_parameters(settings.model).total}
    print(json.dumps(dataclasses.asdict(memory) | found))
    return 0


def begin(name: str, deepspeed: Path, *script: str) -> Run:
    places = {"data.out": DATA / "full" / "dataset", "tokenizer.out": DATA / "full" / "tokenizer", "train.runs": RUNS}
    pairs = {**MODEL, **{f"train.{key}": value for key, value in KNOBS.items()}, **places}
    pairs |= {"train.run_name": name, "train.deepspeed_config": deepspeed}
    values = [f"{key}={value}" for key, value in pairs.items()]
    flags = [part for value in values for part in ("--set", value)]
    return Run(name, start_training(script, flags, LOGS / f"{name}.log"), values, time.perf_counter())


def planned(run: Run) -> dict[str, Any]:
    """The forecast, from a process of its own: this one leaves the GPU alone."""
    command = [sys.executable, str(HERE / "step.py"), "forecast", json.dumps(run.overrides)]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=FORECAST_SECONDS)
    print(asked.stderr[-2000:], flush=True)
    return json.loads(asked.stdout.splitlines()[-1])


def wait_for_steps(run: Run) -> list[dict[str, Any]]:
    """The records of the run's steps, once all are there, the run has ended or the time is up."""
    records: list[dict[str, Any]] = []
    path = RUNS / run.name / "metrics.jsonl"
    while run.process.poll() is None and left() > 3:
        records = [r for r in read_metrics(path) if "loss" in r and "event" not in r]
        if records and run.first_step is None:
            run.first_step = time.perf_counter() - run.began
        if len(records) >= WARM_UP + STEPS:
            break
        time.sleep(0.1)
    return records


def nvidia_smi() -> str:
    if CPU:
        return "-"
    query = "--query-gpu=memory.used,clocks.sm,power.draw,temperature.gpu"
    try:
        done = subprocess.run(["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True)
    except OSError as error:  # a container may come without it
        return f"nvidia-smi: {error.strerror}"
    return done.stdout.strip()


def watch(run: Run, notes: Notes) -> None:
    """Follow a run through its steps, end it, and judge it."""
    plan = planned(run)
    records = wait_for_steps(run)
    card, code = nvidia_smi(), run.process.poll()
    if code is None:
        kill_tree(run.process.pid)
    run.process.wait()
    text = read_log(run.name)
    print_end(run.name, 60)
    if len(records) <= WARM_UP:
        lines = text.strip().splitlines()
        last = next((line for line in reversed(lines) if "rror" in line), "".join(lines[-1:]))
        notes.check(run.name, False, f"{len(records)} steps, exit {code}; {last[:300]}")
        return
    judge(run, plan, records, card, notes)
    for line in notes_of(text):
        notes.line(f"  {line}")


def judge(run: Run, plan: dict[str, Any], records: list[dict[str, Any]], card: str, notes: Notes) -> None:
    timed = records[WARM_UP:]
    speed = statistics.median(r["tokens_per_second"] for r in timed)
    shares = [r["mfu"] for r in timed if r["mfu"] is not None]
    mfu = statistics.median(shares) if shares else None
    used, allocated = max(r["memory_bytes"] for r in records), plan["total"] - plan["runtime"]
    off = used / allocated - 1
    kept = {"plan": plan, "records": records, "tokens_per_second": speed, "mfu": mfu, "peak_bytes": used}
    kept |= {"planned_bytes": allocated, "nvidia_smi": card, "seconds_to_first_step": run.first_step}
    notes.keep(run.name, kept | {"overrides": run.overrides})
    losses = " ".join(format(r["loss"], ".4f") for r in records)
    norms = " ".join(format(r["grad_norm"], ".3f") for r in records)
    notes.check(
        run.name,
        CPU or abs(off) < FORECAST_LIMIT,
        f"{plan['parameters']:,} parameters on {plan['name']}, {plan['count']} of {plan['layers']} layers "
        f"checkpointed; {speed:,.0f} tokens/s, MFU {'-' if mfu is None else format(mfu, '.1%')}; peak {used / GIB:.2f} "
        f"GiB allocated, forecast {allocated / GIB:.2f} ({off:+.1%}) of {plan['there'] / GIB:.1f}; nvidia-smi, with "
        f"the context of a run that waits: {card} (forecast in all {plan['total'] / GIB:.1f} GiB); {len(records)} "
        f"steps, losses {losses}, norms {norms}; first step after {run.first_step or 0:.0f} s",
    )


def compare(notes: Notes) -> None:
    """A line on what adding up gradients in bf16 gains and costs."""
    a, b = (notes.figures.get(name) for name in NAMES)
    if not a or not b:
        return
    pairs = list(zip(a["records"], b["records"], strict=False))
    gap = max(abs(x["loss"] - y["loss"]) for x, y in pairs)
    norm = abs(pairs[0][0]["grad_norm"] / pairs[0][1]["grad_norm"] - 1)
    faster, more = a["tokens_per_second"] / b["tokens_per_second"], (a["peak_bytes"] - b["peak_bytes"]) / GIB
    notes.line(
        f"- gradients added up in bf16 against fp32: {faster:.3f} x the speed, {more:+.2f} GiB; losses differ by "
        f"{gap:.1e} at most, the first step's gradient norm by {norm:.1e}"
    )


def main() -> int:
    notes = Notes("d")
    make_room(NAMES)
    GO.unlink(missing_ok=True)
    shipped = ROOT / "ds_config.json"
    wide = WORK / "ds_config_fp32.json"
    config = json.loads(shipped.read_text(encoding="utf-8")) | {"data_types": {"grad_accum_dtype": "fp32"}}
    wide.write_text(json.dumps(config), encoding="utf-8")
    try:
        first = begin(NAMES[0], shipped, "train.py")
        second = begin(NAMES[1], wide, str(HERE / "hooked_train.py"), "--wait-for", str(GO))
        for run in (first, second):
            try:
                watch(run, notes)
            except Exception as error:
                traceback.print_exc()
                notes.check(run.name, False, repr(error)[:300])
                kill_tree(run.process.pid)
            GO.touch()
    finally:
        end_all()
    compare(notes)
    return 1 if notes.bad else 0
