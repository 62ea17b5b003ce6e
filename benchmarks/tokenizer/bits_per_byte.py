"""Which tokenizer serves a model best: bits per byte on held-out text after training with equal FLOPs.

    python benchmarks/tokenizer/bits_per_byte.py --texts TEXTS --out bpb.jsonl OURS PLAIN.model PEERS/llama-2

For each tokenizer and seed a small LLaMA is trained on TEXTS/train.jsonl until it has used `--flops`, then measured on
TEXTS/val.jsonl (papers held out) and TEXTS/held_out_sources.jsonl. Context and batch are the same number of tokens,
so a tokenizer that needs fewer tokens sees more text and looks back further, as it would in a real run; a larger
vocabulary pays for its output layer. One line of the file a run; runs that are there are not done again.

FLOPs of a training token: 6 x (parameters without the input embedding) + 12 x layers x hidden x context (Chowdhery et
al., PaLM, 2022, appendix B).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/tokenizer/bits_per_byte.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from common.jsonl import read_jsonl
from tokenizer.measure.adapters import AnyTokenizer, load_tokenizer
from training.data import PackedSequences

# What tells one run from another.
RUN = ("tokenizer", "seed", "flops", "hidden", "layers")
CONTEXT, BATCH = 256, 4
CHUNK = 128
LEARNING_RATE, WARMUP = 3e-3, 0.1
HELD_OUT = ("val", "held_out_sources")
# Of each held-out document, so that long chapters do not outweigh all others.
HELD_OUT_CHARS = 20_000


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train the same small model with each tokenizer for the same FLOPs, and compare bits per byte.",
        epilog="example: python benchmarks/tokenizer/bits_per_byte.py --texts texts --out bpb.jsonl tokenizer",
    )
    parser.add_argument("tokenizers", nargs="+", type=Path, help="folders, tokenizer.json or .model files")
    parser.add_argument("--texts", type=Path, required=True, help="folder that splits.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="JSONL of results, appended to")
    parser.add_argument("--flops", type=float, default=2.4e13)
    parser.add_argument("--hidden", type=int, default=128, help="hidden size, a multiple of 64")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(args.threads)
    tokenizers = [load_tokenizer(path) for path in args.tokenizers]
    for seed in range(args.seeds):
        for tokenizer in tokenizers:
            done = {tuple(r[key] for key in RUN) for r in results(args.out)}
            if (tokenizer.name, seed, args.flops, args.hidden, args.layers) not in done:
                result = run(tokenizer, args.texts, args.flops, seed, args.hidden, args.layers)
                with open(args.out, "a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
                print(json.dumps(result), flush=True)
    model = (args.flops, args.hidden, args.layers)
    print(table([r for r in results(args.out) if tuple(r[key] for key in RUN[2:]) == model]))
    return 0


def results(path: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(path)) if path.exists() else []


def rows(tokenizer: AnyTokenizer, path: Path, chars: int | None = None) -> tuple[np.ndarray, int]:
    """All documents as one row of tokens, each closed by the end-of-text token; and the bytes of their text."""
    end = tokenizer.size if tokenizer.end_of_text is None else tokenizer.end_of_text
    parts, size = [], 0
    for record in read_jsonl(path):
        text = record["text"][:chars]
        size += len(text.encode())
        parts.append(np.array([*tokenizer.ids(text), end], np.int64))
    return np.concatenate(parts), size


def run(tokenizer: AnyTokenizer, texts: Path, flops: float, seed: int, hidden: int, layers: int) -> dict[str, Any]:
    """Train one model and measure it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    started = time.perf_counter()
    tokens, train_bytes = rows(tokenizer, texts / "train.jsonl")
    vocabulary = tokenizer.size + (tokenizer.end_of_text is None)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=-(-hidden * 8 // 3 // 64) * 64,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    parameters = sum(p.numel() for p in model.parameters()) - vocabulary * hidden
    per_token = 6 * parameters + 12 * layers * hidden * CONTEXT
    steps = round(flops / per_token / (BATCH * CONTEXT))
    data = PackedSequences(tokens, CONTEXT, seed)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(steps):
        warm = min(1.0, (step + 1) / (WARMUP * steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))
        batch = torch.from_numpy(data.batch(step * BATCH, BATCH))
        backward(model, batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    result = {
        "tokenizer": tokenizer.name,
        "vocabulary": tokenizer.size,
        "seed": seed,
        "flops": flops,
        "hidden": hidden,
        "layers": layers,
        "steps": steps,
        "text_read_bytes": round(train_bytes * steps * BATCH * CONTEXT / len(tokens)),
        "epochs": steps * BATCH / data.size,
    }
    for name in HELD_OUT:
        result[name] = bits_per_byte(model, tokenizer, texts / f"{name}.jsonl")
    return result | {"seconds": round(time.perf_counter() - started)}


def hidden_states(model: Any, batch: Any) -> Any:
    """What the output layer reads: [batch * context, hidden]; matrix products in bfloat16."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        return model.model(input_ids=batch[:, :-1], use_cache=False).last_hidden_state.flatten(0, 1)


def losses(model: Any, hidden: Any, targets: Any) -> Any:
    """Negative log-likelihood of every target, nats."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        logits = model.lm_head(hidden)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")


def backward(model: Any, batch: Any) -> None:
    """Gradients of the mean loss; the logits of a few tokens at a time, which stay in the processor's cache."""
    import torch

    hidden, targets = hidden_states(model, batch), batch[:, 1:].flatten()
    leaf = hidden.detach().requires_grad_()
    for part, wanted in zip(leaf.split(CHUNK), targets.split(CHUNK), strict=True):
        torch.autograd.backward(losses(model, part, wanted).sum() / len(targets))
    hidden.backward(leaf.grad)


def bits_per_byte(model: Any, tokenizer: AnyTokenizer, path: Path) -> float:
    """Of the text's own tokens, in windows that follow each other; ends of documents are read and not scored."""
    import torch

    tokens, size = rows(tokenizer, path, HELD_OUT_CHARS)
    end = tokens[-1]
    tokens = np.concatenate([[end], tokens])
    # A last window that is not full would lose text: filled with ends of documents, which do not count.
    tokens = np.concatenate([tokens, np.full(-(len(tokens) - 1) % CONTEXT, end)])
    data = PackedSequences(tokens, CONTEXT, 0)
    nats = 0.0
    model.eval()
    with torch.no_grad():
        for first in range(0, data.size, BATCH):
            batch = torch.from_numpy(np.stack([data.window(i) for i in range(first, min(first + BATCH, data.size))]))
            targets = batch[:, 1:].flatten()
            for part, wanted in zip(hidden_states(model, batch).split(CHUNK), targets.split(CHUNK), strict=True):
                nats += float(losses(model, part, wanted)[wanted != end].double().sum())
    return nats / math.log(2) / size


def table(found: Sequence[dict[str, Any]]) -> str:
    """Mean and spread (standard deviation over seeds) of each tokenizer, best first."""
    by_name = defaultdict(list)
    for result in found:
        by_name[result["tokenizer"], result["vocabulary"]].append(result)
    lines = [f"{'tokenizer':28} {'entries':>8} seeds  text read  " + "  ".join(f"{name:>18}" for name in HELD_OUT)]
    for (name, size), runs in sorted(by_name.items(), key=lambda item: statistics.mean(r["val"] for r in item[1])):
        cells = []
        for split in HELD_OUT:
            values = [run[split] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
            cells.append(f"{statistics.mean(values):10.4f} ± {spread:.4f}")
        read = statistics.mean(run["text_read_bytes"] for run in runs)
        lines.append(f"{name:28} {size:8,} {len(runs):5}  {read / 1e6:6.2f} MB  " + "  ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
