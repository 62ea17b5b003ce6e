"""Which file is the paper, and which others belong to it."""

from __future__ import annotations

import json

import pytest

from data_prep.archive.main_file import Choice, choose, read_directives
from data_prep.archive.tex_files import PaperFiles
from data_prep.screening.reasons import Rejected


def document(body: str, document_class: str = "article", preamble: str = "") -> str:
    return f"\\documentclass{{{document_class}}}\n{preamble}\\begin{{document}}\n{body}\n\\end{{document}}\n"


def prose(subject: str) -> str:
    sentences = "The {0} of them is here. Every {0} has an end. Then one {0} more is taken. Both are {0} in this sense."
    return " ".join(sentences.format(f"{subject} {word}") for word in ("first", "second", "third", "last"))


def chosen(files: dict[str, str]) -> Choice:
    return choose(PaperFiles(files), 1_000_000)


def readme(*sources: dict[str, str]) -> str:
    return json.dumps({"process": {"compiler": "pdflatex"}, "sources": list(sources), "stamp": True})


@pytest.mark.parametrize(
    ("expected", "files"),
    [
        pytest.param("PAPER.TEX", {"PAPER.TEX": document("x")}, id="upper_case"),
        pytest.param("b.tex", {"a.tex": document("x"), "b.tex": document("x" * 99)}, id="most_text"),
        pytest.param("b.tex", {"a.tex": document("x" * 999), "b.tex": document(prose("line"))}, id="most_prose"),
        pytest.param(
            "b.tex", {"a.tex": document("x" * 50), "b.tex": document("\\input{c}"), "c.tex": "y" * 99}, id="reach"
        ),
        pytest.param("b.tex", {"a.tex": document("x" * 9), "b.tex": document("\\input{a}")}, id="includes_the_other"),
        pytest.param("a.tex", {"a.tex": document("x"), "sub/b.tex": document("x")}, id="nearest_to_the_top"),
        pytest.param("a.tex", {"a.tex": document("x"), "anc/b.tex": document("x" * 99)}, id="ancillary"),
        pytest.param("a.tex", {"a.tex": document("x"), "supplement.tex": document("x" * 99)}, id="supplement"),
        pytest.param("a.tex", {"a.tex": document("x"), "a_SI.tex": document("x" * 99)}, id="supporting_information"),
        pytest.param("a.tex", {"a.tex": document("x"), "reply_to_referees.tex": document("x" * 99)}, id="reply"),
        pytest.param(
            "a.tex",
            {"a.tex": document("x"), "r1.tex": document("Dear Editor, " + "x" * 99)},
            id="letter_by_its_first_words",
        ),
        pytest.param("a.tex", {"a.tex": document("x"), "b.tex": document("x" * 99, "letter")}, id="letter_by_class"),
        pytest.param("a.tex", {"a.tex": document("x"), "b.tex": document("x" * 99, "beamer")}, id="slides"),
        pytest.param("a.tex", {"a.tex": document("x"), "b.tex": document("x" * 99, "standalone")}, id="standalone"),
        pytest.param("a.tex", {"a.tex": document("x"), "s.tex": document("x" * 99, "subfiles")}, id="subfiles"),
        pytest.param("a.tex", {"a.tex": document("x"), "a_old.tex": document("x" * 99)}, id="old"),
        pytest.param("a.tex", {"a.tex": document("x"), "elsarticle-template.tex": document("x" * 99)}, id="template"),
        pytest.param("template.tex", {"template.tex": document("x"), "s.tex": "\\section{S}"}, id="template_alone"),
        pytest.param("p_v2.tex", {"p_v1.tex": document("x" * 99), "p_v2.tex": document("x")}, id="latest_version"),
        pytest.param("p_v10.tex", {"p_v10.tex": document("x"), "p_v9.tex": document("x")}, id="version_is_a_number"),
        pytest.param(
            "a.tex", {"a.tex": document("x"), "b.tex": document("x" * 99), "a.bbl": "\\bibitem"}, id="own_bbl"
        ),
        pytest.param(
            "a.tex", {"a.tex": "\\documentstyle{article}\\begin{document}x", "b.tex": "x" * 99}, id="latex209"
        ),
        pytest.param(
            "a.tex",
            {"a.tex": "\\input amstex\n\\documentstyle{amsppt}\n\\document x\n\\enddocument", "m.tex": "x" * 99},
            id="amstex",
        ),
        pytest.param("p", {"p": "\\magnification 1200 x\n\\bye\n", "macros": "\\def\\x{}" * 99}, id="plain"),
        pytest.param("p", {"p": "x\n\\vfill\\eject\\end", "macros": "\\def\\x{}" * 99}, id="plain_end"),
        pytest.param("p.tex", {"p.tex": "\\section{A} text", "a.sty": "\\def\\x{}"}, id="fragment"),
        pytest.param("p.tex", {"p.tex": prose("part"), "m.tex": "\\def\\x{}" * 99}, id="fragment_and_macros"),
        pytest.param(
            "all.tex",
            {"all.tex": "\\input{pre}\\begin{document}\\input{s}\\end{document}", "pre.tex": "\\documentclass{article}"}
            | {"s.tex": prose("part"), "reply.tex": document(prose("reply"))},
            id="class_in_another_file",
        ),
        pytest.param(
            "top.tex",
            {"top.tex": "\\documentclass{article}\\input{body}", "body.tex": "\\begin{document}x\\end{document}"},
            id="beginning_in_another_file",
        ),
        pytest.param(
            "arxiv.tex", {"arxiv.tex": "\\def\\mode{1}\\input{main}", "main.tex": document("x")}, id="wrapper"
        ),
        pytest.param("main.tex", {"main.tex": document("\\input{s}"), "s.tex": "\\input{main}"}, id="cycle"),
        pytest.param("a.tex", {"a.tex": document("\\input{b}"), "b.tex": document("\\input{a}")}, id="mutual"),
    ],
)
def test_main_file(expected, files):
    assert chosen(files).main == expected


TWO = {"a.tex": document(prose("axe")), "b.tex": document(prose("bow"))}


@pytest.mark.parametrize(
    ("expected", "name", "text"),
    [
        pytest.param("b.tex", "00README.XXX", "a.tex ignore\nb.tex toplevelfile\n", id="xxx"),
        pytest.param("b.tex", "00README.XXX", "a.tex ignore\n", id="ignore"),
        pytest.param("b.tex", "00readme.xxx", "nohypertex\nb.tex   toplevelfile\nnostamp", id="flags_without_a_file"),
        pytest.param("b.tex", "00README.XXX", "a.dvi landscape\na.dvi keepcomments\nb.tex toplevelfile", id="flags"),
        pytest.param("b.tex", "00README.XXX", "# a.tex toplevelfile\nb.tex toplevelfile", id="comment_line"),
        pytest.param("b.tex", "00README.json", readme({"filename": "b.tex", "usage": "toplevel"}), id="json"),
        pytest.param("b.tex", "00README.json", readme({"filename": "b.tex"}), id="json_without_usage"),
        pytest.param(
            "b.tex",
            "00README.json",
            readme(
                {"filename": "a.tex", "usage": "ignore"},
                {"filename": "a.dvi", "orientation": "landscape"},
                {"filename": "./b.tex", "usage": "toplevel"},
            ),
            id="json_of_several",
        ),
        pytest.param(
            "b.tex", "00README.yaml", "process:\n  compiler: tex\nsources:\n  - filename: b.tex\nstamp: no\n", id="yaml"
        ),
        pytest.param(
            "b.tex",
            "00README.yaml",
            "sources:\n- usage: ignore\n  filename: a.tex\n- filename: 'b.tex'\n  usage: toplevel\n",
            id="yaml_flat",
        ),
        pytest.param("b.tex", "00README.toml", '[[sources]]\nfilename = "b.tex"\nusage = "toplevel"\n', id="toml"),
        pytest.param("a.tex", "00README.json", "{not json", id="broken"),
        pytest.param("a.tex", "00README.json", '{"sources": {"filename": "b.tex"}}', id="wrong_shape"),
        pytest.param("a.tex", "00README.json", '{"sources": [3, null, {"usage": "toplevel"}]}', id="wrong_entries"),
        pytest.param("a.tex", "00README.XXX", "gone.tex toplevelfile", id="names_no_file"),
        pytest.param("a.tex", "00README.XXX", "b.tex include\nb.tex", id="include_is_not_toplevel"),
    ],
)
def test_directives(expected, name, text):
    files = {"a.tex": document(prose("axe") + "x" * 99), "b.tex": document("x"), name: text}
    assert chosen(files).main == expected


def test_a_newer_format_wins():
    files = {"00README.XXX": "a.tex toplevelfile", "00README.json": readme({"filename": "b.tex"}), **TWO}
    assert chosen(files).main == "b.tex"


def test_directives_of_a_folder_name_files_of_that_folder():
    files = {"src/00README.XXX": "b.tex toplevelfile"} | {f"src/{name}": text for name, text in TWO.items()}
    assert chosen(files).main == "src/b.tex"


def test_names_with_blanks_in_a_readme():
    assert read_directives({"00README.XXX": "my paper.tex toplevelfile"}).toplevel == ["my paper.tex"]


@pytest.mark.parametrize(
    ("main", "others", "files"),
    [
        pytest.param("a.tex", ("b.tex",), TWO, id="both_are_compiled"),
        pytest.param(
            "z.tex", ("supp.tex",), {"z.tex": TWO["a.tex"], "supp.tex": TWO["b.tex"]}, id="a_supplement_comes_after"
        ),
        pytest.param(
            "a.tex", ("si/supplement.tex",), {"a.tex": TWO["a.tex"], "si/supplement.tex": TWO["b.tex"]}, id="its_folder"
        ),
        pytest.param("a.tex", (), {"a.tex": TWO["a.tex"], "other/b.tex": TWO["b.tex"]}, id="another_folder"),
        pytest.param("a.tex", (), {"a.tex": TWO["a.tex"], "rebuttal.tex": TWO["b.tex"]}, id="rebuttal"),
        pytest.param("a.tex", (), {"a.tex": TWO["a.tex"], "cover_letter.tex": TWO["b.tex"]}, id="cover_letter"),
        pytest.param(
            "a.tex",
            (),
            {"a.tex": TWO["a.tex"], "r.tex": document("We thank both reviewers. " + prose("bow"))},
            id="letter",
        ),
        pytest.param("a.tex", (), {"a.tex": TWO["a.tex"], "neurips_2023.tex": TWO["b.tex"]}, id="template"),
        pytest.param(
            "a.tex", (), {"a.tex": document("\\input{b}"), "b.tex": document(prose("bow"))}, id="included_already"
        ),
        pytest.param("a.tex", (), {"00README.XXX": "b.tex ignore", **TWO}, id="ignored"),
        pytest.param("a.tex", (), {"00README.json": readme({"filename": "a.tex"}), **TWO}, id="not_listed"),
        pytest.param(
            "b.tex",
            ("a.tex",),
            {"00README.json": readme({"filename": "b.tex"}, {"filename": "a.tex"}), **TWO},
            id="the_order_of_a_list",
        ),
        pytest.param(
            "a.tex",
            ("b.tex", "c.tex"),
            {"00README.XXX": "c.tex toplevelfile\nb.tex toplevelfile\na.tex toplevelfile", **TWO}
            | {"c.tex": document(prose("cup")), "d.tex": document(prose("dog"))},
            id="by_name_without_order",
        ),
        pytest.param(
            "m.tex",
            ("AppendixSupplement.tex",),
            {"00README.XXX": "AppendixSupplement.tex toplevelfile\nm.tex toplevelfile"}
            | {"AppendixSupplement.tex": TWO["a.tex"] * 2, "m.tex": TWO["b.tex"]},
            id="the_paper_first",
        ),
    ],
)
def test_other_documents(main, others, files):
    choice = chosen(files)
    assert (choice.main, choice.others) == (main, others)


def test_no_main_file():
    with pytest.raises(Rejected) as caught:
        chosen({"a.sty": "\\def\\x{}", "a.bbl": "\\bibitem{x}"})
    assert caught.value.reason == "no_main_file"


def test_candidates_too_large_to_expand_are_judged_by_their_own_text():
    files = {"a.tex": document("\\input{big}"), "b.tex": document("x" * 50), "big.tex": "y" * 5000}
    assert choose(PaperFiles(files), 1000).main == "b.tex"


def test_many_documents():
    files = {f"p{i:03d}.tex": document(prose(f"item {i:03d}")) for i in range(300)}
    choice = chosen(files)
    assert choice.main == "p000.tex" and len(choice.others) == 20
