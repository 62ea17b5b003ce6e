r"""LaTeX as a page for a browser: its source beside what it says, with the mathematics drawn.

MathJax, from the package django-static-mathjax, is written into the page, so that it needs no network, now or later.
It draws what is between the delimiters of mathematics. What MathJax cannot parse is shown as source. MathJax gets no
macro that makes links or HTML.
"""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

PACKAGE, SCRIPT = "django-static-mathjax", "static/mathjax/es5/tex-svg-full.js"

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fdfdfb; --soft: #6d6d6d; --line: #ddd; --made: #f1f4f8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --paper: #1b1c1e; --soft: #999; --line: #3a3a3a; --made: #25282d }
}
body { font: 16px/1.6 Georgia, "Times New Roman", serif; color: var(--ink); background: var(--paper);
  max-width: 1500px; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.4em } .facts { color: var(--soft); font: 14px/1.5 system-ui, sans-serif }
article { border-top: 1px solid var(--line); padding: 1em 0 }
.both { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 2em }
@media (max-width: 900px) { .both { grid-template-columns: minmax(0, 1fr) } }
pre { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: 0 }
.source .made { background: var(--made) } .source .prompt { font-weight: bold }
.drawn { overflow-wrap: anywhere } .drawn h2, .drawn h3, .drawn h4, .drawn h5, .drawn h6 { margin: .8em 0 .3em }
.drawn p { margin: .5em 0 } .drawn code { white-space: pre-wrap }
.env { border-left: 3px solid var(--line); padding-left: .9em; margin: .7em 0 }
.display { display: block; text-align: center; margin: .7em 0; overflow-x: auto } .math svg { max-width: 100% }
.bad { color: var(--soft); font: 13px ui-monospace, monospace; white-space: pre-wrap } .ref { color: var(--soft) }
"""
# Without "noundefined" and "noerrors" a formula that cannot be parsed is an error, and its source is shown.
CONFIGURATION = """
window.MathJax = {
  startup: { typeset: false },
  options: { enableMenu: false },
  tex: {
    packages: ["base", "ams", "amscd", "boldsymbol", "braket", "cancel", "mathtools", "textmacros"],
    tags: "none",
    formatError: (jax, error) => { throw error },
  },
};
"""
DRAW = """
MathJax.startup.promise.then(() => {
  let drawn = 0, failed = 0;
  for (const place of document.querySelectorAll(".math")) {
    const tex = place.textContent;
    try {
      const made = MathJax.tex2svg(tex, { display: place.classList.contains("display") });
      if (made.querySelector("[data-mml-node=merror]")) throw new Error("merror");
      place.replaceChildren(made);
      drawn += 1;
    } catch (error) {
      place.textContent = place.dataset.source;
      place.classList.add("bad");
      place.title = error.message;
      failed += 1;
    }
  }
  document.head.appendChild(MathJax.svgStylesheet());
  document.getElementById("count").textContent =
    `${drawn} formulas drawn` + (failed ? `, ${failed} that MathJax cannot parse left as source` : "");
});
"""


@dataclass(frozen=True)
class Sample:
    """A text: the prompt, what was generated after it, and what there is to say about it."""

    prompt: str
    text: str
    facts: str


def math_page(title: str, facts: str, samples: Sequence[Sample], to_html: Callable[[str], str]) -> str:
    """One self-contained page of some 2 MB, MathJax included; `to_html` leaves mathematics in `span.math`.

    Raises:
        UserError: the package with MathJax is not installed.
    """
    articles = "\n".join(_article(number, sample, to_html) for number, sample in enumerate(samples, 1))
    # No script may end before its end.
    script = mathjax().replace("</script", "<\\/script")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>'
        f'<h1>{html.escape(title)}</h1>\n<p class="facts">{html.escape(facts)}<br><span id="count"></span></p>\n'
        f"{articles}\n<script>{CONFIGURATION}</script>\n<script>{script}</script>\n<script>{DRAW}</script>\n"
        "</body></html>\n"
    )


def mathjax() -> str:
    """MathJax's single file: TeX in, SVG out, nothing loaded later."""
    spec = importlib.util.find_spec("mathjax")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (path := Path(place) / SCRIPT).is_file():
            return path.read_text(encoding="utf-8")
    raise UserError(f"MathJax is not installed: pip install {PACKAGE} (requirements.txt has the version)")


def _article(number: int, sample: Sample, to_html: Callable[[str], str]) -> str:
    source = (
        f'<span class="prompt">{html.escape(sample.prompt)}</span><span class="made">{html.escape(sample.text)}</span>'
    )
    return (
        f'<article><p class="facts">{number}. {html.escape(sample.facts)}</p>\n<div class="both">'
        f'<pre class="source">{source}</pre>\n<div class="drawn">{to_html(sample.prompt + sample.text)}</div></div>'
        "</article>"
    )
