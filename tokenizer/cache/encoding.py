"""From a shard of a split to its token file: what the workers of `token_cache.py` run. Imported, not run."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from common.errors import UserError
from common.settings.load import Settings
from tokenizer.cache.chunked_encoding import Cutter, merges_alone_decide
from tokenizer.cache.source_lines import Source, parts_of
from tokenizer.cache.token_file import READ_ONLY, TOKEN_DTYPE, Encoded, Shard, write_shard

# Text encoded between two signs of life: a third of a second at the most, after which a worker also notices that its
# parent is gone.
BATCH_BYTES = 1_000_000


class Encoder:
    """A folder's tokenizer as the token cache needs it: raw text in, ids out, no special token ever read from text."""

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer  # the light half of a transformers tokenizer: loads in milliseconds

        self.path = folder / "tokenizer.json"
        try:
            self.tokenizer = Tokenizer.from_file(str(self.path))
            spec = json.loads(self.path.read_text(encoding="utf-8"))
        except Exception as error:  # the library knows no other
            raise UserError(
                f"{self.path}: cannot be read: {error}; train it again: python tokenizer/train_tokenizer.py"
            ) from None
        self.tokenizer.encode_special_tokens = True  # a literal "</s>" in a paper stays text
        self.cutter = Cutter(self.tokenizer, spec) if merges_alone_decide(spec) else None

    def check_fits(self, settings: Settings) -> None:
        """Raises UserError, naming both sides, where the configuration is not this tokenizer's."""
        size = 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())
        wanted, end = settings.model.vocab_size, settings.model.eos_token_id
        if size != wanted:
            raise UserError(
                f"{self.path} has {size:,} entries, the configuration's vocab_size is {wanted:,}; train a tokenizer of "
                f"that size (python tokenizer/train_tokenizer.py) or give --set vocab_size={size}"
            )
        found = self.tokenizer.token_to_id("</s>")
        if found not in (None, end):
            raise UserError(
                f"{self.path}: </s> is token {found}, the configuration's eos_token_id is {end}; give --set "
                f"eos_token_id={found}"
            )

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each text: uint32 [tokens]."""
        return self.cutter.encode(texts) if self.cutter else self.encode_whole(texts)

    def encode_whole(self, texts: Sequence[str]) -> list[np.ndarray]:
        # "fast": without the offsets of tokens in the text, which take a quarter of the time.
        found = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, TOKEN_DTYPE) for encoding in found]


@functools.lru_cache(maxsize=1)
def load_encoder(folder: Path, fingerprint: str) -> Encoder:
    """The encoder of a folder whose tokenizer has that fingerprint."""
    return Encoder(folder)


def token_byte_lengths(folder: Path) -> np.ndarray:
    """UTF-8 bytes that each id of a SentencePiece-style tokenizer stands for: int64 [vocab_size]; special tokens 0.

    The sum over a document's tokens is its length in bytes, which turns a loss per token into bits per byte.
    """
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"] for token in spec["added_tokens"] if token["special"]}
    vocab: dict[str, int] = spec["model"]["vocab"]
    lengths = np.zeros(max([*vocab.values(), *special]) + 1, np.int64)
    for piece, index in vocab.items():
        if index not in special:
            is_byte = len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
            lengths[index] = 1 if is_byte else len(piece.replace("\u2581", " ").encode("utf-8"))
    return lengths


@dataclass(frozen=True)
class ShardJob:
    """The work of one shard (`common/workers.py` hands it out)."""

    shard: Shard
    source: Source
    tokenizer: Path
    folder: Path

    @property
    def number(self) -> int:
        return self.shard.number

    def without(self, position: int, detail: str) -> NoReturn:
        """A worker died of this shard for the second time, though it ran alone."""
        raise UserError(
            f"{self.folder / self.shard.file_name} (bytes {self.shard.start:,} to {self.shard.stop:,} of the split): "
            "the worker process that makes it was killed twice, as a rule for want of memory. Finished shards are "
            "kept: close other programs, then run the same command again"
        )


def make_shard(job: ShardJob, progress: Callable[[int, int], None]) -> None:
    """Encode a shard and write its token file; `progress(0, bytes)` tells how far it is.

    Raises:
        UserError: a line that is no record with a text (with file and line), a source that has changed, a full disk.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core a process
    progress(0, 0)
    write_shard(job.folder / job.shard.file_name, job.shard, _batches(job, progress))
    progress(0, job.shard.stop - job.shard.start)


def _batches(job: ShardJob, progress: Callable[[int, int], None]) -> Iterator[Encoded]:
    encoder = load_encoder(job.tokenizer, job.shard.tokenizer)
    documents: list[list[tuple[str, bool]]] = []
    places: list[int] = []
    size = 0
    for file, place, line in job.source.lines(job.shard.start, job.shard.stop):
        if not line.isspace():
            documents.append(parts_of(file, place, line))
            places.append(file.start + place)
            size += len(line)
        if size >= BATCH_BYTES:
            yield _encoded(encoder, documents, places, job.shard.end_of_text)
            progress(0, min(file.start + place + len(line), job.shard.stop) - job.shard.start)
            documents, places, size = [], [], 0
    yield _encoded(encoder, documents, places, job.shard.end_of_text)


def _encoded(encoder: Encoder, documents: list[list[tuple[str, bool]]], places: list[int], end: int) -> Encoded:
    """Each part is encoded by itself: a prompt has the same tokens before its answer as alone. The end of a document
    belongs to its last part."""
    texts = [text for parts in documents for text, _ in parts]
    encoded = iter(encoder.encode(texts))
    tokens: list[np.ndarray] = []
    lengths = []
    for parts in documents:
        answer, length = True, 1
        for _, answer in parts:
            ids = next(encoded)
            tokens.append(ids if answer else ids | READ_ONLY)
            length += len(ids)
        tokens.append(np.array([end | (0 if answer else READ_ONLY)], TOKEN_DTYPE))
        lengths.append(length)
    row = np.concatenate(tokens) if tokens else np.empty(0, TOKEN_DTYPE)
    return Encoded(row, lengths, places, sum(len(text.encode()) for text in texts))
