"""The page: what becomes HTML, what stays source, nothing that runs, and that a browser draws it without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from common.errors import UserError
from evaluation.generation.latex_html import to_html
from reports import math_page
from reports.math_page import Sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def text_of(page: str) -> str:
    return re.sub(r"<[^>]+>", "", page)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.\n\nTwo.", "<p>One.</p><p>Two.</p>"),
        ("\\section{On $x$}", '<h3>On <span class="math" data-source="$x$">x</span></h3>'),
        (
            "\\begin{lemma}[Zorn]\\label{a} So.\\end{lemma}",
            '<div class="env"><p><strong>Lemma (Zorn).</strong>  So.</p></div>',
        ),
        ("\\begin{itemize}\n\\item a\n\\item b\n\\end{itemize}", "<ul><li><p> a\n</p></li><li><p> b\n</p></li></ul>"),
        ("\\begin{enumerate}\\item a", "<ol><li><p> a</p></li></ol>"),
        ("\\emph{so \\textbf{very}} true", "<p><em>so <strong>very</strong></em> true</p>"),
        ("see \\cite{} and \\ref{a}", '<p>see <span class="ref">[cite]</span> and <span class="ref">[a]</span></p>'),
        ("\\end{proof} \\item x", "<p>\\end{proof} \\item x</p>"),
        ("``quoted''~--- so", "<p>“quoted”\u00a0— so</p>"),
        ("\\unknown{x} & y", "<p>\\unknown{x} &amp; y</p>"),
        (
            "\\begin{verbatim}\n<b>$x$\n\\end{verbatim}",
            "<p><code>\\begin{verbatim}\n&lt;b&gt;$x$\n\\end{verbatim}</code></p>",
        ),
    ],
)
def test_what_becomes_html(text: str, expected: str) -> None:
    assert to_html(text) == expected


def test_formulas_wait_to_be_drawn_without_their_delimiters_and_labels() -> None:
    page = to_html("$a<b$ \\[\\label{x} c\\] \\begin{align}\\label{y}d&=e\\end{align}")
    found = re.findall(r'<span class="(math[a-z ]*)" data-source="([^"]*)">([^<]*)</span>', page)
    assert found == [
        ("math", "$a&lt;b$", "a&lt;b"),
        ("math display", "\\[\\label{x} c\\]", " c"),
        ("math display", "\\begin{align}\\label{y}d&amp;=e\\end{align}", "\\begin{align}d&amp;=e\\end{align}"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "$</span><script>alert(1)</script>$",
        '$"><img src=x onerror=alert(1)>$',
        "\\section{<img src=x onerror=alert(1)>}",
        "\\begin{lemma}[<script>x</script>]",
        "\\cite{<b onclick=x>}",
        "\\item[<i>]",
    ],
)
def test_nothing_of_the_text_becomes_markup(text: str) -> None:
    page = math_page.math_page("t", "f", [Sample(text, text, text)], to_html)
    body = page[page.index("<article>") : page.rindex("</article>")]
    assert not re.search(r"<(script|img|b |i>)", body)


def test_holes_in_the_text_itself_are_no_holes() -> None:
    assert "\ue000" not in to_html("\ue0000\ue001 $x$") and "math" in to_html("\ue0009\ue001 $x$")


def test_the_page_holds_all_it_needs() -> None:
    page = math_page.math_page("Title & more", "facts", [Sample("Let ", "$x$", "seed 1")], to_html)
    assert len(page) > 2_000_000 and "Title &amp; more" in page
    head = page[: page.index("window.MathJax")]
    assert not re.search(r'(src|href)="?http', head) and "@import" not in head and "url(" not in head


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install django-static-mathjax"):
        math_page.mathjax()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to draw the page")
def test_a_browser_draws_what_can_be_drawn_and_leaves_the_rest(tmp_path: Path) -> None:
    good = (
        "$x^2$ \\[\\sum_i \\mathbb{R}\\] \\begin{eqnarray}a&=&b\\\\c&=&d\\end{eqnarray} "
        "\\begin{multline}a\\\\b\\end{multline} $$\\begin{cases}1\\\\2\\end{cases}$$"
    )
    bad = "$\\frac{1$ $\\nosuchcommand x$ $\\href{javascript:alert(1)}{x}$"
    path = tmp_path / "page.html"
    path.write_text(math_page.math_page("t", "f", [Sample(good, bad, "x")], to_html), encoding="utf-8")
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    dom = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120).stdout
    body = dom[: dom.index("window.MathJax")]
    assert "5 formulas drawn, 3 that MathJax cannot parse left as source" in body
    assert body.count("<mjx-container") == 5 and "\\frac{1" in text_of(body)
    assert not re.search(r"<a[ >]", body)  # no link was made of \href
