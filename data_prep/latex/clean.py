"""Cleaned LaTeX out of one flattened paper: ordered, named passes, each a pure function from text to text.

The text begins with `\\title{...}` and the abstract, where the source has them; paragraphs are separated by one blank
line.

What goes and what stays, and why:

- Comments, preamble, dead conditional branches, definitions, bibliography, drawings and layout commands go: they are
  not the paper's text. Captions, footnotes, tables, theorems, code listings and all mathematics stay.
- Citations and cross-references keep their command and lose their key: `\\citep[see][p.~3]{smith98}` becomes
  `\\citep{}`, `Theorem~\\ref{thm:main}` becomes `Theorem~\\ref{}`. Taken out whole they leave broken sentences ("as
  shown in ,"); kept with keys they make the model learn strings that only their author could know. The empty command
  keeps the sentence, is LaTeX, costs two or three tokens, and shows a user of the model where to fill in.
- Quotes and dashes stay as TeX writes them; accents outside mathematics become Unicode (NFC).

Verbatim text and addresses are hidden behind marks while the passes run, so that none of them can touch a listing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from common.settings.data import DataSettings
from data_prep.latex.conditionals import conditionals
from data_prep.latex.macros import ensuremath, expand
from data_prep.latex.passes.accents import accents
from data_prep.latex.passes.bibliography import bibliography
from data_prep.latex.passes.blank_lines import blank_lines
from data_prep.latex.passes.figures import figures
from data_prep.latex.passes.front_matter import document_end, front_matter
from data_prep.latex.passes.layout import layout
from data_prep.latex.passes.references import references
from data_prep.latex.passes.tables import tables
from data_prep.latex.passes.unicode_text import unicode_text
from data_prep.latex.scanner import hide_verbatim, show_verbatim

Pass = Callable[..., str]


# The order matters: conditionals before anything is taken for text; the preamble goes before definitions are looked
# for; captions are found before layout unwraps what surrounds them.
PASSES: tuple[tuple[str, Pass], ...] = (
    ("conditionals", conditionals),
    ("macros", expand),
    ("ensuremath", ensuremath),
    ("document_end", document_end),
    ("front_matter", front_matter),
    ("bibliography", bibliography),
    ("figures", figures),
    ("tables", tables),
    ("references", references),
    ("layout", layout),
    ("accents", accents),
    ("blank_lines", blank_lines),
)


def passes(
    settings: DataSettings | None = None,
    styles: Mapping[str, str] | None = None,
    counters: Counter[str] | None = None,
) -> list[tuple[str, Pass]]:
    """The passes as `settings` want them (None: as a fresh config.json has them); other arguments as for `clean`."""
    given: dict[str, dict[str, Any]] = {"macros": {"styles": styles, "counters": counters}}
    if settings is not None:
        given |= {
            "front_matter": {"authors": settings.authors},
            "tables": {"tables": settings.tables},
            "references": {"references": settings.references},
            "layout": {"authors": settings.authors},
            "accents": {"accents": settings.accents},
        }
    return [(name, partial(function, **given[name]) if name in given else function) for name, function in PASSES]


def steps(
    text: str,
    settings: DataSettings | None = None,
    styles: Mapping[str, str] | None = None,
    counters: Counter[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """(name of a pass, text after it) for each pass, over a text whose comments are gone; arguments as for `clean`."""
    text = unicode_text(text)
    yield "unicode_text", text
    text, hidden = hide_verbatim(text)
    for name, function in passes(settings, styles, counters):
        text = function(text)
        yield name, show_verbatim(text, hidden)


def clean(
    text: str,
    settings: DataSettings | None = None,
    styles: Mapping[str, str] | None = None,
    counters: Counter[str] | None = None,
) -> str:
    """The cleaned text of a paper in one piece, comments removed (`flatten` and `strip_comments` do that).

    Args:
        text: the paper.
        settings: what stays of authors, tables, references and accents; None is the default of each.
        styles: the paper's files by path; macros are read from the packages and the class among them.
        counters: what `macros.expand` counts.
    """
    text, hidden = hide_verbatim(unicode_text(text))
    for _, function in passes(settings, styles, counters):
        text = function(text)
    return show_verbatim(text, hidden)
