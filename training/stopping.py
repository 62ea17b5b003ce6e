"""Being asked to stop: by a signal, by `train.py --stop`, or by a launcher that is no longer there.

A request only sets a flag; the processes agree on it between two micro-batches, save, and leave together.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError

LAUNCHER_GONE = 1_000
# Highest first, where processes differ in what they heard.
REASONS = {
    LAUNCHER_GONE: "the launcher is gone",
    int(signal.SIGTERM): "SIGTERM",
    int(signal.SIGUSR1): "SIGUSR1",
    int(signal.SIGINT): "Ctrl-C",
    int(signal.SIGHUP): "the terminal is gone (SIGHUP)",
}
# DeepSpeed's launcher kills its processes this long after it has passed a signal on.
LAUNCHER_PATIENCE_SECONDS = 30
POLL_SECONDS = 1.0


class Stopped(Exception):
    """All processes have agreed to stop before the end."""

    def __init__(self, code: int):
        super().__init__(REASONS[code])


class StopRequest:
    """Listens from `listen` on; `code` is 0, or the key in REASONS of what was asked."""

    def __init__(self) -> None:
        self.code = 0
        self.launched = False

    def listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
            # What nohup and shells set to be ignored stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        alive = launcher_watch()
        if alive is not None:
            self.launched = True
            threading.Thread(target=self._watch, args=(alive,), name="launcher watch", daemon=True).start()

    def _on_signal(self, number: int, _: object) -> None:
        self.code = max(self.code, number)

    def _watch(self, alive: Callable[[], bool]) -> None:
        while alive():
            time.sleep(POLL_SECONDS)
        self.code = LAUNCHER_GONE


def launcher_watch() -> Callable[[], bool] | None:
    """A function that says whether DeepSpeed's launcher still runs; None where it did not start this process.

    The outer `deepspeed` command starts `deepspeed.launcher.launch`, which starts the trainers. A signal to the outer
    one ends it alone, and whatever kills the inner one leaves the trainers without a parent.
    """
    import psutil

    def command(process: psutil.Process) -> str:
        try:
            return " ".join(process.cmdline())
        except psutil.Error:
            return ""

    inner = psutil.Process().parent()
    if inner is None or "deepspeed.launcher.launch" not in command(inner):
        return None
    outer = inner.parent()  # ssh or the like on other machines than the first
    watched = [inner] + ([outer] if outer is not None and "deepspeed" in command(outer).partition("--")[0] else [])

    def running(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return lambda: all(running(process) for process in watched)


def stop_run(folder: Path, timeout_seconds: float = 600.0) -> None:
    """Ask the run of `folder` to save and stop, and wait until it has.

    Raises:
        UserError: nothing trains there, it trains on another machine, or it does not end in time.
    """
    from training.run_folder.folder import holder

    held_by = holder(folder)
    if held_by is None:
        raise UserError(f"{folder}: no process is training this run")
    pid, host = held_by
    if host != socket.gethostname():
        raise UserError(f"{folder}: is being trained on {host}; run the same command there")
    try:
        os.kill(pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as error:
        raise UserError(f"{folder}: process {pid} cannot be asked to stop: {error.strerror}") from None
    print(f"{folder}: asked process {pid} to save and stop", flush=True)
    waited = 0.0
    while holder(folder) == held_by:
        if waited > timeout_seconds:
            raise UserError(
                f"{folder}: process {pid} still runs after {timeout_seconds:.0f} s; its output says what it is "
                f"doing, and kill -9 {pid} ends it (the last checkpoint holds)"
            )
        time.sleep(POLL_SECONDS / 2)
        waited += POLL_SECONDS / 2
    print(f"{folder}: stopped", flush=True)
