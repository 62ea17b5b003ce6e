"""Step c: the main job through `deepspeed train.py`: whole, killed and resumed, stopped and resumed, then used.

All runs train the same small model at the same time, each a command of its own. On a GPU the same command need not give
the same bits twice (attention's backward pass adds in any order). So a second whole run shows how much that is, and two
more runs ask torch for deterministic kernels (hooked_train.py): those must agree to the last bit.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.export_check import check_export
from benchmarks.gpu.launched import end_all, kill_tree, make_room, notes_of, print_end, read_log, start_training
from benchmarks.gpu.notes import CPU, DATA, HERE, LOGS, RUNS, Notes, left
from training.checkpoints import manager as checkpoint
from training.metrics import read_metrics

CONFIG = "examples/quickstart/config.json"
STEPS, EVERY = (12, 4) if CPU else (60, 20)
# Killed well after the first checkpoint and before the second; asked to stop later.
KILL_AT, STOP_AT = EVERY + 2, 2 * EVERY + 1
KNOBS: dict[str, Any] = {"max_steps": STEPS, "save_every": EVERY, "val_every": EVERY, "val_sequences": 32}
KNOBS |= {"warmup_steps": 5, "log_every": 1, "wandb": "disabled", "gradient_accumulation_steps": 8, "keep_last": 9}
MODEL: dict[str, Any] = {"dtype": "bfloat16"}
if CPU:
    KNOBS |= {"val_sequences": 8, "gradient_accumulation_steps": 2, "seq_len": 64, "micro_batch_size": 4}
    MODEL |= {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 2}
    MODEL |= {"num_key_value_heads": 2}
PLAIN: tuple[str, ...] = ("train.py",)
DETERMINISTIC: tuple[str, ...] = (str(HERE / "hooked_train.py"), "--deterministic")
FIGURES = ("loss", "grad_norm", "learning_rate", "val_loss", "val_bits_per_byte")
TWICE = "the same command twice"
# First run, second run, what their comparison is called.
PAIRS = (
    ("whole", "whole2", TWICE),
    ("whole", "killed", "kill -9 and resume"),
    ("whole", "stopped", "SIGTERM and resume"),
    ("det", "det_killed", "kill -9 and resume, deterministic"),
)


def flags() -> list[str]:
    places = {"data.out": DATA / "small" / "dataset", "tokenizer.out": DATA / "small" / "tokenizer", "train.runs": RUNS}
    pairs = {**MODEL, **{f"train.{key}": value for key, value in KNOBS.items()}, **places}
    return ["--config", CONFIG, *(part for key, value in pairs.items() for part in ("--set", f"{key}={value}"))]


def launch(name: str, script: tuple[str, ...] = PLAIN) -> subprocess.Popen[Any]:
    return start_training(script, [*flags(), "--set", f"train.run_name={name}"], LOGS / f"{name}.log")


def steps_done(name: str) -> int:
    """The last step in metrics.jsonl, which is read while it is written."""
    try:
        text = (RUNS / name / "metrics.jsonl").read_text(encoding="utf-8")
    except OSError:
        return 0
    return max([0, *(int(found) for found in re.findall(r'^\{"step": (\d+), "loss"', text, re.M))])


def wait_for(process: subprocess.Popen[Any], until: Callable[[], bool]) -> bool:
    """Whether `until()` came true while the process ran and time was left."""
    while process.poll() is None and left() > 3:
        if until():
            return True
        time.sleep(0.01)
    return until()


def saved_steps(name: str) -> list[int]:
    return [checkpoint.step_of(path) for path in checkpoint.finished(RUNS / name / "checkpoints")]


def whole(name: str, script: tuple[str, ...] = PLAIN) -> str:
    process = launch(name, script)
    wait_for(process, lambda: False)
    return f"ended with {process.poll()}"


def killed(name: str, script: tuple[str, ...] = PLAIN) -> str:
    process = launch(name, script)
    saved = RUNS / name / "checkpoints" / checkpoint.name_of(EVERY)
    there = wait_for(process, lambda: steps_done(name) >= KILL_AT and saved.exists())
    ended, at = process.poll() is not None, steps_done(name)
    if not there or ended:
        return f"not killed in time: at step {at}, exit {process.poll()}"
    kill_tree(process.pid)
    return f"killed at step {steps_done(name)} (checkpoints {saved_steps(name)}); " + whole(name, script)


def stopped(name: str) -> str:
    process = launch(name)
    if not wait_for(process, lambda: steps_done(name) >= STOP_AT) or process.poll() is not None:
        return f"not stopped in time: at step {steps_done(name)}, exit {process.poll()}"
    pid, began = json.loads((RUNS / name / "lock").read_text(encoding="utf-8"))["pid"], time.perf_counter()
    os.kill(pid, signal.SIGTERM)
    wait_for(process, lambda: False)
    took, had = time.perf_counter() - began, saved_steps(name)
    last = RUNS / name / "checkpoints" / checkpoint.name_of(had[-1]) if had else None
    wrong = checkpoint.damage(last) if last else "no checkpoint"
    return (
        f"SIGTERM at step {steps_done(name)}, exit {process.poll()} after {took:.1f} s, checkpoints {had}, "
        f"the last one {wrong or 'whole'}; " + whole(name)
    )


JOBS: dict[str, Callable[[], str]] = {
    "whole": lambda: whole("whole"),
    "killed": lambda: killed("killed"),
    "stopped": lambda: stopped("stopped"),
    "whole2": lambda: whole("whole2"),
    "det": lambda: whole("det", DETERMINISTIC),
    "det_killed": lambda: killed("det_killed", DETERMINISTIC),
}


def figures(name: str) -> dict[tuple[int, str], Any]:
    """(step, what) -> figure: losses, gradient norms, validations."""
    records = [r for r in read_metrics(RUNS / name / "metrics.jsonl") if "event" not in r]
    return {(r["step"], key): r[key] for r in records for key in FIGURES if key in r}


def compare(first: str, second: str) -> tuple[bool, str]:
    """Whether two runs have the same figures to the last bit, and what differs most."""
    one, two = figures(first), figures(second)
    losses = [step for step, key in one if key == "loss"]
    if losses != list(range(1, STEPS + 1)):
        return False, f"{first} has losses of {len(losses)} of {STEPS} steps"
    if one.keys() != two.keys():
        return False, f"{second} has other records: {sorted(one.keys() ^ two.keys())[:4]}"
    differ = [(key, abs(one[key] - two[key])) for key in one if one[key] != two[key]]
    if not differ:
        return True, f"{len(one)} figures of {STEPS} steps, all equal to the last bit"
    gap, (step, what) = max((gap, key) for key, gap in differ)
    loss = max([0.0, *(gap for key, gap in differ if key[1] == "loss")])
    return False, (
        f"{len(differ)} of {len(one)} figures differ, first at step {min(key[0] for key, _ in differ)}; losses by "
        f"{loss:.2e} at most, {what} at step {step} by {gap:.2e}"
    )


def run_jobs() -> dict[str, str]:
    """Run JOBS side by side, and return what each says; on a CPU two at a time."""
    said: dict[str, str] = {}

    def work(name: str) -> None:
        try:
            said[name] = JOBS[name]()
        except Exception as error:
            said[name] = f"FAILED {error!r}"

    size = 2 if CPU else len(JOBS)
    for first in range(0, len(JOBS), size):
        threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in [*JOBS][first : first + size]]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # so that a signal is heard
                thread.join(0.2)
    return said


def judge_run(notes: Notes, name: str, said: str) -> None:
    resumed = [line for line in read_log(name).splitlines() if "resumed on" in line]
    good = said.endswith("ended with 0") and (RUNS / name / "finished.json").exists()
    if name in ("killed", "stopped", "det_killed"):
        good = good and bool(resumed) and "not " not in said.split(";")[0]
    if name == "stopped":
        good = good and "the last one whole" in said
    notes.check(f"run '{name}'", good, said + "".join(f"; {line}" for line in resumed))
    print_end(name, 15 if good else 60)


def judge_pairs(notes: Notes) -> None:
    """Compare the runs that should be equal; kernels that give other bits each time excuse all but the last pair."""
    equal: dict[str, Any] = {}
    for first, second, what in PAIRS:
        try:
            same, detail = compare(first, second)
        except Exception as error:
            same, detail = False, repr(error)
        equal[what] = {"same": same, "detail": detail}
        notes.keep("equal", equal)
        if first == "det" or (what != TWICE and equal[TWICE]["same"]):
            notes.check(what, same, detail)
        else:  # to be read beside the first line
            notes.line(f"- {what}: {detail}")


def main() -> int:
    notes = Notes("c")
    make_room(list(JOBS))
    try:
        said = run_jobs()
        for name in JOBS:
            judge_run(notes, name, said[name])
        log = read_log("whole")
        speeds = [line for line in log.splitlines() if line.startswith("step ")]
        notes.line(f"last step of 'whole': {speeds[-1] if speeds else 'none'}")
        for line in notes_of(log):
            notes.line(f"its {line}")
        judge_pairs(notes)
        exports = [path for name in ("killed", "whole") if (path := RUNS / name / "export").exists()]
        if exports:
            check_export(notes, exports[0], flags())
        else:
            notes.check("export", False, "none was made")
    finally:
        end_all()
    return 1 if notes.bad else 0
