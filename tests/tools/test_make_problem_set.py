"""The problem set: distinct, deterministic and right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from common.errors import UserError
from common.jsonl import read_jsonl
from tools.make_problem_set import main as make_problems
from tools.make_problem_set import problems


def test_problems_are_distinct_deterministic_and_right(tmp_path: Path) -> None:
    made = problems(400, seed=1)
    assert len({record["problem"] for record in made}) == 400 and made == problems(400, seed=1)
    assert set(Counter(record["kind"] for record in made)) == {
        *("linear", "quadratic", "derivative", "integral", "series", "divisor", "modular", "determinant")
    }
    import math
    import re

    for record in made:
        numbers = [int(number) for number in re.findall(r"-?\d+", record["problem"])]
        last = int(re.findall(r"-?\d+", record["solution"])[-1])
        if record["kind"] == "divisor":
            assert last == math.gcd(*numbers)
        elif record["kind"] == "determinant":
            a, b, c, d = numbers
            assert last == a * d - b * c
        elif record["kind"] == "series":
            start, difference, count = numbers
            assert last == sum(start + difference * place for place in range(count))
    assert make_problems(["--out", str(tmp_path / "p.jsonl"), "--count", "20"]) == 0
    assert len(list(read_jsonl(tmp_path / "p.jsonl"))) == 20
    with pytest.raises(UserError, match="must be at least 1"):
        make_problems(["--count", "0"])
