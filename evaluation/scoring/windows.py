"""What a causal language model makes of each token of documents, in sliding windows. Imported, not run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from evaluation.models.load import LoadedModel

# Numbers that one batch's logits may have: 1 GB in float32 on a GPU; on a CPU larger ones only cost page faults.
LOGIT_NUMBERS, LOGIT_NUMBERS_CPU = 250_000_000, 16_000_000
MAX_BATCH = 64
# Batches put together at a time, sorted by length: windows of one length waste nothing on filling.
BATCHES_SORTED = 8


@dataclass(frozen=True)
class Window:
    """`tokens` in, and `first` the position in `tokens` of the first one to be scored (at least 1)."""

    document: int
    tokens: list[int]
    first: int


def windows(ids: Sequence[int], context_token: int, context: int, stride: int, document: int = 0) -> Iterator[Window]:
    """Cut a document into windows of at most `context` tokens in which each of `ids` is scored exactly once."""
    tokens = [context_token, *ids]
    scored = 1  # tokens[:scored] are done; the context token is never scored
    while scored < len(tokens):
        end = min(len(tokens), context if scored == 1 else scored + stride)
        start = max(0, end - context)
        yield Window(document, tokens[start:end], scored - start)
        scored = end


def batch_size_for(loaded: LoadedModel, context: int) -> int:
    """Windows whose logits fit the memory that they may take."""
    numbers = LOGIT_NUMBERS_CPU if loaded.device.type == "cpu" else LOGIT_NUMBERS
    return max(1, min(MAX_BATCH, numbers // (loaded.model.config.vocab_size * context)))


def window_losses(loaded: LoadedModel, batch: Sequence[Window]) -> list[np.ndarray]:
    """Cross-entropy in nats of each window's scored tokens, float64 [tokens], from one forward pass.

    Shorter windows are filled up at their end, where causal attention keeps the filling from what is scored.
    """
    import torch

    pad = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else loaded.context_token
    width = max(len(window.tokens) for window in batch)
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    scored = torch.zeros((len(batch), width), dtype=torch.bool)
    for row, window in enumerate(batch):
        ids[row, : len(window.tokens)] = torch.tensor(window.tokens)
        mask[row, : len(window.tokens)] = 1
        scored[row, window.first : len(window.tokens)] = True
    ids, scored = ids.to(loaded.device), scored.to(loaded.device)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, attention_mask=mask.to(loaded.device), use_cache=False).logits
        # The token at position t is predicted by the logits at t - 1.
        chosen, targets = scored[:, 1:], ids[:, 1:]
        losses = torch.nn.functional.cross_entropy(logits[:, :-1][chosen].float(), targets[chosen], reduction="none")
    counts = [len(window.tokens) - window.first for window in batch]
    return [part.numpy() for part in losses.double().cpu().split(counts)]


def document_losses(
    loaded: LoadedModel,
    documents: Iterable[Sequence[int]],
    context: int,
    stride: int,
    batch_size: int = 0,
    on_tokens: Callable[[int], object] = lambda _: None,
) -> Iterator[np.ndarray]:
    """Cross-entropy in nats of each token of each document, float64 [tokens], in the documents' order.

    Args:
        documents: token ids, without the context token.
        batch_size: windows at once; 0: as many as memory for their logits allows.
        on_tokens: is told the tokens of each batch.
    """
    batch_size = batch_size or batch_size_for(loaded, context)
    waiting: list[Window] = []
    lengths: list[int] = []
    for ids in documents:
        waiting += windows(ids, loaded.context_token, context, stride, len(lengths))
        lengths.append(len(ids))
        if len(waiting) >= BATCHES_SORTED * batch_size:
            yield from _scored(loaded, waiting, lengths, batch_size, on_tokens)
            waiting, lengths = [], []
    yield from _scored(loaded, waiting, lengths, batch_size, on_tokens)


def _scored(
    loaded: LoadedModel,
    waiting: Sequence[Window],
    lengths: Sequence[int],
    batch_size: int,
    on_tokens: Callable[[int], object],
) -> Iterator[np.ndarray]:
    import numpy as np

    order = sorted(range(len(waiting)), key=lambda number: len(waiting[number].tokens))
    found: dict[int, Any] = {}
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        losses = window_losses(loaded, [waiting[number] for number in numbers])
        found |= dict(zip(numbers, losses, strict=True))
        on_tokens(sum(map(len, losses)))
    of_document: list[list[np.ndarray]] = [[] for _ in lengths]
    for number, window in enumerate(waiting):
        of_document[window.document].append(found[number])
    for parts, length in zip(of_document, lengths, strict=True):
        whole = np.concatenate(parts) if parts else np.empty(0)
        assert len(whole) == length
        yield whole
