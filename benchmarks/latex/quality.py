"""How far from what papers show do the limits of quality lie, and what does measuring cost?

    python benchmarks/latex/quality.py --source CORPUS/src

Quantiles of each measure over the cleaned documents of a corpus, the most extreme one, the limit, and what the tests'
texts that are no papers measure; seconds beside extraction and cleaning.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/latex/quality.py`
    sys.path[0] = str(ROOT)

import numpy as np

from benchmarks.latex.language import corpus_texts
from common.cli import add_config_arguments, run_command, settings_from_args
from data_prep.screening.quality import NOISE_CHARS, measure, quality_reason

MEASURES = ("words", "repeated", "listings", "compression")
QUANTILES = (0, 0.01, 0.5, 0.99, 1)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Distribution of the measures of quality over a corpus, beside their limits.",
        epilog="example: python benchmarks/latex/quality.py --source raw/src",
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of archives")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args).data
    texts = corpus_texts(args)
    start = time.process_time()
    measured = {name: measure(text) for name, text in texts.items()}
    seconds = time.process_time() - start
    refused = {name: found for name, m in measured.items() if (found := quality_reason(m, settings))}
    print(f"{len(texts)} documents, {seconds:.2f} s ({seconds / len(texts) * 1e3:.2f} ms each); refused: {refused}")
    # Compression is judged on texts of some length alone.
    limits = {
        "words": f"at least {settings.min_word_share}",
        "repeated": f"at most {settings.max_repeated_share}",
        "listings": f"at most {settings.max_listing_share}",
        "compression": f"{settings.min_compression} to {settings.max_compression}",
    }
    print(f"{'measure':<14}" + "".join(f"{f'{q:.0%}':>8}" for q in QUANTILES) + "   limit")
    for name in MEASURES:
        judged = [m for m in measured.values() if name != "compression" or m.characters >= NOISE_CHARS]
        values = np.quantile([getattr(m, name) for m in judged], QUANTILES)
        print(f"{name:<14}" + "".join(f"{value:8.3f}" for value in values) + f"   {limits[name]}")
    from tests.helpers.not_papers import BAD

    for name, (_, text) in BAD.items():
        quality = measure(text)
        reason = (quality_reason(quality, settings) or ("kept",))[0]
        print(f"{name:<14}" + "".join(f"  {key} {getattr(quality, key):.3f}" for key in MEASURES) + f"   {reason}")
    return 0


if __name__ == "__main__":
    run_command(main)
