"""Passages and formulas that the report shows, cut into tokens."""

from __future__ import annotations

from tests.helpers.tokenizer.known_tokenizers import ALIGNED, PAPER, PROSE_TEXT, THEOREM, Longest
from tokenizer.measure.passages import find_formulas, find_passages, slices


def test_passages_of_each_kind() -> None:
    found = find_passages(["nothing here", PAPER])
    assert [passage for _, passage in found] == [PROSE_TEXT, THEOREM, ALIGNED]
    other = ALIGNED.replace("align*", "equation")
    assert find_passages([other]) == [("A displayed formula", other)]


def test_formulas_of_some_length() -> None:
    formula = r"$\alpha_1 + \beta_2 = \gamma_3$"
    assert find_formulas([f"$x$ is {formula} or {formula}", "$x$", formula, formula], 2) == [formula, formula]


def test_slices_are_the_text_with_the_tokens_of_each_character() -> None:
    assert slices(Longest("ab"), "ab日 ab") == [("ab", 1), ("日", 3), (" ", 1), ("ab", 1)]
