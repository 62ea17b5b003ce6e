"""What is well-formed, cut off or broken; that it closes; repetition by hand."""

from __future__ import annotations

import pytest

from evaluation.generation.latex_quality import balance, closed, compression, fault_after, repetition


@pytest.mark.parametrize(
    ("text", "fault", "open_"),
    [
        ("Let $x$ be \\emph{so}.", None, ()),
        ("\\begin{a}\\begin{b}\\end{b}\\end{a}", None, ()),
        ("\\begin{a}\\begin{b}\\end{a}\\end{b}", "environment", None),
        ("\\end{a}", "environment", None),
        ("\\begin{a} {", None, ("\\end{a}", "}")),
        ("a } b", "brace", None),
        ("\\{ \\} \\\\{ }", None, ()),
        ("$a", None, ("$",)),
        ("$a\n\nb$", "mathematics", None),
        ("$$a$$ and $b$$c$", None, ()),
        ("\\[ a \\)", "mathematics", None),
        ("\\[ a $b$ \\]", "mathematics", None),
        ("\\[ a \\text{for $b$} \\]", None, ()),
        ("\\begin{equation} $a$ \\end{equation}", "mathematics", None),
        ("\\begin{theorem} $a$ \\end{theorem}", None, ()),
        ("$\\left( a \\right]$", None, ()),
        ("$\\left( a$", "mathematics", None),
        ("$a \\right)$", "left_right", None),
        ("$\\leftarrow \\rightarrow$", None, ()),
        ("$\\left\\{ a \\right.$", None, ()),
        ("{ $a } b$", "brace", None),
        ("\\verb|}$\\end{x}| % } $\n \\begin{verbatim} } \\end{verbatim}", None, ()),
        ("\\$ \\% 5 } ", "brace", None),
        ("\\begin{align*} a \\end{align*}", None, ()),
        ("\\begin{align*} a \\end{align}", "environment", None),
    ],
)
def test_balance(text: str, fault: str | None, open_: tuple[str, ...] | None) -> None:
    found = balance(text)
    assert found.fault == fault
    if open_ is not None:
        assert found.open == open_


@pytest.mark.parametrize(
    "text", ["\\begin{a}{$x", "\\[ \\left( \\begin{cases} 1", "\\begin{proof} \\emph{b", "$$ a", ""]
)
def test_what_is_open_can_be_closed(text: str) -> None:
    found = balance(closed(text))
    assert found.fault is None and not found.open


def test_a_fault_of_the_prompt_is_none_of_the_texts_and_a_cut_is_no_fault() -> None:
    assert fault_after("a } b", " c", False) == (None, -1)
    assert fault_after("\\begin{a} $x", "$ \\end{b}", False) == ("environment", 14)
    assert fault_after("\\begin{a}", "x {", False) == (None, -1)
    assert fault_after("\\begin{a}", "x {", True) == ("unclosed", 12)
    assert fault_after("\\begin{a}", "x\\end{a}", True) == (None, -1)


def test_repetition_and_compression_by_hand() -> None:
    assert repetition([1, 2, 3, 4, 5]) == 0.0
    assert repetition([1, 2, 3, 4] * 3) == pytest.approx(1 - 4 / 9)
    assert repetition([7] * 10) == pytest.approx(1 - 1 / 7)
    assert repetition([1, 2, 3]) is None and compression("") is None
    many = compression("so " * 500)
    assert many is not None and many < 0.05
