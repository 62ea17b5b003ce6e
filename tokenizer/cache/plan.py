"""What a token cache is to be: its split, its folder and shards, and what it takes to make them. Imported, not run."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import COMPRESSED
from common.jsonl import find_split, open_lines
from common.paths import project_path
from common.settings.load import Settings
from tokenizer.cache.encoding import Encoder
from tokenizer.cache.source_lines import MAX_LINE_BYTES, Source, SourceFile, text_of
from tokenizer.cache.token_file import HEADER_BYTES, MANIFEST, OFFSET_DTYPE, TOKEN_DTYPE, VERSION, Header, Shard
from tokenizer.learn.fingerprint import tokenizer_fingerprint

# A shard takes minutes of a core; small splits have smaller ones, so that they too keep many cores busy.
MAX_SHARD_BYTES = 1 << 28
MIN_SHARD_BYTES = 1 << 22
SHARDS_WANTED = 64
# Text encoded for the forecast that is printed before a build: the second half of it, since the first goes slower until
# the tokenizer has seen some. What is added to the forecast of the size.
SAMPLE_BYTES = 2_000_000
MARGIN = 1.1


@dataclass(frozen=True)
class Split:
    """A split's files, and where its caches belong."""

    name: str
    paths: tuple[Path, ...]

    @property
    def caches(self) -> Path:
        return self.paths[0].parent / "token_cache"

    @property
    def notes(self) -> Path:
        return self.caches / f"{self.name}.source.json"


@dataclass(frozen=True)
class Work:
    """What is left of a build, by encoding a little of it."""

    text_bytes: int
    seconds: float
    disk_bytes: int

    def __str__(self) -> str:
        text, disk = size_text(self.text_bytes), size_text(self.disk_bytes)
        return f"{text} of text, about {duration_text(self.seconds)}, {disk} of disk"


def dataset_split(settings: Settings, name: str, flags: str = "") -> Split:
    """The split `name` of data.out, in whatever form prepare_dataset.py wrote it.

    Raises:
        UserError: it is not there, incomplete, or there in two forms.
    """
    out = project_path(settings.data.out)
    paths = find_split(out, name)
    if not paths:
        raise UserError(
            f"{out / name}.jsonl: no such file, compressed and numbered ones neither; make it with python "
            f"data_prep/prepare_dataset.py{flags}"
        )
    return Split(name, tuple(paths))


def file_split(path: Path) -> Split:
    """The split that is one file, whatever lies beside it."""
    path = path.absolute()
    name = path.name.removesuffix(COMPRESSED).removesuffix(".jsonl")
    if not path.is_file():
        beside = find_split(path.parent, name)
        told = f"; the split lies there as {beside[0].name}{' ...' if beside[1:] else ''}" if beside else ""
        what = "a folder, not a file" if path.is_dir() else f"no such file{told}"
        raise UserError(f"{path}: {what}; without --input, what prepare_dataset.py wrote to data.out is taken as it is")
    return Split(name, (path,))


def shard_size(text_bytes: int) -> int:
    return min(MAX_SHARD_BYTES, max(MIN_SHARD_BYTES, 1 << (text_bytes // SHARDS_WANTED).bit_length()))


class Plan:
    """The cache of a split by a tokenizer: its folder and shards, those to come included."""

    def __init__(self, split: Split, source: Source, tokenizer: Path, settings: Settings):
        self.split, self.source, self.tokenizer = split, source, tokenizer
        self.fingerprint, end_of_text = tokenizer_fingerprint(tokenizer), settings.model.eos_token_id
        step = shard_size(source.size)
        identity = json.dumps([VERSION, source.sha256, self.fingerprint, end_of_text, step])
        self.folder = split.caches / f"{split.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        self.shards = [
            Shard(
                number=number,
                start=start,
                stop=min(start + step, source.size),
                vocab_size=settings.model.vocab_size,
                end_of_text=end_of_text,
                tokenizer=self.fingerprint,
                source_sha256=source.sha256,
            )
            for number, start in enumerate(range(0, source.size, step))
        ]

    def missing(self) -> list[Shard]:
        """Shards to be made.

        Raises:
            UserError: the file of one is there and is not what it should be.
        """
        missing = []
        for shard in self.shards:
            path = self.folder / shard.file_name
            if path.exists():
                Header.read(path).check(path, shard)
            else:
                missing.append(shard)
        return missing

    def complete(self) -> bool:
        """Whether all shards are there, and the manifest, which comes last."""
        try:
            listed = len(json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return listed == len(self.shards) and all((self.folder / shard.file_name).exists() for shard in self.shards)

    def stale(self) -> list[Path]:
        """What lies beside the folder of other texts, tokenizers or formats of this split."""
        name = re.compile(rf"{re.escape(self.split.name)}-[0-9a-f]{{12}}(\..*)?")
        found = [path for path in self.split.caches.glob("*") if name.fullmatch(path.name)]
        return sorted(path for path in found if path != self.folder)


def forecast(split: Split, encoder: Encoder, text_bytes: int, workers: int) -> Work:
    """Time and disk that this much of the split takes, as its first lines go.

    Raises:
        RuntimeError: encoding in pieces changes tokens of this text, which it must not.
    """
    texts: list[str] = []
    sizes: list[int] = []
    place = 0
    first = SourceFile(split.paths[0], 0, 0, (0, 0))
    with open_lines(first.path) as file:
        while place < SAMPLE_BYTES and (line := file.readline(MAX_LINE_BYTES)):
            if not line.isspace():
                texts.append(text_of(first, place, line))
                sizes.append(len(line))
            place += len(line)
    half = len(texts) // 2
    encoded = encoder.encode(texts[:half])
    started = time.perf_counter()
    encoded += encoder.encode(texts[half:])
    seconds = (time.perf_counter() - started) / max(1, sum(sizes[half:]))
    whole = encoder.encode_whole(texts[: half // 4 + 1])
    if not all(map(np.array_equal, encoded, whole)):
        raise RuntimeError(f"{encoder.path}: the tokens of {first.path} in pieces are not those of whole texts")
    tokens = sum(len(ids) + 1 for ids in encoded)
    made = (tokens * TOKEN_DTYPE.itemsize + len(texts) * 2 * OFFSET_DTYPE.itemsize) / max(1, sum(sizes))
    return Work(text_bytes, text_bytes * seconds / workers, int(text_bytes * made * MARGIN) + HEADER_BYTES)


def size_text(size: float) -> str:
    if size >= 1e10:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def duration_text(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
