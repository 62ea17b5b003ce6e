"""The TeX engine: what it is given, under which limits, what counts against a text; with the real one where it is."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from common.errors import UserError
from evaluation.generation import compiler
from evaluation.generation.compiler import compile_text, document, find_engine

ENGINE = shutil.which("pdflatex")


def stand_in(folder: Path, body: str) -> str:
    """A program in the engine's place."""
    path = folder / "pdflatex"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_document_closes_what_is_open_and_defines_what_it_names() -> None:
    text = document("\\begin{lemma}\\begin{align*} a {")
    assert "\\newtheorem{lemma}{Lemma}" in text and "newtheorem{align}" not in text
    assert text.index("\\end{align*}") < text.index("\\end{lemma}") < text.index("\\end{document}")


def test_the_engine_gets_no_shell_its_own_folder_and_limits(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    engine = stand_in(tmp_path, f'(echo "$@"; env; pwd; ulimit -t; ls) > {seen}; echo "This is it" > text.log\n')
    assert compile_text("x", engine).ok
    told = seen.read_text()
    assert told.startswith("-no-shell-escape -interaction=nonstopmode text.tex")
    assert "openin_any=p" in told and "openout_any=p" in told and "HOME=/" in told and "\n30\n" in told
    folder = next(line for line in told.splitlines() if line.startswith("HOME="))[5:]
    assert f"\n{folder}\n" in told and not Path(folder).exists()


@pytest.mark.parametrize(
    ("body", "ok", "error"),
    [
        ("echo '! Undefined control sequence.' > text.log; exit 1", True, ""),
        ("echo '! LaTeX Error: Unicode character x not set up for use with LaTeX.' > text.log; exit 1", True, ""),
        (
            "printf '! Undefined control sequence.\\n! Missing $ inserted.\\n' > text.log; exit 1",
            False,
            "Missing $ inserted.",
        ),
        (
            "echo '! LaTeX Error: \\\\begin{a} ended by \\\\end{b}.' > text.log; exit 1",
            False,
            "\\begin{a} ended by \\end{b}.",
        ),
        ("exit 3", False, "the engine ended with status 3 and no log"),
        ("echo fine > text.log; exit 9", False, "the engine ended with status 9"),
    ],
)
def test_what_counts_against_a_text(tmp_path: Path, body: str, ok: bool, error: str) -> None:
    found = compile_text("x", stand_in(tmp_path, body + "\n"))
    assert (found.ok, found.error) == (ok, error)


def test_a_text_that_does_not_end_is_stopped_with_all_its_processes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(compiler, "SECONDS", 1)
    found = compile_text("x", stand_in(tmp_path, "sleep 60 & sleep 60\n"))
    assert not found.ok and found.error == "no end after 1 s"


def test_an_engine_is_found_or_asked_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_engine(None) is None
    with pytest.raises(UserError, match="--engine tex: not installed"):
        find_engine("tex")
    path = stand_in(tmp_path, "exit 0\n")
    assert find_engine(None) == path and find_engine("pdflatex") == path


@pytest.mark.skipif(ENGINE is None, reason="no TeX engine here")
@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("Let $x \\in \\mathbb{R}$. \\begin{lemma} So \\begin{align*} a &= b", True),
        ("\\foo{x} and \\begin{prob} y \\end{prob}", True),
        ("\\begin{lemma} a \\end{theorem}", False),
        ("a } b", False),
        ("x^2", False),
        ("\\input{/etc/passwd}", False),
        ("\\write18{touch /tmp/never}", True),
        ("\\loop\\iftrue\\repeat", False),
    ],
)
def test_the_real_engine(monkeypatch, text: str, ok: bool) -> None:
    assert ENGINE is not None
    monkeypatch.setattr(compiler, "SECONDS", 5)
    found = compile_text(text, ENGINE)
    assert found.ok == ok, found
