"""The page of an evaluation: text cut into tokens, figures, tables, definitions, in one self-contained file.

Imported by `evaluate_tokenizer.py`; not run.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports.html import STYLE, visible
from reports.tokenizer.tables import Report, Table, cell_text, tables

PAGE_STYLE = (
    STYLE
    + """
body { max-width: 1280px }
td.best { font-weight: bold } dt { font-weight: bold; margin-top: .6em }
.side { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); gap: 1em }
.side figure { margin: 0; border: 1px solid #ddd; border-radius: 6px; padding: .6em .8em; background: #fff }
.side figcaption { display: flex; justify-content: space-between; margin-bottom: .4em }
.cut { font: 13px/1.75 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.cut span { border-radius: 3px; padding: 1px 0 } .cut i { font-style: normal; opacity: .35 } .cut sup { font-size: 9px }
.c0 { background: #cfe3f7 } .c1 { background: #fbe3c0 } .c2 { background: #d3eed2 } .c3 { background: #f5d3de }
"""
)


def page(report: Report, figures: Mapping[str, bytes]) -> str:
    """One self-contained page."""
    names = [tokenizer["name"] for tokenizer in report["tokenizers"]]
    parts = [
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Tokenizers compared</title>'
        f"<style>{PAGE_STYLE}</style>",
        "<h1>Tokenizers compared</h1>",
        "<h2>Text cut into tokens</h2>",
        "<p>A colour, a token; \u00b7 is a space, \u23ce a line end, \u21e5 a tab. A small number counts the tokens "
        "that one character became.</p>",
        *(_passage(passage, names) for passage in report["passages"]),
        "<h2>Measures</h2>",
        *(
            f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            for name, png in figures.items()
        ),
        *(html_table(table) for table in tables(report)),
        *_cut_commands(report, names),
        *_samples(report, names),
        "<h2>Definitions</h2><dl>",
        *(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in report["definitions"].items()),
        "</dl></html>",
    ]
    return "\n".join(parts) + "\n"


def _passage(passage: Report, names: Sequence[str]) -> str:
    blocks = []
    for name in names:
        cut = passage["cut"][name]
        tokens = sum(count for _, count in cut)
        spans = "".join(
            f'<span class="c{i % 4}">{_signs(text)}{f"<sup>{count}</sup>" if count > 1 else ""}</span>'
            for i, (text, count) in enumerate(cut)
        )
        each = passage["bytes"] / max(1, tokens)
        caption = f"<b>{html.escape(name)}</b><span>{tokens:,} tokens, {each:.2f} bytes each</span>"
        blocks.append(f"<figure><figcaption>{caption}</figcaption><div class=cut>{spans}</div></figure>")
    return f"<h3>{html.escape(passage['title'])}</h3><div class=side>{''.join(blocks)}</div>"


def _signs(text: str) -> str:
    shown = html.escape(visible(text))
    for sign in "\u00b7\u23ce\u21e5":
        shown = shown.replace(sign, f"<i>{sign}</i>")
    return shown


def _cut_commands(report: Report, names: Sequence[str]) -> Iterator[str]:
    """Which commands are cut, and which of those at the end of another command."""
    for texts in report["texts"]:
        rows = []
        for name in names:
            commands = report["results"][texts["name"]][name]["commands"]
            wrong = ", ".join(
                f"{e['first_part']}|{e['command'][len(e['first_part']) :]} ({e['count']:,})"
                for e in commands["wrong_prefix_examples"]
            )
            often = ", ".join(f"{command} ({count:,})" for command, count in commands["most_often_cut"].items())
            cells = "".join(f"<td>{html.escape(cell or 'none')}</td>" for cell in (name, often, wrong))
            rows.append(f"<tr>{cells}</tr>")
        yield f"<h3>Commands that are cut: {html.escape(texts['name'])}</h3>"
        yield f"<table><tr><th>tokenizer</th><th>most often cut</th><th>wrong prefixes</th></tr>{''.join(rows)}</table>"


def _samples(report: Report, names: Sequence[str]) -> Iterator[str]:
    """What did not come back, and where ids differ."""
    for name in names:
        trips = report["round_trips"][name]
        losses = trips["documents"]["losses"] + trips["chunks"]["losses"]
        differences = trips["documents"]["differences"] + trips["chunks"]["differences"]
        for title, found in (("text that does not come back", losses), ("ids that differ", differences)):
            if found:
                shown = "\n".join("\n".join(f"{k}: {str(v)[:300]!r}" for k, v in row.items()) + "\n" for row in found)
                summary = f"{html.escape(name)}: {title} (samples)"
                yield f"<details><summary>{summary}</summary><pre>{html.escape(shown)}</pre></details>"


def html_table(table: Table) -> str:
    """The same for the page; the best of a column is bold where there is a better and a worse."""
    head = "".join(f"<th class=n>{html.escape(column.name)}</th>" for column in table.columns)
    best = [_best(column.better, [values[i] for _, values in table.rows]) for i, column in enumerate(table.columns)]
    body = []
    for label, values in table.rows:
        cells = []
        for column, value, top in zip(table.columns, values, best, strict=True):
            kind = "n best" if top is not None and _number(value) == top else "n"
            cells.append(f'<td class="{kind}">{html.escape(cell_text(column, value))}</td>')
        body.append(f"<tr><td>{html.escape(label)}</td>{''.join(cells)}</tr>")
    title = f"<h3>{html.escape(table.title)}</h3>"
    return f"{title}<table><tr><th>{html.escape(table.first)}</th>{head}</tr>{''.join(body)}</table>"


def _number(value: Any) -> Any:
    return value["share"] if isinstance(value, dict) else value


def _best(better: int, values: Sequence[Any]) -> Any:
    numbers = [_number(value) for value in values if value is not None]
    if not better or len(set(numbers)) < 2:
        return None
    return max(numbers) if better > 0 else min(numbers)
