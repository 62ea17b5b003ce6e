"""Text from a model, token after token. Imported, not run.

Sampling runs on the CPU with a generator of its own for each text, so that one seed means one text whatever else the
process draws, alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    from evaluation.models.load import LoadedModel

# Why a text ended.
END, LIMIT, FULL, STOP, INTERRUPTED = "end of document", "token limit", "context full", "stop string", "interrupted"
# Tokens decoded together at least: a character may take several, and some tokenizers look at neighbours.
DECODED_ALONG = 8
# Beyond so many, decoding goes on from a line's end.
DECODED_AT_ONCE = 64


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn from the smallest set of likeliest
    tokens whose probability reaches `top_p`."""

    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


def room(loaded: LoadedModel, prompt: Sequence[int]) -> int:
    """Tokens that may follow a prompt: none is fed beyond the model's last position."""
    return loaded.max_context - len(prompt)


def generate_tokens(loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling) -> Generator[int, None, str]:
    """Token after token until the end of the document, `max_new_tokens`, or the model's context is full.

    Padding, unknown and beginning-of-text are never chosen. The generator returns why it ended.
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(sampling.seed)
    ids = torch.tensor([[loaded.context_token, *prompt]], device=loaded.device)
    past = None
    for _ in range(min(sampling.max_new_tokens, room(loaded, prompt))):
        with torch.inference_mode():
            output = loaded.model(input_ids=ids, past_key_values=past, use_cache=True)
        past = output.past_key_values
        token = choose(_allowed(loaded, output.logits[0, -1]), sampling, generator)
        if token == loaded.tokenizer.eos_token_id:
            return END
        yield token
        ids = torch.tensor([[token]], device=loaded.device)
    return LIMIT if sampling.max_new_tokens <= room(loaded, prompt) else FULL


def generate_batch(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
) -> list[tuple[list[int], str]]:
    """(tokens, why they ended) of each prompt: the same as one by one, but for the rounding of larger matrices."""
    import torch

    pad = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else loaded.context_token
    width = 1 + max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - 1 - len(prompt) :] = torch.tensor([loaded.context_token, *prompt])
        mask[row, width - 1 - len(prompt) :] = 1
    generators = [torch.Generator("cpu").manual_seed(sampling.seed) for sampling in samplings]
    limits = [min(s.max_new_tokens, room(loaded, p)) for s, p in zip(samplings, prompts, strict=True)]
    made: list[list[int]] = [[] for _ in prompts]
    ended: list[str | None] = [None] * len(prompts)
    ids, mask, past = ids.to(loaded.device), mask.to(loaded.device), None
    while True:
        for row, limit in enumerate(limits):
            if ended[row] is None and len(made[row]) >= limit:
                ended[row] = LIMIT if limit == samplings[row].max_new_tokens else FULL
        if None not in ended:
            return [(tokens, why or LIMIT) for tokens, why in zip(made, ended, strict=True)]
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.inference_mode():
            output = loaded.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True
            )
        past = output.past_key_values
        logits = output.logits[:, -1].float().cpu()
        following = [pad] * len(prompts)
        for row, generator in enumerate(generators):
            if ended[row] is not None:
                continue
            token = choose(_allowed(loaded, logits[row]), samplings[row], generator)
            if token == loaded.tokenizer.eos_token_id:
                ended[row] = END
            else:
                made[row].append(token)
                following[row] = token
        ids = torch.tensor(following, device=loaded.device)[:, None]
        # Rows that have ended are fed on, and nobody looks.
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


def _allowed(loaded: LoadedModel, logits: Any) -> Any:
    """Logits [vocabulary] in which what must not be written has no chance."""
    tokenizer = loaded.tokenizer
    never = {tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id} - {None, tokenizer.eos_token_id}
    logits = logits.float().cpu().clone()
    logits[len(tokenizer) :] = float("-inf")  # rows of a padded embedding that stand for nothing
    logits[list(never)] = float("-inf")
    return logits


def choose(logits: Any, sampling: Sampling, generator: Any) -> int:
    """One token of `logits` [vocabulary]."""
    import torch

    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits / sampling.temperature, dim=-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(0) - probabilities
    probabilities[before >= sampling.top_p] = 0.0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])


class Writing:
    """A text as it is made: iterating gives its parts, each as soon as no later token can change it.

    Attributes:
        tokens: made so far.
        ended: why it ended; None before that.
    """

    def __init__(self, loaded: LoadedModel, prompt: Sequence[int], sampling: Sampling, stops: Sequence[str] = ()):
        self.loaded, self.prompt, self.stops = loaded, list(prompt), [stop for stop in stops if stop]
        self.source = generate_tokens(loaded, prompt, sampling)
        self.tokens = 0
        self.ended: str | None = None

    def __iter__(self) -> Iterator[str]:
        parts = stream_text(self.loaded.tokenizer.decode, self.prompt, self._counted())
        yield from self._until_stop(parts) if self.stops else parts

    def _counted(self) -> Iterator[int]:
        while True:
            try:
                token = next(self.source)
            except StopIteration as end:
                self.ended = end.value
                return
            self.tokens += 1
            yield token

    def _until_stop(self, parts: Iterator[str]) -> Iterator[str]:
        """The text up to the first stop string, which may come in several parts."""
        held = ""
        for part in parts:
            held += part
            found = [place for stop in self.stops if (place := held.find(stop)) >= 0]
            if found:
                yield held[: min(found)]
                self.ended = STOP
                return
            # What may be the beginning of a stop string waits for what follows.
            keep = max(
                (
                    size
                    for stop in self.stops
                    for size in range(min(len(stop) - 1, len(held)), 0, -1)
                    if held.endswith(stop[:size])
                ),
                default=0,
            )
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
        yield held


def stream_text(decode: Callable[[list[int]], str], prompt: Sequence[int], tokens: Iterator[int]) -> Iterator[str]:
    """The text of `tokens` in parts.

    A token is read together with those before it, because a character may take several byte tokens. The last few lines
    are decoded again at each token, and cut at a line end now and then to keep them short.
    """
    pending = list(prompt[-DECODED_ALONG:])  # decoded along, never printed again
    shown = decode(pending)
    for token in tokens:
        pending.append(token)
        text = decode(pending)
        if text.endswith("\ufffd"):  # in the middle of a character
            continue
        yield text[len(shown) :]
        shown = text
        if len(pending) > DECODED_AT_ONCE and text.endswith("\n"):
            pending = pending[-DECODED_ALONG:]
            shown = decode(pending)
    rest = decode(pending)[len(shown) :]
    if rest:
        yield rest


def seeds(sampling: Sampling, count: int) -> list[Sampling]:
    """The same with `count` seeds, one after the other."""
    return [replace(sampling, seed=sampling.seed + number) for number in range(count)]


def check_sampling(sampling: Sampling) -> None:
    """Raises UserError, naming the option, where a value makes no sense."""
    if sampling.max_new_tokens < 1:
        raise UserError(f"--max-new-tokens {sampling.max_new_tokens}: must be at least 1")
    if not 0 <= sampling.temperature < float("inf"):
        raise UserError(f"--temperature {sampling.temperature}: must be 0 or more")
    if not 0 < sampling.top_p <= 1:
        raise UserError(f"--top-p {sampling.top_p}: must be more than 0 and at most 1")
    if not 0 <= sampling.seed < 2**63:
        raise UserError(f"--seed {sampling.seed}: must be between 0 and 2^63 - 1")
