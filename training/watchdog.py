"""Ends a process that makes no progress, with a message, instead of letting it wait for ever for one that hangs."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

EXIT_STATUS = 4
# The least that building and loading a model may take, whatever train.hang_seconds is.
START_SECONDS = 1800.0


class Watchdog:
    """`beat` says that the process is getting on, and with what; silence for `limit_seconds` ends it."""

    def __init__(self, limit_seconds: float, name: str):
        self.hang_seconds, self.name = limit_seconds, name
        self.limit = limit_seconds
        self.phase, self.last = "starting", time.monotonic()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self, at_least: float = 0.0) -> None:
        """Watch from now on; until `training` is called, silence may last `at_least` seconds."""
        self.limit = max(self.hang_seconds, at_least)
        self.beat(self.phase)
        self.thread.start()

    def training(self) -> None:
        """What takes long by itself is over."""
        self.beat(self.phase)
        self.limit = self.hang_seconds

    def beat(self, phase: str) -> None:
        self.phase, self.last = phase, time.monotonic()

    def stop(self) -> None:
        self.ended.set()

    def _watch(self) -> None:
        while not self.ended.wait(min(self.hang_seconds / 10, 10.0)):
            silent = time.monotonic() - self.last
            if silent > self.limit:
                limit = f"train.hang_seconds {self.hang_seconds:g}"
                if self.limit > self.hang_seconds:
                    limit = f"the limit at the start is {self.limit:g} s"
                print(
                    f"error: {self.name}: no progress for {silent:.0f} s ({limit}) in: "
                    f"{self.phase}. Another process hangs or is gone, or a disk does not answer: see the other "
                    "processes' output and the stacks below. The same command goes on from the last checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(all_threads=True)
                os._exit(EXIT_STATUS)  # the main thread cannot be reached: it waits inside a library
