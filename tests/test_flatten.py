"""The choice of the main file and the order of included files."""

from __future__ import annotations

import json

import pytest

from data_prep import flatten as module
from data_prep.extraction import Rejected
from data_prep.flatten import choose_main, flatten


def document(body: str, document_class: str = "article") -> str:
    return f"\\documentclass{{{document_class}}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"


def flat(files: dict[str, str], main: str | None = None) -> module.Flattened:
    return flatten(files, 1_000_000, main)


@pytest.mark.parametrize(
    "call",
    [
        "\\input{one}",
        "\\input{one.tex}",
        "\\input one",
        "\\input one.tex",
        '\\input "one"',
        "\\input{ONE}",
        "\\input{./one}",
        "\\include{one}",
        "\\subfile{one}",
        "\\import{./}{one}",
        "\\subimport{}{one}",
        "\\InputIfFileExists{one}{}{}",
    ],
)
def test_included(call):
    result = flat({"main.tex": document(f"before {call}\nafter"), "one.tex": "inner words"})
    assert result.text.index("before") < result.text.index("inner words") < result.text.index("after")
    assert result.included == ["main.tex", "one.tex"]
    assert not result.counters


@pytest.mark.parametrize(
    "text", ["%\\input{one}\n", "\\verb|\\input{one}|", "\\begin{verbatim}\\input{one}\\end{verbatim}"]
)
def test_not_included(text):
    assert "inner words" not in flat({"main.tex": document(text), "one.tex": "inner words"}).text


def test_longer_commands_are_no_inclusion():
    assert "\\includegraphics{one}" in flat({"main.tex": document("\\includegraphics{one}"), "one.tex": "x"}).text


def test_order_is_that_of_the_text():
    files = {"a.tex": "AAA", "main.tex": document("\\input{z} middle \\input{a}"), "z.tex": "ZZZ"}
    assert flat(files).included == ["main.tex", "z.tex", "a.tex"]


def test_folders():
    files = {
        "src/main.tex": document("\\input{s1} \\import{parts/}{two} \\input{../top}"),
        "src/s1.tex": "S1",
        "src/parts/two.tex": "TWO \\input{three}",
        "src/parts/three.tex": "THREE",
        "top.tex": "TOP",
    }
    result = flat(files)
    assert result.main == "src/main.tex"
    assert result.included == ["src/main.tex", "src/s1.tex", "src/parts/two.tex", "src/parts/three.tex", "top.tex"]


def test_subfile_gives_its_body():
    sub = "\\documentclass[main.tex]{subfiles}\n\\begin{document}\nalpha\n\\end{document}\ntail"
    text = flat({"main.tex": document("\\subfile{sec/one}\nafter"), "sec/one.tex": sub}).text
    assert "alpha" in text and "tail" not in text and "subfiles" not in text


def test_endinput():
    text = flat({"main.tex": document("\\input{one} after"), "one.tex": "a\n\\endinput\nscratch"}).text
    assert "scratch" not in text and "after" in text


def test_cycles_are_cut_and_counted():
    result = flat(
        {"main.tex": document("\\input{a}"), "a.tex": "A \\input{b}", "b.tex": "B \\input{a} C \\input{main}"}
    )
    assert result.counters == {"input_cycle": 2}
    assert "C" in result.text


def test_missing_repeated_and_drawn():
    body = "\\input{gone} \\input{one} \\input{one} \\input{fig.pdf_tex} \\input{macros.sty} end"
    result = flat({"main.tex": document(body), "one.tex": "ONE"})
    assert result.counters == {"input_missing": 1, "input_repeated": 1, "input_of_drawing": 1}
    assert result.text.count("ONE") == 1 and "\\input" not in result.text and "end" in result.text


def test_deep_chains_do_not_recurse():
    files = {f"{i}.tex": f"\\input{{{i + 1}}}" for i in range(5000)} | {"5000.tex": "bottom"}
    assert "bottom" in flat(files | {"main.tex": document("\\input{0}")}).text


def test_total_is_limited():
    with pytest.raises(Rejected, match="max_file_bytes 100") as caught:
        flatten({"main.tex": document("\\input{a}"), "a.tex": "x" * 200}, 100)
    assert caught.value.reason == "archive_too_large"


@pytest.mark.parametrize(
    ("expected", "files"),
    [
        pytest.param("PAPER.TEX", {"PAPER.TEX": document("x")}, id="upper_case"),
        pytest.param("b.tex", {"a.tex": document("x"), "b.tex": document("x" * 99)}, id="most_text"),
        pytest.param(
            "b.tex", {"a.tex": document("x" * 50), "b.tex": document("\\input{c}"), "c.tex": "y" * 99}, id="reach"
        ),
        pytest.param("b.tex", {"a.tex": document("x" * 9), "b.tex": document("\\input{a}")}, id="includes_the_other"),
        pytest.param("a.tex", {"a.tex": document("x"), "supplement.tex": document("x" * 99)}, id="supplement"),
        pytest.param("a.tex", {"a.tex": document("x"), "b.tex": document("x" * 99, "beamer")}, id="slides"),
        pytest.param(
            "a.tex", {"a.tex": document("x"), "b.tex": document("x" * 99), "a.bbl": "\\bibitem"}, id="own_bbl"
        ),
        pytest.param(
            "a.tex", {"a.tex": "\\documentstyle{article}\\begin{document}x", "b.tex": "x" * 99}, id="latex209"
        ),
        pytest.param("p", {"p": "\\magnification 1200 x\n\\bye\n", "macros": "\\def\\x{}" * 99}, id="plain"),
        pytest.param("p.tex", {"p.tex": "\\section{A} text", "a.sty": "\\def\\x{}"}, id="fragment"),
        pytest.param(
            "new.tex",
            {
                "00README.XXX": "old.tex ignore\nnew.tex toplevelfile",
                "old.tex": document("x" * 99),
                "new.tex": document("x"),
            },
            id="readme_xxx",
        ),
        pytest.param(
            "b.tex", {"00README.XXX": "a.tex ignore", "a.tex": document("x" * 99), "b.tex": document("x")}, id="ignore"
        ),
        pytest.param(
            "b.tex",
            {
                "00README.json": json.dumps({"sources": [{"filename": "b.tex", "usage": "toplevel"}]}),
                "a.tex": document("x" * 99),
                "b.tex": document("x"),
            },
            id="readme_json",
        ),
        pytest.param("a.tex", {"00README.json": "{not json", "a.tex": document("x")}, id="broken_readme"),
    ],
)
def test_main_file(expected, files):
    assert choose_main(files) == expected


def test_no_main_file():
    with pytest.raises(Rejected) as caught:
        choose_main({"a.sty": "\\def\\x{}", "a.bbl": "\\bibitem{x}"})
    assert caught.value.reason == "no_main_file"


def test_command(tmp_path, capsys):
    (tmp_path / "main.tex").write_text(document("\\input{one}"))
    (tmp_path / "one.tex").write_text("ONE % gone")
    assert module.main([str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "ONE" in captured.out and "gone" not in captured.out
    assert "main file main.tex, 2 files" in captured.err
