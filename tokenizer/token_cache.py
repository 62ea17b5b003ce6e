"""JSONL -> memory-mapped tokens: the file that training reads, its writer, its reader and its checked header.

`train.py` calls `ensure_token_cache` by itself. To build or inspect one by hand:

    python tokenizer/token_cache.py --input dataset_train_val/train.jsonl

Layout (little endian): a header of 4,096 bytes (see `Header`), `num_tokens` uint32 token ids, `num_documents` + 1
uint64 document offsets (in tokens). Each document's tokens are followed by one end-of-text token. uint32 because a
vocabulary of 102,400 entries does not fit 16 bits.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tokenizer/token_cache.py`
    sys.path.insert(0, str(ROOT))

from data_prep.jsonl import missing_split
from settings import Settings, UserError, add_config_arguments, project_path, run_command, settings_from_args
from tokenizer.fingerprint import tokenizer_fingerprint

MAGIC = b"TEXTOKEN"
VERSION = 1
HEADER_BYTES = 4096
HEADER = struct.Struct("<8sIIQQQQ64s64s")
TOKEN_DTYPE = np.dtype("<u4")
OFFSET_DTYPE = np.dtype("<u8")
# Lines handed to a worker at a time: enough to hide the hand-over, little enough to keep memory flat.
BATCH_BYTES = 4_000_000
# Below this a pool of processes costs more than it saves.
SERIAL_BYTES = 32_000_000
# Progress is made durable this often, so that a killed build goes on from there.
COMMIT_BYTES = 1_000_000_000
# Observed encoding speed of one core, bytes/s, for the forecast that is printed before a build.
BYTES_PER_SECOND = 2_000_000


@dataclass(frozen=True)
class Header:
    """What a token file says of itself; `source_sha256` and `tokenizer` identify what it was made from."""

    vocab_size: int
    num_tokens: int
    num_documents: int
    text_bytes: int
    tokenizer: str
    source_sha256: str

    def pack(self) -> bytes:
        packed = HEADER.pack(
            MAGIC,
            VERSION,
            TOKEN_DTYPE.itemsize,
            self.vocab_size,
            self.num_tokens,
            self.num_documents,
            self.text_bytes,
            self.tokenizer.encode(),
            self.source_sha256.encode(),
        )
        return packed.ljust(HEADER_BYTES, b"\0")

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read and check the header of `path` and the file's size against it.

        Raises:
            UserError: not a token file, another version or token width, or a truncated file.
        """
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
        if len(raw) < HEADER_BYTES or raw[:8] != MAGIC:
            raise UserError(f"{path}: not a token file (magic {raw[:8]!r}); delete it and start again to rebuild it")
        _, version, itemsize, *counts, tokenizer, source = HEADER.unpack(raw[: HEADER.size])
        if version != VERSION or itemsize != TOKEN_DTYPE.itemsize:
            raise UserError(
                f"{path}: token file version {version} with {itemsize}-byte tokens, this code reads version {VERSION} "
                f"with {TOKEN_DTYPE.itemsize}; delete it and start again to rebuild it"
            )
        vocab_size, num_tokens, num_documents, text_bytes = counts
        header = cls(vocab_size, num_tokens, num_documents, text_bytes, tokenizer.decode(), source.decode())
        size = path.stat().st_size
        if size != header.file_bytes:
            raise UserError(f"{path}: {size} bytes, its header promises {header.file_bytes}; delete it and start again")
        return header

    @property
    def file_bytes(self) -> int:
        tokens, offsets = self.num_tokens * TOKEN_DTYPE.itemsize, (self.num_documents + 1) * OFFSET_DTYPE.itemsize
        return HEADER_BYTES + tokens + offsets


class TokenCache:
    """A token file, memory-mapped: `tokens` uint32 [num_tokens], `offsets` uint64 [num_documents + 1]."""

    def __init__(self, path: Path):
        self.path = path
        self.header = Header.read(path)
        self.tokens = np.memmap(path, TOKEN_DTYPE, "r", HEADER_BYTES, (self.header.num_tokens,))
        start = HEADER_BYTES + self.header.num_tokens * TOKEN_DTYPE.itemsize
        self.offsets = np.memmap(path, OFFSET_DTYPE, "r", start, (self.header.num_documents + 1,))


class Encoder:
    """A folder's tokenizer as the token cache needs it: raw text in, ids out, no special token ever read from text."""

    def __init__(self, folder: Path, end_of_text: int):
        from tokenizers import Tokenizer  # the light half of a transformers tokenizer: loads in milliseconds

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.encode_special_tokens = True  # a literal "</s>" in a paper stays text
        self.end_of_text = end_of_text

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode_lines(self, lines: Sequence[tuple[int, bytes]]) -> tuple[np.ndarray, np.ndarray, int]:
        """Numbered JSONL lines -> tokens uint32 [n], tokens per document uint64 [documents], bytes of text.

        Raises:
            UserError: a line that is not a record with a text.
        """
        tokens: list[np.ndarray] = []
        text_bytes = 0
        for number, line in lines:
            try:
                text = json.loads(line)["text"]
                text_bytes += len(text.encode("utf-8"))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(
                    f"line {number}: not a record with a 'text' ({type(error).__name__}: {error})"
                ) from None
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            tokens.append(np.array([*ids, self.end_of_text], TOKEN_DTYPE))
        lengths = np.array([len(t) for t in tokens], OFFSET_DTYPE)
        return np.concatenate(tokens), lengths, text_bytes


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


def cache_path(source: Path, tokenizer: str) -> Path:
    """Where the tokens of split `source` made by the tokenizer with this fingerprint belong."""
    return source.parent / "token_cache" / f"{source.stem}-{tokenizer[:12]}.bin"


def is_current(source: Path, tokenizer: str) -> bool:
    """Whether a finished token file stands for `source` as it is on disk now (by size and modification time)."""
    path = cache_path(source, tokenizer)
    try:
        return path.exists() and json.loads(path.with_suffix(".json").read_text())["source"] == _stat(source)
    except (OSError, ValueError, KeyError, TypeError):  # no manifest, or a damaged one
        return False


def ensure_token_cache(source: Path, tokenizer_folder: Path, settings: Settings, builder: bool = True) -> TokenCache:
    """The tokens of split `source`; made first where there are none that fit it.

    Args:
        builder: this process makes the file; any other waits until it is finished.

    Raises:
        UserError: a source or tokenizer that is missing or does not fit the configuration, or too little disk.
    """
    fingerprint = tokenizer_fingerprint(tokenizer_folder)
    path = cache_path(source, fingerprint)
    if not is_current(source, fingerprint):
        if builder:
            _refresh(source, tokenizer_folder, fingerprint, path, settings)
        else:
            _wait(source, fingerprint, path)
    cache = TokenCache(path)
    if cache.header.tokenizer != fingerprint or cache.header.vocab_size != settings.model.vocab_size:
        raise UserError(
            f"{path}: made by tokenizer {cache.header.tokenizer[:12]} with {cache.header.vocab_size} entries; the "
            f"configuration says {fingerprint[:12]} with {settings.model.vocab_size}; delete the file to rebuild it"
        )
    return cache


def _refresh(source: Path, folder: Path, fingerprint: str, path: Path, settings: Settings) -> None:
    manifest = path.with_suffix(".json")
    if path.exists() and manifest.exists():
        print(f"{source} is newer than {path}: comparing its content", flush=True)
        stat = _stat(source)
        header = Header.read(path)
        if _digest(source).hexdigest() == header.source_sha256:
            _write_manifest(manifest, header, stat)
            return
    build_token_cache(source, folder, fingerprint, path, settings)


def build_token_cache(source: Path, folder: Path, fingerprint: str, path: Path, settings: Settings) -> None:
    """Encode `source` into `path`; a build that was killed goes on where its last commit stands."""
    from tqdm import tqdm

    encoder = Encoder(folder, settings.model.eos_token_id)
    if encoder.vocab_size != settings.model.vocab_size:
        raise UserError(
            f"{folder / 'tokenizer.json'} has {encoder.vocab_size} entries, the configuration's vocab_size is "
            f"{settings.model.vocab_size}; train a tokenizer of that size (python tokenizer/train_tokenizer.py) or "
            f"start with --set vocab_size={encoder.vocab_size}"
        )
    stat = _stat(source)
    workers = settings.data.workers or os.cpu_count() or 1
    if stat["size"] < SERIAL_BYTES:
        workers = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    need = 2 * stat["size"]  # 4 bytes a token, at no fewer than 2 bytes of text a token
    free = shutil.disk_usage(path.parent).free
    print(
        f"building {path}: {stat['size'] / 1e6:,.1f} MB of text, "
        f"about {stat['size'] / BYTES_PER_SECOND / workers:,.0f} s with {workers} process(es), "
        f"at most {need / 1e9:,.2f} GB of disk ({free / 1e9:,.1f} GB free)",
        flush=True,
    )
    if free < need:
        raise UserError(f"{path.parent}: {need / 1e9:,.2f} GB may be needed, {free / 1e9:,.2f} GB are free; make room")

    state = _Build(source, path, fingerprint, stat)
    bar = tqdm(total=stat["size"], initial=state.source_bytes, unit="B", unit_scale=True, desc=f"tokens {source.stem}")
    committed = state.source_bytes
    with source.open("rb") as file, _encoded(file, state, encoder, folder, workers) as results:
        for raw, (tokens, lengths, text_bytes) in _named(results, source):
            state.append(raw, tokens, lengths, text_bytes)
            bar.update(len(raw))
            if state.source_bytes - committed > COMMIT_BYTES:
                state.commit()
                committed = state.source_bytes
    bar.close()
    if state.num_documents == 0:
        raise UserError(f"{source}: no documents; run python data_prep/prepare_dataset.py first")
    if _stat(source) != stat:
        raise UserError(f"{source} changed while it was read; start again when it is finished")
    header = state.finish(settings.model.vocab_size)
    _write_manifest(path.with_suffix(".json"), header, stat)


class _encoded:
    """Iterator of (bytes of source, encoded batch) in the source's order, from this process or from a pool of them."""

    def __init__(self, file: BinaryIO, state: _Build, encoder: Encoder, folder: Path, workers: int):
        file.seek(state.source_bytes)
        self.batches = _batches(file, state.num_documents + 1)
        self.encoder, self.folder, self.workers = encoder, folder, workers
        self.pool: Any = None

    def __enter__(self) -> Iterator[tuple[list[tuple[int, bytes]], Any]]:
        if self.workers == 1:
            return ((batch, self.encoder.encode_lines(batch)) for batch in self.batches)
        context = multiprocessing.get_context("spawn")
        self.pool = context.Pool(self.workers, _start_worker, (self.folder, self.encoder.end_of_text))
        return self._pooled()

    def _pooled(self) -> Iterator[tuple[list[tuple[int, bytes]], Any]]:
        # A bounded window instead of Pool.imap, which would read the whole source ahead of slow workers.
        window: list[tuple[list[tuple[int, bytes]], Any]] = []
        for batch in self.batches:
            window.append((batch, self.pool.apply_async(_encode_in_worker, (batch,))))
            if len(window) > 2 * self.workers:
                first, result = window.pop(0)
                yield first, result.get()
        for first, result in window:
            yield first, result.get()

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.terminate()
            self.pool.join()


def _named(results: Iterator[tuple[list[tuple[int, bytes]], Any]], source: Path) -> Iterator[tuple[bytes, Any]]:
    """(bytes of the source, what they were encoded to); an error of a line gets the file's name."""
    try:
        for batch, encoded in results:
            yield b"".join(line for _, line in batch), encoded
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


_worker: Encoder | None = None


def _start_worker(folder: Path, end_of_text: int) -> None:
    global _worker
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core a process
    _worker = Encoder(folder, end_of_text)


def _encode_in_worker(batch: list[tuple[int, bytes]]) -> tuple[np.ndarray, np.ndarray, int]:
    assert _worker is not None
    return _worker.encode_lines(batch)


def _batches(file: BinaryIO, first_line: int) -> Iterator[list[tuple[int, bytes]]]:
    batch: list[tuple[int, bytes]] = []
    size = 0
    for numbered in zip(itertools.count(first_line), file):
        batch.append(numbered)
        size += len(numbered[1])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Build:
    """A token file in the making: tokens and offsets in two growing files, and a note of what is durable in them."""

    def __init__(self, source: Path, path: Path, fingerprint: str, stat: dict[str, int]):
        self.source, self.path, self.fingerprint, self.stat = source, path, fingerprint, stat
        self.tokens_path, self.offsets_path, self.note_path = (
            path.with_suffix(suffix) for suffix in (".tokens.partial", ".offsets.partial", ".note.partial")
        )
        self.source_bytes = self.num_tokens = self.num_documents = self.text_bytes = 0
        self.sha = hashlib.sha256()

        note = json.loads(self.note_path.read_text()) if self.note_path.exists() else {}
        parts = self.tokens_path.exists() and self.offsets_path.exists()  # gone if a kill came right at the end
        self.resumed = parts and note.get("source") == stat and note.get("tokenizer") == fingerprint
        mode = "r+b" if self.resumed else "w+b"
        self.tokens, self.offsets = self.tokens_path.open(mode), self.offsets_path.open(mode)
        if self.resumed:
            self.source_bytes, self.text_bytes = note["source_bytes"], note["text_bytes"]
            self.num_tokens, self.num_documents = note["num_tokens"], note["num_documents"]
            print(f"going on from {self.source_bytes / 1e6:,.0f} MB of an interrupted build", flush=True)
        else:
            self.tokens.write(b"\0" * HEADER_BYTES)
        self.tokens.seek(HEADER_BYTES + self.num_tokens * TOKEN_DTYPE.itemsize)
        self.offsets.seek(self.num_documents * OFFSET_DTYPE.itemsize)
        self.tokens.truncate()
        self.offsets.truncate()

    def append(self, raw: bytes, tokens: np.ndarray, lengths: np.ndarray, text_bytes: int) -> None:
        starts = self.num_tokens + np.cumsum(lengths, dtype=OFFSET_DTYPE) - lengths
        try:
            self.tokens.write(tokens.tobytes())
            self.offsets.write(starts.astype(OFFSET_DTYPE).tobytes())
        except OSError as error:
            raise UserError(
                f"{self.path}: {error.strerror}; make room and start again, it goes on from here"
            ) from error
        self.sha.update(raw)
        self.num_tokens += len(tokens)
        self.num_documents += len(lengths)
        self.source_bytes += len(raw)
        self.text_bytes += text_bytes

    def commit(self) -> None:
        for file in (self.tokens, self.offsets):
            file.flush()
            os.fsync(file.fileno())
        names = ("source_bytes", "text_bytes", "num_tokens", "num_documents")
        note = {"source": self.stat, "tokenizer": self.fingerprint} | {name: getattr(self, name) for name in names}
        _replace(self.note_path, json.dumps(note))

    def finish(self, vocab_size: int) -> Header:
        """Join both parts under a header, and give the file its name."""
        if self.resumed:  # what an earlier process read went through its hash, not ours
            self.sha = _digest(self.source)
        header = Header(
            vocab_size=vocab_size,
            num_tokens=self.num_tokens,
            num_documents=self.num_documents,
            text_bytes=self.text_bytes,
            tokenizer=self.fingerprint,
            source_sha256=self.sha.hexdigest(),
        )
        try:
            self.offsets.write(np.array([self.num_tokens], OFFSET_DTYPE).tobytes())
            self.offsets.seek(0)
            shutil.copyfileobj(self.offsets, self.tokens)
            self.tokens.seek(0)
            self.tokens.write(header.pack())
            self.tokens.flush()
            os.fsync(self.tokens.fileno())
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}; make room and start again") from error
        self.tokens.close()
        self.offsets.close()
        os.replace(self.tokens_path, self.path)
        self.offsets_path.unlink()
        self.note_path.unlink(missing_ok=True)
        return header


def _digest(source: Path) -> Any:
    sha = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 22):
            sha.update(block)
    return sha


def _stat(source: Path) -> dict[str, int]:
    try:
        stat = source.stat()
    except FileNotFoundError:
        raise missing_split(source, "make it with python data_prep/prepare_dataset.py") from None
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _write_manifest(path: Path, header: Header, stat: dict[str, int]) -> None:
    _replace(path, json.dumps({"source": stat} | dataclasses.asdict(header), indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _wait(source: Path, fingerprint: str, path: Path) -> None:
    started = time.monotonic()
    told = False
    while not is_current(source, fingerprint):
        time.sleep(0.5)
        if not told and time.monotonic() - started > 60:
            print(f"waiting for {path}, which process 0 builds (every machine must see the same folder)", flush=True)
            told = True


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Encode a JSONL split into the token file that training reads, or show the one there is.",
        epilog="example: python tokenizer/token_cache.py --input dataset_train_val/val.jsonl",
    )
    parser.add_argument("--input", type=Path, help="JSONL split (default: train.jsonl of data.out)")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer folder (default: tokenizer.out)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    source = args.input or project_path(settings.data.out) / "train.jsonl"
    cache = ensure_token_cache(source, args.tokenizer or project_path(settings.tokenizer.out), settings)
    header = cache.header
    print(json.dumps({"file": str(cache.path)} | dataclasses.asdict(header), indent=2))
    print(f"{header.text_bytes / max(1, header.num_tokens - header.num_documents):.3f} bytes a token")
    return 0


if __name__ == "__main__":
    run_command(main)
