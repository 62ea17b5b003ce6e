"""Every pass of the cleaner, one named case per behaviour, and the passes together."""

from __future__ import annotations

import dataclasses

import pytest

from common.settings.load import load_settings
from data_prep import latex_cleaner
from data_prep.latex.clean import PASSES, clean, steps
from data_prep.latex.passes import unicode_text
from data_prep.latex.scanner import strip_comments

CASES: dict[str, dict[str, tuple[str, str]]] = {
    "unicode_text": {
        "ascii_stays": ("a b\tc\n", "a b\tc\n"),
        "control_characters": ("a\x00b\x07c\x7f", "abc"),
        "sentencepiece_blank": ("a\u2581b", "a_b"),
        "private_use_and_surrogates": ("a\ue000b\ud800c\ufeff", "abc"),
        "composed": ("e\u0301", "é"),
        "line_ends": ("a\u2028b\x0cc", "a\nb\nc"),
        "no_break_space": ("a\xa0b", "a b"),
    },
    "conditionals": {
        "iffalse": ("a \\iffalse dead\\fi b", "a b"),
        "iffalse_else": ("\\iffalse dead\\else live\\fi{} b", "live{} b"),
        "iftrue_else": ("\\iftrue live\\else dead\\fi{} b", "live{} b"),
        "nested_in_dead": ("\\iffalse a \\ifx b\\else c\\fi d\\fi e", "e"),
        "newif_set": ("\\newif\\iflong \\longtrue\\iflong A\\else B\\fi", "\\newif\\iflong \\longtrue A"),
        "newif_default_is_false": ("\\newif\\iflong\\iflong A\\else B\\fi", "\\newif\\iflong B"),
        "newif_changes": ("\\newif\\ifx@a\\ifx@a A\\fi\\x@atrue\\ifx@a B\\fi", "\\newif\\ifx@a\\x@atrue B"),
        "if_zero": ("\\if0 dead\\fi live", "live"),
        "undecided_stays": ("\\iffalse\\fi\\ifmmode a\\else b\\fi", "\\ifmmode a\\else b\\fi"),
        "flag_in_definition_is_not_set": (
            "\\newif\\ifa\\def\\x{\\atrue}\\ifa A\\else B\\fi",
            "\\newif\\ifa\\def\\x{\\atrue}B",
        ),
        "iff_is_no_conditional": ("\\iftrue\\fi $a \\iff b$ \\fi", "$a \\iff b$ \\fi"),
        "without_end_stays": ("\\iffalse a", "\\iffalse a"),
    },
    # tests/data_prep/latex/test_macros.py has their cases.
    "macros": {"zero_arguments": ("\\def\\R{\\mathbb{R}}$\\R$", "$\\mathbb{R}$")},
    "ensuremath": {"in_text": ("a \\ensuremath{x}", "a $x$")},
    "document_end": {
        "end_document": ("\\begin{document}a\\end{document}junk", "\\begin{document}a"),
        "bye": ("a\\bye junk", "a"),
        "plain_end": ("a\n\\end\njunk", "a\n"),
        "end_of_environment": ("\\begin{x}a\\end{x}b", "\\begin{x}a\\end{x}b"),
        "amstex": ("\\document a\\enddocument b", "\\document a"),
    },
    "front_matter": {
        "preamble": ("\\documentclass{a}\\usepackage{b}\\begin{document}text", "text"),
        "title_from_preamble": (
            "\\documentclass{a}\\title[s]{Long \\\\ title}\\begin{document}text",
            "\\title{Long title}\n\ntext",
        ),
        "abstract_after_title": (
            "\\begin{document}x\\begin{abstract}A\\end{abstract}\\title{T}y",
            "\\title{T}\n\n\\begin{abstract}\nA\n\\end{abstract}\n\nxy",
        ),
        "abstract_command": (
            "\\documentclass{a}\\abstract{A}\\begin{document}x",
            "\\begin{abstract}\nA\n\\end{abstract}\n\nx",
        ),
        "no_document": ("text", "text"),
        "two_columns": (
            "\\begin{document}\\twocolumn[\\icmltitle{A [B]}\\vskip 3mm]\\begin{abstract}A\\end{abstract}x",
            "\\title{A [B]}\n\n\\begin{abstract}\nA\n\\end{abstract}\n\n\\vskip 3mmx",
        ),
        "abstract_of_five_parts": (
            "\\documentclass{aa}\\begin{document}\\abstract{a}{b}{}{c}{d}x",
            "\\begin{abstract}\na\nb\nc\nd\n\\end{abstract}\n\nx",
        ),
        "harvmac": ("\\Title{hep-th/1}{Strings}x", "\\title{Strings}\n\nx"),
        "amstex": (
            "\\topmatter\\title T\\endtitle\\author A B\\endauthor\\endtopmatter\\document x",
            "\\title{T}\n\nx",
        ),
        "later_abstract_stays": (
            "\\begin{document}\\section{A}\\begin{abstract}B\\end{abstract}",
            "\\section{A}\\begin{abstract}B\\end{abstract}",
        ),
    },
    "bibliography": {
        "environment": (
            "a\n\\begin{thebibliography}{9}\\bibitem{a} J.\\end{thebibliography}\n\\appendix b",
            "a\n\\appendix b",
        ),
        "command": ("a\n\\bibliographystyle{p}\n\\bibliography{r}\nb", "a\nb"),
        "heading": ("a\n\n\\section*{References}\n\\begin{thebibliography}{9}x\\end{thebibliography}\nb", "a\n\nb"),
        "style_between_heading_and_list": (
            "a\n\\section*{References}\n\\bibliographystyle{p}\n\\bibliography{r}\nb",
            "a\nb",
        ),
        "other_heading_stays": ("\\section{Proofs}\n\\bibliography{r}\n", "\\section{Proofs}\n"),
        "unclosed": ("a\n\\begin{thebibliography}{9} x\n\\section{B}", "a\n\\section{B}"),
        "bare_items": ("a\n\n\\bibitem{x} J. 1.\n\\bibitem{y} K. 2.\n\nb", "a\n\n\nb"),
        "nocite": ("a\\nocite{*} b", "a b"),
        "printbibliography": ("a\n\\printbibliography[heading=none]\n", "a\n[heading=none]\n"),
    },
    "figures": {
        "caption_stays": (
            "\\begin{figure}[t]\\includegraphics[width=1cm]{a}\\caption{C {d}.}\\label{x}\\end{figure}",
            "\\begin{figure}\n\\caption{C {d}.}\n\\end{figure}",
        ),
        "figure_without_caption": ("a \\begin{figure}\\includegraphics{a}\\end{figure} b", "a b"),
        "figure_of_text_stays": ("\\begin{figure}text\\end{figure}", "\\begin{figure}text\\end{figure}"),
        "tikz": ("a\n\\begin{tikzpicture}\\draw (0,0);\\end{tikzpicture}\nb", "a\nb"),
        "unclosed_tikz_stays": ("\\begin{tikzpicture}x", "\\begin{tikzpicture}x"),
        "inline_image": ("a \\includegraphics*[x]{f.eps} b", "a b"),
        "several_captions": (
            "\\begin{figure*}\\epsfbox{a}\\caption{A}\\psfig{b}\\caption*{B}\\end{figure*}",
            "\\begin{figure*}\n\\caption{A}\n\\caption{B}\n\\end{figure*}",
        ),
    },
    "tables": {"kept_by_default": ("\\begin{tabular}{l}a\\end{tabular}", "\\begin{tabular}{l}a\\end{tabular}")},
    "references": {
        "cite": ("by \\cite{a,b}.", "by \\cite{}."),
        "notes": ("by \\citep[see][p.~3]{a}, x", "by \\citep{}, x"),
        "star": ("\\citet*{a} x", "\\citet{} x"),
        "ref": ("Theorem~\\ref{t1} and \\eqref{e2}", "Theorem~\\ref{} and \\eqref{}"),
        "cref": ("\\Cref{a} \\autoref*{b} \\crefrange{a}{b}", "\\Cref{} \\autoref{} \\crefrange{}"),
        "others_stay": (
            "\\citestyle{x} \\refstepcounter{y} \\href{a}{b}",
            "\\citestyle{x} \\refstepcounter{y} \\href{a}{b}",
        ),
        "without_keys": ("\\cite x", "\\cite x"),
    },
    "layout": {
        "newcommand": ("a \\newcommand{\\x}[2][d]{#1{#2}} b", "a b"),
        "newcommand_bare": ("\\renewcommand*\\x{y}z", "z"),
        "def": ("\\def\\x#1.#2{#1}z", "z"),
        "let": ("\\let\\a=\\b z", "z"),
        "newtheorem": ("\\newtheorem{a}[b]{C}\\newtheorem{a}{C}[section]\\newtheorem*{x}{Y}z", "z"),
        "newenvironment": ("\\newenvironment{a}[1]{b}{c}z", "z"),
        "operator": ("\\DeclareMathOperator*{\\x}{y}z", "z"),
        "document_command": ("\\NewDocumentCommand{\\pd}{O{} m}{x}z", "z"),
        "unbalanced_stays": ("\\def\\x{a", "\\def\\x{a"),
        "assignment": ("\\parindent=0pt z", "z"),
        "assignment_of_length": ("\\setlength{\\parskip}{1em}z", "z"),
        "font": ("\\font\\big=cmr10 at 12pt\nz", "z"),
        "coloured_group": ("a {\\color{red} b} \\emph{\\color{red} c}", "a b \\emph{ c}"),
        "notes_to_the_author": ("a\\todo[inline]{b} c\\marginpar{d}", "a c"),
        "initial": ("\\IEEEPARstart{T}{his} is", "This is"),
        "initial_with_options": ("\\lettrine[lines=2]{W}{e} show", "We show"),
        "biography": ("a \\begin{IEEEbiography}[{x}]{M. S.}Text.\\end{IEEEbiography} b", "a b"),
        "proof_under_another_name": ("\\begin{IEEEproof}x\\end{IEEEproof}", "\\begin{proof}x\\end{proof}"),
        "title_is_a_paragraph_of_its_own": ("a \\maketitle b", "a \n\nb"),
        "hyphenation_points": ("hy\\-phen NASA\\@. {\\it so}\\/ x", "hyphen NASA. {\\it so} x"),
        "label": ("\\begin{equation}\\label{x}\na", "\\begin{equation}\na"),
        "label_alone": ("\\section{A}\n\\label{x}\nb", "\\section{A}\nb"),
        "noindent": ("\\noindent Text", "Text"),
        "vspace": ("a\n\\vspace*{1em}\n\nb", "a\n\nb"),
        "hspace_is_a_blank": ("a\\hspace{1em}b", "a b"),
        "vskip": ("a \\vskip 10pt plus 1pt minus 1fil b", "a b"),
        "par": ("a \\par b", "a \n\nb"),
        "size_in_group": ("{\\large Big}", "{Big}"),
        "href": ("see \\href{http://a}{our page} now", "see our page now"),
        "font_keeps_its_group": ("\\href{u}{\\tt x} y", "{\\tt x} y"),
        "textcolor": ("a \\textcolor{red}{b \\textcolor{blue}{c}} d", "a b c d"),
        "author": ("\\author[A]{A. B.\\thanks{x}}\\date{}z", "z"),
        "center": ("\\begin{center}\na\n\\end{center}\n", "a\n"),
        "minipage": ("\\begin{minipage}[t]{3cm}a\\end{minipage}", "a"),
        "longer_name_stays": ("\\labelled{x} \\smallint", "\\labelled{x} \\smallint"),
        "float_option": ("\\begin{table}[htb]\na", "\\begin{table}\na"),
        "theorem_option_stays": ("\\begin{theorem}[Euler]", "\\begin{theorem}[Euler]"),
        "row_space": ("a \\\\[2pt] b \\\\* c", "a \\\\ b \\\\* c"),
        "row_with_bracket_stays": ("a \\\\ [x] b", "a \\\\ [x] b"),
        "escaped_is_no_command": ("\\\\label", "\\\\label"),
        "texorpdfstring": ("\\section{\\texorpdfstring{$x$}{x}}", "\\section{$x$}"),
    },
    "accents": {
        "acute": ("Poincar\\'e", "Poincaré"),
        "braces": ('Schr\\"{o}dinger, caf{\\\'e}, na\\"{\\i}ve', "Schrödinger, café, naïve"),
        "argument_keeps_braces": ("\\emph{\\'e}", "\\emph{é}"),
        "hooks": ("Erd\\H{o}s, \\v Cech, \\c{c}a, Fran\\c cois", "Erdős, Čech, ça, François"),
        "letters": ("Stra\\ss e, \\O re, \\L{}ukasiewicz, {\\ae}on", "Straße, Øre, Łukasiewicz, æon"),
        "mathematics_is_left": ("$\\v{x} + \\c c + \\o$", "$\\v{x} + \\c c + \\o$"),
        "tabbing_is_left": ("\\begin{tabbing}\\=a\\'e\\end{tabbing}", "\\begin{tabbing}\\=a\\'e\\end{tabbing}"),
        "no_such_letter": ("\\.{q}\\v{q}", "\\.{q}\\v{q}"),
        "line_break_is_no_accent": ("a \\\\'quoted'", "a \\\\'quoted'"),
    },
    "blank_lines": {
        "row_break_on_its_own_line_stays": ("a &= b\n\\\\\nc &= d", "a &= b\n\\\\\nc &= d\n"),
        "line_break_between_paragraphs": ("a\n\n\\\\\n\nb", "a\n\nb\n"),
        "blanks": ("a  b\t c \n", "a b c\n"),
        "paragraphs": ("a\n \n\n  b", "a\n\nb\n"),
        "indentation": ("a\n    b", "a\nb\n"),
        "empty": (" \n ", ""),
    },
}
FUNCTIONS = {"unicode_text": unicode_text.unicode_text, **dict(PASSES)}


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [pytest.param(name, *case, id=f"{name}-{what}") for name, cases in CASES.items() for what, case in cases.items()],
)
def test_pass(name, source, expected):
    assert FUNCTIONS[name](source) == expected


def test_changed_characters_are_told():
    cases = {raw: cleaned for raw, cleaned in CASES["unicode_text"].values()}
    singles = {character: unicode_text.unicode_text(character) for character in map(chr, [*range(0x10000), 0xF0000])}
    told = {raw: unicode_text.changes_in(raw) for raw in {**cases, **singles}}
    assert [raw for raw, cleaned in (cases | singles).items() if bool(told[raw]) != (raw != cleaned)] == []
    assert {name for names in told.values() for name in names} == {*unicode_text.CHANGES, unicode_text.DECOMPOSED}


KNOBS = {
    "tables_dropped": (
        {"tables": "drop"},
        "a \\begin{table}\\caption{C}\\begin{tabular}{l}x\\end{tabular}\\end{table} b",
        "a \\begin{table}\n\\caption{C}\n\\end{table} b\n",
    ),
    "bare_tabular_dropped": ({"tables": "drop"}, "a \\begin{tabular}{l}x\\end{tabular} b", "a b\n"),
    "references_kept": (
        {"references": "keep"},
        "see \\cite[p.~3]{a} and~\\ref{b}",
        "see \\cite[p.~3]{a} and~\\ref{b}\n",
    ),
    "references_dropped": ({"references": "drop"}, "see \\cite[p.~3]{a} and~\\ref{b}.", "see and.\n"),
    "accents_kept": ({"accents": "keep"}, "Erd\\H{o}s, caf\\'e", "Erd\\H{o}s, caf\\'e\n"),
    "authors_kept": (
        {"authors": "keep"},
        "\\documentclass{a}\\author[x]{A B\\thanks{me}}\\title{T}\\begin{document}\\maketitle x",
        "\\title{T}\n\n\\author[x]{A B}\n\nx\n",
    ),
}


@pytest.mark.parametrize(
    ("changes", "source", "expected"), [pytest.param(*case, id=name) for name, case in KNOBS.items()]
)
def test_knob(changes, source, expected):
    assert clean(source, dataclasses.replace(load_settings().data, **changes)) == expected


def test_no_settings_means_the_defaults_of_config_json():
    assert clean(strip_comments(PAPER), load_settings().data) == clean(strip_comments(PAPER))


def test_every_pass_has_cases():
    assert CASES.keys() == FUNCTIONS.keys()


PAPER = r"""\documentclass{article} % class
\newcommand{\R}{\mathbb{R}}
\title{On Things\thanks{Money}}
\author{A. Author}
\begin{document}
\maketitle
\begin{abstract}
  We prove \emph{it}.
\end{abstract}
\section{Intro}\label{s}
Let $x\in\mathbb{R}$, see \cite[p.~1]{k}.% note
 More.

\begin{verbatim}
  50%  \label{kept}
\end{verbatim}
\begin{thebibliography}{1}\bibitem{k} K.\end{thebibliography}
\appendix
\section{Proofs}
Done.
\end{document}
tail
"""
CLEANED = r"""\title{On Things}

\begin{abstract}
We prove \emph{it}.
\end{abstract}

\section{Intro}
Let $x\in\mathbb{R}$, see \cite{}.More.

\begin{verbatim}
  50%  \label{kept}
\end{verbatim}
\appendix
\section{Proofs}
Done.
"""


def test_whole_paper():
    assert clean(strip_comments(PAPER)) == CLEANED


def test_cleaning_twice_changes_nothing():
    assert clean(strip_comments(CLEANED)) == CLEANED


def test_steps_end_in_the_cleaned_text():
    shown = list(steps(strip_comments(PAPER)))
    assert [name for name, _ in shown] == ["unicode_text", *(name for name, _ in PASSES)]
    assert shown[-1][1] == CLEANED
    assert all("  50%  \\label{kept}" in text for _, text in shown)


def test_command(tmp_path, capsys):
    path = tmp_path / "a.tex"
    path.write_text(PAPER)
    assert latex_cleaner.main([str(path)]) == 0
    assert capsys.readouterr().out == CLEANED
    assert latex_cleaner.main([str(path), "--after", "document_end"]) == 0
    assert "\\documentclass" in capsys.readouterr().out
    assert latex_cleaner.main(["--passes"]) == 0
    assert capsys.readouterr().out.startswith("comments: Comments out")
