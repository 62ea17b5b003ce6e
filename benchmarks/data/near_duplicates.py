"""Near-duplicates at known similarity: the S-curve found against theory, and time and memory for millions of documents.

    python benchmarks/data/near_duplicates.py --out docs --documents 100000 --sizes 100000 300000 1000000

Writes OUT/near_duplicates.png. Documents are arrays of word hashes; of a planted pair the second shares a run of words
with the first that gives the similarity wanted. Theory: an entry of two signatures agrees with probability s, a pair is
found if all 8 entries of one of 16 bands do and the share of equal entries reaches the threshold (computed exactly).
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/data/near_duplicates.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.files import write_bytes
from data_prep.dedup.clusters import BANDS, ROWS, near_groups
from data_prep.dedup.minhash import PERMUTATIONS, SHINGLE_WORDS, signature

LEVELS = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
WORDS = 600


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="The S-curve of near-duplicates against theory; time and memory of clustering.",
        epilog="example: python benchmarks/data/near_duplicates.py --out docs --documents 100000",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of near_duplicates.png")
    parser.add_argument("--documents", type=int, default=100_000, help="documents of the synthetic set")
    parser.add_argument("--sizes", type=int, nargs="*", default=[], help="numbers of signatures to cluster for time")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    threshold = settings_from_args(args).data.near_duplicate_similarity

    start = time.perf_counter()
    signatures, pairs = planted(args.documents)
    print(f"{args.documents:,} documents of {WORDS} words: signatures in {time.perf_counter() - start:.1f} s")
    everyone = np.arange(len(signatures))
    found = {}
    for name, least in (("candidates", 0.0), ("near-duplicates", threshold)):
        start = time.perf_counter()
        groups = near_groups(signatures, everyone, least)
        print(f"{name}: clustered in {time.perf_counter() - start:.1f} s")
        found[name] = [float((groups[a] == groups[b]).mean()) for a, b in pairs]
        planted_ones = np.zeros(len(signatures), dtype=bool)
        planted_ones[np.concatenate([np.concatenate(pair) for pair in pairs])] = True
        print(
            f"  of {int((~planted_ones).sum()):,} unrelated documents joined to another: "
            f"{int((groups[~planted_ones] != everyone[~planted_ones]).sum())}"
        )
    print(f"{'similarity':>10} {'pairs':>7} {'candidates':>11} {'theory':>8} {'found':>8} {'theory':>8}")
    for level, (a, _), candidate, near in zip(
        LEVELS, pairs, found["candidates"], found["near-duplicates"], strict=True
    ):
        print(
            f"{level:>10.2f} {len(a):>7,} {candidate:>11.4f} {theory(level, 0.0):>8.4f} {near:>8.4f} "
            f"{theory(level, threshold):>8.4f}"
        )
    write_bytes(args.out / "near_duplicates.png", plot(found, threshold))
    for size in args.sizes:
        clustering_time(size, threshold)
    return 0


def planted(count: int) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Signatures [count, PERMUTATIONS], half of them in pairs, by level, the rest unrelated."""
    generator = np.random.default_rng(0)
    each = count // 4 // len(LEVELS)
    signatures = np.empty((count, PERMUTATIONS), dtype=np.uint32)
    pairs, number = [], 0
    shingles = WORDS - SHINGLE_WORDS + 1
    for level in LEVELS:
        firsts, seconds = [], []
        for _ in range(each):
            base = generator.integers(0, 2**64, WORDS, dtype=np.uint64)
            # 5-grams shared: level = shared / (2 * shingles - shared)
            shared = round(2 * shingles * level / (1 + level)) + SHINGLE_WORDS - 1
            other = np.concatenate([base[:shared], generator.integers(0, 2**64, WORDS - shared, dtype=np.uint64)])
            signatures[number], signatures[number + 1] = signature(base), signature(other)
            firsts.append(number)
            seconds.append(number + 1)
            number += 2
        pairs.append((np.array(firsts), np.array(seconds)))
    for i in range(number, count):
        signatures[i] = signature(generator.integers(0, 2**64, WORDS, dtype=np.uint64))
    return signatures, pairs


def theory(similarity: float, threshold: float) -> float:
    """Probability that two signatures of that similarity agree in a whole band and in `threshold` of all entries."""
    from math import ceil, comb

    band = np.array([comb(ROWS, k) * similarity**k * (1 - similarity) ** (ROWS - k) for k in range(ROWS + 1)])
    none, some = np.array([1.0]), np.array([0.0])  # by number of equal entries: no band whole, or one
    partial = band.copy()
    partial[ROWS] = 0
    whole = band - partial
    for _ in range(BANDS):
        none, some = np.convolve(none, partial), np.convolve(some, band) + np.convolve(none, whole)
    return float(some[ceil(threshold * PERMUTATIONS - 1e-9) :].sum())


def plot(found: dict[str, list[float]], threshold: float) -> bytes:
    import io

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), dpi=110)
    line = np.linspace(0.2, 1, 161)
    for name, least, colour in (("candidates", 0.0, "#7b8fa6"), ("near-duplicates", threshold, "#2f7d6b")):
        axes.plot(line, [theory(s, least) for s in line], color=colour, label=f"{name}, theory")
        axes.plot(LEVELS, found[name], "o", color=colour, label=f"{name}, measured")
    axes.axvline(threshold, color="#bbbbbb", linewidth=1, linestyle="--")
    axes.set_xlabel("Jaccard similarity of word 5-grams")
    axes.set_ylabel("share of pairs found")
    axes.legend(frameon=False)
    axes.grid(color="#eeeeee")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def clustering_time(size: int, threshold: float) -> None:
    """Seconds and peak memory of clustering `size` signatures, one in twenty a near copy of the one before it."""
    generator = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        shape = (size, PERMUTATIONS)
        signatures = np.memmap(Path(folder) / "signatures", dtype="<u4", mode="w+", shape=shape)
        for begin in range(0, size, 100_000):
            block = generator.integers(1, 2**32, (min(100_000, size - begin), PERMUTATIONS), dtype=np.uint32)
            copies = np.arange(1, len(block), 20)
            block[copies] = block[copies - 1]
            block[copies, :4] += 1
            signatures[begin : begin + len(block)] = block
        start = time.perf_counter()
        groups = near_groups(signatures, np.arange(size), threshold)
        seconds = time.perf_counter() - start
        joined = int((groups != np.arange(size)).sum())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{size:,} signatures: {seconds:.1f} s, {joined:,} joined, peak {peak:.2f} GB with the file's pages")


if __name__ == "__main__":
    run_command(main)
