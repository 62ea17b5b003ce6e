"""The local engine: worker processes that may die. Shards are handed out, progress comes back, a death costs at most
one paper.

A worker that is killed (out of memory, a crash in C code) gives its shard back. When all other shards are done, such
shards run again, one at a time, with the machine to themselves; a paper on which a worker has died twice is given up
as `processing_error`. Workers end by themselves when the parent is killed. Imported, not run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from common.errors import UserError


class Shard(Protocol):
    """A job on one shard."""

    @property
    def number(self) -> int: ...

    def without(self, position: int, detail: str) -> Shard:
        """The same job with the paper at `position` given up, because of `detail`."""


ShardT = TypeVar("ShardT", bound=Shard)
# work(job, progress): progress(position, bytes) tells which paper is next, so that it can be blamed for a death.
Work = Callable[[ShardT, Callable[[int, int], None]], None]
OnProgress = Callable[[int, int, int], None]
# Deaths in a row without a finished shard, after which the machine, not a paper, is to blame.
MAX_DEATHS = 20
DEATHS_PER_PAPER = 2


@dataclass
class Worker:
    process: BaseProcess
    connection: Connection
    job: Any = None
    position: int | None = None


def run_jobs(jobs: Iterable[ShardT], workers: int, work: Work[ShardT], on_progress: OnProgress) -> None:
    """Run `work(job, progress)` on every job in up to `workers` processes.

    `on_progress(shard, papers, bytes)` tells how far a shard is: papers done and bytes written, from the beginning
    again when it is run again.

    Raises:
        UserError: a worker met one, or workers keep dying.
        RuntimeError: an exception in a worker that no paper accounts for, with its traceback.
    """
    deaths: Counter[tuple[int, int | None]] = Counter()
    suspects = list(_run(jobs, workers, work, on_progress, deaths))
    while suspects:
        again = [without_killers(job, deaths) for job in suspects]
        suspects = list(_run(again, 1, work, on_progress, deaths))


def without_killers(job: Any, deaths: Counter[tuple[int, int | None]]) -> Any:
    """The job without the papers on which workers have died too often."""
    for (shard, position), count in deaths.items():
        if shard == job.number and position is not None and count >= DEATHS_PER_PAPER:
            job = job.without(position, f"the worker process died on this paper {count} times, as a rule for memory")
    return job


def _run(
    jobs: Iterable[ShardT],
    workers: int,
    work: Work[ShardT],
    on_progress: OnProgress,
    deaths: Counter[tuple[int, int | None]],
) -> Iterator[ShardT]:
    """Run the jobs; yields those whose worker died."""
    queue = iter(jobs)
    idle: list[Worker] = []
    busy: dict[Connection, Worker] = {}
    deaths_in_row = 0
    try:
        while True:
            while len(busy) < workers and (job := next(queue, None)) is not None:
                worker = idle.pop() if idle else _start(work)
                worker.job, worker.position = job, None
                # A worker that is dead already is met below, as the end of its connection.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    worker.connection.send(job)
                busy[worker.connection] = worker
            if not busy:
                return
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                job = worker.job
                assert job is not None
                try:
                    kind, *message = connection.recv()
                except (EOFError, ConnectionResetError):
                    del busy[connection]
                    worker.process.join()
                    deaths[job.number, worker.position] += 1
                    deaths_in_row += 1
                    if deaths_in_row > MAX_DEATHS or (worker.position is None and worker.process.exitcode == 1):
                        raise UserError(
                            f"worker processes keep dying ({_how(worker.process)}); finished shards are kept. If "
                            "memory is short, run again with fewer of them, e.g. --workers 1"
                        ) from None
                    on_progress(job.number, 0, 0)
                    yield job
                    continue
                if kind == "at":
                    worker.position = message[0]
                    on_progress(job.number, *message)
                elif kind == "done":
                    deaths_in_row = 0
                    idle.append(busy.pop(connection))
                elif kind == "user_error":
                    raise UserError(message[0])
                else:
                    raise RuntimeError(f"shard {job.number}, paper {worker.position}:\n{message[0]}")
    finally:
        for worker in [*idle, *busy.values()]:
            worker.connection.close()
            worker.process.terminate()
            worker.process.join()


def _how(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _start(work: Work) -> Worker:
    # spawn: no lock, thread or open file of the parent is copied, and only this end of the pipe reaches the child, so
    # that both sides see the other's death as the end of the connection.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def serve(connection: Connection, work: Work) -> None:
    """What a worker process does: jobs, until the parent closes the connection or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = connection.recv()
            try:
                work(job, lambda position, size: connection.send(("at", position, size)))
            except UserError as error:
                connection.send(("user_error", str(error)))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception:
                connection.send(("error", traceback.format_exc()))
            else:
                connection.send(("done",))
