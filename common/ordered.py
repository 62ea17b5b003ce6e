"""A function over batches by worker processes, the results in the order of the batches, so many at a time that memory
stays small. Imported, not run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from common.errors import UserError

Batch = TypeVar("Batch")
Result = TypeVar("Result")
# Batches on their way for each worker.
AHEAD = 3


def ordered_map(function: Callable[[Batch], Result], batches: Iterable[Batch], workers: int) -> Iterator[Result]:
    """`function` of each batch, in order; with one worker in this process.

    Raises:
        UserError: a worker died, as a rule for want of memory.
    """
    if workers <= 1:
        yield from map(function, batches)
        return
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    waiting: deque[Future[Result]] = deque()
    try:
        with ProcessPoolExecutor(workers) as pool:
            for batch in batches:
                waiting.append(pool.submit(function, batch))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, as a rule for want of memory; close other programs or lower data.workers, "
            "then run the same command again"
        ) from None
