"""The mixture file of mix_datasets.py: what it may say, read and checked. Imported, not run.

A JSON object: the keys of `Mixture`, and under `sources` a list of objects with the keys of `SourceSettings`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError
from common.settings.knob import knob
from common.settings.load import build_section

ROLES = {"system": "{content}\n\n", "user": "User: {content}\n\n", "assistant": "Assistant: {content}\n\n"}
# Names that other chat formats have for the same.
SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
WAYS = ("text", "template", "messages")


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """One source: where its records are, how they become text, how much of it is wanted."""

    name: str = ""
    # Exactly one: files (JSON lines, plain or .zst; .json with a list; .parquet), each a path or a pattern; or a
    # dataset of the hub, with its configuration, split and revision.
    files: list[str] | None = None
    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    # Exactly one: the field that is the text; a template, `{field}` standing for a field and `{{` for a brace; or the
    # field with the messages of a conversation ({role, content}, or {from, value}).
    text: str | None = None
    template: str | None = None
    messages: str | None = None
    # Fields of the template that are answers: what training learns from with train.learn_from=answers.
    answers: list[str] | None = None
    # How a message of each role is written, `{content}` standing for it; the assistant's are the answers.
    roles: dict[str, Any] = field(default_factory=lambda: dict(ROLES))
    # Share of the mixture's training text (of the weights of all sources that have one), or how often each document
    # is used: 1.5 uses all once and half of the text, chosen by hash, twice. Neither: once.
    weight: float | None = knob(0, default=None)
    repeats: float | None = knob(0, 1000, default=None)
    # The first documents alone, and so much text alone.
    max_documents: int | None = knob(1, default=None)
    max_bytes: int | None = knob(1, default=None)
    # Whether it has a part in validation.
    val: bool = True
    # It is text of pretraining, and meant to be: not compared with that.
    replay: bool = False
    # Of its documents, noted in each record.
    license: str | None = None


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """The whole of it."""

    seed: int = knob(0, default=0)
    # Share of clusters (a document and its near-duplicates) that goes to validation.
    val_fraction: float = knob(0, 0.5, default=0.02)
    # Bytes of training text of the sources with a weight; null: as much as no source is repeated `max_repeats` times
    # for. More than that is refused.
    total_bytes: int | None = knob(1, default=None)
    max_repeats: float = knob(0, 1000, default=1.0)
    # Documents of the mixture that are similar to each other: as data.near_duplicates.
    near_duplicates: Literal["drop", "keep"] = "drop"
    near_duplicate_similarity: float = knob(0.5, 1, default=0.8)
    # Datasets (folders, or JSONL files) that were trained on or validated with before; documents of which those hold
    # more than this share of the 13-grams, or all of the text, are left out.
    against: list[str] = field(default_factory=list)
    max_overlap: float = knob(0, 1, default=0.5)
    # Folder of benchmark questions; documents that hold more than this share of one are left out.
    benchmarks: str | None = None
    max_benchmark_overlap: float = knob(0, 1, default=0.5)
    # Rejected documents kept as samples, for each reason.
    reject_samples: int = knob(0, default=20)
    sources: tuple[SourceSettings, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))


def load_mixture(path: Path) -> Mixture:
    """Raises UserError: it cannot be read, an unknown key, a wrong type or value, or values that do not go together."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such mixture file; examples/post_training/mixture.json shows one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested without end
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("sources"), list) or not raw["sources"]:
        raise UserError(f"{path}: expected a JSON object with a list 'sources' that is not empty")
    listed = raw.pop("sources")
    mixture = build_section(Mixture, raw, "", path, ("sources",))
    sources: list[SourceSettings] = []
    for number, entry in enumerate(listed):
        where = f"sources[{number}]"
        if not isinstance(entry, dict):
            raise UserError(f"{path}: '{where}' is no object")
        source = build_section(SourceSettings, entry, f"{where}.", path)
        _check(source, f"{path}: {where} ({source.name})", {other.name for other in sources})
        sources.append(source)
    if mixture.total_bytes is not None and not any(source.weight for source in sources):
        raise UserError(f"{path}: total_bytes is {mixture.total_bytes}, and no source has a weight to share it by")
    return dataclasses.replace(mixture, sources=tuple(sources))


def _check(source: SourceSettings, where: str, others: set[str]) -> None:
    if not re.fullmatch(r"\w[\w.-]*", source.name):
        raise UserError(f"{where}: 'name' is {json.dumps(source.name)}; it takes letters, digits, '_', '-' and '.'")
    if source.name in others:
        raise UserError(f"{where}: another source has this name")
    if (source.files is None) == (source.dataset is None):
        raise UserError(f"{where}: give either 'files' or 'dataset'")
    given = [way for way in WAYS if getattr(source, way) is not None]
    if len(given) != 1:
        raise UserError(f"{where}: give one of 'text', 'template' and 'messages', not {len(given)} of them")
    if source.weight is not None and source.repeats is not None:
        raise UserError(f"{where}: give 'weight' or 'repeats', not both")
    if source.answers is not None and source.template is None:
        raise UserError(f"{where}: 'answers' names fields of a 'template'; messages have their own")
    if source.template is not None:
        fields = {name for _, name in template_parts(source.template, f"{where}: template") if name}
        if not fields:
            raise UserError(f"{where}: the template has no {{field}}")
        for name in source.answers or ():
            if name not in fields:
                raise UserError(f"{where}: 'answers' names {name!r}, the template has {', '.join(sorted(fields))}")
    for role, template in source.roles.items():
        if not isinstance(template, str):
            raise UserError(f"{where}: roles.{role} is no text")
        if [name for _, name in template_parts(template, f"{where}: roles.{role}") if name] != ["content"]:
            raise UserError(f"{where}: roles.{role} must have {{content}} once and no other field")


def template_parts(template: str, where: str) -> list[tuple[str, str]]:
    """(literal text, field after it) in order; the last field is empty where text ends the template.

    Raises:
        UserError: a brace without its partner, or more in braces than the name of a field.
    """
    parts = []
    try:
        for literal, name, form, conversion in string.Formatter().parse(template):
            if name is not None and (not re.fullmatch(r"\w+", name) or form or conversion):
                raise ValueError(f"{{{name}{form or ''}}} is no name of a field")
            parts.append((literal, name or ""))
    except ValueError as error:
        raise UserError(f"{where}: {error}; a brace of the text itself is written twice, {{{{ or }}}}") from None
    return parts
