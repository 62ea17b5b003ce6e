r"""Bits per byte and perplexity of a causal language model on documents.

    python evaluation/perplexity.py
    python evaluation/perplexity.py --model runs/NAME/export --data dataset_train_val/val.jsonl --limit 200

Any folder that AutoModelForCausalLM loads with its tokenizer will do. Each document is scored by itself, in windows of
`--context` tokens that move on by `--stride`: every token is predicted once, from at least `context - stride` tokens
before it (from all there are, near the beginning). Bits per byte do not depend on the tokenizer; a perplexity does,
and names it.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/perplexity.py`
    sys.path.insert(0, str(ROOT))

from data_prep.jsonl import missing_split, read_jsonl, write_json
from evaluation.load import LoadedModel, load_model, newest_export
from settings import UserError, add_config_arguments, project_path, run_command, settings_from_args

# Numbers that one batch's logits may take in memory: 1 GB in float32.
LOGIT_NUMBERS = 250_000_000
MAX_BATCH = 64


@dataclass(frozen=True)
class Window:
    """`tokens` in, and `first` the position in `tokens` of the first one to be scored (at least 1)."""

    document: int
    tokens: list[int]
    first: int


@dataclass
class Score:
    """One document: negative log-likelihood in nats, tokens scored, UTF-8 bytes of its text."""

    id: str
    nll: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        return self.nll / math.log(2) / self.bytes


def windows(ids: Sequence[int], context_token: int, context: int, stride: int, document: int = 0) -> Iterator[Window]:
    """Cut a document into windows of at most `context` tokens in which each of `ids` is scored exactly once."""
    tokens = [context_token, *ids]
    scored = 1  # tokens[:scored] are done; the context token is never scored
    while scored < len(tokens):
        end = min(len(tokens), context if scored == 1 else scored + stride)
        start = max(0, end - context)
        yield Window(document, tokens[start:end], scored - start)
        scored = end


def window_nll(model: Any, batch: Sequence[Window], device: Any, pad: int) -> list[float]:
    """Negative log-likelihood of each window's scored tokens, in nats, from one forward pass.

    Shorter windows are filled up at their end, where causal attention keeps the filling from what is scored.
    """
    import torch

    width = max(len(window.tokens) for window in batch)
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    scored = torch.zeros((len(batch), width), dtype=torch.bool)
    for row, window in enumerate(batch):
        ids[row, : len(window.tokens)] = torch.tensor(window.tokens)
        mask[row, : len(window.tokens)] = 1
        scored[row, window.first : len(window.tokens)] = True
    ids, scored = ids.to(device), scored.to(device)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask.to(device), use_cache=False).logits
        # The token at position t is predicted by the logits at t - 1.
        chosen, targets = scored[:, 1:], ids[:, 1:]
        losses = torch.nn.functional.cross_entropy(logits[:, :-1][chosen].float(), targets[chosen], reduction="none")
    values = torch.zeros(chosen.shape, dtype=torch.float64, device="cpu")
    values[chosen.cpu()] = losses.double().cpu()
    return values.sum(dim=1).tolist()


def score_documents(
    loaded: LoadedModel,
    records: Iterable[dict[str, Any]],
    context: int,
    stride: int,
    batch_size: int = 0,
    total: int | None = None,
) -> list[Score]:
    """Score each record's text; `batch_size` 0 takes as many windows at once as memory for their logits allows."""
    from tqdm import tqdm

    pad = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else loaded.context_token
    vocabulary = loaded.model.config.vocab_size
    batch_size = batch_size or max(1, min(MAX_BATCH, LOGIT_NUMBERS // (vocabulary * context)))
    scores: list[Score] = []
    waiting: list[Window] = []

    def flush() -> None:
        waiting.sort(key=lambda window: len(window.tokens))  # windows of one length waste nothing on filling
        for start in range(0, len(waiting), batch_size):
            batch = waiting[start : start + batch_size]
            for window, nll in zip(batch, window_nll(loaded.model, batch, loaded.device, pad), strict=True):
                scores[window.document].nll += nll
            bar.update(sum(len(window.tokens) - window.first for window in batch))
        waiting.clear()

    with tqdm(unit="token", unit_scale=True, desc="scoring", total=None) as bar:
        for record in records:
            text = record["text"]
            ids = loaded.encode(text)
            scores.append(
                Score(str(record.get("id", len(scores))), 0.0, len(ids), len(text.encode("utf-8", "replace")))
            )
            waiting += windows(ids, loaded.context_token, context, stride, len(scores) - 1)
            bar.set_postfix_str(f"{len(scores)}{f' of {total}' if total else ''} documents", refresh=False)
            if len(waiting) >= 8 * batch_size:
                flush()
        flush()
    return scores


def summarize(scores: Sequence[Score]) -> dict[str, Any]:
    """Figures over all documents: totals weigh by length, the mean counts every document once."""
    nll, tokens, size = (sum(getattr(s, name) for s in scores) for name in ("nll", "tokens", "bytes"))
    each = [score.bits_per_byte for score in scores]
    mean = sum(each) / len(each)
    variance = sum((value - mean) ** 2 for value in each) / (len(each) - 1) if len(each) > 1 else None
    return {
        "bits_per_byte": nll / math.log(2) / size,
        "perplexity_per_token": math.exp(min(nll / tokens, 700.0)),
        "nll_per_token": nll / tokens,
        "document_bits_per_byte_mean": mean,
        "document_bits_per_byte_standard_error": math.sqrt(variance / len(each)) if variance is not None else None,
        "documents": len(scores),
        "tokens": tokens,
        "bytes": size,
        "bytes_per_token": size / tokens,
    }


def read_documents(path: Path, limit: int | None) -> list[dict[str, Any]]:
    """The first `limit` documents with a text that is not empty.

    Raises:
        UserError: the file cannot be read, a record has no text, or no document is left.
    """
    documents: list[dict[str, Any]] = []
    for number, record in enumerate(read_jsonl(path), 1):
        if not isinstance(record.get("text"), str):
            raise UserError(f"{path}: document {number} has no 'text'; is this the val.jsonl of prepare_dataset.py?")
        if record["text"]:
            documents.append(record)
        if limit is not None and len(documents) >= limit:
            break
    if not documents:
        raise UserError(f"{path}: no documents in it; make it: python data_prep/prepare_dataset.py")
    return documents


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Bits per byte and perplexity of a model on the documents of a JSONL file.",
        epilog="example: python evaluation/perplexity.py --model runs/NAME/export --data dataset_train_val/val.jsonl",
    )
    parser.add_argument("--model", type=Path, help="model folder (default: the newest runs/*/export)")
    parser.add_argument("--data", type=Path, help="JSONL with a 'text' in each record (default: val.jsonl in data.out)")
    parser.add_argument("--limit", type=int, help="the first N documents only")
    parser.add_argument(
        "--context", type=int, help="tokens in a window (default: train.seq_len, at most the model's own)"
    )
    parser.add_argument("--stride", type=int, help="tokens that a window moves on by (default: half of --context)")
    parser.add_argument(
        "--batch-size", type=int, default=0, help="windows at once (default: by the size of the logits)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the GPU where there is one)")
    parser.add_argument(
        "--out", type=Path, help="result file (default: perplexity-DATA.json beside the model's folder)"
    )
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    for name in ("limit", "context", "stride"):
        value, least = getattr(args, name), 2 if name == "context" else 1
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
    if args.batch_size < 0:
        raise UserError(f"--batch-size {args.batch_size}: must be at least 1 (or 0, to choose by memory)")
    folder = args.model.absolute() if args.model else newest_export(settings)
    data = args.data.absolute() if args.data else project_path(settings.data.out) / "val.jsonl"
    if not data.is_file():
        raise missing_split(data, "make it first: python data_prep/prepare_dataset.py, or name one with --data FILE")
    out = args.out.absolute() if args.out else folder.parent / f"perplexity-{data.stem}.json"
    place = next(path for path in (out, *out.parents) if path.exists())  # the file itself, or a folder above it
    if out.is_dir() or (place != out and not place.is_dir()) or not os.access(place, os.W_OK):
        raise UserError(f"--out {out}: cannot be written there; name another file with --out FILE")
    documents = read_documents(data, args.limit)
    loaded = load_model(folder, args.device)
    context = args.context or min(settings.train.seq_len, loaded.max_context)
    if context > loaded.max_context:
        raise UserError(f"--context {context}: the model takes {loaded.max_context} tokens at most")
    stride = args.stride or max(1, context // 2)
    if stride >= context:
        raise UserError(f"--stride {stride}: must be less than the context of {context} tokens")

    started = time.perf_counter()
    scores = score_documents(loaded, documents, context, stride, args.batch_size, len(documents))
    seconds = time.perf_counter() - started
    result = summarize(scores)
    context_word = loaded.tokenizer.convert_ids_to_tokens(loaded.context_token)
    write_json(
        out,
        {
            **result,
            "tokenizer": loaded.tokenizer_name(),
            "model": str(folder),
            "data": str(data),
            "limit": args.limit,
            "context": context,
            "stride": stride,
            "before_each_document": context_word,
            "device": str(loaded.device),
            "seconds": round(seconds, 2),
            "per_document": [
                {"id": s.id, "bits_per_byte": s.bits_per_byte, "tokens": s.tokens, "bytes": s.bytes} for s in scores
            ],
        },
    )
    error = result["document_bits_per_byte_standard_error"]
    spread = f" ± {error:.4f}" if error is not None else ""
    print(
        f"model      {folder}\ndata       {data}: {result['documents']:,} documents, "
        f"{result['bytes']:,} bytes, {result['tokens']:,} tokens"
    )
    print(f"windows    {context} tokens, moving on by {stride}; before each document: {context_word}")
    print(f"bits per byte         {result['bits_per_byte']:.4f}")
    print(f"  mean of documents   {result['document_bits_per_byte_mean']:.4f}{spread} (standard error)")
    print(f"perplexity per token  {result['perplexity_per_token']:.3f} with the tokenizer of {loaded.tokenizer_name()}")
    print(f"{result['tokens'] / seconds:,.0f} tokens/s on {loaded.device}; written to {out}")
    return 0


if __name__ == "__main__":
    run_command(main)
