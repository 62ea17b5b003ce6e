"""Pieces of the pages about runs: one self-contained file of tables and embedded figures. Imported, not run."""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import write_bytes

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd }
img { max-width: 100% } table { border-collapse: collapse; margin: .8em 0 }
th, td { padding: .25em .9em .25em 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { background: #2f7d6b; height: .8em; display: inline-block } code { font-size: .9em }
details { margin: .2em 0 } pre { white-space: pre-wrap; background: #f6f6f6; padding: .6em; font-size: .85em }
"""
# Cells of so few characters are not broken into lines.
SHORT = 30
PAGE_STYLE = (
    STYLE
    + """
body { max-width: 1500px } .wide { overflow-x: auto } td.best { font-weight: bold } td, th { overflow-wrap: anywhere }
.wide td, .wide th { overflow-wrap: normal; font-size: .9em }
th { vertical-align: bottom } .wide th.n { white-space: normal }
.warning { background: #fdf3dc; border-left: 4px solid #e6a100; padding: .4em .8em; margin: .4em 0 }
.note { color: #666 } .short { white-space: nowrap } body > table td:first-child { min-width: 11em }
"""
)


def page(title: str, parts: Iterable[str]) -> str:
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    body = "\n".join(parts)
    return f"{head}<style>{PAGE_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n{body}\n</html>\n"


def write_page(folder: Path, name: str, text: str, figures: Mapping[str, bytes]) -> Path:
    """Write the page and, beside it, its figures; returns the page's path."""
    for figure, png in figures.items():
        write_bytes(folder / f"{figure}.png", png)
    write_bytes(folder / name, text.encode("utf-8", "replace"))
    return folder / name


def image(name: str, png: bytes) -> str:
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of names and values."""
    body = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{body}</table>"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Collection[int] = (0,),
    best: Collection[tuple[int, int]] = (),
) -> str:
    """A table of texts, to the right but for the columns `left`; the cells (row, column) of `best` are bold."""
    head = "".join(f"<th{'' if i in left else ' class=n'}>{html.escape(name)}</th>" for i, name in enumerate(header))
    body = []
    for number, row in enumerate(rows):
        cells = []
        for i, cell in enumerate(row):
            kinds = ["n" if i not in left else "short" if len(cell) <= SHORT else ""]
            kinds += ["best"] if (number, i) in best else []
            cells.append(f'<td class="{" ".join(kinds)}">{html.escape(cell)}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=wide><table><tr>{head}</tr>{''.join(body)}</table></div>"


def details(summary: str, text: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>"


def visible(text: str) -> str:
    """Spaces, line ends and tabs as signs."""
    return text.replace(" ", "\u00b7").replace("\n", "\u23ce\n").replace("\t", "\u21e5")
