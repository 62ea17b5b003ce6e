"""MinHash signatures, documents a second of one core with shingling: ours beside rensa, datasketch and datatrove.

    pip install -r benchmarks/requirements.txt
    python benchmarks/data/minhash.py --source CORPUS/src

Each gets the same texts, word 5-grams and 128 permutations, in turn, `--rounds` times; the best of each counts. rensa
is also measured on shingles that are ready, which is its part alone; compare it with our "5-grams and minima".
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/data/minhash.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from data_prep.dedup.minhash import PERMUTATIONS, SHINGLE_WORDS, ngram_hashes, signature, word_hashes

WORD = re.compile(r"[a-z0-9\x80-\U0010ffff]+")
# Documents of the slowest peer.
FEW = 40


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Documents a second of MinHash signatures, with shingling, beside other libraries.",
        epilog="example: python benchmarks/data/minhash.py --source raw/src --rounds 3",
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of archives")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured; the best counts")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    texts = cleaned(args)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} documents, {megabytes:.1f} MB, {megabytes / len(texts) * 1e3:.0f} kB each")

    ready = [shingles(text) for text in texts]
    words = [word_hashes(text) for text in texts]
    runs: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
        "ours": (lambda text: signature(word_hashes(text)), texts),
        "ours: hashes of words": (word_hashes, texts),
        "ours: 5-grams and minima": (signature, words),
        "ours: 5-grams alone": (lambda hashes: ngram_hashes(hashes, SHINGLE_WORDS), words),
    }
    for name, one in peers().items():
        if one is None:
            print(f"{name}: not installed")
        elif name == "datatrove":
            runs[name] = (one, texts[:FEW])
        else:
            runs[name] = (_of_shingles(one), texts)
            if name.startswith("rensa"):
                runs[f"{name}, shingles ready"] = (one, ready)
    best: dict[str, float] = {}
    for _ in range(args.rounds):
        for name, (work, items) in runs.items():
            start = time.process_time()
            for item in items:
                work(item)
            size = sum(len(text) for text in (texts[:FEW] if name == "datatrove" else texts))
            # Characters a second, so that a part of the documents compares with all of them.
            best[name] = max(best.get(name, 0), size / (time.process_time() - start))
    whole = sum(map(len, texts)) / len(texts)
    print(f"{'':<32}{'documents/s':>12}{'MB/s':>8}{'ours is':>10}")
    for name, speed in best.items():
        ratio = f"{best['ours'] / speed:.1f} x" if not name.startswith("ours") else ""
        print(f"{name:<32}{speed / whole:>12,.0f}{speed / 1e6:>8.1f}{ratio:>10}")
    return 0


def cleaned(args: argparse.Namespace) -> list[str]:
    from data_prep.papers.archives import list_archives, read_bytes
    from data_prep.pipeline.process_paper import process_paper

    settings = dataclasses.replace(settings_from_args(args).data, languages=None)
    outcomes = (process_paper(read_bytes(ref), ref.name, None, settings) for ref in list_archives(args.source))
    return [outcome.text for outcome in outcomes if outcome.text]


def shingles(text: str) -> list[str]:
    """The same word 5-grams as strings, as the other libraries want them."""
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))]


def _of_shingles(one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda text: one(shingles(text))


def peers() -> dict[str, Callable[[Any], Any] | None]:
    """What makes a signature of a list of shingles (datatrove: of a text), or None where it is not installed."""
    found: dict[str, Callable[[Any], Any] | None] = dict.fromkeys(
        ("rensa RMinHash", "rensa CMinHash", "datasketch", "datatrove")
    )
    try:
        import rensa

        def rensa_with(kind: Any) -> Callable[[list[str]], Any]:
            def one(items: list[str]) -> Any:
                sketch = kind(num_perm=PERMUTATIONS, seed=1)
                sketch.update(items)
                return sketch.digest()

            return one

        found["rensa RMinHash"] = rensa_with(rensa.RMinHash)
        found["rensa CMinHash"] = rensa_with(rensa.CMinHash)
    except ImportError:
        pass
    try:
        import datasketch

        def sketch(items: list[str]) -> Any:
            made = datasketch.MinHash(num_perm=PERMUTATIONS)
            made.update_batch([item.encode() for item in items])
            return made.hashvalues

        found["datasketch"] = sketch
    except ImportError:
        pass
    try:
        from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

        config = MinhashConfig(n_grams=SHINGLE_WORDS, num_buckets=16, hashes_per_bucket=PERMUTATIONS // 16)
        step = MinhashDedupSignature(output_folder=tempfile.gettempdir(), config=config)
        found["datatrove"] = lambda text: step.get_signature(step.get_shingles(text))
    except ImportError:
        pass
    return found


if __name__ == "__main__":
    run_command(main)
