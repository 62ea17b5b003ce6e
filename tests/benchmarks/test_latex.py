"""The arithmetic of benchmarks/latex/cleaning.py, on papers made here."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest

from benchmarks.latex import cleaning
from benchmarks.latex.prose_reference import recall_and_precision, reference, words
from common.settings.load import load_settings
from tests.helpers.tiny_corpus import bulk_tar

PROSE = "Every continuous function on a compact interval attains its maximum somewhere. " * 30
PAPER = "\\documentclass{article}\\newcommand{\\R}{\\mathbb R}\\begin{document}" + PROSE + "$x\\in\\R$\\end{document}"


def test_words_are_folded_letters():
    assert words("Caf\u00e9 cafe A x1y zoo") == {"cafe": 2, "zoo": 1}


def test_reference_drops_what_the_cleaner_drops():
    text, defined = reference(
        "\\documentclass{a}\\newcommand{\\x}[1]{meaning #1}\\title{Heading}\\begin{document}\\author{Somebody}body"
        "\\begin{thebibliography}{1}listed\\end{thebibliography}\\cite{key}\\end{document}after"
    )
    assert "Heading" in text and "body" in text and "meaning" in defined
    assert not any(word in text for word in ("Somebody", "listed", "key", "after", "meaning"))


@pytest.mark.skipif(shutil.which("detex") is None, reason="detex is not installed")
def test_recall_and_precision():
    recall, precision, count = recall_and_precision("one two three four", "one two three five")
    assert (recall, precision, count) == (0.75, 0.75, 4)


def test_command(tmp_path, capsys):
    source = tmp_path / "src"
    source.mkdir()
    members = [("2301/2301.00001.gz", gzip.compress(PAPER.encode())), ("2301/2301.00002.gz", b"not an archive")]
    bulk_tar(source / "arXiv_src_2301_001.tar", members)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"broken": {"2301.00002": "no archive"}}))
    out = tmp_path / "out.json"
    command = ["--source", str(source), "--truth", str(truth), "--out", str(out), "--no-scaling"]
    assert cleaning.main(command) == 0
    result = json.loads(out.read_text())
    assert result["papers"] == 2 and result["lost"] == {} and result["junk_kept"] == []
    assert result["macros_left_total"] == {} and result["unbalanced"] == []
    assert result["x_floor"] == pytest.approx(sum(result["stages_x_floor"].values()))
    assert "whole path" in capsys.readouterr().out


def test_lost_and_left(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    kept = PAPER.replace("$x\\in\\R$", "\\def\\a#1{\\ifdim#1pt<2pt x\\fi}\\a{3}")
    bulk_tar(source / "x.tar", [("2301.00001.gz", gzip.compress(kept.encode())), ("2301.00002.gz", b"junk")])
    papers = cleaning.load(source, None, None)
    cleaning.measure(papers, load_settings().data)
    result = cleaning.summary(papers, False, {})
    assert list(result["lost"]) == ["2301.00002.gz"] and result["macros_left_total"] == {"all": 1}
