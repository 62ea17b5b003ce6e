"""The texts that tokenizers are measured on: documents spread evenly over JSONL files, up to a number of bytes.

Imported by `evaluate_tokenizer.py`; not run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.jsonl import open_lines, parse_line, split_paths
from tokenizer.learn.pretokenizer import cut
from tokenizer.measure.adapters import shortest_endings

# Taken of one document at the most, so that no book outweighs a hundred papers.
DOCUMENT_BYTES = 100_000
UNNAMED = "(none)"


@dataclass(frozen=True)
class Document:
    """A text, with the groups it belongs to."""

    text: str
    category: str
    source: str


@dataclass(frozen=True)
class TextSet:
    """The documents measured of one file, or of one split in numbered files."""

    name: str
    documents: list[Document]
    documents_in_all: int

    @property
    def sha256(self) -> str:
        """Of what is measured: the texts, each closed by a zero byte."""
        sha = hashlib.sha256()
        for document in self.documents:
            sha.update(document.text.encode() + b"\0")
        return sha.hexdigest()


def read_texts(
    files: Sequence[Path], max_bytes: int, document_bytes: int, sources: Mapping[str, str], remedy: str
) -> list[TextSet]:
    """A set of documents for each of `files`; a split that lies there in another form stands for its plain file.

    Raises:
        UserError: a file is missing (`remedy` says how it is made) or holds no text.
    """
    names = shortest_endings([path.absolute().parts for path in files])
    sets = []
    for name, path in zip(names, files, strict=True):
        parts = [path] if path.is_file() else split_paths(path.parent, path.name.partition(".")[0])
        if not parts:
            raise UserError(f"{path}: no such file; {remedy}")
        total, documents = sample(parts, max_bytes, document_bytes, sources)
        if not documents:
            raise UserError(f"{path}: no text in it; {remedy}")
        sets.append(TextSet(name, documents, total))
    return sets


def sample(
    parts: Sequence[Path], max_bytes: int, document_bytes: int, sources: Mapping[str, str]
) -> tuple[int, list[Document]]:
    """How many documents there are, and those chosen: every n-th, so that their text stays within `max_bytes`.

    Two passes, the first of which only looks at lengths of lines; memory follows `max_bytes`.
    """
    lengths = [min(len(line), document_bytes) for _, line in _lines(parts)]
    fraction = min(1.0, max_bytes / max(1, sum(lengths)))
    documents: list[Document] = []
    left = max_bytes
    for number, (where, line) in enumerate(_lines(parts)):
        if math.ceil((number + 1) * fraction) == math.ceil(number * fraction) or not left:
            continue
        record = parse_line(line, where)
        text, name = record.get("text"), str(record.get("id", ""))
        if not isinstance(text, str):
            raise UserError(f"{where}: the record has no 'text'; is this a split that prepare_dataset.py wrote?")
        # A lone surrogate, which has no bytes, becomes `?`.
        text = cut(text.encode("utf-8", "replace").decode(), min(document_bytes, left))
        if text:
            left -= len(text.encode())
            documents.append(Document(text, _category(record.get("categories")), sources.get(name, UNNAMED)))
    return len(lengths), documents


def read_sources(path: Path) -> dict[str, str]:
    """The names of sources by id, from a JSON object.

    Raises:
        UserError: the file cannot be read, or is something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise UserError(f'{path}: expected an object of names by id, e.g. {{"2401.00001": "arXiv"}}')
    return value


def _lines(parts: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for path in parts:
        try:
            with open_lines(path) as file:
                for number, line in enumerate(file, 1):
                    if not line.isspace():
                        yield f"{path}:{number}", line
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _category(categories: object) -> str:
    """The primary category: the first of the list, or of the words as arXiv's metadata has them."""
    names = categories.split() if isinstance(categories, str) else categories
    return str(names[0]) if isinstance(names, list) and names else UNNAMED
