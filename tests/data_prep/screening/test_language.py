"""The judge of languages: prose alone counts, formulas and names do not."""

from __future__ import annotations

import dataclasses

import pytest

from common.paths import ROOT
from common.settings.load import load_settings
from data_prep import language as command
from data_prep.screening import language
from data_prep.screening.language import judge, prose_sample
from tests.helpers.foreign_papers import SENTENCES, foreign_paper

CORPUS = ROOT.parent / "shared" / "corpus" / "src"

ENGLISH = (
    "We recall the main definitions first, then state the principal results, and finally give proofs together with "
    "some remarks about possible extensions of these ideas to other settings that a reader might want to consider. "
    "There is nothing difficult about them, but every step has been checked by more than one person before it went "
    "to press. "
)
FRENCH = (
    "Nous rappelons d'abord les définitions principales, puis nous énonçons les résultats et donnons enfin les preuves "
    "ainsi que quelques remarques sur les extensions possibles de ces idées à d'autres cadres que le lecteur pourrait "
    "vouloir étudier plus tard dans un autre article. "
    "Rien de tout cela ne demande beaucoup de calculs, mais il faut bien vérifier chaque étape avant de passer à la "
    "suite. "
)
GERMAN = (
    "Wir erinnern zuerst an die wichtigsten Definitionen, formulieren dann die Ergebnisse und geben schließlich "
    "die Beweise mit einigen Bemerkungen über mögliche Erweiterungen dieser Gedanken auf andere Fragen, die der Leser "
    "später einmal in einer weiteren Arbeit untersuchen möchte. "
    "Dabei wird nicht vorausgesetzt, dass jede stetige Abbildung auch überall beschränkt ist, sondern nur auf kleinen "
    "Mengen, wie man sie hier oft braucht. "
)
CHINESE = "我们首先回顾主要定义，然后陈述主要结果，最后给出证明以及关于这些思想可能推广的一些说明。" * 10
FORMULA = "\\begin{align}\\sum_{i=1}^n x_i \\le \\int_0^1 f(t)\\,dt\\end{align} so $a_{ij} = b$ and \\[x^2+y^2=z^2\\] "


def test_languages():
    assert judge(ENGLISH * 3).code == "en"
    assert judge(FRENCH * 3).code == "fr"
    assert judge(GERMAN * 3).code == "de"
    assert judge(CHINESE).code == "zh"


def test_formula_heavy_english_is_english():
    assert judge((FORMULA * 10 + ENGLISH) * 5).code in ("en", None)
    assert judge(FORMULA * 100).code is None


def test_french_with_english_abstract_is_french():
    assert judge("\\begin{abstract}" + ENGLISH + "\\end{abstract}\n\n" + (FRENCH + "\n\n") * 200).code == "fr"


def test_little_prose_gives_no_verdict():
    verdict = judge("Soit $x$ un nombre.")
    assert verdict.code is None and verdict.rule == "little_prose"
    assert judge("alpha beta gamma " * 100).code is None  # a table's few words over and over


def test_same_answer_every_time():
    text = ENGLISH[:150] + FRENCH[:150] + GERMAN[:150]
    assert len({judge(text) for _ in range(5)}) == 1


def test_sample_is_bounded_and_free_of_mathematics():
    sample = prose_sample((ENGLISH + FORMULA + "\\cite{Smith98} \\url{http://x.y/z}\n\n") * 2000)
    assert len(sample) <= language.WINDOWS * (language.PROSE_CHARS + 1)
    assert not set(sample) & set("\\${}^_") and "Smith" not in sample and "http" not in sample


def test_command(tmp_path, capsys):
    path = tmp_path / "a.tex"
    path.write_text(ENGLISH * 3)
    assert command.main([str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: en (english_words, ")


@pytest.mark.parametrize("displays", [0.3, 3.0])
@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_other_languages_are_told_however_much_mathematics_there_is(name, displays):
    codes = [judge(foreign_paper(name, i, 60, displays, english=i % 2 == 0)).code for i in range(6)]
    assert codes == [name] * 6


def test_no_english_paragraph_of_the_corpus_is_refused():
    """A part of what benchmarks/latex/language.py measures: formula-heavy paragraphs, all documents but lorem ipsum."""
    if not CORPUS.is_dir():
        pytest.skip("the shared corpus is not here")
    from benchmarks.latex.language import heavy_paragraphs
    from data_prep.papers.archives import list_archives, read_bytes
    from data_prep.pipeline.process_paper import process_paper

    settings = dataclasses.replace(load_settings().data, languages=None)
    refused, count = set(), 0
    for ref in list_archives(CORPUS)[::4]:
        text = process_paper(read_bytes(ref), ref.name, None, settings).text
        if not text or "lorem ipsum" in text.lower():
            continue
        for part in [text, *[paragraph for paragraph, _ in list(heavy_paragraphs(text))[::5]]]:
            count += 1
            if judge(part).code not in ("en", None):
                refused.add((ref.paper_id, part[:80]))
    assert count > 300 and not refused
