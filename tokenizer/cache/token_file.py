"""Token files: one shard of a split as tokens, under a header that says what they were made from. Imported, not run.

Layout (little endian): a header of 4,096 bytes (see `Header`); `num_tokens` uint32 token ids; `num_documents` + 1
uint64 offsets of the documents in the shard's tokens; `num_documents` uint64 places of their lines in the row of the
split (`source_lines.py`). Each document ends with one end-of-text token. uint32 because a vocabulary of 102,400
entries does not fit 16 bits; the highest bit marks what a model is to read and not to write (the prompts of an
instruction set), so an id is what the other 31 say. `TokenCache` presents the shards of a folder as one row of tokens.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import atomic_write, write_json
from common.jsonl import parse_line
from tokenizer.cache.source_lines import Source, SourceFile

MAGIC = b"TEXTOKEN"
VERSION = 3
HEADER_BYTES = 4096
TOKEN_DTYPE = np.dtype("<u4")
READ_ONLY = 1 << 31
TOKEN_ID = READ_ONLY - 1
OFFSET_DTYPE = np.dtype("<u8")
# magic, version, dtype of the tokens, then the fields of `Header` in their order
HEADER = struct.Struct("<8sI4s QQQ QQ 64s64s QQQQ 64s")
MANIFEST = "manifest.json"
# Shards that are mapped at a time: each takes a file descriptor, of which a process often has 1,024.
MAPPED_SHARDS = 200
REMEDY = "delete it and run python tokenizer/token_cache.py to make it again"


@dataclass(frozen=True)
class Shard:
    """What a shard is made from: a range of the split's row, and a tokenizer."""

    number: int
    # Bytes of the row; a document belongs to the shard in which its line begins.
    start: int
    stop: int
    vocab_size: int
    end_of_text: int
    tokenizer: str
    source_sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.number:05d}.bin"


@dataclass(frozen=True)
class Header(Shard):
    """What a token file says of itself."""

    num_tokens: int
    num_documents: int
    num_read_only: int
    text_bytes: int
    # sha256 of all that follows the header, and of the header without this field.
    checksum: str

    def pack(self) -> bytes:
        values = [value.encode() if isinstance(value, str) else value for value in astuple(self)]
        return HEADER.pack(MAGIC, VERSION, TOKEN_DTYPE.str.encode(), *values).ljust(HEADER_BYTES, b"\0")

    @property
    def file_bytes(self) -> int:
        tokens, numbers = self.num_tokens * TOKEN_DTYPE.itemsize, (2 * self.num_documents + 1) * OFFSET_DTYPE.itemsize
        return HEADER_BYTES + tokens + numbers

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read and check the header of `path`, and the file's size against it.

        Raises:
            UserError: no such file, not a token file, another version or type of tokens, or a truncated file.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(HEADER_BYTES)
            size = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}; {REMEDY}") from None
        if size < HEADER_BYTES:
            raise UserError(f"{path}: not a token file: {size:,} bytes, less than its header; {REMEDY}")
        if raw[: len(MAGIC)] != MAGIC:
            raise UserError(f"{path}: not a token file (it begins with {raw[:8]!r}, not {MAGIC!r}); {REMEDY}")
        _, version, dtype, *values = HEADER.unpack(raw[: HEADER.size])
        dtype = dtype.rstrip(b"\0").decode("ascii", "replace")
        if version != VERSION or dtype != TOKEN_DTYPE.str:
            raise UserError(
                f"{path}: token file version {version} with tokens of type {dtype}, this code reads version {VERSION} "
                f"with {TOKEN_DTYPE.str}; {REMEDY}"
            )
        read: list[Any] = [v.decode("ascii", "replace") if isinstance(v, bytes) else v for v in values]
        header = cls(*read)
        if size != header.file_bytes:
            raise UserError(f"{path}: {size:,} bytes, its header promises {header.file_bytes:,}; {REMEDY}")
        if raw != header.pack():
            raise UserError(f"{path}: its header is damaged; {REMEDY}")
        return header

    def check(self, path: Path, expected: Shard) -> None:
        """Raises UserError, naming both values, where the file at `path` was made from something else."""
        for spec in fields(expected):
            there, here = getattr(self, spec.name), getattr(expected, spec.name)
            if there != here:
                name = spec.name.replace("_", " ")
                raise UserError(f"{path}: its {name} is {there}, expected {here}; {REMEDY}")


class Encoded(NamedTuple):
    """Some documents of a shard."""

    tokens: np.ndarray  # uint32 [tokens], end-of-text tokens and marks included
    lengths: Sequence[int]  # tokens of each document
    places: Sequence[int]  # of their lines in the row
    text_bytes: int


def write_shard(path: Path, shard: Shard, batches: Iterable[Encoded]) -> Header:
    """Write a token file as its documents come; it appears under its name when it is complete and on disk.

    Raises:
        UserError: it cannot be written.
    """
    sha, text_bytes, num_read_only = hashlib.sha256(), 0, 0
    offsets, places = [0], list[int]()
    with atomic_write(path) as file:
        file.write(b"\0" * HEADER_BYTES)
        for batch in batches:
            _write(file, sha, batch.tokens.astype(TOKEN_DTYPE, copy=False))
            offsets += itertools.islice(itertools.accumulate(batch.lengths, initial=offsets[-1]), 1, None)
            places += batch.places
            text_bytes += batch.text_bytes
            num_read_only += int(np.count_nonzero(batch.tokens & READ_ONLY))
        for numbers in (offsets, places):
            _write(file, sha, np.array(numbers, OFFSET_DTYPE))
        header = Header(
            **asdict(shard),
            num_tokens=offsets[-1],
            num_documents=len(places),
            num_read_only=num_read_only,
            text_bytes=text_bytes,
            checksum="",
        )
        header = replace(header, checksum=_sealed(sha, header))
        file.seek(0)
        file.write(header.pack())
    return header


def _write(file: BinaryIO, sha: Any, numbers: np.ndarray) -> None:
    sha.update(numbers.data)
    file.write(numbers.data)


def _sealed(sha: Any, header: Header) -> str:
    sha.update(header.pack())
    return sha.hexdigest()


def verify(path: Path) -> Header:
    """Read a whole token file.

    Raises:
        UserError: its content is not what was written.
    """
    header = Header.read(path)
    sha = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while block := file.read(1 << 22):
            sha.update(block)
    found = _sealed(sha, replace(header, checksum=""))
    if found != header.checksum:
        raise UserError(f"{path}: damaged: its checksum is {header.checksum}, its content has {found}; {REMEDY}")
    return header


def write_manifest(folder: Path, shards: Sequence[Shard]) -> None:
    """The list of a cache's shards with their counts, by which it is known to be complete."""
    headers = [Header.read(folder / shard.file_name) for shard in shards]
    write_json(folder / MANIFEST, _manifest(headers))


def _manifest(headers: Sequence[Header]) -> dict[str, Any]:
    common = ("vocab_size", "end_of_text", "tokenizer", "source_sha256")
    totals = ("num_tokens", "num_documents", "num_read_only", "text_bytes")
    return {
        "format": VERSION,
        **{name: getattr(headers[0], name) for name in common},
        **{name: sum(getattr(header, name) for header in headers) for name in totals},
        "shards": [
            {"file": header.file_name} | {key: value for key, value in asdict(header).items() if key not in common}
            for header in headers
        ],
    }


class TokenRow:
    """The tokens of shards as one row: `row[a:b]` is an array, a view of the file where one shard holds all of it."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int]):
        self.paths = paths
        self.starts = list(itertools.accumulate(counts, initial=0))
        self._mapped = functools.lru_cache(MAPPED_SHARDS)(self._map)

    def _map(self, shard: int) -> np.ndarray:
        count = self.starts[shard + 1] - self.starts[shard]
        return np.memmap(self.paths[shard], TOKEN_DTYPE, "r", HEADER_BYTES, (count,))

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, wanted: slice) -> np.ndarray:
        start, stop, step = wanted.indices(len(self))
        if step != 1:
            raise ValueError(f"step {step}: tokens are read in their order, one after the other")
        shard = bisect.bisect_right(self.starts, start) - 1  # of shards without a token, the last
        if start < stop <= self.starts[shard + 1]:
            return self._mapped(shard)[start - self.starts[shard] : stop - self.starts[shard]]
        row, filled = np.empty(max(0, stop - start), TOKEN_DTYPE), 0
        while filled < len(row):
            base, end = self.starts[shard], self.starts[shard + 1]
            if count := min(stop, end) - (start + filled):
                row[filled : filled + count] = self._mapped(shard)[start + filled - base : stop - base]
                filled += count
            shard += 1
        return row


@dataclass(frozen=True)
class Document:
    """Where a document is: its tokens in the row of tokens (end of text included), its line in a file of the split."""

    index: int
    start: int
    stop: int
    file: SourceFile
    # Of its line in that file, in bytes (of what a .zst file holds).
    place: int


class TokenCache:
    """The tokens of a split: the files of `folder`, checked against `shards`, which they are to be made from."""

    def __init__(self, folder: Path, source: Source, shards: Sequence[Shard]):
        self.folder, self.source = folder, source
        self.paths = [folder / shard.file_name for shard in shards]
        self.headers = [Header.read(path) for path in self.paths]
        for path, header, shard in zip(self.paths, self.headers, shards, strict=True):
            header.check(path, shard)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / MANIFEST}: cannot be read ({error}); {REMEDY}") from None
        if manifest != _manifest(self.headers):
            raise UserError(f"{folder / MANIFEST}: its counts are not those of the shards beside it; {REMEDY}")
        self.tokens = TokenRow(self.paths, [header.num_tokens for header in self.headers])
        self.documents = list(itertools.accumulate((header.num_documents for header in self.headers), initial=0))
        self.tokenizer, self.source_sha256 = self.headers[0].tokenizer, source.sha256
        self.num_tokens, self.num_documents = len(self.tokens), self.documents[-1]
        self.num_read_only = sum(header.num_read_only for header in self.headers)
        self.text_bytes = sum(header.text_bytes for header in self.headers)
        self.file_bytes = sum(header.file_bytes for header in self.headers)

    def offsets(self, shard: int) -> np.ndarray:
        """Where the documents of a shard begin in its tokens: uint64 [documents + 1]."""
        header = self.headers[shard]
        place = HEADER_BYTES + header.num_tokens * TOKEN_DTYPE.itemsize
        return np.memmap(self.paths[shard], OFFSET_DTYPE, "r", place, (header.num_documents + 1,))

    def places(self, shard: int) -> np.ndarray:
        """Where the lines of a shard's documents begin in the row of the split: uint64 [documents]."""
        header = self.headers[shard]
        place = header.file_bytes - header.num_documents * OFFSET_DTYPE.itemsize
        return np.memmap(self.paths[shard], OFFSET_DTYPE, "r", place, (header.num_documents,))

    def document_at(self, position: int) -> Document:
        """The document that the token at `position` of the row belongs to."""
        if not 0 <= position < self.num_tokens:
            raise UserError(f"{self.folder}: no token {position:,}, there are {self.num_tokens:,}")
        shard = bisect.bisect_right(self.tokens.starts, position) - 1
        base, offsets = self.tokens.starts[shard], self.offsets(shard)
        number = int(np.searchsorted(offsets, position - base, "right")) - 1
        place = int(self.places(shard)[number])
        file = next(file for file in reversed(self.source.files) if file.start <= place)
        return Document(
            index=self.documents[shard] + number,
            start=base + int(offsets[number]),
            stop=base + int(offsets[number + 1]),
            file=file,
            place=place - file.start,
        )

    def record(self, document: Document) -> dict[str, Any]:
        """The record of a document, read from its file.

        Raises:
            UserError: the file cannot be read, or is no longer what the tokens were made from.
        """
        start = document.file.start + document.place
        ((file, place, line),) = self.source.lines(start, start + 1)
        return parse_line(line, f"{file.path}:1" if place == 0 else f"{file.path}, byte {place}")
