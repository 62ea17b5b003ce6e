r"""Train the tokenizer: SentencePiece BPE whose entries follow LaTeX, in files that AutoTokenizer loads.

    python tokenizer/train_tokenizer.py
    python tokenizer/train_tokenizer.py --input dataset_train_val/train.jsonl --out tokenizer --set vocab_size=32000

Documents are sampled by hash of their id, cut into LaTeX-aware pre-tokens (`latex_pieces.py`) and counted;
SentencePiece learns its merges from the counts, so memory follows the number of distinct pre-tokens and not the size of
the text. A second stage (`superwords.py`) joins entries across words. The finished tokenizer is checked against
SentencePiece and against its own text before it is put in place.
Beside it land `tokenizer_manifest.json` (what it was made from) and `report/` (what it does to held-out text).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tokenizer/train_tokenizer.py`
    sys.path.insert(0, str(ROOT))

from data_prep.jsonl import missing_split, write_json
from data_prep.vocabulary import MULTIPLE, needed_bytes, supported_vocab_size
from settings import (
    Settings,
    TokenizerSettings,
    UserError,
    add_config_arguments,
    project_path,
    repeated_flags,
    run_command,
    settings_from_args,
)
from tokenizer.fingerprint import ARTEFACTS
from tokenizer.latex_pieces import (
    SPACE,
    STAND_INS,
    Sample,
    boosted,
    count_pretokens,
    cut,
    required_characters,
    sampled_lines,
    text_of,
    write_counts,
)

MANIFEST = "tokenizer_manifest.json"
# What decides the result besides settings and input.
MODULES = (
    "tokenizer/train_tokenizer.py",
    "tokenizer/latex_pieces.py",
    "tokenizer/superwords.py",
    "tokenizer/tokenizer_report.py",
)
PACKAGES = ("sentencepiece", "transformers", "tokenizers")
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
SENTENCEPIECE_SIGNS = str.maketrans(STAND_INS | {" ": SPACE})
HELD_OUT_BYTES = 4_000_000
CHUNK_CHARS = 2000
# Text that tokenizers are known to damage; each must come back as it went in.
HARD_TEXTS = (
    "",
    " ",
    "  two  spaces \n\n\tand a tab\n",
    "\n\n\n",
    r"\begin{align*} x_{1} &= \frac{1}{2} \\ \end{align*}",
    "∀x∈ℝ: ∑ᵢ αᵢ ≤ 𝔸 — “Erdős–Rényi” 日本語 😀",
    "<s> </s> <pad> <unk> <0x41>",
    "don't , stop . ! [ 1 ] 3.14159",
    "a\r\nb\x0c",
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train the SentencePiece tokenizer; its size is the model key vocab_size.",
        epilog="example: python tokenizer/train_tokenizer.py --input dataset_train_val/train.jsonl --out tokenizer",
    )
    parser.add_argument("--input", type=Path, help="JSONL of documents (default: train.jsonl in data.out)")
    parser.add_argument("--out", type=Path, help="folder of the tokenizer's files (default: tokenizer.out)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args, tokenizer__out=args.out)
    source = args.input.absolute() if args.input else project_path(settings.data.out) / "train.jsonl"
    out = project_path(settings.tokenizer.out)
    if not source.is_file():
        raise missing_split(source, f"make it first: python data_prep/prepare_dataset.py{repeated_flags(args)}")
    train_tokenizer(source, out, settings, again=_again(args))
    return 0


def _again(args: argparse.Namespace) -> tuple[str, str]:
    """What to add to train_tokenizer.py and to train.py to repeat this command with another vocabulary."""
    common = repeated_flags(args, but="vocab_size")
    files = "".join(f" --{name} {value}" for name, value in (("input", args.input), ("out", args.out)) if value)
    return files + common, common


def train_tokenizer(source: Path, out: Path, settings: Settings, again: tuple[str, str] = ("", "")) -> None:
    """Train on the JSONL `source` and put the files into `out`; nothing is done where they are up to date.

    Raises:
        UserError: the input cannot be read, or does not support `vocab_size` entries.
        RuntimeError: the finished tokenizer damages text, or AutoTokenizer and SentencePiece disagree.
    """
    started = time.perf_counter()
    held_out_file = source.with_name("val.jsonl")
    wanted = provenance(source, held_out_file, settings)
    if is_up_to_date(out, wanted):
        print(f"{out}: the tokenizer is up to date ({settings.model.vocab_size:,} entries), nothing to do")
        return
    knobs = settings.tokenizer
    sample, fraction = count_pretokens(source, knobs.sample_bytes, knobs.max_document_bytes, knobs.seed, knobs.threads)
    if not sample.text_bytes:
        raise UserError(f"{source}: no text in it; make it again: python data_prep/prepare_dataset.py")
    counted = time.perf_counter()
    print(
        f"{sample.documents:,} documents, {sample.text_bytes / 1e6:.1f} MB of text ({fraction:.1%} of the documents), "
        f"{len(sample.counts):,} distinct pre-tokens, {counted - started:.1f} s"
    )
    supported = supported_vocab_size(sample.text_bytes)
    if supported < settings.model.vocab_size:
        print(
            f"note: {settings.model.vocab_size:,} entries want "
            f"{needed_bytes(settings.model.vocab_size) / 1e6:,.0f} MB of "
            f"text to be used at all; this text supports about {supported:,} (--set vocab_size={supported})"
        )
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".build-", dir=out))
    try:
        superwords = train_stages(source, sample, settings, work, again)
        write_transformers_files(work)
        trained = time.perf_counter()
        held_out, origin = held_out_texts(source, held_out_file, settings, fraction)
        chunks = check_tokenizer(work, settings.model.vocab_size, held_out)

        from tokenizer.tokenizer_report import write_report

        facts = {
            "documents": sample.documents,
            "text_bytes": sample.text_bytes,
            "document_share": fraction,
            "distinct_pretokens": len(sample.counts),
            "superwords": superwords,
        }
        report = write_report(work, held_out, origin, facts)
        files = {name: file_sha256(work / name) for name in ARTEFACTS}
        write_json(work / MANIFEST, wanted | {"sample": facts, "files": files})
        install(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(
        f"{settings.model.vocab_size:,} entries learnt in {trained - counted:.1f} s, checked on "
        f"{chunks:,} pieces of text: "
        f"AutoTokenizer gives SentencePiece's ids, and every text comes back"
    )
    print(
        f"held-out text ({origin}): {report['bytes_per_token']:.3f} bytes per token, "
        f"{report['commands_whole']:.1%} of LaTeX commands whole, {report['tokens_per_word']:.2f} tokens per word"
    )
    print(f"{out / 'tokenizer.model'}, tokenizer.json; report: {out / 'report' / 'report.html'}")


def provenance(source: Path, held_out: Path, settings: Settings) -> dict[str, Any]:
    """Everything that decides the result: input, knobs, code, versions."""
    import dataclasses

    knobs = dataclasses.asdict(settings.tokenizer)
    for name in ("out", "threads"):  # where and how fast, not what
        del knobs[name]
    return {
        "format": 1,
        "input": {"name": source.name, "bytes": source.stat().st_size, "sha256": data_sha256(source, "train")},
        "held_out": {"name": held_out.name, "sha256": data_sha256(held_out, "val")} if held_out.is_file() else None,
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


def data_sha256(path: Path, split: str) -> str:
    """sha256 of a split; from the dataset's manifest where that describes this very file, since splits may be huge."""
    manifest = path.with_name("manifest.json")
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))["splits"][split]
        if path.name == f"{split}.jsonl" and known["bytes"] == path.stat().st_size:
            if manifest.stat().st_mtime_ns >= path.stat().st_mtime_ns:
                return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return file_sha256(path)


def is_up_to_date(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether `out` holds a tokenizer made from exactly this, with its files untouched."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        return all(manifest.get(key) == value for key, value in wanted.items()) and all(
            file_sha256(out / name) == files[name] for name in ARTEFACTS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def train_stages(source: Path, sample: Sample, settings: Settings, folder: Path, again: tuple[str, str]) -> int:
    """Write `tokenizer.model` of exactly `vocab_size` entries in two stages; gives the number of superwords.

    Text that repeats too little for its share of superwords gets those that it has, and more of the first stage.

    Raises:
        UserError: see `train_model`.
    """
    superwords = int(settings.model.vocab_size * settings.tokenizer.superword_share)
    while superwords:
        train_model(sample.counts, sample.text_bytes, settings, folder, again, superwords)
        found = add_superwords(source, folder / "tokenizer.model", superwords, settings.tokenizer)
        if found == superwords:
            return found
        superwords = found
    train_model(sample.counts, sample.text_bytes, settings, folder, again)
    return 0


def add_superwords(source: Path, path: Path, count: int, knobs: TokenizerSettings) -> int:
    """Add `count` superwords to the model at `path`; where there are fewer, add none and give how many there are."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    from tokenizer.superwords import add_pieces, learn_superwords

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    share = min(1.0, min(knobs.superword_sample_bytes, knobs.sample_bytes) / source.stat().st_size)
    texts = (
        cut(text_of(source, number, line), knobs.max_document_bytes)
        for number, line in sampled_lines(source, knobs.seed, share)
    )
    found = learn_superwords(processor, texts, count, knobs.superword_entries)
    if len(found) == count:
        add_pieces(proto, found)
        path.write_bytes(proto.SerializeToString(deterministic=True))
    return len(found)


def train_model(
    counts: Counter[str],
    text_bytes: int,
    settings: Settings,
    folder: Path,
    again: tuple[str, str] = ("", ""),
    superwords: int = 0,
) -> None:
    """Write `tokenizer.model`: SentencePiece BPE of `vocab_size` - `superwords` entries, from pre-token counts.

    Raises:
        UserError: the text has too few pieces for that, or it leaves no room for the alphabet.
    """
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    knobs, vocab_size = settings.tokenizer, settings.model.vocab_size - superwords
    table = folder / "counts.tsv"
    write_counts(boosted(counts, knobs.command_min_count, knobs.command_boost), table)
    # SentencePiece drops the required characters that a text lacks where every character of the text is required, too.
    # So one is not: the first of the most frequent pre-token, which becomes an entry anyway.
    frequent = max(counts, key=lambda piece: (counts[piece], piece))[0].translate(SENTENCEPIECE_SIGNS)
    required = required_characters(settings.model.vocab_size).replace(frequent, "")
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=str(table),
            input_format="tsv",
            model_prefix=str(folder / "trained"),
            model_type="bpe",
            vocab_size=vocab_size,
            character_coverage=knobs.character_coverage,
            required_chars=required,
            byte_fallback=True,
            split_digits=True,
            split_by_unicode_script=False,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            add_dummy_prefix=False,
            max_sentencepiece_length=knobs.max_piece_chars,
            max_sentence_length=1 << 22,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=3,
            num_threads=knobs.threads or min(16, os.cpu_count() or 1),
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise _training_error(str(error), settings.model.vocab_size, superwords, text_bytes, again) from error
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((folder / "trained.model").read_bytes())
    back = str.maketrans({stand_in: char for char, stand_in in STAND_INS.items()})
    for piece in model.pieces:
        piece.piece = piece.piece.translate(back)
    # Paths and thread counts say nothing of the tokenizer; without them the same input gives the same bytes.
    for name in ("input", "model_prefix", "num_threads", "required_chars"):
        model.trainer_spec.ClearField(name)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString(deterministic=True))
    for leftover in (table, folder / "trained.model", folder / "trained.vocab"):
        leftover.unlink(missing_ok=True)


def _training_error(
    message: str, vocab_size: int, superwords: int, text_bytes: int, again: tuple[str, str]
) -> Exception:
    """SentencePiece's refusal in the user's terms."""
    have = f"{text_bytes / 1e6:,.1f} MB of text"
    if limit := re.search(r"value <= (\d+)", message):
        possible = min(int(limit[1]) // MULTIPLE * MULTIPLE, supported_vocab_size(text_bytes))
        return UserError(
            f"vocab_size {vocab_size:,} is more than the text has pieces for: about "
            f"{needed_bytes(vocab_size) / 1e6:,.0f} MB of "
            f"text are needed, {have} are there, which supports {possible:,} entries. Give more text, or go on with:\n"
            f"  python tokenizer/train_tokenizer.py{again[0]} --set vocab_size={possible}\n"
            f"  deepspeed train.py{again[1]} --set vocab_size={possible}"
        )
    if limit := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        share = 1 - superwords / vocab_size
        possible = (int(int(limit[1]) / share) // MULTIPLE + 2) * MULTIPLE
        return UserError(
            f"vocab_size {vocab_size:,} is too small: {limit[1]} entries are bytes and single characters; "
            f"set it to {possible:,} or more (--set vocab_size={possible})"
        )
    return RuntimeError(f"SentencePiece could not train on {have}: {message}")


def write_transformers_files(folder: Path) -> None:
    """From `tokenizer.model` to the files of AutoTokenizer: the same ids, no token added before or after a text."""
    from transformers import LlamaTokenizer

    # Without these two arguments spaces are treated as in Llama's first tokenizer, which is not SentencePiece's way.
    tokenizer = LlamaTokenizer.from_pretrained(folder, legacy=False, add_prefix_space=False, **SPECIAL)
    tokenizer.save_pretrained(folder)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer",
            "add_prefix_space": False,
            "legacy": False,
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 10**30,
            **SPECIAL,
        },
    )
    write_json(folder / "special_tokens_map.json", SPECIAL)


def held_out_texts(source: Path, held_out: Path, settings: Settings, fraction: float) -> tuple[list[str], str]:
    """Texts that the tokenizer did not see, up to 4 MB, and where they come from."""
    knobs = settings.tokenizer
    choices = [
        (source, fraction, False, "documents of the input outside the sample"),
        (source, 1.0, True, "the sample itself"),
    ]
    if held_out.is_file():
        choices.insert(0, (held_out, 1.0, True, held_out.name))
    for path, share, chosen, origin in choices:
        texts, total = [], 0
        for number, line in sampled_lines(path, knobs.seed, share, chosen):
            texts.append(cut(text_of(path, number, line), knobs.max_document_bytes))
            total += len(texts[-1])
            if total >= HELD_OUT_BYTES:
                break
        if texts:
            return texts, origin
    raise UserError(f"{source}: no documents in it")


def check_tokenizer(folder: Path, vocab_size: int, texts: Sequence[str], chunks: int = 1000) -> int:
    """Compare AutoTokenizer with SentencePiece, and text with what comes back; gives the number of pieces compared.

    Raises:
        RuntimeError: they differ, or sizes and special tokens are not what the configuration says.
    """
    import sentencepiece
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    sizes = {"AutoTokenizer": len(tokenizer), "SentencePiece": processor.get_piece_size()}
    if set(sizes.values()) != {vocab_size}:
        raise RuntimeError(f"{folder}: expected {vocab_size} entries, found {sizes}")
    special = [tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    if special != [0, 1, 2, 3]:
        raise RuntimeError(f"{folder}: <unk>, <s>, </s>, <pad> have the ids {special}, expected 0, 1, 2, 3")
    cases = list(HARD_TEXTS)
    # Spread over all of the text: short pieces where there is little of it, gaps between them where there is much.
    step = max(200, sum(map(len, texts)) // chunks + 1)
    length = min(step, CHUNK_CHARS)
    cases += [text[start : start + length] for text in texts for start in range(0, len(text), step)]
    for text in cases:
        if "\u2581" in text or "\x00" in text:  # SentencePiece's own sign for a space: the one character that it loses
            continue
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if ids != processor.encode(text):
            raise RuntimeError(f"{folder}: AutoTokenizer and SentencePiece disagree on {text[:80]!r}")
        if tokenizer.encode(text, split_special_tokens=True) != ids:
            raise RuntimeError(f"{folder}: AutoTokenizer adds tokens to {text[:80]!r}")
        if tokenizer.decode(ids) != text or processor.decode(ids) != text:
            raise RuntimeError(f"{folder}: text does not come back: {text[:80]!r} -> {tokenizer.decode(ids)[:80]!r}")
    return len(cases)


def install(work: Path, out: Path) -> None:
    """Move the finished files into `out`, which may hold other things; the manifest goes first and comes last."""
    (out / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(out / "report", ignore_errors=True)
    os.replace(work / "report", out / "report")
    for name in (*ARTEFACTS, MANIFEST):
        os.replace(work / name, out / name)


if __name__ == "__main__":
    run_command(main)
