r"""Are commands one token each, those too that nobody boosted?

    python benchmarks/tokenizer/commands.py --texts TEXTS --set vocab_size=32000 --set tokenizer.command_min_count=20

Of the commands that occur in at least 20 documents and 2 sources of TEXTS (see `splits.py`) one half, by
hash, is boosted in training as usual and the other is not; the tokenizer is trained on TEXTS/train.jsonl. A command is
one token if no cut falls into it at most of its occurrences. Both halves are reported, with Wilson's 95 % interval.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/tokenizer/commands.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.jsonl import read_jsonl
from tokenizer.cache.plan import file_split
from tokenizer.learn import bpe
from tokenizer.learn.pretokenizer import COMMAND, boosted
from tokenizer.measure.adapters import load_tokenizer
from tokenizer.measure.metrics import share
from tokenizer.train_tokenizer import train_tokenizer

DOCUMENTS, SOURCES = 20, 2
SPLITS = ("train", "val", "held_out_sources")
# Of each document.
MAX_CHARS = 50_000
NAME = re.compile(r"\\[A-Za-z]+")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Which commands become one token, boosted or not.",
        epilog="example: python benchmarks/tokenizer/commands.py --texts texts --set vocab_size=32000",
    )
    parser.add_argument("--texts", type=Path, required=True, help="folder that splits.py wrote")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    commands = common_commands(args.texts)
    bpe.boosted = boost_half  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer(file_split(args.texts / "train.jsonl"), Path(folder), settings)
        tokenizer = load_tokenizer(Path(folder))
        whole, there = occurrences(tokenizer, args.texts, commands)
    for name, half in (("boosted", True), ("not boosted", False)):
        those = [command for command in commands if is_boosted(command) == half]
        one = [command for command in those if 2 * whole[command] > there[command]]
        always = [command for command in those if whole[command] == there[command]]
        alone = [c for c in those if 1 in (len(tokenizer.ids("x" + c + s)) - len(tokenizer.ids("x" + s)) for s in " {")]
        types = share(len(one), len(those))
        if types is None:
            raise UserError(f"{args.texts}: no command occurs in {DOCUMENTS} documents and {SOURCES} sources")
        kept, total = sum(whole[c] for c in those), sum(there[c] for c in those)
        print(
            f"{name:12} {len(those):4} commands, one token: {len(one)} ({types['share']:.1%}, {types['low']:.1%} to "
            f"{types['high']:.1%}); at every occurrence: {len(always)}; by themselves: {len(alone)}; occurrences kept "
            f"whole: {kept / total:.3%} of {total:,}"
        )
        print(f"{'':12} not one token: {', '.join(sorted({*those} - {*one})) or 'none'}")
    return 0


def common_commands(texts: Path) -> list[str]:
    """The commands of at least `DOCUMENTS` documents and `SOURCES` sources."""
    source_of = json.loads((texts / "sources.json").read_text(encoding="utf-8"))
    documents: Counter[str] = Counter()
    sources = defaultdict(set)
    for split in SPLITS:
        for record in read_jsonl(texts / f"{split}.jsonl"):
            for command in {*NAME.findall(record["text"])}:
                documents[command] += 1
                sources[command].add(source_of[record["id"]])
    return sorted(c for c, count in documents.items() if count >= DOCUMENTS and len(sources[c]) >= SOURCES)


def is_boosted(command: str) -> bool:
    return hashlib.sha256(command.strip().encode()).digest()[0] < 128


def boost_half(counts: Counter[str], min_count: int, boost: int, standard: Sequence[str]) -> Counter[str]:
    """As `boosted`, for one half of all commands."""
    result = counts.copy()
    for piece, count in boosted(counts, min_count, boost, standard).items():
        if COMMAND.fullmatch(piece) and is_boosted(piece):
            result[piece] = count
    return result


def occurrences(tokenizer, texts: Path, commands: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """Of each command, the occurrences into which no cut falls, and all."""
    wanted = {*commands}
    whole: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for split in SPLITS:
        for record in read_jsonl(texts / f"{split}.jsonl"):
            text = record["text"][:MAX_CHARS]
            cuts = {*tokenizer.cut(text)[1]}
            for match in NAME.finditer(text):
                if match[0] in wanted:
                    there[match[0]] += 1
                    whole[match[0]] += cuts.isdisjoint(range(match.start() + 1, match.end()))
    return whole, there


if __name__ == "__main__":
    run_command(main)
