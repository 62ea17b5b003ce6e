"""JSONL to tokens on disk: tokens/s of our builder beside `datasets.map` with the same tokenizer, text and cores.

    python benchmarks/tokenizer/token_cache.py --input dataset_train_val/train.jsonl --tokenizer tokenizer

All in one run, in turn, `--rounds` times; the best of each counts, by CPU time: what else runs on the machine changes
that least. Times are those of the whole command, the start of worker processes included. Both write the tokens of each
document with the end-of-text token: ours to token files, on disk when the clock stops, `datasets` to Arrow files. They
are compared, and have to be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/tokenizer/token_cache.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from common.errors import UserError
from common.settings.load import load_settings

# What the reference run eats on two A100: 52.18 billion tokens in 17.4 days.
TRAINING_TOKENS_PER_SECOND = 52.18e9 / (17.4 * 86400)
SEQ_LEN = 768


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Tokens a second from JSONL to disk, beside datasets.map.",
        epilog="example: python benchmarks/tokenizer/token_cache.py --input dataset_train_val/train.jsonl "
        "--tokenizer tokenizer",
    )
    parser.add_argument("--input", type=Path, required=True, help="JSONL with a 'text' in each record, plain")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer folder")
    parser.add_argument("--megabytes", type=int, default=30, help="of it that are read (default: 30)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=2, help="times that each is measured; the best counts")
    args = parser.parse_args(argv)
    # Tokenizers use one core a process, and nothing is looked for on a network.
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(prefix="token-cache-") as name:
        folder = Path(name)
        text_bytes = take(args.input, folder / "train.jsonl", args.megabytes * 1_000_000)
        measure(args, folder, text_bytes)
    return 0


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for: other work on the machine does not count."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def take(source: Path, target: Path, limit: int) -> int:
    """Copy the first lines of `source`; the bytes of text in them."""
    text_bytes = 0
    with source.open("rb") as lines, target.open("wb") as out:
        for line in lines:
            out.write(line)
            text_bytes += len(json.loads(line)["text"].encode())
            if out.tell() >= limit:
                break
    return text_bytes


def measure(args: argparse.Namespace, folder: Path, text_bytes: int) -> None:
    runs: dict[tuple[str, int], Callable[[], Any]] = {
        ("read the lines", 1): functools.partial(read, folder, parse=False),
        ("read and parse them", 1): functools.partial(read, folder, parse=True),
    }
    for workers in args.workers:
        runs["token_cache", workers] = functools.partial(ours, folder, args.tokenizer, workers)
        runs["datasets.map", workers] = functools.partial(theirs, folder, args.tokenizer, workers)
    best: dict[tuple[str, int], tuple[float, float]] = {}
    tokens: dict[str, list[int]] = {}
    for _ in range(args.rounds):
        for (name, workers), run in runs.items():
            shutil.rmtree(folder / "token_cache", ignore_errors=True)
            shutil.rmtree(folder / "arrow", ignore_errors=True)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                started, used = time.perf_counter(), cpu_seconds()
                result = run()
                cost = (cpu_seconds() - used, time.perf_counter() - started)
            best[name, workers] = min(cost, best.get((name, workers), cost))
            if result is not None and name not in tokens:
                tokens[name] = result()
    if tokens["token_cache"] != tokens["datasets.map"]:
        raise UserError("token_cache and datasets.map give different tokens")
    count, size = len(tokens["token_cache"]), text_bytes / 1e6
    print(f"{size:.1f} MB of text, {count:,} tokens, the same by both ({text_bytes / count:.2f} bytes a token)")
    print(f"{'':20}  processes  seconds  CPU s     tokens/s  a core: MB/s     tokens/s  to datasets.map  to training")
    for (name, workers), (used, took) in best.items():
        peer = best.get(("datasets.map", workers), (0, 0))[0] if name == "token_cache" else 0
        speed = count / used
        print(
            f"{name:20} {workers:10} {took:8.2f} {used:6.2f} {count / took:12,.0f} {size / used:13.2f} {speed:12,.0f} "
            f"{f'{peer / used:.2f} x' if peer else '':>16} {speed / TRAINING_TOKENS_PER_SECOND:9.1f} x"
        )
    print(f"training: {TRAINING_TOKENS_PER_SECOND:,.0f} tokens/s on two A100 (52.18 billion tokens in 17.4 days)")
    shutil.rmtree(folder / "token_cache", ignore_errors=True)
    windows(folder, args.tokenizer)


def read(folder: Path, parse: bool) -> None:
    with (folder / "train.jsonl").open("rb") as lines:
        for line in lines:
            if parse:
                json.loads(line)


def build(folder: Path, tokenizer: Path, workers: int) -> Any:
    from tokenizer.cache.encoding import Encoder
    from tokenizer.cache.ensure import ensure_token_cache
    from tokenizer.cache.plan import file_split

    size = Encoder(tokenizer).tokenizer.get_vocab_size()
    settings = load_settings(overrides=[f"vocab_size={size}", f"data.workers={workers}"])
    return ensure_token_cache(file_split(folder / "train.jsonl"), tokenizer, settings)


def ours(folder: Path, tokenizer: Path, workers: int) -> Callable[[], list[int]]:
    cache = build(folder, tokenizer, workers)
    return lambda: cache.tokens[:].tolist()


def theirs(folder: Path, tokenizer: Path, workers: int) -> Callable[[], list[int]]:
    from datasets import load_dataset
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    data = load_dataset(
        "json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(folder / "arrow")
    ).select_columns(["text"])
    made = data.map(
        encode_batch,
        batched=True,
        batch_size=100,
        num_proc=workers if workers > 1 else None,
        remove_columns=["text"],
        fn_kwargs={"tokenizer": loaded},
    )
    return lambda: [token for ids in made["input_ids"] for token in ids]


def encode_batch(batch: dict[str, list[str]], tokenizer: Any) -> dict[str, list[list[int]]]:
    options = {"add_special_tokens": False, "split_special_tokens": True, "return_attention_mask": False}
    found = tokenizer(batch["text"], **options)["input_ids"]
    return {"input_ids": [[*ids, tokenizer.eos_token_id] for ids in found]}


def windows(folder: Path, tokenizer: Path) -> None:
    """Reading back: windows of training in its order, from this process."""
    from training.data import PackedSequences

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cache = build(folder, tokenizer, 1)
    for name, row in (("shards", cache.tokens), ("one array in memory", cache.tokens[:].copy())):
        data = PackedSequences(row, SEQ_LEN, 0)
        started, count = time.perf_counter(), 20_000
        for position in range(count):
            data.at(position)
        took = (time.perf_counter() - started) / count
        print(f"a window of {SEQ_LEN} tokens in training's order, from {name}: {took * 1e6:.0f} us")


if __name__ == "__main__":
    run_command(main)
