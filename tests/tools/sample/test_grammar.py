"""Generated papers: balanced LaTeX, unlike each other, with the articles and plurals of English."""

from __future__ import annotations

import random
import re
from itertools import combinations

import pytest

from tools.sample.grammar import plural, tidy, write_paper


@pytest.mark.parametrize("seed", range(12))
def test_latex_is_balanced(seed: int) -> None:
    text = write_paper(random.Random(seed), old=seed % 3 == 0).single_file()
    bare = re.sub(r"%.*", "", re.sub(r"\\[{}\\%|]", "", text))
    assert bare.count("{") == bare.count("}") and "«" not in text and "a(n)" not in text
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", bare):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    assert len(re.findall(r"\\left\b", bare)) == len(re.findall(r"\\right\b", bare))


def test_papers_are_not_near_duplicates_of_each_other() -> None:
    shingles = []
    for number in range(40):
        words = re.findall(r"\w+|[^\w\s]", " ".join(write_paper(random.Random(number)).sections))
        shingles.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    assert max(len(a & b) / len(a | b) for a, b in combinations(shingles, 2)) < 0.4


def test_another_seed_writes_other_papers() -> None:
    assert write_paper(random.Random("1")).title != write_paper(random.Random("2")).title


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a(n) open set", "an open set"),
        ("A(n) ring", "A ring"),
        ("a(n) unital ring", "a unital ring"),
        ("a(n) unbiased estimator", "an unbiased estimator"),
        (r"a(n) \emph{elementary}", r"an \emph{elementary}"),
        ("a(n) L-function", "an L-function"),
    ],
)
def test_articles(before: str, after: str) -> None:
    assert tidy(before) == after


@pytest.mark.parametrize(
    ("one", "many"), [("vertex", "vertices"), ("variety", "varieties"), ("class", "classes"), ("key", "keys")]
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many
