r"""Tokenizers that differ in one choice each, trained on the same text: what `bits_per_byte.py` compares.

    python benchmarks/tokenizer/variants.py --texts TEXTS --out VARIANTS --set vocab_size=8192
    python benchmarks/tokenizer/variants.py --texts TEXTS --out VARIANTS --set vocab_size=32000 ours plain-bpe

Writes VARIANTS/NAME-SIZE/, each trained on TEXTS/train.jsonl (see `splits.py`).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/tokenizer/variants.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.jsonl import read_jsonl
from common.settings.load import Settings
from tokenizer.cache.plan import file_split
from tokenizer.learn import pretokenizer
from tokenizer.train_tokenizer import train_tokenizer

# A letter with short scripts as one pre-token: x_i  x^{n}  a_i^j
SCRIPTS = r"[ ]?[A-Za-z](?:[_^](?:[A-Za-z](?![A-Za-z])|\{[A-Za-z]\}))+"
BARE = r"[ ]?\\[A-Za-z]+\*?"
# Name -> (overrides, units of several symbols).
VARIANTS: dict[str, tuple[list[str], list[str]]] = {
    "ours": ([], [*pretokenizer.UNITS.values()]),
    "superwords-0": (["tokenizer.superword_share=0"], [*pretokenizer.UNITS.values()]),
    "superwords-10": (["tokenizer.superword_share=0.1"], [*pretokenizer.UNITS.values()]),
    "superwords-20": (["tokenizer.superword_share=0.2"], [*pretokenizer.UNITS.values()]),
    "superwords-40": (["tokenizer.superword_share=0.4"], [*pretokenizer.UNITS.values()]),
    "superwords-60": (["tokenizer.superword_share=0.6"], [*pretokenizer.UNITS.values()]),
    "no-units": (["tokenizer.superword_share=0"], []),
    "no-units-20": (["tokenizer.superword_share=0.2"], []),
    # Commands without the brace that they open, which the second stage may join to them.
    "bare-20": (["tokenizer.superword_share=0.2"], [*pretokenizer.UNITS.values(), BARE]),
    "bare-30": (["tokenizer.superword_share=0.3"], [*pretokenizer.UNITS.values(), BARE]),
    "bare-no-units-30": (["tokenizer.superword_share=0.3"], [BARE]),
    "scripts-20": (["tokenizer.superword_share=0.2"], [*pretokenizer.UNITS.values(), SCRIPTS]),
    "scripts": (["tokenizer.superword_share=0"], [*pretokenizer.UNITS.values(), SCRIPTS]),
}
# SentencePiece as it comes but for what would lose text: its normalization, and characters that it has not seen.
PLAIN = {"plain-bpe": "bpe", "plain-unigram": "unigram"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train tokenizers that differ in one choice each.",
        epilog="example: python benchmarks/tokenizer/variants.py --texts texts --out variants --set vocab_size=8192",
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*VARIANTS, *PLAIN])} (default: all)")
    parser.add_argument("--texts", type=Path, required=True, help="folder that splits.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    if unknown := {*args.names} - {*VARIANTS, *PLAIN}:
        parser.error(f"no such variant: {', '.join(sorted(unknown))}")
    source = args.texts.absolute() / "train.jsonl"
    given = args.overrides
    for name in args.names or [*VARIANTS, *PLAIN]:
        overrides, units = VARIANTS.get(name, ([], []))
        args.overrides = [*given, *overrides]
        settings = settings_from_args(args)
        out = args.out.absolute() / f"{name}-{settings.model.vocab_size}"
        print(f"== {out.name}", flush=True)
        if name in PLAIN:
            train_plain(source, out, settings, PLAIN[name])
            continue
        # Counted in this very process, which these texts are small enough for.
        pretokenizer.PRETOKEN = pretokenizer.pretoken_pattern(units)
        train_tokenizer(file_split(source), out, settings)
    return 0


def train_plain(source: Path, out: Path, settings: Settings, kind: str) -> None:
    """SentencePiece on the text itself, a line a sentence."""
    import sentencepiece

    if (out / "tokenizer.model").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=out, suffix=".txt") as text:
        for record in read_jsonl(source):
            text.write(record["text"].encode("utf-8", "replace").decode() + "\n")
        text.flush()
        sentencepiece.SentencePieceTrainer.train(
            input=text.name,
            model_prefix=str(out / "trained"),
            model_type=kind,
            vocab_size=settings.model.vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            byte_fallback=True,
            num_threads=os.cpu_count() or 1,
            minloglevel=2,
        )
    (out / "trained.vocab").unlink()
    os.replace(out / "trained.model", out / "tokenizer.model")


if __name__ == "__main__":
    run_command(main)
