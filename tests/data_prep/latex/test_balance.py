"""What counts as balanced."""

import pytest

from data_prep.latex.balance import imbalances


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a} \\{ \\begin{x}\\end{x} $a$ \\[b\\] \\(c\\) \\$5", ()),
        ("{a", ("braces",)),
        ("a\\\\{b}", ()),
        ("a\\}", ()),
        ("\\begin{x}", ("environments",)),
        ("$a", ("math",)),
        ("\\[a", ("math",)),
        ("a\\\\[2pt] b", ()),
        ("$a {\\begin{y}", ("braces", "environments", "math")),
    ],
)
def test_imbalances(text, expected):
    assert imbalances(text) == expected
