"""The records of train.jsonl and val.jsonl: their fields, in order, with types and meanings. Imported, not run.

What writes records is checked against these types; the dataset cards are made from them.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, NamedTuple, TypedDict, Union, get_args, get_origin, get_type_hints


class ShardRecord(TypedDict):
    """A paper in its shard: its cluster is not known yet."""

    id: Annotated[str, "arXiv identifier"]
    text: Annotated[str, "cleaned LaTeX: title and abstract first, then the body; one blank line parts paragraphs"]
    title: Annotated[str, "of the metadata, on one line"]
    categories: Annotated[list[str], "arXiv's subjects, the primary one first"]
    year: Annotated[int, "of the first version"]
    license: Annotated[str | None, "address of the license that the author gave, or null"]


class PaperRecord(ShardRecord):
    """A paper in a split."""

    cluster: Annotated[str, "near-duplicate cluster: all of one are in the same split"]


class AllOfMixtureRecord(TypedDict):
    """A document of a mixture: what every one has. The fields of a paper come first, and the same types read both."""

    id: Annotated[str, "its source and its number there; `#2` and so on where it is read again"]
    text: Annotated[str, "what is read, question and answer alike"]
    title: Annotated[str, "empty"]
    categories: Annotated[list[str], "its source"]
    year: Annotated[int | None, "null"]
    license: Annotated[str | None, "as the mixture file gives it for the source, or null"]
    cluster: Annotated[str | None, "near-duplicate cluster: all of one are in the same split"]
    source: Annotated[str, "name of its source in the mixture file"]


class MixtureRecord(AllOfMixtureRecord, total=False):
    """A document of a mixture."""

    answers: Annotated[list[list[int]], "parts of `text` to be learnt, [start, end) in characters; absent: all of it"]


class Field(NamedTuple):
    """A field of a record: its type, as the metadata of a dataset card spells it, and its meaning."""

    feature: str
    meaning: str


def fields(kind: type) -> dict[str, Field]:
    """The fields of a kind of record, in order."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        typed, meaning = get_args(hint)
        found[name] = Field(_feature(typed), meaning)
    return found


def _feature(hint: Any) -> str:
    """`list[list[int]]` -> "list: {list: int64}": any value may be null, a card says no more of that."""
    if get_origin(hint) in (types.UnionType, Union):
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is not list:
        return f"dtype: { {str: 'string', int: 'int64'}[hint] }"
    inner = _feature(get_args(hint)[0])
    # An element that is a list itself is a mapping, another one just the name of its type.
    return f"list: {{{inner}}}" if inner.startswith("list") else f"list: {inner.removeprefix('dtype: ')}"
