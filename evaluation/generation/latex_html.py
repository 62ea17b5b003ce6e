"""LaTeX as HTML in which the mathematics waits to be drawn by MathJax.

Around the mathematics, sections, theorems, lists and emphasis become HTML, and everything else stays as it was written.
Nothing in the text can run as a script: it is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from data_prep.latex.scanner import math_spans, opaque_spans
from tokenizer.measure.segments import is_inline

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
