"""The Ray engine: the same work on the same shards, on the machines of a Ray cluster that share the folders.

    python data_prep/prepare_dataset.py --engine ray --address auto

A shard whose worker or machine dies is given to another one; a paper that has killed two workers is given up. Needs
`pip install ray`; imported by `data_prep/prepare_dataset.py`, not run.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import ROOT
from common.workers import MAX_DEATHS, OnProgress, ShardT, Work, without_killers

# Shards in flight for each core: one that runs and one that waits for it.
QUEUED_PER_CORE = 2
# A machine on which files are missing refuses a shard; others may have them.
REFUSALS = 3


def run_jobs(
    jobs: Iterable[ShardT], workers: int, work: Work[ShardT], on_progress: OnProgress, address: str | None
) -> None:
    """Run `work(job, progress)` on every job on the cluster at `address` ("auto": the one that this machine is part of;
    None: one of its own on this machine), at most `workers` at once (0: as many as it has cores).

    Raises:
        UserError: no Ray, no cluster, a shard that several machines refuse, or workers keep dying.
        RuntimeError: an exception in a worker that no paper accounts for, with its traceback.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: pip install ray, or use --engine local") from None
    try:
        _knock(address)
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--engine ray: no cluster at {address}: {error}. Start one with `ray start --head` on this machine and "
            "`ray start --address=...` on the others, or leave --address away"
        ) from None
    try:
        _run(ray, jobs, workers, work, on_progress)
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise OSError at once where nothing answers at HOST:PORT; Ray itself would wait for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _run(ray: Any, jobs: Iterable[ShardT], workers: int, work: Work[ShardT], on_progress: OnProgress) -> None:
    # Ray's own retries would hide which paper it was; SPREAD, so that a shard does not go back to a sick machine.
    task = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(run_shard)
    queue = iter(jobs)
    again: list[ShardT] = []
    running: dict[Any, ShardT] = {}
    attempts: Counter[int] = Counter()
    refusals: Counter[int] = Counter()
    deaths: Counter[tuple[int, int | None]] = Counter()
    deaths_in_row = 0
    while True:
        room = workers or QUEUED_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
        while len(running) < room:
            job = again.pop() if again else next(queue, None)
            if job is None:
                break
            running[task.remote(work, job, attempts[job.number] > 0)] = job
        if not running:
            return
        ready, _ = ray.wait(list(running), timeout=5)
        for reference in ready:
            job = running.pop(reference)
            try:
                kind, *message = ray.get(reference)
            except ray.exceptions.RayError as error:  # the worker or its machine has gone
                deaths_in_row += 1
                attempts[job.number] += 1
                deaths[job.number, _position(job)] += 1
                if deaths_in_row > MAX_DEATHS:
                    raise UserError(
                        f"workers on the Ray cluster keep dying ({error}); finished shards are kept: see to its memory "
                        "and disks, then run the same command again"
                    ) from None
                again.append(without_killers(job, deaths))
                continue
            if kind == "done":
                deaths_in_row = 0
                _trace(job).unlink(missing_ok=True)
                on_progress(job.number, *message)
            elif kind == "user_error":
                refusals[job.number] += 1
                if refusals[job.number] >= REFUSALS:
                    raise UserError(message[0])
                again.append(job)
            else:
                raise RuntimeError(f"shard {job.number}:\n{message[0]}")


def run_shard(work: Callable[[Any, Callable[[int, int], None]], None], job: Any, traced: bool) -> tuple[Any, ...]:
    """What a worker does. `traced`: note each position in a file first, because a worker has died on this shard."""
    last = (0, 0)

    def progress(position: int, size: int) -> None:
        nonlocal last
        last = position, size
        if traced:
            _trace(job).write_text(str(position))

    try:
        work(job, progress)
    except UserError as error:
        return "user_error", str(error)
    except Exception:
        return "error", traceback.format_exc()
    return "done", *last


def _trace(job: Any) -> Path:
    return job.folder / f"{job.number}.at"


def _position(job: Any) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(_trace(job).read_text())
    return None
