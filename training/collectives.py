"""What the processes of a run tell each other apart from gradients: numbers that all must agree on.

They go over gloo and the CPU, on machines with GPUs too: agreeing waits for no GPU, and a process that died closes its
connection, which the others notice at once.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from common.errors import UserError
from training.rendezvous import one_line


def is_lost_peer(error: BaseException) -> bool:
    """Whether torch raises this because another process is gone, or is not reached."""
    import torch.distributed as dist

    words = ("gloo", "Gloo", "NCCL", "Connection reset", "Connection closed", "Broken pipe")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def peer_lost(where: str, error: BaseException) -> UserError:
    """What an error that `is_lost_peer` means to a person."""
    return UserError(
        f"{where}: another process is gone or does not answer ({one_line(error)}); its own message says why. The same "
        "command goes on from the last checkpoint"
    )


class Control:
    """The channel. Every method is a collective call: all processes make it, in the same order."""

    def __init__(self, timeout_seconds: float):
        import torch.distributed as dist

        self.rank, self.processes = dist.get_rank(), dist.get_world_size()
        # Called while waiting for process 0.
        self.beat: Callable[[], None] = lambda: None
        try:
            self.group = dist.new_group(backend="gloo", timeout=datetime.timedelta(seconds=timeout_seconds))
        except RuntimeError as error:  # they have just connected: one has ended since
            raise peer_lost("connecting", error) from error

    def highest(self, *values: int) -> list[int]:
        """For each place, the highest that any process gave."""
        import torch
        import torch.distributed as dist

        if self.processes == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.group)
        return numbers.tolist()

    def add(self, numbers: Any) -> Any:
        """Sum over the processes of a tensor on the CPU, in place."""
        import torch.distributed as dist

        if self.processes > 1:
            dist.all_reduce(numbers, group=self.group)
        return numbers

    def gather(self, value: Any) -> list[Any]:
        """What each process gave, in their order."""
        import torch.distributed as dist

        values: list[Any] = [None] * self.processes
        dist.all_gather_object(values, value, group=self.group)
        return values

    def told_by_first(self, function: Callable[[], Any]) -> Any:
        """What `function` answers, or the UserError that it raises, in process 0, which alone calls it.

        It may take any time: the others wait by asking, so that none counts as hanging.
        """
        import torch.distributed as dist

        outcome: Future[Any] = Future()
        if self.rank == 0:
            threading.Thread(target=_run, args=(function, outcome), daemon=True).start()
        pause = 0.001
        while self.highest(int(self.rank == 0 and not outcome.done()))[0]:
            self.beat()
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = outcome.result()
            except UserError as raised:
                answer[1] = str(raised)
        dist.broadcast_object_list(answer, src=0, group=self.group)
        if answer[1] is not None:
            raise UserError(answer[1])
        return answer[0]

    def barrier(self) -> None:
        self.highest(0)

    def close(self) -> None:
        """Leave alone, after an error: a gloo thread that outlives the interpreter aborts the process.

        Not a collective call. NCCL's group is left as it is: to end it would wait for processes that are gone.
        """
        import torch.distributed as dist

        dist.destroy_process_group(self.group if dist.get_backend() == "nccl" else None)


def _run(function: Callable[[], Any], outcome: Future[Any]) -> None:
    try:
        outcome.set_result(function())
    except BaseException as raised:  # raised again where the outcome is asked for
        outcome.set_exception(raised)
