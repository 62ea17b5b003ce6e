"""What a text is made of: the kind of every character, and its words, numbers and commands."""

from __future__ import annotations

import pytest

from tokenizer.measure.segments import DISPLAYED, INLINE, MARKUP, PROSE, VERBATIM, take_apart


def kinds(text: str) -> str:
    letters = {PROSE: "p", MARKUP: "m", INLINE: "i", DISPLAYED: "d", VERBATIM: "v"}
    return "".join(letters[kind] for kind in take_apart(text).kinds.tolist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a $x$ b", "ppiiipp"),
        (r"a \(x\) b", "ppiiiiipp"),
        (r"\emph{a} b", "mmmmmmpmpp"),
        (r"a\\b~c", "pmmpmp"),
        (r"\begin{proof}a", "mmmmmmmmmmmmmp"),
        (r"\cite[2]{a1} b", "mmmmmmmmmmmmpp"),
        ("$$x$$ a", "dddddpp"),
        (r"\[x\] a", "dddddpp"),
        (r"\begin{align*}x\end{align*}a", "d" * 27 + "p"),
        (r"\begin{math}x\end{math}a", "i" * 23 + "p"),
        (r"a \verb|\b $| c", "pp" + "v" * 11 + "pp"),
        (r"\begin{thebibliography}{9} a $x$ \end{thebibliography}b", "v" * 54 + "p"),
        ("", ""),
    ],
)
def test_every_character_is_of_one_kind(text: str, expected: str) -> None:
    assert kinds(text) == expected


def test_units() -> None:
    units = take_apart(r"ab\\c \alpha12 é x\verb|\n|")
    assert units.names == [r"\alpha"]  # what stands in a listing is no command
    assert [units.text[a:b] for a, b in zip(*units.words, strict=True)] == ["ab", "c", "é", "x"]
    assert [units.text[a:b] for a, b in zip(*units.numbers, strict=True)] == ["12"]
    assert units.sizes.sum() == len(units.text.encode())
    assert "".join(".|"[not inside] for inside in units.inside[:16]) == "|.|.|||.....|.||"
