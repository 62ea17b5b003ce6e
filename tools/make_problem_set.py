r"""Write a set of mathematical problems with worked solutions, for trying out post-training.

    python tools/make_problem_set.py --out raw/problems.jsonl --count 5000

Each record has `problem` and `solution`, both LaTeX, and the `kind`; no problem comes twice, and the same seed gives
the same file. Numbers are drawn, the mathematics is right: every solution is computed.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tools/make_problem_set.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from common.errors import UserError
from common.files import atomic_write
from common.jsonl import dump_line

Problem = tuple[str, str]
# Draws of one kind in a row that gave nothing new, before the set is taken to be exhausted.
PATIENCE = 2000
NOT_ZERO = [number for number in range(-14, 15) if number]


def linear(draw: random.Random) -> Problem:
    a, x, b = draw.randint(2, 19), draw.randint(-20, 20), draw.randint(-40, 40)
    c = a * x + b
    return (
        f"Solve ${a}x {signed(b)} = {c}$ for $x$.",
        f"Subtracting ${b}$ from both sides gives ${a}x = {c - b}$. Dividing by ${a}$ gives $x = {x}$.",
    )


def quadratic(draw: random.Random) -> Problem:
    p, q = sorted((draw.choice(NOT_ZERO), draw.choice(NOT_ZERO)))
    if p == -q:
        q += 1 if q > 1 else 2
    b, c = -(p + q), p * q
    roots = f"$x = {p}$" if p == q else f"$x = {p}$ and $x = {q}$"
    return (
        f"Find all real roots of $x^2 {signed(b, 'x')} {signed(c)} = 0$.",
        f"We look for two numbers with sum ${p + q}$ and product ${c}$. These are ${p}$ and ${q}$, so the polynomial "
        f"is $(x {signed(-p)})(x {signed(-q)})$, and its roots are {roots}.",
    )


def derivative(draw: random.Random) -> Problem:
    a, n, b, m = draw.randint(2, 15), draw.randint(3, 9), draw.randint(2, 15), draw.randint(1, 2)
    lower = f"{b * m}x" if m == 2 else f"{b}"
    term = "x^{2}" if m == 2 else "x"
    return (
        f"Differentiate $f(x) = {a}x^{{{n}}} + {b}{term}$.",
        f"By the power rule the derivative of ${a}x^{{{n}}}$ is ${a * n}x^{{{n - 1}}}$, and that of ${b}{term}$ is "
        f"${lower}$. Hence $f'(x) = {a * n}x^{{{n - 1}}} + {lower}$.",
    )


def integral(draw: random.Random) -> Problem:
    n, k, b = draw.randint(1, 6), draw.randint(1, 9), draw.randint(1, 5)
    a = k * (n + 1)
    power = "x" if n == 1 else f"x^{{{n}}}"
    factor, times = (f"{k}", rf"{k} \cdot ") if k > 1 else ("", "")
    return (
        rf"Compute $\int_0^{{{b}}} {a}{power} \, dx$.",
        f"An antiderivative of ${a}{power}$ is ${factor}x^{{{n + 1}}}$. Between $0$ and ${b}$ it grows by "
        f"${times}{b}^{{{n + 1}}} = {k * b ** (n + 1)}$.",
    )


def series(draw: random.Random) -> Problem:
    a, d, n = draw.randint(1, 30), draw.randint(1, 12), draw.randint(5, 40)
    last = a + (n - 1) * d
    return (
        f"An arithmetic progression starts with ${a}$ and has difference ${d}$. What is the sum of its first ${n}$ "
        "terms?",
        rf"The last term is ${a} + {n - 1} \cdot {d} = {last}$. The sum is $\frac{{{n}}}{{2}}({a} + {last}) = "
        f"{n * (a + last) // 2}$.",
    )


def divisor(draw: random.Random) -> Problem:
    g = draw.randint(2, 40)
    a, b = sorted((g * draw.randint(2, 30), g * draw.randint(2, 30)), reverse=True)
    steps, x, y = list[str](), a, b
    while y:
        steps.append(rf"${x} = {x // y} \cdot {y} + {x % y}$")
        x, y = y, x % y
    return (
        rf"Find $\gcd({a}, {b})$.",
        f"The Euclidean algorithm gives {', '.join(steps)}. What stands before the remainder $0$ "
        f"is the divisor: ${math.gcd(a, b)}$.",
    )


def modular(draw: random.Random) -> Problem:
    modulus, exponent = draw.choice([5, 7, 11, 13, 17, 19]), draw.randint(20, 90)
    base = draw.randint(2, modulus - 1)
    order = next(power for power in range(1, modulus) if pow(base, power, modulus) == 1)
    whole, rest = divmod(exponent, order)
    value = pow(base, rest, modulus)
    return (
        rf"What is the remainder of ${base}^{{{exponent}}}$ when it is divided by ${modulus}$?",
        rf"We have ${base}^{{{order}}} \equiv 1 \pmod{{{modulus}}}$ and ${exponent} = {whole} \cdot {order} + {rest}$. "
        rf"So ${base}^{{{exponent}}} \equiv {base}^{{{rest}}} \equiv {value} \pmod{{{modulus}}}$.",
    )


def determinant(draw: random.Random) -> Problem:
    a, b, c, d = (draw.randint(-9, 9) for _ in range(4))
    matrix = rf"\begin{{pmatrix}} {a} & {b} \\ {c} & {d} \end{{pmatrix}}"
    return (
        f"Compute the determinant of ${matrix}$.",
        rf"The determinant is ${a} \cdot {bracket(d)} - {bracket(b)} \cdot {bracket(c)} = {a * d - b * c}$.",
    )


def signed(value: int, after: str = "") -> str:
    """`+ 3x`, `- 3x`; a coefficient of one is not written."""
    size = "" if abs(value) == 1 and after else str(abs(value))
    return f"{'-' if value < 0 else '+'} {size}{after}"


def bracket(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


KINDS: tuple[Callable[[random.Random], Problem], ...] = (
    *(linear, quadratic, derivative, integral, series, divisor, modular, determinant),
)


def problems(count: int, seed: int) -> list[dict[str, str]]:
    """`count` distinct problems, the kinds in turn.

    Raises:
        UserError: there are not so many.
    """
    draw = random.Random(seed)
    found: dict[str, dict[str, str]] = {}
    missed = 0
    while len(found) < count:
        kind = KINDS[(len(found) + missed) % len(KINDS)]
        problem, solution = kind(draw)
        if problem in found:
            missed += 1
            if missed > PATIENCE + count:
                raise UserError(
                    f"--count {count}: only {len(found):,} distinct problems were found; give a smaller number"
                )
            continue
        found[problem] = {"problem": problem, "solution": solution, "kind": kind.__name__}
    return list(found.values())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write generated problems with worked solutions as JSON lines.",
        epilog="example: python tools/make_problem_set.py --out raw/problems.jsonl --count 5000",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "raw/problems.jsonl", help="(default: raw/problems.jsonl)")
    parser.add_argument("--count", type=int, default=5000, help="problems (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others (default: 0)")
    args = parser.parse_args(argv)
    if args.count < 1:
        raise UserError(f"--count {args.count}: must be at least 1")
    made = problems(args.count, args.seed)
    with atomic_write(args.out) as file:
        for record in made:
            file.write(dump_line(record))
    print(f"{args.out}: {len(made):,} problems")
    return 0


if __name__ == "__main__":
    run_command(main)
