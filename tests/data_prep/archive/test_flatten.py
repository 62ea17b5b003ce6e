"""One text from a paper's files, its supplements at the end; the command."""

from __future__ import annotations

import pytest

from data_prep import flatten as command
from data_prep.archive.flatten import choose_main, flatten
from data_prep.archive.supplement import append, definitions
from data_prep.latex.clean import clean


def document(body: str, preamble: str = "") -> str:
    return f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"


def prose(subject: str) -> str:
    sentences = "The {0} of them is here. Every {0} has an end. Then one {0} more is taken. Both are {0} in this sense."
    return " ".join(sentences.format(f"{subject} {word}") for word in ("first", "second", "third", "last"))


PAPER = document(f"\\maketitle\n{prose('apple')}", "\\title{On apples}\n\\newcommand{\\x}{\\alpha}")
SUPPLEMENT = document(
    f"\\maketitle\n{prose('pear')} It is $\\x$ and $\\y$.",
    "\\usepackage[margin=1in]{geometry}\n\\pagestyle{empty}\n\\title[Pears]{Supplement:\\\\On pears}\n"
    "\\author{A. Nobody}\n"
    "\\newcommand{\\y}{\\beta}\n\\renewcommand{\\x}{\\gamma}\n",
)


def test_a_supplement_stands_before_the_end_of_the_document():
    result = flatten({"paper.tex": PAPER, "supp.tex": SUPPLEMENT}, 100_000)
    text = result.text
    places = [
        "On apples",
        "apple first",
        "\\appendix",
        "\\newcommand{\\y}",
        "On pears",
        "pear first",
        "\\end{document}",
    ]
    found = [text.index(place) for place in places]
    assert found == sorted(found)
    assert text.count("\\end{document}") == text.count("\\begin{document}") == text.count("\\documentclass") == 1
    assert result.included == ["paper.tex", "supp.tex"] and result.counters == {"supplements": 1}


def test_a_supplement_is_cleaned_with_its_own_macros_and_under_a_heading():
    text = clean(flatten({"paper.tex": PAPER, "supp.tex": SUPPLEMENT}, 100_000).text)
    assert text.startswith("\\title{On apples}")
    assert "\\section*{Supplement: On pears}" in text and text.count("\\title") == 1
    assert "It is $\\gamma$ and $\\beta$." in text
    for gone in ("geometry", "pagestyle", "Nobody", "maketitle", "newcommand"):
        assert gone not in text


def test_a_title_within_the_body_of_a_supplement():
    supplement = document(f"\\title{{Pears}}\\maketitle\n{prose('pear')}")
    assert "\\section*{Pears}" in append(PAPER, supplement) and append(PAPER, supplement).count("\\title{") == 1


def test_a_paper_with_an_appendix_gets_no_second_one():
    paper = PAPER.replace("\\end{document}", "\\appendix more\\end{document}")
    assert append(paper, SUPPLEMENT).count("\\appendix") == 1


@pytest.mark.parametrize(
    ("paper", "end"),
    [
        pytest.param("\\documentstyle{amsppt}\\document words\n\\enddocument\nscratch", "\\enddocument", id="amstex"),
        pytest.param("plain words\n\\bye\nscratch", "\\bye", id="plain"),
        pytest.param("plain words\n\\vfill\\eject\\end\n", "\\end\n", id="plain_end"),
        pytest.param(document("\\verb|\\end{document}| more"), "\n\\end{document}\n", id="verbatim"),
        pytest.param(document("words").replace("\\end{document}", ""), None, id="no_end"),
    ],
)
def test_where_a_document_ends(paper, end):
    text = append(paper, SUPPLEMENT)
    assert text.index("pear first") > text.index("words" if "words" in paper else "more")
    if end:
        assert text.index("pear last") < text.rindex(end)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(document(prose("apple").replace("an end", "one end")), id="another_version"),
        pytest.param(document("\\begin{tikzpicture}\\draw (0,0) -- (1,1);\\end{tikzpicture}"), id="figure"),
        pytest.param(document("\\input{body}"), id="another_frame_of_the_same_text"),
    ],
)
def test_documents_that_are_left_out(other):
    files = {"paper.tex": document("\\input{body}"), "body.tex": prose("apple"), "other.tex": other, "paper.bbl": "x"}
    result = flatten(files, 100_000)
    assert result.main == "paper.tex" and result.counters == {"documents_left_out": 1}
    assert result.text.count("apple first") == 4


def test_files_that_both_documents_include_come_once():
    macros = "\\newcommand{\\z}{\\zeta}"
    paper, supplement = (document(prose(name) + " $\\z$", "\\input{macros}") for name in ("apple", "pear"))
    result = flatten({"a.tex": paper, "b.tex": supplement, "macros.tex": macros}, 100_000)
    assert result.text.count(macros) == 1 and result.counters == {"supplements": 1, "input_repeated": 1}
    assert clean(result.text).count("$\\zeta$") == 2


def test_a_main_file_that_is_given_stands_alone():
    result = flatten({"paper.tex": PAPER, "supp.tex": SUPPLEMENT}, 100_000, "supp.tex")
    assert result.main == "supp.tex" and "apple" not in result.text


@pytest.mark.parametrize(
    "definition",
    [
        "\\newcommand{\\a}[2][x]{#1#2}",
        "\\def\\a#1.{(#1)}",
        "\\let\\a\\b",
        "\\DeclareMathOperator*{\\a}{a}",
        "\\newtheorem{thm}{Theorem}[section]",
        "\\newenvironment{e}[1]{\\begin{x}{#1}}{\\end{x}}",
        "\\NewDocumentCommand{\\a}{s O{d} m}{x}",
        "\\newif\\iflong",
        "\\usepackage[option]{package}",
    ],
)
def test_definitions_are_found_whole(definition):
    preamble = (
        f"\\documentclass[12pt]{{article}}\\geometry{{a4paper}}\n  {definition} \\pagestyle{{empty}}\\title{{T}}\n"
    )
    assert definitions(preamble) == f"{definition}\n"


def test_flags_as_set():
    assert definitions("\\newif\\iflong \\longtrue \\othertrue") == "\\newif\\iflong\n\\longtrue\n"


def test_choose_main():
    assert choose_main({"b.tex": PAPER, "a_supp.tex": SUPPLEMENT}) == "b.tex"


def test_command(tmp_path, capsys):
    (tmp_path / "main.tex").write_text(document("\\input{one} \\input{gone}"))
    (tmp_path / "one.tex").write_text("ONE % gone")
    assert command.main([str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "ONE" in captured.out and "gone" not in captured.out
    assert "main file main.tex, 2 files; 1 input_missing" in captured.err and "no file for: gone" in captured.err
