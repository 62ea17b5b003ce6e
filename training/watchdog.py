"""Ends a process that makes no progress, with a message, instead of letting it wait for ever for one that hangs."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

EXIT_STATUS = 4


class Watchdog:
    """`beat` says that the process is getting on, and with what; silence for `limit_seconds` ends it."""

    def __init__(self, limit_seconds: float, name: str):
        self.limit, self.name = limit_seconds, name
        self.phase, self.last = "starting", time.monotonic()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self.beat(self.phase)
        self.thread.start()

    def beat(self, phase: str) -> None:
        self.phase, self.last = phase, time.monotonic()

    def stop(self) -> None:
        self.ended.set()

    def _watch(self) -> None:
        while not self.ended.wait(min(self.limit / 10, 10.0)):
            silent = time.monotonic() - self.last
            if silent > self.limit:
                print(
                    f"error: {self.name}: no progress for {silent:.0f} s (train.hang_seconds {self.limit:g}) in: "
                    f"{self.phase}. Another process hangs or is gone, or a disk does not answer: see the other "
                    "processes' output and the stacks below. The same command goes on from the last checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(all_threads=True)
                os._exit(EXIT_STATUS)  # the main thread cannot be reached: it waits inside a library
