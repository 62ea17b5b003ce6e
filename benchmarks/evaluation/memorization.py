"""How fast are texts looked for in the training tokens, against reading those tokens once?

    python benchmarks/evaluation/memorization.py --set data.out=dataset_train_val
    python benchmarks/evaluation/memorization.py --tokens 200000000    # of made-up tokens, where no dataset is at hand

The search (evaluation/generation/memorization.py) of 300 texts of 256 tokens, in one process, beside the floor: the sum
of the same memory-mapped tokens. The best of `--rounds` rounds, which alternate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/evaluation/memorization.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.paths import project_path

TEXTS, TEXT_TOKENS = 300, 256
# The corpus of the reference run.
WHOLE_TOKENS, CORES = 52.18e9, 16


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Speed of the search for copies, against the sum of the same tokens.",
        epilog="example: python benchmarks/evaluation/memorization.py --tokens 200000000",
    )
    parser.add_argument("--tokens", type=int, help="made-up tokens, in place of the training split of data.out")
    parser.add_argument("--rounds", type=int, default=3, help="of both, the best counts (default: 3)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    import numpy as np

    from evaluation.generation.memorization import BLOCK, Index, search_shard
    from tokenizer.cache.token_file import HEADER_BYTES, TOKEN_DTYPE, TokenRow

    with tempfile.TemporaryDirectory() as folder:
        if args.tokens:
            path = Path(folder, "00000.bin")
            draw = np.random.default_rng(0)
            with path.open("wb") as file:
                file.write(b"\0" * HEADER_BYTES)
                for start in range(0, args.tokens, BLOCK):
                    # As skewed as words are, so that there are runs in common.
                    some = draw.zipf(1.3, min(BLOCK, args.tokens - start)) % 50_000
                    file.write(some.astype(TOKEN_DTYPE).tobytes())
            shards = [(path, args.tokens, 0)]
        else:
            from tokenizer.cache.ensure import ensure_token_cache
            from tokenizer.cache.plan import dataset_split

            cache = ensure_token_cache(dataset_split(settings, "train"), project_path(settings.tokenizer.out), settings)
            counts = [header.num_tokens for header in cache.headers]
            shards = list(zip(cache.paths, counts, cache.tokens.starts, strict=False))
        total = sum(count for _, count, _ in shards)
        row = TokenRow([path for path, _, _ in shards], [count for _, count, _ in shards])
        step = max(1, total // TEXTS)
        # A half of each text stands in training.
        draw = np.random.default_rng(1)
        texts = [
            np.concatenate([row[at : at + TEXT_TOKENS // 2], draw.integers(4, 50_000, TEXT_TOKENS // 2, np.uint32)])
            for at in range(0, total - TEXT_TOKENS, step)
        ]
        index = Index.of(texts)

        def floor() -> None:
            for start in range(0, total, BLOCK):
                row[start : start + BLOCK].sum(dtype=np.uint64)

        def search() -> None:
            found = [search_shard(index, shard)[1] for shard in shards]
            assert (np.max(found, axis=0)[:, 0] >= TEXT_TOKENS // 2).all()

        ways: dict[str, Callable[[], None]] = {"sum of the tokens (floor)": floor, "search": search}
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(args.rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                best[name] = min(best[name], time.perf_counter() - started)
    first = next(iter(best.values()))
    print(f"{total:,} tokens, {len(texts)} texts of {TEXT_TOKENS} tokens; one process, best of {args.rounds}")
    for name, seconds in best.items():
        print(f"{name:<28}{total / seconds / 1e6:>10,.1f} M tokens/s{seconds / first:>8.1f} x the floor")
    hours = WHOLE_TOKENS / (total / best["search"]) / CORES / 60
    print(f"projected: {WHOLE_TOKENS / 1e9:.2f} billion tokens on {CORES} cores in {hours:,.1f} minutes")
    return 0


if __name__ == "__main__":
    run_command(main)
