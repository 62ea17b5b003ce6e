"""What `\\input` and its family put in their places."""

from __future__ import annotations

import pytest

from data_prep.archive import flatten as module
from data_prep.archive.flatten import flatten
from data_prep.screening.reasons import Rejected


def document(body: str, preamble: str = "") -> str:
    return f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"


def flat(body: str, files: dict[str, str] | None = None, preamble: str = "") -> module.Flattened:
    return flatten({"main.tex": document(body, preamble), **(files or {})}, 1_000_000, "main.tex")


def words(text: str) -> str:
    """The body with white space collapsed."""
    return " ".join(text.partition("\\begin{document}")[2].rpartition("\\end{document}")[0].split())


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("\\input{one}", id="braces"),
        pytest.param("\\input{one.tex}", id="extension"),
        pytest.param("\\input one", id="bare"),
        pytest.param("\\input one.tex", id="bare_extension"),
        pytest.param('\\input "one"', id="bare_quotes"),
        pytest.param('\\input{"one"}', id="quotes"),
        pytest.param("\\input{\n  one\n}", id="lines"),
        pytest.param("\\input{%\n  one}", id="comment_in_the_name"),
        pytest.param("\\input{ONE}", id="case"),
        pytest.param("\\input{./one}", id="dot"),
        pytest.param("\\include{one}", id="include"),
        pytest.param("\\subfile{one}", id="subfile"),
        pytest.param("\\subfileinclude{one}", id="subfileinclude"),
        pytest.param("\\import{./}{one}", id="import"),
        pytest.param("\\import*{./}{one}", id="import_star"),
        pytest.param("\\subimport{}{one}", id="subimport"),
        pytest.param("\\inputfrom{./}{one}", id="inputfrom"),
        pytest.param("\\includefrom{./}{one}", id="includefrom"),
        pytest.param("\\InputIfFileExists{one}{}{}", id="input_if_file_exists"),
        pytest.param("{\\small\\input{one}}", id="in_a_group"),
        pytest.param("\\iflong\\input{one}\\fi", id="in_a_conditional"),
    ],
)
def test_included(call):
    result = flat(f"before {call}\nafter", {"one.tex": "inner words"})
    assert result.text.index("before") < result.text.index("inner words") < result.text.index("after")
    assert "\\in" not in result.text and "\\sub" not in result.text
    assert result.included == ["main.tex", "one.tex"]
    assert not result.counters and not result.missing


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%\\input{one}\n", id="comment"),
        pytest.param("\\verb|\\input{one}|", id="verb"),
        pytest.param("\\begin{verbatim}\\input{one}\\end{verbatim}", id="verbatim"),
        pytest.param("\\begin{lstlisting}\n\\input{one}\n\\end{lstlisting}", id="listing"),
        pytest.param("\\iffalse\\input{one}\\fi", id="iffalse"),
        pytest.param("\\iffalse \\ifx\\a\\b x\\else y\\fi \\input{one}\\fi", id="iffalse_around_another"),
        pytest.param("\\if0\\input{one}\\fi", id="if0"),
        pytest.param("\\iftrue x\\else\\input{one}\\fi", id="else_of_iftrue"),
        pytest.param("\\\\input{one}", id="escaped"),
        pytest.param("\\let\\oldinput\\input one", id="let"),
        pytest.param("\\renewcommand{\\input}[1]{one}", id="redefined"),
        pytest.param("\\includegraphics{one}", id="longer_name"),
        pytest.param("\\inputs{one}", id="longer_name_too"),
    ],
)
def test_not_included(text):
    result = flat(text, {"one.tex": "inner words"})
    assert "inner words" not in result.text
    assert not result.missing


def test_order_is_that_of_the_text():
    result = flat("\\input{z} middle \\input{a}", {"a.tex": "AAA", "z.tex": "ZZZ"})
    assert result.included == ["main.tex", "z.tex", "a.tex"]
    assert words(result.text) == "ZZZ middle AAA"


def test_an_extension_is_no_part_of_a_name_with_dots():
    assert "right" in flat("\\include{v1.2}", {"v1.2.tex": "right", "v1.tex": "wrong"}).text


def test_names_with_blanks():
    result = flat('\\input{my file} \\input "his file" end', {"my file.tex": "MINE", "his file.tex": "HIS"})
    assert words(result.text) == "MINE HIS end"


def test_a_file_that_differs_in_case_alone():
    result = flat("\\input{Intro}", {"intro.tex": "lower", "Intro.tex": "upper"})
    assert words(result.text) == "upper"


def test_folders():
    files = {
        "src/main.tex": document("\\input{s1} \\import{parts/}{two} \\input{../top}"),
        "src/s1.tex": "S1",
        "src/parts/two.tex": "TWO \\input{three} \\subimport{deep/}{four}",
        "src/parts/three.tex": "THREE",
        "src/parts/deep/four.tex": "FOUR \\input{five}",
        "src/parts/deep/five.tex": "FIVE",
        "top.tex": "TOP",
    }
    result = flatten(files, 10_000)
    assert result.main == "src/main.tex"
    assert words(result.text) == "S1 TWO THREE FOUR FIVE TOP"


def test_import_begins_at_the_main_file_and_subimport_at_this_one():
    files = {
        "a/one.tex": "\\import{b/}{two} \\subimport{b/}{two}",
        "b/two.tex": "from the top",
        "a/b/two.tex": "from below",
    }
    assert words(flat("\\import{a/}{one}", files).text) == "from the top from below"


def test_an_included_file_looks_beside_the_main_file():
    files = {"parts/one.tex": "\\input{two}", "two.tex": "at the top", "parts/two.tex": "beside"}
    assert words(flat("\\input{parts/one}", files).text) == "at the top"


def test_subfile_gives_its_body_and_looks_beside_itself():
    sub = "\\documentclass[../main.tex]{subfiles}\n\\begin{document}\nalpha \\input{two}\n\\end{document}\ntail"
    text = flat("\\subfile{sec/one}\nafter", {"sec/one.tex": sub, "sec/two.tex": "beside"}).text
    assert words(text) == "alpha beside after" and "subfiles" not in text


def test_a_standalone_file_gives_its_body():
    drawing = "\\documentclass[tikz]{standalone}\n\\newcommand{\\w}{3}\\begin{document}\nDRAWN\n\\end{document}\n"
    assert words(flat("\\input{fig}", {"fig.tex": drawing}).text) == "DRAWN"


def test_a_class_of_an_included_file_counts_where_there_is_none_yet():
    files = {"top.tex": "\\newcommand{\\mode}{arxiv}\\input{main}", "main.tex": document("words")}
    result = flatten(files, 10_000, "top.tex")
    assert "\\documentclass{article}" in result.text and "\\mode" in result.text and "words" in result.text


# ---------------------------------------------------------------------------------------------------------------------
# endinput


def test_endinput_ends_its_file_alone():
    result = flat(
        "\\input{one} after", {"one.tex": "a \\input{two}\nb\n\\endinput\nscratch", "two.tex": "c\\endinput d"}
    )
    assert words(result.text) == "a c b after"


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("%\\endinput\n", id="comment"),
        pytest.param("\\verb|\\endinput|", id="verb"),
        pytest.param("\\def\\stop{\\endinput}", id="definition"),
        pytest.param("\\ifx\\loaded\\undefined\\else\\endinput\\fi", id="conditional"),
        pytest.param("\\endinputs", id="longer_name"),
    ],
)
def test_endinput_that_ends_nothing(before):
    assert "kept words" in flat("\\input{one}", {"one.tex": f"{before} kept words"}).text


# ---------------------------------------------------------------------------------------------------------------------
# conditions on files


def test_input_if_file_exists():
    body = "\\InputIfFileExists{one}{then \\input{two}}{else} \\InputIfFileExists{gone}{THEN}{ELSE \\input{three}} end"
    result = flat(body, {"one.tex": "ONE", "two.tex": "TWO", "three.tex": "THREE"})
    assert words(result.text) == "then TWO ONE ELSE THREE end"
    assert not result.missing


def test_if_file_exists():
    body = "\\IfFileExists{one.tex}{yes}{no} \\IfFileExists{gone}{YES}{NO} \\IfFileExists{plot.pdf}{shown}{lost}"
    assert words(flat(body, {"one.tex": "ONE"}).text) == "yes NO shown"


def test_includeonly_leaves_out_what_it_does_not_list():
    body = "\\include{one} \\include{parts/two} \\include{three} \\input{four} end"
    files = {"one.tex": "ONE", "parts/two.tex": "TWO", "three.tex": "THREE", "four.tex": "FOUR"}
    result = flat(body, files, "\\includeonly{ parts/two, %one,\n three}")
    assert words(result.text) == "TWO THREE FOUR end"
    assert result.counters == {"include_excluded": 1}


def test_a_commented_includeonly_means_nothing():
    assert words(flat("\\include{one}", {"one.tex": "ONE"}, "%\\includeonly{two}").text) == "ONE"


# ---------------------------------------------------------------------------------------------------------------------
# names made by macros


def test_names_that_hold_plain_macros():
    preamble = "\\newcommand\\base{text}\n\\def\\chapters{\\base/ch}\n\\newcommand{\\parts}[0]{x}"
    files = {"text/ch/one.tex": "ONE", "text/ch/two.tex": "TWO", "text/three.tex": "THREE"}
    body = "\\input{\\chapters/one} \\input\\chapters/two \\input{\\base{}/three} end"
    assert words(flat(body, files, preamble).text) == "ONE TWO THREE end"


def test_a_macro_means_what_it_was_last_defined_as():
    body = "\\def\\d{a}\\input{\\d/x} \\def\\d{b}\\input{\\d/x}"
    assert words(flat(body, {"a/x.tex": "AX", "b/x.tex": "BX"}).text) == "\\def\\d{a}AX \\def\\d{b}BX"


def test_jobname():
    files = {"main-intro.tex": "INTRO", "main.txt": "TEXT"}
    assert words(flat("\\input{\\jobname-intro} \\input\\jobname.txt end", files).text) == "INTRO TEXT end"


def test_an_unknown_macro_is_no_name():
    result = flat("\\input\\unknown words \\input{\\unknown/one}", {"one.tex": "ONE"})
    assert words(result.text) == "\\input\\unknown words"
    assert result.missing == ["\\unknown/one"]


def test_macros_that_include_their_argument():
    preamble = "\\newcommand{\\chap}[2]{\\chapter{#1}\\input{ch/#2}}\n\\def\\sec#1{\\clearpage\\input #1 }"
    files = {"ch/one.tex": "ONE", "two.tex": "TWO"}
    result = flat("\\chap{First}{one} \\sec{two} end", files, preamble)
    assert words(result.text) == "\\chap{First}{one}ONE \\sec{two}TWO end"
    # Without `\input` the definitions are such as `macros.py` expands.
    assert "\\newcommand{\\chap}[2]{\\chapter{#1}}" in result.text and "\\input" not in result.text


def test_a_macro_whose_input_takes_its_parameter_bare():
    result = flat("\\show{one} end", {"one.tex": "ONE"}, "\\def\\show#1{\\begingroup\\input#1\\endgroup}")
    assert words(result.text) == "\\show{one}ONE end" and "#1{\\begingroup\\endgroup}" in result.text


def test_macros_that_include_always_the_same():
    result = flat("\\body end", {"one.tex": "ONE", "two.tex": "TWO"}, "\\newcommand{\\body}{\\input{one}\\input{two}}")
    assert words(result.text) == "\\body ONE TWO end"
    assert result.included == ["main.tex", "one.tex", "two.tex"]


def test_what_is_included_never_runs_into_a_control_word():
    assert "\\small words" in flat("\\small\\input{one}", {"one.tex": "words"}).text


# ---------------------------------------------------------------------------------------------------------------------
# what is no text


@pytest.mark.parametrize("name", ["fig.pdf_tex", "fig.pdf_t", "fig.tikz", "fig.pgf", "fig.pstex_t"])
def test_drawings_become_pictures(name):
    result = flat(f"\\begin{{figure}}\\input{{{name}}}\\caption{{C}}\\end{{figure}}", {name: "\\put(0,0){X}"})
    assert words(result.text) == f"\\begin{{figure}}\\includegraphics{{{name}}}\\caption{{C}}\\end{{figure}}"
    assert result.counters == {"input_of_drawing": 1}


def test_a_bibliography_becomes_one():
    result = flat("words \\input{main.bbl} end", {"main.bbl": "\\begin{thebibliography}{9}\\end{thebibliography}"})
    assert words(result.text) == "words \\bibliography{main} end"
    assert result.counters == {"input_of_bibliography": 1}


def test_formats_and_written_files_are_no_text():
    result = flat("\\input amstex \\input epsf.tex \\input{main.toc} end", {"epsf.tex": "\\def\\epsfbox{}"})
    assert words(result.text) == "end"
    assert result.counters == {"input_of_format": 3}


def test_support_files_of_the_archive_are_read():
    result = flat("end", {"mac.sty": "\\newcommand{\\R}{x}"}, "\\input{mac.sty}\\input{amssym.def}")
    assert "\\newcommand{\\R}{x}" in result.text and not result.missing


# ---------------------------------------------------------------------------------------------------------------------
# cycles, repetitions, limits


def test_cycles_are_cut_and_counted():
    result = flat("\\input{a}", {"a.tex": "A \\input{b}", "b.tex": "B \\input{a} C \\input{main}"})
    assert result.counters == {"input_cycle": 2}
    assert words(result.text) == "A B C"


def test_missing_files_are_named():
    result = flat("\\input{gone} \\include{parts/lost} end", {})
    assert result.missing == ["gone", "parts/lost"]
    assert result.counters == {"input_missing": 2}
    assert words(result.text) == "end"


def test_nothing_comes_twice():
    result = flat("\\input{one} and \\input{one.tex} end", {"one.tex": "ONE"})
    assert words(result.text) == "ONE and end"
    assert result.counters == {"input_repeated": 1}


def test_a_file_of_a_dead_branch_comes_where_it_is_alive():
    result = flat("\\iffalse\\input{one}\\fi x \\input{one} y", {"one.tex": "ONE"})
    assert "x ONE" in words(result.text)
    assert result.counters == {"input_dead": 1}


def test_both_branches_of_an_undecided_conditional_have_their_file():
    result = flat("\\iflong\\input{one}\\else small \\input{one}\\fi \\input{one}", {"one.tex": "ONE"})
    assert words(result.text) == "\\iflong ONE \\else small ONE \\fi"
    assert result.counters == {"input_repeated": 1}
    assert result.included == ["main.tex", "one.tex"]


def test_deep_chains_do_not_recurse():
    files = {f"{i}.tex": f"\\input{{{i + 1}}}" for i in range(5000)} | {"5000.tex": "bottom"}
    assert words(flat("\\input{0}", files).text) == "bottom"


def test_bombs_of_inclusions_end():
    files = {f"{i}.tex": f"\\ifx\\a\\b\\input{{{i + 1}}}\\else\\input{{{i + 1}}}\\fi " * 2 for i in range(50)}
    result = flat("\\input{0}", files | {"50.tex": "bottom"})
    assert result.text.count("bottom") == 2 and len(result.text) < 100_000


def test_branches_within_branches_end():
    depth = 3000
    body = "\\IfFileExists{main}{" * depth + "\\input{one}" + "}{}" * depth
    assert len(flat(body, {"one.tex": "ONE"}).text) < 3 * len(body)


def test_commands_are_limited():
    result = flat("\\input{x}" * 100_010, {"x.tex": "words"})
    assert result.counters["input_limit"] == 1
    assert result.counters["input_repeated"] == 99_999 and result.text.count("\\input{x}") == 10


def test_total_is_limited():
    with pytest.raises(Rejected, match="max_file_bytes 100") as caught:
        flatten({"main.tex": document("\\input{a}"), "a.tex": "x" * 200}, 100)
    assert caught.value.reason == "archive_too_large"
