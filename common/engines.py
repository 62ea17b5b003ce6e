"""Where shards are worked on: processes of this machine, or a Ray cluster. The same code for each shard, and the same
bytes. Imported by `prepare_dataset.py`; not run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from common.workers import ShardT, Work

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """`workers` 0 means one for each core, of this machine or of the cluster at `address`."""

    name: str = "local"
    workers: int = 0
    address: str | None = None

    def run(self, jobs: Iterable[ShardT], count: int, work: Work[ShardT], progress: Progress) -> None:
        """Run `work` on each of the `count` jobs; see `workers.run_jobs` for what it raises."""
        if self.name == "ray":
            from common import ray_workers

            ray_workers.run_jobs(jobs, self.workers, work, progress.update, self.address)
        else:
            from common import workers

            workers.run_jobs(jobs, min(self.workers or available_cores(), count), work, progress.update)

    def describe(self, count: int) -> str:
        if self.name == "ray":
            return f"on the Ray cluster {self.address or 'of this machine'}"
        return f"by {min(self.workers or available_cores(), count):,} worker processes"


def available_cores() -> int:
    """Cores that this process may use (a container's or a scheduler's share, where there is one)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Progress:
    """A bar over the papers of many shards, each of which tells how far it is."""

    def __init__(self, papers: int, what: str) -> None:
        from tqdm import tqdm

        self.bar: Any = tqdm(total=papers, unit=" papers", desc=what, mininterval=1, smoothing=0.05)
        self.papers = papers
        self.started = time.monotonic()
        self.state: dict[int, tuple[int, int]] = {}
        self.done = self.bytes = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def update(self, shard: int, papers: int, size: int) -> None:
        """`shard` is at its paper number `papers`, `size` bytes written; smaller than before if it runs again."""
        before = self.state.get(shard, (0, 0))
        self.state[shard] = papers, size
        self.done += papers - before[0]
        self.bytes += size - before[1]
        self.bar.update(papers - before[0])
