r"""Train the tokenizer: SentencePiece BPE whose entries follow LaTeX, in files that AutoTokenizer loads.

    python tokenizer/train_tokenizer.py
    python tokenizer/train_tokenizer.py --input dataset_train_val/train.jsonl --out tokenizer --set vocab_size=32000

Documents are sampled by category and year (`learn/sample.py`), cut into LaTeX-aware pre-tokens
(`learn/pretokenizer.py`) and counted; SentencePiece learns its merges from the counts, so memory follows the number of
distinct pre-tokens and not the size of the text. A second stage (`learn/superwords.py`) joins entries across words. The
finished tokenizer is checked against SentencePiece and against its own text before it is put in place.
Beside it land `tokenizer_manifest.json` (what it was made from) and `report/` (what it does to held-out text).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tokenizer/train_tokenizer.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.errors import UserError
from common.files import write_json
from common.jsonl import find_split
from common.paths import project_path
from common.settings.load import Settings
from common.vocabulary_size import needed_bytes, supported_vocab_size
from tokenizer.cache.plan import Split, dataset_split, file_split, size_text
from tokenizer.cache.source_lines import read_source, text_of
from tokenizer.learn.bpe import train_stages
from tokenizer.learn.fingerprint import ARTEFACTS, MANIFEST
from tokenizer.learn.hf_files import check_tokenizer, write_transformers_files
from tokenizer.learn.pretokenizer import count_pretokens, cut
from tokenizer.learn.sample import Catalogue, catalogue, choose

# What decides the result besides settings and input.
MODULES = tuple(
    f"tokenizer/{name}.py"
    for name in (
        "train_tokenizer learn/sample learn/pretokenizer learn/standard_commands learn/bpe learn/superwords "
        "learn/hf_files learn/trained_report measure/adapters measure/segments measure/metrics measure/passages"
    ).split()
)
PACKAGES = ("sentencepiece", "transformers", "tokenizers")
# What of a tokenizer's provenance is code, which --accept-stale does not look at.
CODE = ("modules", "versions")
# Folder within the output folder in which a tokenizer is made.
WORK = ".build-"
HELD_OUT_BYTES = 4_000_000


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train the SentencePiece tokenizer; its size is the model key vocab_size.",
        epilog="example: python tokenizer/train_tokenizer.py --input dataset_train_val/train.jsonl --out tokenizer",
    )
    parser.add_argument("--input", type=Path, help="JSONL of documents (default: the training split in data.out)")
    parser.add_argument("--out", type=Path, help="folder of the tokenizer's files (default: tokenizer.out)")
    parser.add_argument(
        "--accept-stale", action="store_true", help="keep a tokenizer though code or packages have changed since"
    )
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args, tokenizer__out=args.out)
    split = file_split(args.input) if args.input else dataset_split(settings, "train", repeated_flags(args))
    command = shlex.join(["python", *sys.argv] if argv is None else ["python", __file__, *argv])
    keep = None if args.accept_stale else f"{command} --accept-stale"
    train_tokenizer(split, project_path(settings.tokenizer.out), settings, _again(args), keep, args.accept_stale)
    return 0


def _again(args: argparse.Namespace) -> tuple[str, str]:
    """What to add to train_tokenizer.py and to train.py to repeat this command with another vocabulary."""
    common = repeated_flags(args, but="vocab_size")
    files = "".join(f" --{name} {value}" for name, value in (("input", args.input), ("out", args.out)) if value)
    return files + common, common


def train_tokenizer(
    split: Split,
    out: Path,
    settings: Settings,
    again: tuple[str, str] = ("", ""),
    keep: str | None = None,
    accept_stale: bool = False,
) -> None:
    """Train on a split and put the files into `out`; nothing is done where they are up to date.

    Args:
        again: what repeats this command, and train.py, with another vocabulary.
        keep: the command that keeps a tokenizer of other code, to be named where that is made again.
        accept_stale: a tokenizer of other code or packages counts as up to date.

    Raises:
        UserError: the input cannot be read, or does not support `vocab_size` entries.
        RuntimeError: the finished tokenizer damages text, or AutoTokenizer and SentencePiece disagree.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        _train(split, out, settings, again, keep, accept_stale)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time trains into a folder; what a killed one left there is removed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for leftover in folder.glob(f"{WORK}*"):
            shutil.rmtree(leftover)
        yield
    except BlockingIOError:
        raise UserError(f"{folder}: another process trains a tokenizer there; wait for it, or give --out") from None
    finally:
        os.close(descriptor)


def _train(
    split: Split, out: Path, settings: Settings, again: tuple[str, str], keep: str | None, accept_stale: bool
) -> None:
    started = time.perf_counter()
    knobs, vocab_size = settings.tokenizer, settings.model.vocab_size
    source = read_source(split.paths, split.notes)
    held_out = _validation(split)
    wanted = provenance(source.sha256, held_out, settings)
    stale = not is_up_to_date(out, wanted) and is_up_to_date(out, wanted, but=CODE)
    if is_up_to_date(out, wanted) or (stale and accept_stale):
        print(f"{out}: the tokenizer is up to date ({vocab_size:,} entries), nothing to do")
        return
    if stale:
        keeping = f". To keep it instead, stop this and run:\n    {keep}" if keep else ""
        print(f"{out}: made by other code or packages than today's, so it is trained again{keeping}", flush=True)
    documents = catalogue(source, knobs.max_document_bytes, knobs.seed)
    chosen = choose(documents, knobs.sample_bytes)
    sample = count_pretokens(documents, chosen, knobs.max_document_bytes, knobs.threads)
    if not sample.text_bytes:
        raise UserError(f"{split.paths[0]}: no text in it; make it again: python data_prep/prepare_dataset.py")
    counted = time.perf_counter()
    print(
        f"{sample.documents:,} of {len(chosen):,} documents, {sample.text_bytes / 1e6:,.1f} MB of text, "
        f"{len(documents.names):,} strata (category and year), {len(sample.counts):,} distinct pre-tokens, "
        f"{counted - started:.1f} s"
    )
    supported = supported_vocab_size(sample.text_bytes)
    if supported < vocab_size:
        print(
            f"note: {vocab_size:,} entries want {size_text(needed_bytes(vocab_size))} of text to be used at all; "
            f"this text supports about {supported:,} (--set vocab_size={supported})"
        )
    work = Path(tempfile.mkdtemp(prefix=WORK, dir=out))
    try:
        fewer = choose(documents, min(knobs.superword_sample_bytes, knobs.sample_bytes))
        superwords = train_stages(sample, lambda: _texts(documents, fewer, settings), settings, work, again)
        write_transformers_files(work)
        trained = time.perf_counter()
        texts, origin = held_out_texts(documents, chosen, held_out, settings)
        chunks = check_tokenizer(work, vocab_size, texts)

        from tokenizer.learn.trained_report import write_report

        facts = {
            "documents": sample.documents,
            "text_bytes": sample.text_bytes,
            "document_share": sample.documents / len(chosen),
            "distinct_pretokens": len(sample.counts),
            "rare_pretokens_left_out": sample.forgotten,
            "superwords": superwords,
            "bytes_there_and_sampled": documents.table(chosen),
        }
        report = write_report(work, texts, origin, facts)
        files = {name: file_sha256(work / name) for name in ARTEFACTS}
        write_json(work / MANIFEST, wanted | {"sample": facts, "files": files})
        install(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(
        f"{vocab_size:,} entries ({superwords:,} superwords) learnt in {trained - counted:.1f} s, checked on "
        f"{chunks:,} pieces of text: AutoTokenizer gives SentencePiece's ids, and every text comes back"
    )
    print(
        f"held-out text ({origin}): {report['bytes_per_token']:.3f} bytes per token, "
        f"{report['commands_whole']:.1%} of LaTeX commands whole, {report['tokens_per_word']:.2f} tokens per word"
    )
    print(f"{out / 'tokenizer.model'}, tokenizer.json; report: {out / 'report' / 'report.html'}")


def _texts(documents: Catalogue, chosen: np.ndarray, settings: Settings) -> Iterator[str]:
    return (cut(text_of(*line), settings.tokenizer.max_document_bytes) for line in documents.lines(chosen))


def _validation(split: Split) -> Split | None:
    """The validation split that lies beside, in whatever form."""
    paths = find_split(split.paths[0].parent, "val")
    return Split("val", tuple(paths)) if paths else None


def provenance(input_sha256: str, held_out: Split | None, settings: Settings) -> dict[str, Any]:
    """Everything that decides the result: input, knobs, code, versions."""
    knobs = dataclasses.asdict(settings.tokenizer)
    for name in ("out", "threads"):  # where and how fast, not what
        del knobs[name]
    return {
        "format": 2,
        "input": {"sha256": input_sha256},
        "held_out": {"sha256": read_source(held_out.paths, held_out.notes).sha256} if held_out else None,
        "knobs": {"vocab_size": settings.model.vocab_size, **knobs},
        "modules": {name: file_sha256(ROOT / name) for name in MODULES},
        "versions": {name: version(name) for name in PACKAGES},
    }


def file_sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            sha.update(block)
    return sha.hexdigest()


def is_up_to_date(out: Path, wanted: dict[str, Any], but: tuple[str, ...] = ()) -> bool:
    """Whether `out` holds a tokenizer made from exactly this (all keys `but` some), with its files untouched."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        return all(manifest.get(key) == value for key, value in wanted.items() if key not in but) and all(
            file_sha256(out / name) == files[name] for name in ARTEFACTS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def held_out_texts(
    documents: Catalogue, chosen: np.ndarray, held_out: Split | None, settings: Settings
) -> tuple[list[str], str]:
    """Texts that the tokenizer did not see, up to 4 MB drawn by hash, and where they come from."""
    origin, part = "documents of the input outside the sample", ~chosen
    if held_out:
        source = read_source(held_out.paths, held_out.notes)
        beside = catalogue(source, settings.tokenizer.max_document_bytes, settings.tokenizer.seed, progress=False)
        if len(beside.places):
            documents, origin, part = beside, held_out.paths[0].name, np.ones(len(beside.places), bool)
    if not part.any():
        origin, part = "the sample itself", chosen
    drawn = dataclasses.replace(
        documents, **{name: getattr(documents, name)[part] for name in ("places", "sizes", "keys", "strata")}
    )
    return list(_texts(drawn, choose(drawn, HELD_OUT_BYTES), settings)), origin


def install(work: Path, out: Path) -> None:
    """Move the finished files into `out`, which may hold other things; the manifest goes first and comes last."""
    (out / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(out / "report", ignore_errors=True)
    os.replace(work / "report", out / "report")
    for name in (*ARTEFACTS, MANIFEST):
        os.replace(work / name, out / name)


if __name__ == "__main__":
    run_command(main)
