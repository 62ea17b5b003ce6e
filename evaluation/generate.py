r"""Let a model write: a prompt in, text out as it is made.

    python evaluation/generate.py --prompt 'Let $G$ be a finite group.'
    python evaluation/generate.py --model runs/NAME/export --prompt '\begin{theorem}' --temperature 0.5 --seed 7

The prompt stands at the beginning of a document, as in training (`evaluation/load.py`). The same seed, prompt and
device give the same text. The text alone goes to standard output; what else there is to say goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/generate.py`
    sys.path.insert(0, str(ROOT))

from evaluation.load import LoadedModel, load_model, newest_export
from settings import UserError, add_config_arguments, run_command, settings_from_args


def generate_tokens(
    loaded: LoadedModel, prompt_ids: Sequence[int], max_new_tokens: int, temperature: float, top_p: float, seed: int
) -> Iterator[int]:
    """Sample token after token until the end of the document, `max_new_tokens`, or the model's context is full.

    Temperature 0 takes the likeliest token. Sampling runs on the CPU with a generator of its own, so that one seed
    means one text whatever else the process draws. Padding, unknown and beginning-of-text are never chosen.
    """
    import torch

    tokenizer, model = loaded.tokenizer, loaded.model
    generator = torch.Generator("cpu").manual_seed(seed)
    end = tokenizer.eos_token_id
    never = {tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id} - {None, end}
    entries = len(tokenizer)
    ids = torch.tensor([[loaded.context_token, *prompt_ids]], device=loaded.device)
    # No token is fed beyond the model's last position.
    room = min(max_new_tokens, loaded.max_context - ids.shape[1] + 1)
    past = None
    for _ in range(room):
        with torch.inference_mode():
            output = model(input_ids=ids, past_key_values=past, use_cache=True)
        past = output.past_key_values
        logits = output.logits[0, -1].float().cpu().clone()
        logits[entries:] = float("-inf")  # rows of a padded embedding that stand for nothing
        logits[list(never)] = float("-inf")
        token = choose(logits, temperature, top_p, generator)
        if token == end:
            return
        yield token
        ids = torch.tensor([[token]], device=loaded.device)


def choose(logits: Any, temperature: float, top_p: float, generator: Any) -> int:
    """One token of `logits` [vocabulary]: the likeliest at temperature 0, else drawn from the smallest set of likeliest
    tokens whose probability reaches `top_p`."""
    import torch

    if temperature == 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits / temperature, dim=-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(0) - probabilities
    probabilities[before >= top_p] = 0.0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])


def stream_text(loaded: LoadedModel, prompt_ids: Sequence[int], tokens: Iterator[int]) -> Iterator[str]:
    """The text of `tokens`, in parts, each given as soon as no later token can change it.

    A token is read together with those before it, because a character may take several byte tokens. The last few lines
    are decoded again at each token, and cut at a line end now and then to keep them short.
    """
    pending = list(prompt_ids[-8:])  # decoded along, never printed again
    shown = loaded.tokenizer.decode(pending)
    for token in tokens:
        pending.append(token)
        text = loaded.tokenizer.decode(pending)
        if text.endswith("\ufffd"):  # in the middle of a character
            continue
        yield text[len(shown) :]
        shown = text
        if len(pending) > 64 and text.endswith("\n"):
            pending = pending[-8:]
            shown = loaded.tokenizer.decode(pending)
    rest = loaded.tokenizer.decode(pending)[len(shown) :]
    if rest:
        yield rest


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Generate text after a prompt with a trained model.",
        epilog=r"example: python evaluation/generate.py --prompt 'Let $G$ be a finite group.' --max-new-tokens 200",
    )
    parser.add_argument("--model", type=Path, help="model folder (default: the newest runs/*/export)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", help="text to go on from (default: none, a document from its beginning)")
    source.add_argument("--prompt-file", type=Path, help="the same, from a UTF-8 file")
    parser.add_argument("--max-new-tokens", type=int, default=200, help="tokens at most (default: 200)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token (default: 0.8)")
    parser.add_argument("--top-p", type=float, default=0.95, help="share of probability to draw from (default: 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another text (default: 0)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the GPU where there is one)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    if args.max_new_tokens < 1:
        raise UserError(f"--max-new-tokens {args.max_new_tokens}: must be at least 1")
    if not 0 <= args.temperature < float("inf"):
        raise UserError(f"--temperature {args.temperature}: must be 0 or more")
    if not 0 < args.top_p <= 1:
        raise UserError(f"--top-p {args.top_p}: must be more than 0 and at most 1")
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed {args.seed}: must be between 0 and 2^63 - 1")
    prompt = args.prompt or ""
    if args.prompt_file:
        try:
            prompt = args.prompt_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--prompt-file {args.prompt_file}: cannot be read: {error}") from None
    loaded = load_model(args.model.absolute() if args.model else newest_export(settings), args.device)
    prompt_ids = loaded.encode(prompt)
    if len(prompt_ids) >= loaded.max_context:
        raise UserError(
            f"the prompt has {len(prompt_ids)} tokens, the model takes {loaded.max_context - 1} at most; shorten it"
        )

    print(
        f"model {loaded.folder}, temperature {args.temperature}, top-p {args.top_p}, seed {args.seed}", file=sys.stderr
    )
    started, count = time.perf_counter(), 0

    def counted(tokens: Iterator[int]) -> Iterator[int]:
        nonlocal count
        for token in tokens:
            count += 1
            yield token

    tokens = counted(generate_tokens(loaded, prompt_ids, args.max_new_tokens, args.temperature, args.top_p, args.seed))
    print(prompt, end="", flush=True)
    for part in stream_text(loaded, prompt_ids, tokens):
        print(part, end="", flush=True)
    print(flush=True)
    seconds = time.perf_counter() - started
    print(f"{count} new tokens, {count / seconds:.1f} tokens/s on {loaded.device}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
