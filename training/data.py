"""Packed sequences and the order in which training reads them.

The tokens of all documents are one long row, cut into windows of `seq_len` inputs; nothing is padded and nothing lost
but the tail. The order is a pseudorandom permutation of the windows that is computed, not stored: it costs no memory,
and the window at any position of any epoch is known at once, so that a resumed run, on any number of processes, reads
on exactly where the last one stopped. `Loader` makes the batches in a thread while the device works.

Where the loss counts answers alone, a token that is read and not learnt stands in a window as its complement, `~id`.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tokenizer.cache.token_file import READ_ONLY, TOKEN_ID

ROUNDS = 4


def permute(index: int, size: int, key: int) -> int:
    """The image of `index` under a pseudorandom permutation of range(size).

    A balanced Feistel network over the next even number of bits, walked until it lands inside the range again (Black
    and Rogaway, Ciphers with Arbitrary Finite Domains, 2002): under four steps on average.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for round_ in range(ROUNDS):
            digest = hashlib.blake2b(f"{key},{round_},{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & mask)
        index = (left << half) | right
        if index < size:
            return index


class PackedSequences:
    """Windows of `seq_len` + 1 tokens (inputs and, one further, their targets) over a row of tokens.

    Args:
        tokens: a TokenRow, or an array like it: uint32, marks included.
        answers_only: keep the marks of what is read and not learnt, as complements.
    """

    def __init__(self, tokens: Any, seq_len: int, seed: int, answers_only: bool = False):
        self.tokens, self.seq_len, self.seed, self.answers_only = tokens, seq_len, seed, answers_only
        self.size = (len(tokens) - 1) // seq_len

    def span(self, index: int) -> tuple[int, int]:
        """Where window `index` lies in the row of tokens: start, stop."""
        return index * self.seq_len, index * self.seq_len + self.seq_len + 1

    def window(self, index: int) -> np.ndarray:
        """Window `index` in the order of the corpus: int64 [seq_len + 1]."""
        start, stop = self.span(index)
        marked = self.tokens[start:stop]
        ids = (marked & TOKEN_ID).astype(np.int64)
        return np.where(marked & READ_ONLY, ~ids, ids) if self.answers_only else ids

    def index_at(self, position: int) -> int:
        """The window that training reads at `position`, counted over all processes and epochs."""
        epoch, index = divmod(position, self.size)
        return permute(index, self.size, hash_key(self.seed, epoch))

    def at(self, position: int) -> np.ndarray:
        """The tokens of the window at `position`: int64 [seq_len + 1]."""
        return self.window(self.index_at(position))

    def batch(self, first: int, count: int) -> np.ndarray:
        """`count` windows from position `first` on: int64 [count, seq_len + 1]."""
        return np.stack([self.at(position) for position in range(first, first + count)])

    def answers(self, first: int, count: int) -> int:
        """Targets in the same windows that are learnt."""
        if not self.answers_only:
            return count * self.seq_len
        return sum(count_answers(self.at(position)) for position in range(first, first + count))


def count_answers(windows: np.ndarray) -> int:
    """Targets that are learnt in windows [.., seq_len + 1]."""
    return int(np.count_nonzero(windows[..., 1:] >= 0))


def ends_inside(windows: np.ndarray, eos_token_id: int) -> bool:
    """Whether a document ends before the last input of a window [.., seq_len + 1], marked or not."""
    inputs = windows[..., :-2]
    return bool(np.any((inputs == eos_token_id) | (inputs == ~eos_token_id)))


def hash_key(seed: int, epoch: int) -> int:
    """One key for each pass over the data."""
    return seed * 1_000_003 + epoch


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the random numbers (dropout) of one step in one process, so that none need to be kept between steps."""
    digest = hashlib.blake2b(f"{seed},{step},{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass needs to know, found on the CPU: to ask a GPU for it would wait until it has caught up.

    `tokens`: int64 [count, seq_len + 1]. `weight`: of its mean loss in that of the step, which is the mean over all
    tokens learnt in it (1 where every token is). `learnt`: int64 [learnt], the targets that are, of all count x seq_len
    in a row; None: all. `apart`: attention must tell documents apart, for one ends before the last input of a window.
    """

    tokens: Any
    weight: float
    learnt: Any = None
    apart: bool = False


class Loader:
    """The micro-batches of one process in the order of training, made ahead in a thread.

    Args:
        position: of the first window of the next step, over all processes.
        sequences_per_step: windows of a step over all processes.
        stride: windows of a micro-batch over all processes; this one reads `count` of them, from `offset` on.
        pin: put batches into page-locked memory, from which a GPU copies while it computes.
        eos_token_id: ends a document that attention must not leave; None: a window is one text.
    """

    AHEAD = 4

    def __init__(
        self,
        data: PackedSequences,
        position: int,
        sequences_per_step: int,
        stride: int,
        offset: int,
        count: int,
        pin: bool,
        eos_token_id: int | None = None,
    ):
        self.data, self.count, self.pin, self.eos_token_id = data, count, pin, eos_token_id
        self.steps = (position, sequences_per_step, stride, offset)
        self.batches: queue.Queue[Any] = queue.Queue(self.AHEAD)
        self.closed = threading.Event()
        # Seconds that `next` has waited since it was last asked.
        self.waited = 0.0
        self.thread = threading.Thread(target=self._fill, name="loader", daemon=True)
        self.thread.start()

    def _fill(self) -> None:
        import torch

        position, sequences_per_step, stride, offset = self.steps

        def pinned(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.pin_memory() if self.pin and tensor.numel() else tensor

        try:
            while True:
                # Of all processes, which need not tell each other what each can count.
                answers = self.data.answers(position, sequences_per_step)
                a_micro_batch = answers * self.count / sequences_per_step
                for start in range(position, position + sequences_per_step, stride):
                    windows = self.data.batch(start + offset, self.count)
                    weight = count_answers(windows) / a_micro_batch if answers else 0.0
                    learnt = np.flatnonzero(windows[:, 1:] >= 0) if self.data.answers_only else None
                    apart = self.eos_token_id is not None and ends_inside(windows, self.eos_token_id)
                    tokens, places = (
                        None if rows is None else pinned(torch.from_numpy(rows)) for rows in (windows, learnt)
                    )
                    if not self._put(MicroBatch(tokens, weight, places, apart)):
                        return
                position += sequences_per_step
        except Exception as error:  # told to who waits for the batch
            self._put(error)

    def _put(self, batch: Any) -> bool:
        while not self.closed.is_set():
            try:
                self.batches.put(batch, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def next(self) -> MicroBatch:
        """The next micro-batch."""
        began = time.perf_counter()
        batch = self.batches.get()
        self.waited += time.perf_counter() - began
        if isinstance(batch, Exception):
            raise batch
        return batch

    def close(self) -> None:
        """Let the thread end; batches made ahead are dropped."""
        self.closed.set()
        self.thread.join()
