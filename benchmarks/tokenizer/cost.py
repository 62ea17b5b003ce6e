r"""What it costs to train a tokenizer: processor time and peak memory on growing text, ours and other trainers.

    python benchmarks/tokenizer/cost.py --texts TEXTS --copies 1 2 4 8 16 --set vocab_size=32000

TEXTS/train.jsonl is copied, each copy with words of its own: of each word that is not among the frequent ones the
letters are turned on, so that distinct words grow in proportion to the text (in real text they grow more slowly: an
upper bound). Every figure is of a process of its own; a power law through the last two sizes gives 2 and 10 GB.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/tokenizer/cost.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.errors import UserError
from common.jsonl import read_jsonl
from common.settings.load import Settings
from tokenizer.cache.source_lines import read_source, text_of
from tokenizer.learn.bpe import train_stages
from tokenizer.learn.pretokenizer import PRETOKEN, count_pretokens, cut
from tokenizer.learn.sample import catalogue, choose

WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}")
FREQUENT_WORDS = 2000
PROJECTED = (2e9, 10e9)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Processor time and peak memory of tokenizer trainers on growing text.",
        epilog="example: python benchmarks/tokenizer/cost.py --texts texts --copies 1 2 4 8 --set vocab_size=32000",
    )
    parser.add_argument("--texts", type=Path, required=True, help="folder that splits.py wrote")
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--run", nargs=2, metavar=("METHOD", "FILE"), help=argparse.SUPPRESS)
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    if args.run:
        with tempfile.TemporaryDirectory() as folder:
            METHODS[args.run[0]](Path(args.run[1]), settings, Path(folder))
        return 0
    print(f"{'method':24} {'text MB':>8} {'CPU s':>8} {'s/MB':>6} {'peak GB':>8}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in args.methods}
        for copies in sorted(args.copies):
            path = Path(folder) / f"train-{copies}.jsonl"
            size = grow(args.texts / "train.jsonl", path, copies)
            for name in args.methods:
                command = [sys.executable, __file__, "--texts", str(args.texts), "--run", name, str(path)]
                seconds, memory = cost([*command, *shlex.split(repeated_flags(args))])
                found[name].append((size, seconds, memory))
                print(
                    f"{name:24} {size / 1e6:8.1f} {seconds:8.1f} {seconds / size * 1e6:6.2f} {memory / 1e9:8.2f}",
                    flush=True,
                )
            path.unlink()
    for name, points in found.items():
        if len(points) > 1:
            print(f"{name:24} " + ", ".join(_projected(points, size) for size in PROJECTED))
    return 0


def grow(source: Path, target: Path, copies: int) -> int:
    """Write `copies` copies of `source`; gives the bytes of their text."""
    records = list(read_jsonl(source))
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(WORD.findall(record["text"]))
    frequent = {word for word, _ in counts.most_common(FREQUENT_WORDS)}
    size = 0
    with open(target, "w", encoding="utf-8") as file:
        for copy in range(copies):
            for record in records:
                text = with_own_words(record["text"], copy, frequent)
                size += len(text.encode("utf-8", "replace"))
                file.write(json.dumps(record | {"id": f"{record['id']}c{copy}", "text": text}) + "\n")
    return size


def with_own_words(text: str, copy: int, frequent: set[str]) -> str:
    """The text of this copy: letters turned on by `copy` places, from the 26th copy on reversed, too."""

    def turned(match: re.Match[str]) -> str:
        if match[0] in frequent:
            return match[0]
        letters = [chr((ord(c) - base + copy) % 26 + base) for c in match[0] for base in (97 if c.islower() else 65,)]
        return "".join(reversed(letters) if copy // 26 % 2 else letters)

    return WORD.sub(turned, text) if copy else text


def cost(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of processor time and bytes of peak memory of a process and those that it waited for."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"failed: {shlex.join(command)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024.0


def _projected(points: list[tuple[float, float, float]], size: float) -> str:
    """Time and memory at `size` bytes, by the power law through the last two points."""
    (size1, *first), (size2, *last) = points[-2:]
    values = []
    for before, after in zip(first, last, strict=True):
        values.append(after * (size / size2) ** (math.log(after / before) / math.log(size2 / size1)))
    return f"{size / 1e9:.0f} GB: {values[0] / 3600:.2f} h CPU, {values[1] / 1e9:.1f} GB"


def _stages(path: Path, settings: Settings, folder: Path, share: float | None) -> None:
    source = read_source([path], folder / "notes.json")
    knobs = settings.tokenizer
    documents = catalogue(source, knobs.max_document_bytes, knobs.seed, progress=False)
    chosen = choose(documents, knobs.sample_bytes)
    sample = count_pretokens(documents, chosen, knobs.max_document_bytes, 1, progress=False)
    if share is None:
        return

    def texts() -> Iterator[str]:
        fewer = choose(documents, min(knobs.superword_sample_bytes, knobs.sample_bytes))
        return (cut(text_of(*line), knobs.max_document_bytes) for line in documents.lines(fewer))

    import dataclasses

    shared = dataclasses.replace(settings, tokenizer=dataclasses.replace(knobs, superword_share=share))
    train_stages(sample, texts, shared, folder, ("", ""))


def count_only(path: Path, settings: Settings, folder: Path) -> None:
    _stages(path, settings, folder, None)


def ours(path: Path, settings: Settings, folder: Path) -> None:
    _stages(path, settings, folder, 0.0)


def ours_with_superwords(path: Path, settings: Settings, folder: Path) -> None:
    _stages(path, settings, folder, 0.2)


def sentencepiece_on_text(path: Path, settings: Settings, folder: Path) -> None:
    """SentencePiece as it comes, a line a sentence."""
    from benchmarks.tokenizer.variants import train_plain

    train_plain(path, folder / "plain", settings, "bpe")


def tokenizers_on_text(path: Path, settings: Settings, folder: Path) -> None:
    """The BPE trainer of `tokenizers`, cutting text as we do."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(f"(?x){PRETOKEN.pattern}"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=settings.model.vocab_size, show_progress=False)
    texts = (cut(record["text"], settings.tokenizer.max_document_bytes) for record in read_jsonl(path))
    trained.train_from_iterator(texts, trainer)
    trained.save(str(folder / "tokenizer.json"))


METHODS: dict[str, Callable[[Path, Settings, Path], Any]] = {
    "count": count_only,
    "ours": ours,
    "ours-superwords": ours_with_superwords,
    "tokenizers": tokenizers_on_text,
    "sentencepiece": sentencepiece_on_text,
}


if __name__ == "__main__":
    run_command(main)
