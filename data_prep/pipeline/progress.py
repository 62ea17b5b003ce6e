"""How far the papers are, and what the rest of them will take."""

from __future__ import annotations

import shutil
import time

from common.engines import Progress
from data_prep.pipeline.plan import Job

# Papers after which the rest is projected.
PROJECT_AFTER = 200
# Bytes of a compressed shard for each of its records' (measured on LaTeX: 0.28).
SHARD_SHARE = 0.3


class ProjectedProgress(Progress):
    """Hours and disk for the rest, from what the first papers took."""

    def __init__(self, job: Job, papers: int) -> None:
        super().__init__(papers, "papers")
        self.job = job
        self.projected = False

    def update(self, shard: int, papers: int, size: int) -> None:
        super().update(shard, papers, size)
        if not self.projected and PROJECT_AFTER <= self.done < self.papers:
            self.projected = True
            self.project()

    def project(self) -> None:
        left = self.papers - self.done
        hours = (time.monotonic() - self.started) / self.done * left / 3600
        # Compressed shards of what is left, then the splits beside them, compressed or not.
        shards = self.bytes / self.done * left * SHARD_SHARE
        splits = self.bytes / self.done * self.papers * (SHARD_SHARE if self.job.settings.compress else 1)
        free = shutil.disk_usage(self.job.out).free
        self.bar.write(
            f"papers: after the first {self.done:,}, the other {left:,} should take {hours:,.2f} hours and "
            f"{(shards + splits) / 1e9:,.2f} GB of disk ({free / 1e9:,.2f} GB free in {self.job.out})"
        )
        if shards + splits > free:
            self.bar.write("papers: WARNING: that is more than is free; the run will stop there, and can go on later")
