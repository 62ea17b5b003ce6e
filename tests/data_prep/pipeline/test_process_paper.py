"""One archive in, text or one reason out."""

from __future__ import annotations

import dataclasses
import gzip
import json

import pytest

from common.settings.load import load_settings
from data_prep import paper
from data_prep.pipeline import process_paper as module
from data_prep.pipeline.process_paper import passes, process_paper, with_metadata
from data_prep.screening.reasons import REASONS

SETTINGS = dataclasses.replace(load_settings().data, min_chars=100)
ENGLISH = (
    "We recall the main definitions first, then state the principal results, and finally give proofs together with "
    "some remarks about possible extensions of these ideas to other settings that a reader might want to consider. "
    "There is nothing difficult about them, but every step has been checked by more than one person before it went "
    "to press. "
)
PREAMBLE = "\\documentclass{article}\n\\title{On $x$}\n"
SOURCE = f"{PREAMBLE}\\begin{{document}}\n\\maketitle\n{ENGLISH * 3}% no\n\\end{{document}}"
RECORD = {"title": "A  title", "abstract": "  An abstract\n of two lines. "}


def outcome(text: str, metadata=None, **knobs):
    return process_paper(
        gzip.compress(text.encode()), "2301.00001.gz", metadata, dataclasses.replace(SETTINGS, **knobs)
    )


def test_text():
    result = outcome(SOURCE)
    assert result.reason is None
    assert result.text == f"\\title{{On $x$}}\n\n{(ENGLISH * 3).strip()}\n"
    assert result.counters["kind_single_tex"] == 1


def test_reasons():
    assert outcome(SOURCE, min_chars=10_000).reason == "too_short"
    assert outcome(SOURCE, min_chars=0, max_chars=10).reason == "too_long"
    assert process_paper(b"%PDF-1.4", "x.pdf", None, SETTINGS).reason == "pdf_only"
    french = "Nous rappelons les définitions et les résultats, puis nous donnons les preuves avec quelques remarques. "
    others = (
        "Le lecteur pourrait vouloir étudier plus tard cette idée dans un autre cadre moins simple que celui du livre, "
    )
    more = "où chaque nombre premier divise une somme finie, car toute suite bornée possède alors une limite unique."
    result = outcome("\\section{A} \\section{B} \\section{C} " + (french + others + more) * 4)
    assert result.reason == "language" and result.detail.startswith("fr (langdetect")
    assert outcome("\\section{A} " + (french + others + more) * 4, languages=None).reason is None
    assert {result.reason} <= set(REASONS)


def test_unexpected_errors_are_outcomes(monkeypatch):
    def broken(*arguments) -> str:
        raise RuntimeError("boom")

    monkeypatch.setattr(module, "clean", broken)
    result = outcome(SOURCE)
    assert result.reason == "processing_error" and "boom" in result.detail and result.text is None


def test_metadata_fills_what_the_source_lacks():
    titled = with_metadata("\\title{Own}\n\nBody", RECORD)
    assert titled == "\\title{Own}\n\n\\begin{abstract}\nAn abstract of two lines.\n\\end{abstract}\n\nBody"
    assert with_metadata("Body", RECORD).startswith("\\title{A title}\n\n\\begin{abstract}\nAn abstract")
    whole = "\\title{Own}\n\n\\begin{abstract}\nMine.\n\\end{abstract}\n\nBody"
    assert with_metadata(whole, RECORD) == whole
    untitled = with_metadata("\\begin{abstract}\nMine.\n\\end{abstract}\n\nBody", RECORD)
    assert untitled == "\\title{A title}\n\n\\begin{abstract}\nMine.\n\\end{abstract}\n\nBody"
    assert with_metadata("Body", None) == "Body"


def test_metadata_is_cleaned_of_the_characters_that_papers_are():
    odd = {"title": "On\u200b stri\u2581ngs\ufeff", "abstract": "Poincare\u0301\x07 maps\u2028of\xa0one \ud800kind."}
    assert with_metadata("Body", odd) == (
        "\\title{On stri_ngs}\n\n\\begin{abstract}\nPoincar\u00e9 maps of one kind.\n\\end{abstract}\n\nBody"
    )


def test_what_the_metadata_adds_is_no_text_of_the_source():
    references = (
        "\\begin{thebibliography}{9}" + "\\bibitem{a} A. Author, A paper, 1999.\n" * 99 + "\\end{thebibliography}"
    )
    result = outcome(references, {"title": "T", "abstract": ENGLISH * 20})
    assert result.reason == "too_short" and "data.min_chars" in result.detail


def test_little_prose_asks_the_abstract():
    lines = (f"\\begin{{align}}x_{{i}} &= \\sum_j y_{{ij}} + c_{{{i}}}\\end{{align}}\n" for i in range(50))
    formulas = "\\section{A}" + "".join(lines)
    assert outcome(formulas).reason is None
    result = outcome(formulas, {"title": "T", "abstract": ENGLISH * 3})
    assert result.reason is None and result.counters["language_by_english_words"] == 1


def test_passes_end_in_the_text():
    data = gzip.compress(SOURCE.encode())
    shown = passes(data, "x.gz", RECORD, SETTINGS)
    names = [name for name, _ in shown]
    assert names[:2] == ["extraction", "flatten"] and names[-1] == "metadata" and len(set(names)) == len(names)
    assert shown[0][1] == SOURCE
    assert shown[-1][1] == process_paper(data, "x.gz", RECORD, SETTINGS).text


def test_command(tmp_path, capsys):
    good, bad = tmp_path / "good.gz", tmp_path / "bad.gz"
    good.write_bytes(gzip.compress(SOURCE.encode()))
    bad.write_bytes(b"")
    assert paper.main(["--set", "data.min_chars=100", str(good), str(bad)]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["file"], first["status"], first["reason"]) == (str(good), "ok", None)
    assert first["text"].startswith("\\title{On $x$}")
    assert (second["status"], second["reason"], second["text"]) == ("rejected", "empty_archive", None)
    assert paper.main(["--set", "data.min_chars=100", "--text", str(good)]) == 0
    assert capsys.readouterr().out == first["text"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{\\bf On Strings}\n\n{\\bf Abstract.} We.", "{\\bf On Strings}\n\n{\\bf Abstract.} We."),
        ("\\section*{Abstract}\nWe.", "\\title{On strings}\n\n\\section*{Abstract}\nWe."),
        ("An abstract group.", "\\title{On strings}\n\n\\begin{abstract}\nWe.\n\\end{abstract}\n\nAn abstract group."),
    ],
    ids=["title_page_by_hand", "abstract_as_a_section", "the_word_in_prose"],
)
def test_metadata_does_not_repeat_a_title_page(text, expected):
    assert with_metadata(text, {"title": "On strings", "abstract": "We."}) == expected


def test_what_cleaning_unbalances_is_counted(monkeypatch):
    metadata = {"title": "An unbalanced $ title", "abstract": "And { more."}
    settings = dataclasses.replace(load_settings().data, min_chars=0, languages=None)
    source = b"\\documentclass{a}\\begin{document}words\\end{document}"
    counters = process_paper(source, "a.tex", metadata, settings).counters
    assert not any(name.startswith("unbalanced") for name in counters)
    monkeypatch.setattr(module, "clean", lambda *_: "words {\n")
    assert process_paper(source, "a.tex", None, settings).counters["unbalanced_braces"] == 1
