"""The words, formulas and sentences of the sample corpus: text files beside this module, read once.

The head of shared.txt describes their format.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FIELD_FILES = ("mathematics.txt", "sciences.txt")  # in this order: the corpus depends on it

Rules = dict[str, list[str]]


@dataclass(frozen=True)
class Field:
    """One subject: arXiv categories (primary first) and the rules that only it has."""

    name: str
    categories: tuple[str, ...]
    rules: Rules


@functools.cache
def fields() -> tuple[Field, ...]:
    sections = [item for name in FIELD_FILES for item in read_sections(HERE / name).items()]
    return tuple(Field(name, tuple(rules.pop("categories")), rules) for name, rules in sections)


@functools.cache
def shared_rules() -> Rules:
    """The rules that every field has besides its own."""
    return {name: options for rules in read_sections(HERE / "shared.txt").values() for name, options in rules.items()}


def read_sections(path: Path) -> dict[str, Rules]:
    """The rules of a file by section."""
    sections: dict[str, Rules] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            rules = sections[line[1:-1]] = {}
            continue
        if not line.startswith(" "):
            name, _, line = line.partition(":")
            options = rules[name] = []
        options += [option for option in line.strip().split(" ; ") if option]
    return sections
