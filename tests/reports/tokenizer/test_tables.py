"""Tables of tokenizers as text."""

from __future__ import annotations

from reports.tokenizer.tables import Column, Table, interval, text_table, three
from tokenizer.measure.metrics import share


def test_tables_line_up() -> None:
    columns = [Column("x", three, 1), Column("share", interval)]
    table = Table("title", "name", columns, [("a", [1.0, share(8, 10)]), ("longer", [None, None])])
    assert text_table(table).splitlines() == [
        "title",
        "name        x               share",
        "a       1.000  80.0% [49.0, 94.3]",
        "longer      –                   –",
    ]
