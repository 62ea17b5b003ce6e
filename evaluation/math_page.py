r"""LaTeX as a page for a browser: its source beside what it says, with the mathematics drawn. Imported, not run.

MathJax, from the package django-static-mathjax, is written into the page, so that it needs no network, now or later.
It draws what is between the delimiters of mathematics; around that, sections, theorems, lists and emphasis become
HTML, and everything else stays as it was written. What MathJax cannot parse is shown as source. Nothing in the text can
run as a script: it is escaped, and MathJax gets no macro that makes links or HTML.
"""

from __future__ import annotations

import html
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from data_prep.latex.scanner import math_spans, opaque_spans
from tokenizer.text_units import is_inline

PACKAGE, SCRIPT = "django-static-mathjax", "static/mathjax/es5/tex-svg-full.js"
# Stands for the mathematics, or the verbatim text, of that number.
HOLE = re.compile("\ue000([0-9]+)\ue001")
LISTS = {"itemize": "ul", "enumerate": "ol", "description": "ul"}
HEADINGS = {"title": "h2", "part": "h2", "chapter": "h2", "section": "h3", "subsection": "h4", "subsubsection": "h5"}
HEADINGS |= {"paragraph": "h6"}
EMPHASIS = {"emph": "em", "textit": "em", "textsl": "em", "textbf": "strong", "texttt": "code"}
BLOCK = re.compile(
    r"\\begin\{(?P<begin>[A-Za-z]+)\*?\}(?:\[(?P<note>[^\]\n]*)\])?"
    r"|\\end\{(?P<end>[A-Za-z]+)\*?\}"
    r"|\\item\b(?:\[(?P<label>[^\]\n]*)\])?"
    rf"|\\(?P<level>{'|'.join(HEADINGS)})\*?\{{(?P<heading>[^{{}}\n]*)\}}"
    r"|(?P<paragraph>\n[ \t]*\n\s*)"
)
EMPHASIZED = re.compile(rf"\\({'|'.join(EMPHASIS)})\{{([^{{}}]*)\}}")
REFERENCE = re.compile(r"\\(cite[a-z]*|[A-Za-z]*ref)\*?(?:\[[^\]\n]*\])*(?:\{([^{}\n]*)\})?")
LABEL = re.compile(r"\\label\{[^{}\n]*\}")
DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))

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


def math_page(title: str, facts: str, samples: Sequence[Sample]) -> str:
    """One self-contained page of some 2 MB, MathJax included.

    Raises:
        UserError: the package with MathJax is not installed.
    """
    articles = "\n".join(_article(number, sample) for number, sample in enumerate(samples, 1))
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


def _article(number: int, sample: Sample) -> str:
    source = (
        f'<span class="prompt">{html.escape(sample.prompt)}</span><span class="made">{html.escape(sample.text)}</span>'
    )
    return (
        f'<article><p class="facts">{number}. {html.escape(sample.facts)}</p>\n<div class="both">'
        f'<pre class="source">{source}</pre>\n<div class="drawn">{to_html(sample.prompt + sample.text)}</div></div>'
        "</article>"
    )


def to_html(text: str) -> str:
    """The text as HTML in which mathematics waits in `span.math` to be drawn."""
    text = re.sub("[\ue000\ue001]", "\ufffd", text)
    holes: list[str] = []

    def hole(content: str) -> str:
        holes.append(content)
        return f"\ue000{len(holes) - 1}\ue001"

    taken = [
        (start, end, f"<code>{html.escape(text[start:end])}</code>")
        for kind, start, end in opaque_spans(text)
        if kind in ("verbatim", "url")
    ]
    verbatim = list(taken)
    for start, end in math_spans(text):
        if not any(begin < end and start < stop for begin, stop, _ in verbatim):
            taken.append((start, end, _math(text[start:end], text, start)))
    pieces, done = [], 0
    for start, end, content in sorted(taken):
        if start >= done:
            pieces += [html.escape(text[done:start], quote=False), hole(content)]
            done = end
    pieces.append(html.escape(text[done:], quote=False))
    return HOLE.sub(lambda match: holes[int(match[1])], _blocks("".join(pieces)))


def _math(formula: str, text: str, start: int) -> str:
    inner = formula
    for opening, closing in DELIMITERS:
        if formula.startswith(opening) and formula.endswith(closing) and len(formula) >= len(opening) + len(closing):
            inner = formula[len(opening) : len(formula) - len(closing)]
            break
    kind = "math" if is_inline(text, start) else "math display"
    tex = LABEL.sub("", inner)
    return f'<span class="{kind}" data-source="{html.escape(formula)}">{html.escape(tex)}</span>'


def _blocks(text: str) -> str:
    """Escaped text with holes: its paragraphs, headings, environments and lists. What does not match stays text."""
    parts, open_ = ["<p>"], list[str]()

    def begin(match: re.Match[str]) -> str:
        name = match["begin"]
        open_.append(name)
        if name in LISTS:
            return f"</p><{LISTS[name]}><li><p>"
        note = f" ({_inline(match['note'])})" if match["note"] else ""
        return f'</p><div class="env"><p><strong>{name.capitalize()}{note}.</strong> '

    def end(match: re.Match[str]) -> str:
        name = match["end"]
        if not open_ or open_[-1] != name:
            return match[0]
        open_.pop()
        return _closing(name) + "<p>"

    def item(match: re.Match[str]) -> str:
        if not open_ or open_[-1] not in LISTS:
            return match[0]
        label = f"<strong>{_inline(match['label'])}</strong> " if match["label"] else ""
        return f"</p></li><li><p>{label}"

    def heading(match: re.Match[str]) -> str:
        tag = HEADINGS[match["level"]]
        return f"</p><{tag}>{_inline(match['heading'])}</{tag}><p>"

    actions: dict[str, Callable[[re.Match[str]], str]] = {"begin": begin, "end": end, "level": heading}
    done = 0
    for match in BLOCK.finditer(text):
        parts.append(_inline(text[done : match.start()]))
        done = match.end()
        kind = next((name for name in actions if match[name] is not None), None)
        if kind is not None:
            parts.append(actions[kind](match))
        else:
            parts.append("</p><p>" if match["paragraph"] else item(match))
    parts.append(_inline(text[done:]))
    parts += [_closing(name) + "<p>" for name in reversed(open_)]
    whole = "".join([*parts, "</p>"])
    whole = re.sub(r"<p>\s*</p>", "", whole)
    return re.sub(r"<li>\s*</li>", "", whole)


def _closing(name: str) -> str:
    return f"</p></li></{LISTS[name]}>" if name in LISTS else "</p></div>"


def _inline(text: str) -> str:
    text = LABEL.sub("", text)
    text = REFERENCE.sub(lambda match: f'<span class="ref">[{match[2] or match[1]}]</span>', text)
    while True:  # from the innermost outwards
        changed = EMPHASIZED.sub(lambda match: f"<{EMPHASIS[match[1]]}>{match[2]}</{EMPHASIS[match[1]]}>", text)
        if changed == text:
            return text.replace("~", "\u00a0").replace("``", "\u201c").replace("''", "\u201d").replace("---", "\u2014")
        text = changed
