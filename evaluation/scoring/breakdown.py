"""Documents as a model scored them, and their bits per byte by category, year and kind of text. Imported, not run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.jsonl import find_split, read_jsonl
from common.paths import project_path
from evaluation.scoring.ratio import Ratio
from tokenizer.measure.segments import BIBLIOGRAPHY, DISPLAYED, INLINE, MARKUP, PROSE, VERBATIM, character_kinds

if TYPE_CHECKING:
    import numpy as np

    from tokenizer.measure.adapters import AnyTokenizer

# In the order of tokenizer/measure/segments.py, whose last kind is two here.
KINDS = {
    PROSE: "prose",
    MARKUP: "markup",
    INLINE: "inline mathematics",
    DISPLAYED: "displayed mathematics",
    VERBATIM: "code",
    VERBATIM + 1: "bibliography",
}
NO_GROUP = "none"


@dataclass(frozen=True)
class Document:
    """A text to be scored. `category`: the primary one; `year`: of its record."""

    id: str
    text: str
    category: str
    year: str

    @property
    def bytes(self) -> int:
        return len(self.text.encode())


@dataclass
class Score:
    """What a model made of a document: cross-entropy in nats, tokens, UTF-8 bytes; nats and bytes by kind of text
    (float64 [kinds]) where the tokens could be laid over the text."""

    id: str
    category: str
    year: str
    nats: float
    tokens: int
    bytes: int
    kind_nats: np.ndarray | None = None
    kind_bytes: np.ndarray | None = None

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


def find_data(data: Path | None, split: str, settings: Any) -> list[Path]:
    """The files to read: one JSONL file, or a split of a dataset's folder in whatever form it lies there.

    Raises:
        UserError: nothing is there.
    """
    place = data.absolute() if data else project_path(settings.data.out)
    if place.is_file():
        return [place]
    if not place.is_dir() and data:
        raise UserError(f"{place}: no such file or folder; name a JSONL file or a dataset's folder with --data")
    paths = find_split(place, split) if place.is_dir() else []
    if not paths:
        raise UserError(
            f"{place / split}.jsonl: no such file, numbered and compressed ones neither; make it first: python "
            "data_prep/prepare_dataset.py, or name a file with --data FILE"
        )
    return paths


def read_documents(paths: Sequence[Path], limit: int | None) -> Iterator[Document]:
    """Documents with a text that is not empty, the first `limit` of them.

    Raises:
        UserError: a file cannot be read, a record has no text, or there is no document.
    """
    count = 0
    for path in paths:
        for number, record in enumerate(read_jsonl(path), 1):
            text = record.get("text")
            if not isinstance(text, str):
                raise UserError(
                    f"{path}: document {number} has no 'text'; is this the val.jsonl of prepare_dataset.py?"
                )
            if not text:
                continue
            if limit is not None and count >= limit:
                return
            count += 1
            categories = record.get("categories")
            category = str(categories[0]) if isinstance(categories, list) and categories else NO_GROUP
            year = record.get("year")
            # A lone surrogate, for which UTF-8 has no bytes, becomes `?`.
            clean = text.encode("utf-8", "replace").decode()
            known = NO_GROUP if year is None else str(year)
            yield Document(str(record.get("id", f"{path.name}:{number}")), clean, category, known)
    if not count:
        raise UserError(f"{paths[0]}: no documents in it; make it: python data_prep/prepare_dataset.py")


def kinds_of(text: str) -> np.ndarray:
    """The kind of each character, a key of KINDS: uint8 [characters]."""
    kinds = character_kinds(text)
    for match in BIBLIOGRAPHY.finditer(text):
        kinds[match.start() : match.end()] = VERBATIM + 1
    return kinds


def token_bytes(text: str, begins: Sequence[int]) -> np.ndarray:
    """UTF-8 bytes of the text that each token stands for, which sum up to all of it: int64 [tokens].

    Of tokens that share a character (its bytes), the first has all of it.
    """
    import numpy as np

    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = (1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)).astype(np.int64)
    places = np.array(begins, np.int64)
    places[0] = 0  # what stands before the first token belongs to it
    whole = np.zeros(len(places), np.int64)
    starts, first = np.unique(places, return_index=True)
    whole[first] = np.add.reduceat(sizes, starts)
    return whole


def score(document: Document, losses: np.ndarray, begins: Sequence[int] | None) -> Score:
    """Sums of a document's token losses; by kind where `begins` says at which character each token begins.

    A token, and the bytes that it stands for, belong to the kind of text at which it begins.
    """
    import numpy as np

    result = Score(document.id, document.category, document.year, float(losses.sum()), len(losses), document.bytes)
    if begins is not None:
        kinds = kinds_of(document.text)[np.array(begins, np.int64)]
        result.kind_nats = np.bincount(kinds, losses, len(KINDS))
        result.kind_bytes = np.bincount(kinds, token_bytes(document.text, begins), len(KINDS))
    return result


def cut(tokenizer: AnyTokenizer, text: str, ids: Sequence[int]) -> list[int] | None:
    """Where each of the model's tokens begins; None where they cannot be laid over the text."""
    try:
        found, begins = tokenizer.cut(text)
    except UserError:
        return None
    return begins if list(found) == list(ids) else None


def bits_per_byte(scores: Iterable[Score]) -> Ratio | None:
    """Of all of them together; documents are the sampling units."""
    return Ratio.of((found.nats / math.log(2), found.bytes) for found in scores)


def by_group(scores: Sequence[Score], key: Callable[[Score], str]) -> dict[str, Any]:
    """Figures of each group of documents, most bytes first."""
    groups: dict[str, list[Score]] = {}
    for found in scores:
        groups.setdefault(key(found), []).append(found)
    ordered = sorted(groups, key=lambda name: (-sum(found.bytes for found in groups[name]), name))
    return {name: figures(groups[name]) for name in ordered}


def figures(scores: Sequence[Score]) -> dict[str, Any]:
    """Bits per byte with their standard error, perplexity per token, and counts."""
    ratio = bits_per_byte(scores)
    assert ratio is not None  # no document is empty
    tokens, size = sum(found.tokens for found in scores), sum(found.bytes for found in scores)
    nats = math.fsum(found.nats for found in scores) / tokens
    return {
        "bits_per_byte": ratio.value,
        "standard_error": ratio.standard_error,
        "perplexity_per_token": math.exp(min(nats, 700.0)),
        "nats_per_token": nats,
        "documents": len(scores),
        "tokens": tokens,
        "bytes": size,
        "bytes_per_token": size / tokens,
    }


def by_kind(scores: Sequence[Score]) -> dict[str, Any]:
    """Figures of each kind of text, over the documents whose tokens could be laid over their text."""
    laid = [(found.kind_nats, found.kind_bytes) for found in scores if found.kind_nats is not None]
    result: dict[str, Any] = {}
    for number, name in KINDS.items():
        pairs = [(float(nats[number]) / math.log(2), float(size[number])) for nats, size in laid if size is not None]
        ratio = Ratio.of(pairs)
        if ratio is not None:
            result[name] = {
                "bits_per_byte": ratio.value,
                "standard_error": ratio.standard_error,
                "bytes": int(sum(size for _, size in pairs)),
                "share_of_bits": sum(bits for bits, _ in pairs),
                "documents": ratio.units,
            }
    whole = sum(part["share_of_bits"] for part in result.values())
    for part in result.values():
        part["share_of_bits"] /= whole or 1.0
    return result


def paired_difference(one: Sequence[Score], other: Sequence[Score]) -> Ratio:
    """Bits per byte of `one` less those of `other` on the same documents: what is hard for both cancels out, so the
    standard error is far below that of either.

    Raises:
        ValueError: the documents are not the same.
    """
    pairs = list(zip(one, other, strict=True))
    if any(left.id != right.id or left.bytes != right.bytes for left, right in pairs):
        raise ValueError("the two lists of scores are of different documents")
    ratio = Ratio.of(((left.nats - right.nats) / math.log(2), left.bytes) for left, right in pairs)
    assert ratio is not None
    return ratio
