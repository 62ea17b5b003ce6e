"""Training runs that a step starts as commands of their own, and ends again."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gpu.notes import CPU, LOGS, ROOT, RUNS

_started: list[psutil.Process] = []


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a command in the project's folder; `end_all` ends it at the latest."""
    process = subprocess.Popen(list(command), cwd=ROOT, stdin=subprocess.DEVNULL, **options)
    _started.append(psutil.Process(process.pid))
    return process


def start_training(script: Sequence[str], flags: Sequence[str], log: Path) -> subprocess.Popen[Any]:
    """Start `script` (a path and its options) under the deepspeed launcher; `log` gets its output."""
    count = "--num_accelerators" if CPU else "--num_gpus"
    command = ["deepspeed", count, "1", "--master_port", str(_free_port()), *script, *flags]
    with log.open("ab") as file:
        return start(command, stdout=file, stderr=subprocess.STDOUT)


def kill_tree(pid: int) -> None:
    """End launcher and trainer at once, as a machine does that goes down."""
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    _kill(tree)


def end_all() -> None:
    """Kill what is still running of everything started here."""
    for process in _started:
        if process.is_running():  # not another that has its number now
            kill_tree(process.pid)


def make_room(names: Sequence[str]) -> None:
    """Make the folders of runs and logs, and delete what an earlier call left there under these names."""
    for folder in (RUNS, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.rmtree(RUNS / name, ignore_errors=True)
        (LOGS / f"{name}.log").unlink(missing_ok=True)


def read_log(name: str) -> str:
    path = LOGS / f"{name}.log"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def print_end(name: str, lines: int) -> None:
    print(f"---- {LOGS / name}.log\n" + "\n".join(read_log(name).splitlines()[-lines:]), flush=True)


def notes_of(text: str) -> list[str]:
    """The lines of a log in which train.py says what it could not do as configured."""
    return sorted({line for line in text.splitlines() if line.startswith("note: ")})


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(processes, timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
