"""Packed sequences and the order in which training reads them.

The tokens of all documents are one long row, cut into windows of `seq_len` inputs; nothing is padded and nothing lost
but the tail. The order is a pseudorandom permutation of the windows that is computed, not stored: it costs no memory,
and the window at any position of any epoch is known at once, so that a resumed run, on any number of processes, reads
on exactly where the last one stopped.
"""

from __future__ import annotations

import hashlib

import numpy as np

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
    """Windows of `seq_len` + 1 tokens (inputs and, one further, their targets) over a row of tokens."""

    def __init__(self, tokens: np.ndarray, seq_len: int, seed: int):
        self.tokens, self.seq_len, self.seed = tokens, seq_len, seed
        self.size = (len(tokens) - 1) // seq_len

    def window(self, index: int) -> np.ndarray:
        """Window `index` in the order of the corpus: int64 [seq_len + 1]."""
        start = index * self.seq_len
        return self.tokens[start : start + self.seq_len + 1].astype(np.int64)

    def at(self, position: int) -> np.ndarray:
        """The window that training reads at `position`, counted over all processes and epochs: int64 [seq_len + 1]."""
        epoch, index = divmod(position, self.size)
        return self.window(permute(index, self.size, hash_key(self.seed, epoch)))

    def batch(self, first: int, count: int) -> np.ndarray:
        """`count` windows from position `first` on: int64 [count, seq_len + 1]."""
        return np.stack([self.at(position) for position in range(first, first + count)])


def hash_key(seed: int, epoch: int) -> int:
    """One key for each pass over the data."""
    return seed * 1_000_003 + epoch
