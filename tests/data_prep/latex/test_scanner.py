"""The scanner: comments, verbatim text, groups, edits, mathematics; one named case per behaviour."""

from __future__ import annotations

import re

import pytest

from data_prep import tex_scan
from data_prep.latex.edits import apply_edits
from data_prep.latex.groups import Groups
from data_prep.latex.scanner import (
    any_of,
    control_words,
    environment_end,
    hide_verbatim,
    is_escaped,
    math_spans,
    opaque_spans,
    show_verbatim,
    strip_comments,
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("a % b\nc", "a c", id="comment_eats_its_line_end"),
        pytest.param("su%\n   per", "super", id="comment_eats_leading_blanks"),
        pytest.param("a%x\n\nb", "a\n\nb", id="blank_line_after_comment_is_a_paragraph"),
        pytest.param("a%x\n   \nb", "a\n   \nb", id="line_of_blanks_after_comment"),
        pytest.param("15\\% b", "15\\% b", id="escaped_percent"),
        pytest.param("a\\\\% b\nc", "a\\\\c", id="comment_after_line_break"),
        pytest.param("\\foo% x\nbar", "\\foo bar", id="command_does_not_join_the_next_word"),
        pytest.param("a\n% x\nb", "a\nb", id="comment_line_vanishes"),
        pytest.param("a % end", "a ", id="comment_at_the_end"),
        pytest.param("\\verb|%| b % c", "\\verb|%| b ", id="verb"),
        pytest.param("\\verb*+%+x%c", "\\verb*+%+x", id="verb_star"),
        pytest.param("\\lstinline[language=C]!a%b! c", "\\lstinline[language=C]!a%b! c", id="lstinline"),
        pytest.param("\\mintinline{c}|a%b| c%d", "\\mintinline{c}|a%b| c", id="mintinline"),
        pytest.param("\\url{http://x/a%20b} c", "\\url{http://x/a%20b} c", id="url"),
        pytest.param("\\href{http://x/a%20b}{t} c%d", "\\href{http://x/a%20b}{t} c", id="href"),
        pytest.param(
            "\\begin{verbatim}\n%a\n\\end{verbatim}%b", "\\begin{verbatim}\n%a\n\\end{verbatim}", id="verbatim"
        ),
        pytest.param("\\begin{verbatim}\n%a\nb", "\\begin{verbatim}\nb", id="verbatim_without_end_is_text"),
        pytest.param(
            "% \\begin{verbatim}\na%b\n\\end{verbatim}", "a\\end{verbatim}", id="verbatim_in_comment_is_comment"
        ),
        pytest.param("a\\begin{comment}x\n\\end{comment}b", "ab", id="comment_environment"),
        pytest.param("\\verbatiminput{a}%b", "\\verbatiminput{a}", id="longer_command_is_not_verb"),
    ],
)
def test_strip_comments(source, expected):
    assert strip_comments(source) == expected


def test_opaque_spans_name_their_kind():
    text = "a % c\n\\verb|x| \\url{u} \\begin{lstlisting}y\\end{lstlisting}"
    assert [kind for kind, _, _ in opaque_spans(text)] == ["comment", "verbatim", "url", "verbatim"]


def test_hide_and_show_verbatim():
    text = "a \\verb|{| b \\url{x_y} c"
    hidden, kept = hide_verbatim(text)
    assert "{" not in hidden and kept == ["\\verb|{|", "\\url{x_y}"]
    assert show_verbatim(hidden, kept) == text


def test_any_of_is_exact():
    names = ["a", "ab", "abc", "xyz*"]
    pattern = re.compile(any_of(names))
    assert all(pattern.fullmatch(name) for name in names)
    assert not pattern.fullmatch("xyz")
    assert control_words(["ref"]).search("\\refs") is None
    assert control_words(["ref"]).search("\\ref{x}")


def test_escapes_are_counted():
    assert is_escaped("\\%", 1) and not is_escaped("\\\\%", 2) and not is_escaped("%", 0)


@pytest.mark.parametrize(
    ("text", "end"),
    [("{a}", 3), ("{a{b}c}d", 7), ("{a\\}b}", 6), ("{a", -1), ("x", -1), ("{" + "a" * 5000 + "{b}}", 5005)],
)
def test_group_end(text, end):
    assert Groups(text).end(0) == end


@pytest.mark.parametrize(
    ("text", "spec", "expected"),
    [
        ("{a}", "m", ["{a}"]),
        (" \\x y", "m", ["\\x"]),
        ("xy", "mm", ["x", "y"]),
        ("*[o]{a}", "*og", ["*", "[o]", "{a}"]),
        ("{a}", "*og", ["", "", "{a}"]),
        ("[a{]}b]{c}", "og", ["[a{]}b]", "{c}"]),
        ("[a[b]c]{d}", "og", ["[a[b]c]", "{d}"]),
        ("\\f#1.#2{x}", "cpg", ["\\f", "#1.#2", "{x}"]),
        ("\\a=\\b", "c=c", ["\\a", "=", "\\b"]),
        ("\n{a}", "g", ["{a}"]),
        ("\n\n{a}", "g", None),
        ("{a", "g", None),
        ("", "m", None),
    ],
)
def test_arguments(text, spec, expected):
    spans = Groups(text).arguments(0, spec)
    assert (spans and [text[s:e] for s, e in spans]) == expected


def delete(text: str, *words: str) -> str:
    return apply_edits(text, [(text.index(word), text.index(word) + len(word), "") for word in words])


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("a XX b", ["XX"], "a b"),
        ("a XX.", ["XX"], "a."),
        ("a\nXX\nb", ["XX"], "a\nb"),
        ("a\n XX YY \nb", ["XX", "YY"], "a\nb"),
        ("a\n\nXX\n\nb", ["XX"], "a\n\n\nb"),
        ("aXXb", ["XX"], "ab"),
        ("\\fooXXb", ["XX"], "\\foo b"),
    ],
)
def test_deletions_leave_no_trace(text, words, expected):
    assert delete(text, *words) == expected


def test_edit_inside_another_is_void():
    assert apply_edits("abcdef", [(1, 5, "X"), (2, 3, "Y")]) == "aXf"


def test_nested_environments():
    text = "\\begin{a}\\begin{a}x\\end{a}y\\end{a}z"
    assert text[: environment_end(text, "a", 9, set())[1]].endswith("y\\end{a}")
    unclosed: set[str] = set()
    assert environment_end("\\begin{a}x", "a", 9, unclosed) == (-1, -1)
    assert unclosed == {"a"}


def test_math_spans():
    text = "a $x$ b \\$5 $$y$$ c \\(z\\) d \\[w\\] e \\begin{align*}v\\end{align*} f"
    assert [text[s:e] for s, e in math_spans(text)] == [
        "$x$",
        "$$y$$",
        "\\(z\\)",
        "\\[w\\]",
        "\\begin{align*}v\\end{align*}",
    ]


def test_stray_dollar_costs_one_paragraph():
    text = "costs 5$ only\n\nand $x$ here"
    assert [text[s:e] for s, e in math_spans(text)] == ["$x$"]


@pytest.mark.parametrize(
    "hostile",
    [
        "{" * 200_000,
        "\\vspace{" * 50_000,
        "\\begin{verbatim}" * 50_000,
        "\\begin{tikzpicture}" * 50_000,
        "\\begin{align}$" * 50_000,
        "\\verb|" * 50_000,
        "%" * 200_000,
        "\\" * 200_001,
        "\\emph{[" * 50_000,
        "$" * 100_001,
        "\\title{" * 50_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_input_costs_linear_time(hostile):
    from data_prep.latex.clean import clean

    clean(strip_comments(hostile))
    list(math_spans(hostile))


def test_command(tmp_path, capsys):
    path = tmp_path / "a.tex"
    path.write_text("a % note\n$x$ \\verb|y|\n")
    assert tex_scan.main([str(path)]) == 0
    out = capsys.readouterr().out
    assert f"{path}:1: comment: % note" in out and f"{path}:2: mathematics: $x$" in out and ":2: verbatim" in out
