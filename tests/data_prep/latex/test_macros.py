"""Author macros: one named case per behaviour of TeX that papers rely on, and the limits."""

from __future__ import annotations

from collections import Counter

import pytest

from data_prep.latex.macros import ensuremath, expand

# source, what it becomes
CASES: dict[str, tuple[str, str]] = {
    # definitions
    "newcommand": ("\\newcommand{\\R}{\\mathbb{R}}$x\\in\\R$", "$x\\in\\mathbb{R}$"),
    "newcommand_without_braces": ("\\newcommand\\R{\\mathbb R}$\\R$", "$\\mathbb R$"),
    "newcommand_body_is_a_token": ("\\newcommand\\eps\\varepsilon$\\eps$", "$\\varepsilon$"),
    "newcommand_star": ("\\newcommand*{\\R}{Q}$\\R$", "$Q$"),
    "newcommand_arguments": ("\\newcommand{\\ip}[2]{\\langle #1,#2\\rangle}$\\ip{a}{b}$", "$\\langle a,b\\rangle$"),
    "newcommand_token_arguments": ("\\newcommand{\\ip}[2]{(#1,#2)}$\\ip ab\\ip\\alpha c$", "$(a,b)(\\alpha,c)$"),
    "optional_default": ("\\newcommand{\\n}[2][2]{|#2|_{#1}}$\\n{x}$", "$|x|_{2}$"),
    "optional_given": ("\\newcommand{\\n}[2][2]{|#2|_{#1}}$\\n[p]{x}$", "$|x|_{p}$"),
    "optional_nested_brackets": ("\\newcommand{\\n}[1][]{<#1>}$\\n[{a[1]}]$", "$<{a[1]}>$"),
    "renewcommand": ("\\renewcommand{\\epsilon}{\\varepsilon}$\\epsilon$", "$\\varepsilon$"),
    "renewcommand_follows_the_last": ("\\newcommand\\a{1}\\a \\renewcommand\\a{2}\\a", "12"),
    "providecommand_keeps_the_first": ("\\newcommand\\a{1}\\providecommand\\a{2}\\a", "1"),
    "providecommand_of_a_new_name": ("\\providecommand\\a{2}\\a", "2"),
    "robust": ("\\DeclareRobustCommand{\\a}{b}\\a", "b"),
    "def": ("\\def\\R{\\mathbb R}$\\R$", "$\\mathbb R$"),
    "def_arguments": ("\\def\\v#1{\\mathbf{#1}}$\\v x+\\v{yz}$", "$\\mathbf{x}+\\mathbf{yz}$"),
    "def_prefixes": ("\\long\\def\\a#1{(#1)}\\a{b}", "(b)"),
    "def_delimited": ("\\def\\p(#1,#2){[#1|#2]}$\\p(a,b)$", "$[a|b]$"),
    "def_delimited_by_word": ("\\def\\beq#1\\eeq{\\[#1\\]}\\beq x\\eeq", "\\[ x\\]"),
    "def_delimiter_inside_braces": ("\\def\\p(#1){[#1]}$\\p({a)b})$", "$[a)b]$"),
    "def_slash": ("\\def\\ie/{i.e.}\\ie/ so", "i.e. so"),
    "def_digit": ("\\def\\1{\\mathbf 1}$\\1_A$", "$\\mathbf 1_A$"),
    "edef_is_expanded_at_once": ("\\def\\a{1}\\edef\\b{\\a}\\def\\a{2}\\b", "1"),
    "let": ("\\let\\eps\\varepsilon$\\eps$", "$\\varepsilon$"),
    "let_equals": ("\\let\\eps=\\varepsilon$\\eps$", "$\\varepsilon$"),
    "let_copies_the_meaning": ("\\def\\a{1}\\let\\b\\a\\def\\a{2}\\b", "1"),
    "let_swap": (
        "\\let\\old\\phi\\let\\phi\\varphi\\let\\varphi\\old$\\phi\\varphi$",
        "$\\varphi\\phi$",
    ),
    "let_then_redefine": (
        "\\let\\oldvec\\vec\\renewcommand\\vec[1]{\\oldvec{\\mathbf{#1}}}$\\vec a$",
        "$\\vec{\\mathbf{a}}$",
    ),
    "operator": ("\\DeclareMathOperator{\\Hom}{Hom}$\\Hom(A,B)$", "$\\operatorname{Hom}(A,B)$"),
    "operator_star": ("\\DeclareMathOperator*{\\argmax}{arg\\,max}$\\argmax_x$", "$\\operatorname*{arg\\,max}_x$"),
    "paired_delimiter": ("\\DeclarePairedDelimiter{\\abs}{\\lvert}{\\rvert}$\\abs{x}$", "$\\lvert x\\rvert$"),
    "paired_delimiter_star": (
        "\\DeclarePairedDelimiter\\abs\\lvert\\rvert$\\abs*{x}$",
        "$\\left\\lvert x\\right\\rvert$",
    ),
    "paired_delimiter_size": ("\\DeclarePairedDelimiter\\abs{|}{|}$\\abs[\\big]{x}$", "$| x|$"),
    "xparse": (
        "\\NewDocumentCommand{\\pd}{O{} m m}{\\frac{\\partial^{#1}#2}{\\partial #3}}$\\pd[2]{f}{x}$",
        "$\\frac{\\partial^{2}f}{\\partial x}$",
    ),
    "xparse_star": ("\\NewDocumentCommand\\a{s m}{\\IfBooleanTF{#1}{[#2]}{(#2)}}\\a{x}\\a*{x}", "(x)[x]"),
    "xparse_no_value": ("\\NewDocumentCommand\\a{o m}{\\IfNoValueTF{#1}{(#2)}{(#1;#2)}}\\a{x}\\a[y]{x}", "(x)(y;x)"),
    "xparse_delimiters": ("\\NewDocumentCommand\\a{d() m}{#1:#2}\\a(x){y}", "x:y"),
    # scope
    "local_to_braces": ("\\def\\a{1}{\\def\\a{2}\\a}\\a", "{2}1"),
    "local_to_an_environment": ("\\def\\a{1}\\begin{q}\\def\\a{2}\\a\\end{q}\\a", "\\begin{q}2\\end{q}1"),
    "local_to_begingroup": ("\\def\\a{1}\\begingroup\\def\\a{2}\\a\\endgroup\\a", "\\begingroup2\\endgroup1"),
    "gdef_leaves_its_group": ("{\\gdef\\a{2}}\\a", "{}2"),
    "document_is_no_scope": ("\\begin{document}\\def\\a{2}\\a\\end{document}", "\\begin{document}2\\end{document}"),
    "undefined_after_its_group": ("{\\def\\a{2}\\a}\\a", "{2}\\a"),
    # bodies within bodies
    "nested": ("\\newcommand\\bb[1]{\\mathbb{#1}}\\newcommand\\Z{\\bb{Z}}$\\Z_p$", "$\\mathbb{Z}_p$"),
    "defined_later": ("\\def\\a{\\b}\\def\\b{x}\\a", "x"),
    "argument_holds_a_call": ("\\def\\a#1{(#1)}\\def\\b{x}\\a{\\b\\a\\b}", "(x(x))"),
    "takes_its_argument_from_behind_the_call": ("\\def\\v#1{[#1]}\\def\\w{x\\v}\\w{y}z", "x[y]z"),
    "defines_a_macro": ("\\newcommand\\mk[2]{\\def#1{<#2>}}\\mk\\a{b}\\a", "<b>"),
    "hash_in_nested_definition": ("\\def\\mk{\\def\\in##1{(##1)}}\\mk\\in{x}", "(x)"),
    # blanks and braces that the text needs
    "blank_keeps_words_apart": ("\\def\\a{\\alpha}$\\a x$", "$\\alpha x$"),
    "blank_is_eaten": ("\\def\\a{X}$\\a y$", "$Xy$"),
    "line_break_stays": ("\\def\\a{X}\\a\ny", "X\ny"),
    "braces_that_end_a_name": ("\\def\\GNU{Gnu}\\GNU{} is", "Gnu is"),
    "word_before": ("\\def\\a{b}$\\cdot\\a$", "$\\cdot b$"),
    "superscript": ("\\def\\h{\\frac12}$x^\\h$", "$x^{\\frac12}$"),
    "subscript_of_one_token": ("\\def\\a{\\alpha}$x_\\a$", "$x_\\alpha$"),
    "naked_argument": ("\\def\\a{xy}$\\sqrt\\a+\\frac\\a\\a$", "$\\sqrt{xy}+\\frac{xy}{xy}$"),
    "longer_name": ("\\def\\in{X}$\\int\\inf$", "$\\int\\inf$"),
    "escaped_backslash": ("\\def\\a{X}b\\\\a", "b\\\\a"),
    # conditionals
    "flag": ("\\newif\\ifd\\dtrue\\newcommand\\n[1]{\\ifd#1\\else no\\fi}\\n{yes}", "yes"),
    "flag_false": ("\\newif\\ifd\\newcommand\\n[1]{\\ifd#1\\fi}a\\n{yes}b", "ab"),
    "ifx_empty_argument": ("\\def\\a#1{\\ifx\\\\#1\\\\none\\else some #1\\fi}\\a{} \\a{x}", "none some x"),
    "word_before_an_argument": ("\\def\\a#1{{\\cal#1}}$\\a X$", "${\\cal X}$"),
    "ifthenelse": ("\\newcommand\\a[1][]{f\\ifthenelse{\\equal{#1}{}}{}{_{#1}}}$\\a\\a[2]$", "$ff_{2}$"),
    "ifmmode": ("\\def\\m{\\ifmmode M_\\odot\\else $M_\\odot$\\fi}\\m", "\\ensuremath{M_\\odot}"),
    "undecided_call_stays": ("\\def\\a#1{\\ifdim#1pt<2pt x\\fi}\\a{3}", "\\a{3}"),
    # environments
    "environment": (
        "\\newenvironment{c}[1]{\\textbf{Claim #1.}}{\\par}\\begin{c}{7}t\\end{c}",
        "\\textbf{Claim 7.}t\n\n",
    ),
    "environment_wraps_another": (
        "\\newenvironment{eq}{\\begin{equation}}{\\end{equation}}\\begin{eq}x\\end{eq}",
        "\\begin{equation}x\\end{equation}",
    ),
    "short_environment_commands": (
        "\\def\\be{\\begin{equation}}\\def\\ee{\\end{equation}}\\be x\\ee",
        "\\begin{equation}x\\end{equation}",
    ),
    "theorem_gets_its_name": (
        "\\newtheorem{thm}{Theorem}[section]\\begin{thm}x\\end{thm}",
        "\\begin{theorem}x\\end{theorem}",
    ),
    "theorem_shared_counter": ("\\newtheorem{lem}[thm]{Lemma}\\begin{lem}x\\end{lem}", "\\begin{lemma}x\\end{lemma}"),
    "theorem_with_an_own_title": (
        "\\newtheorem{zorn}{Zorn's Lemma}\\begin{zorn}x\\end{zorn}",
        "\\begin{zorn}x\\end{zorn}",
    ),
    "theorem_starred": (
        "\\newtheorem*{defn*}{Definition}\\begin{defn*}x\\end{defn*}",
        "\\begin{definition*}x\\end{definition*}",
    ),
    "environment_by_command": (
        "\\newenvironment{q}{\\quote}{\\endquote}\\begin{q}x\\end{q}",
        "\\begin{quote}x\\end{quote}",
    ),
    "environment_that_is_a_comment": ("\\newenvironment{s}{\\comment}{\\endcomment}a \\begin{s}x\\end{s} b", "a b"),
    "excluded_environment": ("\\excludecomment{s}a \\begin{s}x\\end{s} b", "a b"),
    "operator_by_hand": ("\\def\\Ker{\\mathop{\\rm Ker}\\nolimits}$\\Ker f$", "$\\operatorname{Ker}f$"),
    "braces_around_a_symbol": ("\\newcommand{\\N}{{\\mathbb{N}}}$x^\\N\\N$", "$x^{\\mathbb{N}}\\mathbb{N}$"),
    "braces_around_a_font_stay": ("\\newcommand{\\N}{{\\bf N}}$\\N$", "${\\bf N}$"),
    "subscript_in_a_body": ("\\def\\t{\\Theta_a}$\\t$", "$\\Theta_a$"),
    "picture_command_of_an_author": (
        "\\newcommand{\\pic}[2]{\\includegraphics[#1]{f/#2}}\\pic{}{a}",
        "\\includegraphics[]{f/a}",
    ),
    "environment_with_a_frame": (
        "\\newenvironment{f}{\\begin{figure}[ht]\\noindent\\rule{1em}{1pt}\\par}{\\par\\rule{1em}{1pt}\\end{figure}}"
        "\\begin{f}x\\end{f}",
        "\\begin{figure}x\\end{figure}",
    ),
    "custom_theorem": (
        "\\newtheorem{inner}{Theorem}\\newenvironment{custom}[1]{\\renewcommand\\theinner{#1}\\inner}{\\endinner}"
        "\\begin{custom}{3.4}x\\end{custom}",
        "\\begin{theorem}x\\end{theorem}",
    ),
    "xspace_and_braces": ("\\newcommand\\m{M\\xspace}\\m{} is", "M\\xspace is"),
    "font_of_plain_tex": ("\\font\\bigbf=cmbx10 {\\bigbf X}", "\\font\\bigbf=cmbx10 {\\bf X}"),
    "font_with_a_meaning_stays": ("\\font\\bb=msbm10 ${\\bb R}$", "\\font\\bb=msbm10 ${\\bb R}$"),
    "amstex_define": ("\\define\\C{\\Bbb C}$\\C$", "$\\Bbb C$"),
    # what stays
    "programmed_in_expl3_stays": ("\\newcommand\\a[1]{\\clist_map_inline:nn{#1}{}}\\a{x}", "\\a{x}"),
    "symbol_out_of_pieces_stays": ("\\def\\VDash{\\mathrel{||}\\joinrel\\Relbar}$\\VDash$", "$\\VDash$"),
    "structure_stays": ("\\renewcommand{\\section}{\\large}\\section{A}", "\\section{A}"),
    "hack_stays": ("\\def\\indep{\\mathpalette\\x\\perp}$a\\indep b$", "$a\\indep b$"),
    "missing_argument_stays": ("\\def\\a#1{(#1)}{x\\a}", "{x\\a}"),
    "recursion_stays": ("\\def\\a{\\a}x\\a y", "x\\a y"),
    "mutual_recursion_stays": ("\\def\\a{\\b}\\def\\b{x\\a}\\a", "\\a"),
    "spacing_is_a_blank": ("\\def\\s{\\vskip 3mm}a\\s b", "a b"),
    "colour_is_taken_off": ("\\newcommand{\\red}[1]{{\\color{red}#1}}a \\red{b}", "a b"),
}


@pytest.mark.parametrize(("source", "expected"), [pytest.param(*case, id=name) for name, case in CASES.items()])
def test_expand(source, expected):
    assert expand(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a \\ensuremath{x} b", "a $x$ b"),
        ("$a \\ensuremath{x} b$", "$a x b$"),
        ("\\ensuremath{a\\ensuremath{b}}", "$ab$"),
        ("i.e.\\xspace so", "i.e. so"),
        ("i.e.\\xspace, so", "i.e., so"),
        ("TeX\\xspace\\cite{}", "TeX \\cite{}"),
        ("end\\xspace\n\nnext", "end\n\nnext"),
    ],
)
def test_ensuremath(source, expected):
    assert ensuremath(source) == expected


def test_styles_that_the_paper_loads_are_read():
    styles = {
        "sty/mine.sty": "\\newcommand{\\R}{\\mathbb R}\\newcommand{\\int@rnal}{x}\\RequirePackage{other}",
        "other.sty": "\\def\\Q{\\mathbb Q}",
        "unused.sty": "\\def\\Z{\\mathbb Z}",
    }
    assert expand("\\usepackage[a]{b,mine}$\\R\\Q\\Z$", styles) == "\\usepackage[a]{b,mine}$\\mathbb R\\mathbb Q\\Z$"


def test_a_bomb_costs_its_own_call_and_is_counted():
    levels = "".join(f"\\def\\{chr(97 + i)}{{\\{chr(98 + i)}\\{chr(98 + i)}}}" for i in range(24))
    counters: Counter[str] = Counter()
    assert expand(levels + "\\def\\y{lol}\\def\\ok{fine}x\\a z\\ok", counters=counters) == "x\\a zfine"
    assert counters["macro_limit"] == 1 and counters["macros_expanded"] == 1


def test_deep_nesting_of_calls_is_survived():
    counters: Counter[str] = Counter()
    depth = 5000
    text = "\\def\\a#1{(#1)}" + "\\a{" * depth + "x" + "}" * depth
    assert "x" in expand(text, counters=counters)
    assert counters["macro_limit"] >= 1


def test_hidden_verbatim_text_is_one_token():
    text = "\\newcommand\\a\ue0000\ue001x\\a"
    assert expand(text) == "x\ue0000\ue001"


def test_conditionals_without_end_cost_linear_time():
    text = "\\def\\a{" + "\\ifmmode x" * 4000 + "}\\a"
    assert expand(text) == "\\a"
