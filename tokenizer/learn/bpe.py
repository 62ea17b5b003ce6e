"""From pre-token counts to `tokenizer.model`: SentencePiece's merges, then superwords. Imported, not run."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from common.errors import UserError
from common.settings.load import Settings
from common.vocabulary_size import MULTIPLE, needed_bytes, supported_vocab_size
from tokenizer.cache.plan import size_text
from tokenizer.learn.pretokenizer import SPACE, STAND_INS, Sample, boosted, required_characters, write_counts
from tokenizer.learn.standard_commands import standard_commands

SENTENCEPIECE_SIGNS = str.maketrans(STAND_INS | {" ": SPACE})


def train_stages(
    sample: Sample, texts: Callable[[], Iterable[str]], settings: Settings, folder: Path, again: tuple[str, str]
) -> int:
    """Write `tokenizer.model` of exactly `vocab_size` entries in two stages; gives the number of superwords.

    Text that repeats too little for its share of superwords gets those that it has, and more of the first stage.

    Args:
        texts: what superwords are learnt from.
        again: what to add to train_tokenizer.py and to train.py to repeat the command, for errors.

    Raises:
        UserError: see `train_model`.
    """
    superwords = int(settings.model.vocab_size * settings.tokenizer.superword_share)
    while superwords:
        train_model(sample.counts, sample.text_bytes, settings, folder, again, superwords)
        found = add_superwords(texts(), folder / "tokenizer.model", superwords, settings.tokenizer.superword_entries)
        if found == superwords:
            return found
        superwords = found
    train_model(sample.counts, sample.text_bytes, settings, folder, again)
    return 0


def add_superwords(texts: Iterable[str], path: Path, count: int, max_entries: int) -> int:
    """Add `count` superwords to the model at `path`; where there are fewer, add none and give how many there are."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    from tokenizer.learn.superwords import add_pieces, learn_superwords

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    found = learn_superwords(processor, texts, count, max_entries)
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
    standard = standard_commands(settings.model.vocab_size)
    write_counts(boosted(counts, knobs.command_min_count, knobs.command_boost, standard), table)
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
    have, needed = f"{size_text(text_bytes)} of text", size_text(needed_bytes(vocab_size))
    if limit := re.search(r"value <= (\d+)", message):
        possible = min(int(limit[1]) // MULTIPLE * MULTIPLE, supported_vocab_size(text_bytes))
        return UserError(
            f"vocab_size {vocab_size:,} is more than the text has pieces for: about {needed} of text are needed, "
            f"{have} are there, which supports {possible:,} entries. Give more text, or go on with:\n"
            f"  python tokenizer/train_tokenizer.py{again[0]} --set vocab_size={possible}\n"
            f"  deepspeed train.py{again[1]} --set vocab_size={possible}"
        )
    if limit := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        share = 1 - superwords / vocab_size
        possible = (int(int(limit[1]) / share) // MULTIPLE + 2) * MULTIPLE
        return UserError(
            f"vocab_size {vocab_size:,} is too small: {limit[1]} entries are bytes and single characters"
            f"{f', {superwords:,} superwords (tokenizer.superword_share)' if superwords else ''}; "
            f"set it to {possible:,} or more (--set vocab_size={possible})"
        )
    return RuntimeError(f"SentencePiece could not train on {have}: {message}")
