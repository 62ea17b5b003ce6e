"""The tables of an evaluation of tokenizers, for the terminal as for the page.

Used by `evaluate_tokenizer.py` and by `comparison.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.numbers import size_text

Report = Mapping[str, Any]
GROUPS = ("source", "category")
# Rows of a table of groups; report.json has all of them.
MAX_GROUPS = 40
NOTHING = "–"
SHORT = {"inline mathematics": "inline", "displayed mathematics": "displayed", "verbatim and bibliography": "verbatim"}


@dataclass(frozen=True)
class Column:
    """`better` is 1 where more is better, -1 where less is, 0 where that cannot be said."""

    name: str
    show: Callable[[Any], str]
    better: int = 0


@dataclass(frozen=True)
class Table:
    """Rows of (label, values); `terminal` tells whether it is short enough for a terminal, too."""

    title: str
    first: str
    columns: list[Column]
    rows: list[tuple[str, list[Any]]]
    terminal: bool = True


def tables(report: Report) -> Iterator[Table]:
    """All tables, in the order in which they are shown."""
    names = [tokenizer["name"] for tokenizer in report["tokenizers"]]
    for texts in report["texts"]:
        results = [report["results"][texts["name"]][name] for name in names]
        about = f"{texts['name']} ({texts['documents']:,} documents, {size_text(texts['bytes'])})"
        yield _compression(about, names, results)
        yield _occurrences(about, names, results)
        yield _types(about, names, results)
        yield _entries(about, names, results)
        digits = list(dict.fromkeys(n for result in results for n in result["numbers"]["by_digits"]))
        numbers = [result["numbers"]["by_digits"] for result in results]
        rows = [(name, [by_digits.get(n) for n in digits]) for name, by_digits in zip(names, numbers, strict=True)]
        yield Table(f"Tokens per number, by digits: {about}", "tokenizer", _columns(digits, two), rows, False)
        for group in GROUPS:
            if results[0][f"by_{group}"]:
                yield _groups(f"Bytes per token by {group}: {about}", group, names, results)
    yield _round_trips(report, names)


def _compression(about: str, names: Sequence[str], results: Sequence[Report]) -> Table:
    kinds = list(results[0]["kinds"])
    columns = [Column("entries", whole), *_columns(["all"], three, 1)]
    columns += _columns([SHORT.get(kind, kind) for kind in kinds], three, 1)
    groups = [group for group in GROUPS if results[0][f"by_{group}"]]
    columns += [*_columns([f"{group} mean" for group in groups], three, 1), Column("fertility", three, -1)]
    rows = []
    for name, result in zip(names, results, strict=True):
        by_kind = [result["kinds"][kind]["bytes_per_token"] for kind in kinds]
        means = [result[f"by_{group}"]["mean"] for group in groups]
        row = [result["entries"]["size"], result["bytes_per_token"], *by_kind, *means, result["tokens_per_word"]]
        rows.append((name, row))
    return Table(f"Bytes per token: {about}", "tokenizer", columns, rows)


def _occurrences(about: str, names: Sequence[str], results: Sequence[Report]) -> Table:
    columns = [
        *(Column("commands", whole), Column("whole", percent, 1), Column("whole, clean", percent, 1)),
        *(Column("wrong prefix", percent2), Column("numbers", whole), Column("tokens/number", three)),
        Column("single digits", percent),
    ]
    rows = []
    for name, result in zip(names, results, strict=True):
        commands, numbers = result["commands"], result["numbers"]
        row = [commands[key] for key in ("occurrences", "whole", "clean", "wrong_prefix")]
        rows.append((name, row + [numbers[key] for key in ("count", "tokens_per_number", "single_digits")]))
    return Table(f"Occurrences of commands and numbers: {about}", "tokenizer", columns, rows)


def _types(about: str, names: Sequence[str], results: Sequence[Report]) -> Table:
    columns = _columns(["whole", "boundary-clean", "alone", "after a space"], interval, 1)
    keys = ("whole", "clean", "alone", "after_space")
    rows = [
        (name, [result["commands"][f"most_frequent_{key}"] for key in keys])
        for name, result in zip(names, results, strict=True)
    ]
    count = results[0]["commands"]["most_frequent"]
    return Table(f"The {count:,} most frequent commands, each counted once: {about}", "tokenizer", columns, rows)


def _entries(about: str, names: Sequence[str], results: Sequence[Report]) -> Table:
    columns = [Column("entries", whole), Column("tokens", whole, -1)]
    columns += _columns(["never used", "used once", "used less than 10 times"], whole)
    rows = []
    for name, result in zip(names, results, strict=True):
        entries = result["entries"]
        row = [entries[key] for key in ("never_used", "used_once", "used_less_than_10_times")]
        rows.append((name, [entries["size"], result["tokens"], *row]))
    return Table(f"Use of the vocabulary: {about}", "tokenizer", columns, rows)


def _groups(title: str, group: str, names: Sequence[str], results: Sequence[Report]) -> Table:
    columns = [Column("documents", whole), Column("text", size_text), *_columns(names, three)]
    by_group = [result[f"by_{group}"] for result in results]
    rows: list[tuple[str, list[Any]]] = [
        (name, [about["documents"], about["bytes"], *(of["groups"][name]["bytes_per_token"] for of in by_group)])
        for name, about in list(by_group[0]["groups"].items())[:MAX_GROUPS]
    ]
    rows.append(("mean of all", [None, None, *(of["mean"] for of in by_group)]))
    return Table(title, group, columns, rows, False)


def _round_trips(report: Report, names: Sequence[str]) -> Table:
    columns = [
        *(Column("documents", whole), Column("of them lossy", whole, -1)),
        *(Column("chunks", whole), Column("of them lossy", whole, -1)),
        *(Column("other ids", str), Column("MB/s", two, 1), Column("slowest - fastest", str)),
    ]
    rows = []
    for name in names:
        trips, speed = report["round_trips"][name], report["speed"][name]
        documents, chunks = trips["documents"], trips["chunks"]
        unequal = documents["unequal"] + chunks["unequal"]
        other = NOTHING if trips["not_compared"] else f"{unequal:,} of {documents['compared'] + chunks['compared']:,}"
        row = [documents["texts"], documents["lossy"], chunks["texts"], chunks["lossy"], other, speed["mb_per_s"]]
        rows.append((name, [*row, f"{speed['slowest']:.2f} - {speed['fastest']:.2f}"]))
    return Table("Text that comes back, ids of SentencePiece against transformers', speed", "tokenizer", columns, rows)


def _columns(names: Sequence[str], show: Callable[[Any], str], better: int = 0) -> list[Column]:
    return [Column(name, show, better) for name in names]


def whole(value: int) -> str:
    return f"{value:,}"


def two(value: float) -> str:
    return f"{value:.2f}"


def three(value: float) -> str:
    return f"{value:.3f}"


def percent(value: float) -> str:
    return f"{value:.1%}"


def percent2(value: float) -> str:
    return f"{value:.2%}"


def interval(value: Mapping[str, float]) -> str:
    return f"{value['share']:.1%} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def cell_text(column: Column, value: Any) -> str:
    return NOTHING if value is None else column.show(value)


def text_table(table: Table) -> str:
    """The table in columns of plain text, each as wide as it must be."""
    lines = [[table.first, *(column.name for column in table.columns)]]
    for label, values in table.rows:
        lines.append([label, *(cell_text(column, value) for column, value in zip(table.columns, values, strict=True))])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join([table.title, *("  ".join(line).rstrip() for line in shown)])
