"""Loss on a fixed part of the validation split: the same windows at every step, in every run, on any number of
processes, summed in one order, so that the figures are equal to the last bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from training.checkpoints.manager import State
from training.collectives import Control
from training.data import PackedSequences, hash_key, permute

Record = dict[str, Any]


class Validation:
    """The part, cut into batches that the processes take in turns.

    Args:
        cache: TokenCache of the validation split.
        count: windows of the part; None reads all of the split.
        seed: which windows those are.
        byte_lengths: UTF-8 bytes that each token stands for, int64 [vocabulary], on the device.
        answers_only: measure what the split marks as answers alone.
    """

    def __init__(
        self,
        cache: Any,
        seq_len: int,
        count: int | None,
        seed: int,
        batch_size: int,
        byte_lengths: Any,
        control: Control,
        answers_only: bool = False,
    ):
        self.cache, self.control, self.byte_lengths = cache, control, byte_lengths
        self.data = PackedSequences(cache.tokens, seq_len, seed, answers_only)
        size = self.data.size
        count = min(count or size, size)
        self.windows = [permute(index, size, hash_key(seed, 0)) for index in range(count)]
        self.batches = [self.windows[start : start + batch_size] for start in range(0, count, batch_size)]

    def losses(self, module: Any, between: Callable[[], None]) -> Any:
        """Nats, tokens and bytes of each window, float64 [windows, 3], in every process.

        `between` is called before each batch, by all processes equally often; what it raises ends the validation.
        """
        import torch

        sums = torch.zeros(len(self.windows), 3, dtype=torch.float64)
        start, rounds = 0, -(-len(self.batches) // self.control.processes)
        for turn in range(rounds):
            between()
            for rank, batch in enumerate(self.batches[turn * self.control.processes :][: self.control.processes]):
                if rank == self.control.rank:
                    sums[start : start + len(batch)] = self._batch(module, batch)
                start += len(batch)
        return self.control.add(sums)

    def _tokens(self, batch: list[int]) -> Any:
        import torch

        return torch.stack([torch.from_numpy(self.data.window(window)) for window in batch])

    def _batch(self, module: Any, batch: list[int]) -> Any:
        import torch

        return torch.stack([part.sum(dim=1) for part in self._each(module, batch)], dim=1).cpu()

    def _each(self, module: Any, batch: list[int]) -> tuple[Any, Any, Any]:
        """Nats, tokens and bytes of each target of a batch, float64 [windows, seq_len]; 0 where it does not count."""
        import torch

        marked = self._tokens(batch).to(self.byte_lengths.device)
        tokens = torch.where(marked < 0, ~marked, marked)
        counts = (marked[:, 1:] >= 0).double()
        with torch.no_grad():
            losses = module.token_losses(tokens).double()
        return losses * counts, counts, self.byte_lengths[tokens[:, 1:]] * counts

    def record(self, module: Any, step: int, between: Callable[[], None], prefix: str = "val_") -> Record:
        """The validation line of metrics.jsonl."""
        columns = self.losses(module, between).T.tolist()
        nats, tokens, size = (math.fsum(column) for column in columns)
        return {"step": step} | {f"{prefix}{key}": value for key, value in figures(nats, tokens, size).items()}

    def by_category(self, module: Any, between: Callable[[], None]) -> dict[str, Record]:
        """Figures of each primary category of the part's documents, most tokens first."""
        found: list[tuple[int, int, float, int, int]] = []
        for number, batch in enumerate(self.batches):
            between()
            if number % self.control.processes != self.control.rank:
                continue
            losses, counts, size = (part.cpu() for part in self._each(module, batch))
            for row, window in enumerate(batch):
                start, stop = self.data.span(window)
                at = start + 1  # the first token is read, not predicted
                while at < stop:
                    document = self.cache.document_at(at)
                    end = min(stop, document.stop)
                    part = slice(at - start - 1, end - start - 1)
                    if tokens := int(counts[row, part].sum()):
                        nats = losses[row, part].sum().item()
                        found.append((window, document.start, nats, tokens, int(size[row, part].sum())))
                    at = end
        everything = sorted(piece for pieces in self.control.gather(found) for piece in pieces)
        return self.control.told_by_first(lambda: self._sum_categories(everything))

    def _sum_categories(self, pieces: list[tuple[int, int, float, int, int]]) -> dict[str, Record]:
        categories: dict[int, str] = {}
        sums: dict[str, list[tuple[float, int, int]]] = {}
        for _, place, nats, tokens, size in pieces:
            if place not in categories:
                record = self.cache.record(self.cache.document_at(place))
                listed = record.get("categories")
                categories[place] = str(listed[0]) if isinstance(listed, list) and listed else "none"
            sums.setdefault(categories[place], []).append((nats, tokens, size))
        total = {name: [math.fsum(column) for column in zip(*rows, strict=True)] for name, rows in sums.items()}
        ordered = sorted(total, key=lambda name: (-total[name][1], name))
        return {name: figures(*total[name]) for name in ordered}


def figures(nats: float, tokens: float, size: float) -> Record:
    """Mean loss (nats a token), its perplexity, bits per byte, and the count, from sums; None where no token counts."""
    if not tokens:
        return {"loss": None, "perplexity": None, "bits_per_byte": None, "tokens": 0}
    loss = nats / tokens
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 100)),
        "bits_per_byte": nats / math.log(2) / max(1, size),
        "tokens": int(tokens),
    }


def after_validation(state: State, bits_per_byte: float | None, gain: float) -> State:
    """`state` with this step's validation: the best so far, or one more that was not better by `gain`; one
    that measured nothing (None) is neither."""
    if bits_per_byte is None:
        return replace(state, validated=True)
    best = state.best_bits_per_byte
    if best is None or bits_per_byte < best - gain:
        return replace(
            state, validated=True, best_step=state.step, best_bits_per_byte=bits_per_byte, validations_since_best=0
        )
    return replace(state, validated=True, validations_since_best=state.validations_since_best + 1)
