"""Any number of tokenizers side by side, ours and any that transformers or SentencePiece loads from disk.

    python tokenizer/evaluate_tokenizer.py
    python tokenizer/evaluate_tokenizer.py tokenizer PEERS/llama-2 --texts dataset_train_val/val.jsonl --chunks 1000000

Prints tables and writes OUT/report.json, OUT/report.html (with passages cut into tokens) and OUT/*.png: bytes per
token and fertility by kind of text, category and source; commands whole, clean, cut at a wrong prefix; tokens per
number; text that does not come back; ids on which SentencePiece and transformers differ; entries that are rarely used;
speed. Each measure is defined in `measure/metrics.py` and on the page. Speed apart, the numbers do not depend on
--workers.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tokenizer/evaluate_tokenizer.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.errors import UserError
from common.files import write_bytes, write_json
from common.paths import project_path
from common.settings.load import Settings
from reports.tokenizer.tables import tables, text_table
from tokenizer.measure.adapters import AnyTokenizer, load_tokenizers
from tokenizer.measure.jobs import Measured, measure_all, speeds
from tokenizer.measure.metrics import DEFINITIONS, bare_commands, mean_of_groups
from tokenizer.measure.passages import find_passages, slices
from tokenizer.measure.round_trips import SPACE_SIGN
from tokenizer.measure.text_sample import UNNAMED, TextSet, read_sources, read_texts

PACKAGES = ("sentencepiece", "transformers", "tokenizers")
# Text on which the speed is taken, a round.
SPEED_BYTES = 1_000_000
MORE_DEFINITIONS = {
    "text that comes back": "documents, and random chunks of 1 to 400 characters of which a quarter is damaged with "
    "blanks, control-like text and any character of Unicode, are encoded and decoded with the tokenizer's own library "
    "(SentencePiece and transformers, where a folder has both); lossy is what does not come back exactly. Text with "
    f"{SPACE_SIGN!a}, SentencePiece's sign for a space, and lone surrogates are left out. A space that a tokenizer "
    "puts before each text, as Llama-2's does, its decoder takes away again: that is no loss.",
    "other ids": "documents and chunks for which SentencePiece on tokenizer.model and transformers' AutoTokenizer on "
    "the folder give different ids (no special tokens added, none read from the text).",
    "speed": "MB of text encoded to ids in a second, on one core, a document at a time; the median of rounds in which "
    "the tokenizers take turns.",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare tokenizers: bytes per token, commands, numbers, round trips, equality of ids, speed.",
        epilog="example: python tokenizer/evaluate_tokenizer.py tokenizer other/tokenizer.json --texts "
        "dataset_train_val/val.jsonl --out evaluation_of_tokenizers",
    )
    parser.add_argument(
        "tokenizers",
        nargs="*",
        type=Path,
        metavar="TOKENIZER",
        help="folders, tokenizer.json or .model files (default: tokenizer.out)",
    )
    parser.add_argument(
        "--texts",
        nargs="+",
        type=Path,
        metavar="FILE.jsonl",
        help="each is reported apart (default: val.jsonl in data.out)",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the report (default: report/evaluation beside the first tokenizer)"
    )
    parser.add_argument(
        "--sources", type=Path, metavar="FILE.json", help="object of source names by id: a table by source"
    )
    parser.add_argument(
        "--max-bytes", type=_at_least(1), default=8_000_000, help="text read of each file (default: 8000000)"
    )
    parser.add_argument(
        "--chunks", type=_at_least(0), default=20_000, help="random chunks for round trips (default: 20000)"
    )
    parser.add_argument("--rounds", type=_at_least(1), default=5, help="rounds of the speed test (default: 5)")
    parser.add_argument("--workers", type=_at_least(0), default=0, help="processes; 0: one a core (default)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    again = repeated_flags(args)
    if not args.tokenizers:
        args.tokenizers = [_our_tokenizer(settings, again)]
    tokenizers = load_tokenizers(args.tokenizers)
    sets = read_texts(
        args.texts or [project_path(settings.data.out) / "val.jsonl"],
        args.max_bytes,
        settings.tokenizer.max_document_bytes,
        read_sources(args.sources) if args.sources else {},
        f"give JSONL with --texts, or make it: python data_prep/prepare_dataset.py{again}",
    )
    first = tokenizers[0].source
    out = args.out or (first if first.is_dir() else first.parent) / "report" / "evaluation"
    out.mkdir(parents=True, exist_ok=True)

    measured = measure_all(
        [tokenizer.given for tokenizer in tokenizers],
        [[document.text for document in texts.documents] for texts in sets],
        args.chunks,
        settings.tokenizer.seed,
        args.workers,
    )
    report = assemble(tokenizers, sets, measured)
    report["speed"] = dict(
        zip(report["results"][sets[0].name], speeds(tokenizers, _some(sets), args.rounds), strict=True)
    )
    write(out, report)
    print("\n\n".join(text_table(table) for table in tables(report) if table.terminal))
    print(f"\n{out / 'report.html'}, report.json")
    return 0


def _our_tokenizer(settings: Settings, again: str) -> Path:
    folder = project_path(settings.tokenizer.out)
    if not (folder / "tokenizer.json").is_file():
        raise UserError(
            f"{folder / 'tokenizer.json'}: no such file; name the tokenizers to compare, or train one first: "
            f"python tokenizer/train_tokenizer.py{again}"
        )
    return folder


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def assemble(tokenizers: Sequence[AnyTokenizer], sets: Sequence[TextSet], measured: Measured) -> dict[str, Any]:
    """What report.json holds, but for speed."""
    results: dict[str, dict[str, Any]] = {texts.name: {} for texts in sets}
    for tokenizer, tallies in zip(tokenizers, measured.tallies, strict=True):
        for texts, tally in zip(sets, tallies, strict=True):
            found = tally.results(tokenizer.size)
            found["commands"] |= bare_commands(tokenizer, tally.top_commands())
            for group in ("source", "category"):
                groups = [getattr(document, group) for document in texts.documents]
                found[f"by_{group}"] = mean_of_groups(tally.per_document, groups) if {*groups} != {UNNAMED} else None
            results[texts.name][tokenizer.name] = found
    commands = [measured.tallies[0][i].commands for i in range(len(sets))]
    trips = zip(tokenizers, measured.documents, measured.chunks, measured.not_compared, strict=True)
    texts_of_all = [document.text for texts in sets for document in texts.documents]
    return {
        "tokenizers": [
            {
                "name": t.name,
                "given": str(t.given),
                "entries": t.size,
                "library": t.library,
                "sha256": _sha256(t.source),
            }
            for t in tokenizers
        ],
        "texts": [
            {
                "name": texts.name,
                "documents": len(texts.documents),
                "documents_in_all": texts.documents_in_all,
                "bytes": sum(size for size, _ in measured.tallies[0][i].per_document),
                "sha256": texts.sha256,
                "commands": {name: commands[i][name] for name in measured.tallies[0][i].top_commands()},
            }
            for i, texts in enumerate(sets)
        ],
        "results": results,
        "round_trips": {
            tokenizer.name: {"documents": asdict(documents), "chunks": asdict(chunks), "not_compared": reason}
            for tokenizer, documents, chunks, reason in trips
        },
        "passages": [
            {
                "title": title,
                "text": text,
                "bytes": len(text.encode()),
                "cut": {tokenizer.name: slices(tokenizer, text) for tokenizer in tokenizers},
            }
            for title, text in find_passages(texts_of_all)
        ],
        "definitions": DEFINITIONS | MORE_DEFINITIONS,
        "versions": {name: version(name) for name in PACKAGES},
    }


def write(out: Path, report: dict[str, Any]) -> None:
    """report.json, the figures, and the page, which has them in it."""
    from reports.tokenizer.comparison import page
    from reports.tokenizer.figures import figures

    images = figures(report)
    write_json(out / "report.json", report)
    for name, png in images.items():
        write_bytes(out / f"{name}.png", png)
    write_bytes(out / "report.html", page(report, images).encode("utf-8", "replace"))


def _some(sets: Sequence[TextSet]) -> list[str]:
    """Documents of the first set, up to SPEED_BYTES."""
    texts: list[str] = []
    size = 0
    for document in sets[0].documents:
        texts.append(document.text)
        size += len(document.text.encode())
        if size >= SPEED_BYTES:
            break
    return texts


def _sha256(source: Path) -> str | None:
    """Of the file that decides the ids, where it is one file."""
    return hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else None


if __name__ == "__main__":
    run_command(main)
