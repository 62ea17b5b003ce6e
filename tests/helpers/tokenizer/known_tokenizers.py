"""Tokenizers with known answers, a paper to cut, and splits of given texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from common.files import atomic_write
from tokenizer.measure.adapters import AnyTokenizer

THEOREM = (
    "\\begin{theorem} Let $f \\colon X \\to Y$ be a finite map of varieties over a field of 12 elements. Then the "
    "fibres of $f$ are finite, and each of them has at most $\\deg f$ points of degree one. \\end{theorem}"
)
PROSE_TEXT = (
    "We show that every map $f$ with $f(x) = x^2$ is injective on the positive numbers. The proof uses nothing but the "
    "order of the real numbers, and holds for $\\alpha > 1$ as well; we leave the other cases to the reader."
)
ALIGNED = (
    "\\begin{align*} \\alpha_1 &= \\frac{1}{2} \\sum_{i=1}^{n} x_i^2 \\\\ \\beta_2 &= \\int_0^1 \\exp(-t) dt \\\\ "
    "\\gamma_3 &= \\inject(\\alpha_1) + \\inject(\\beta_2) - 2024 \\end{align*}"
)
PAPER = f"A title 1999\n\n{PROSE_TEXT}\n\n{THEOREM}\n\n{ALIGNED}\n"


class Longest(AnyTokenizer):
    """Cuts text into the longest entries that fit, else into the bytes of a character; `?` for what `unknown` lists."""

    def __init__(self, *entries: str, unknown: str = "") -> None:
        self.entries, self.unknown_characters = list(entries), unknown
        self.name, self.library, self.unknown = "longest", "tests", 0
        self.size = 300 + len(entries)

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        begins: list[int] = []
        position = 0
        while position < len(text):
            fitting = [entry for entry in self.entries if text.startswith(entry, position)]
            if text[position] in self.unknown_characters:
                entry, found = text[position], [0]
            elif fitting:
                entry = max(fitting, key=len)
                found = [300 + self.entries.index(entry)]
            else:
                entry, found = text[position], [1 + byte for byte in text[position].encode()]
            ids += found
            begins += [position] * len(found)
            position += len(entry)
        return ids, begins


def peer(folder: Path, *changes: Any) -> Path:
    """A byte-level tokenizer in `folder`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("\\", "a"), ("\\a", "l"), ("t", "h"), ("th", "e"), ("Ġ", "the")]
    vocab = {entry: index for index, entry in enumerate([*alphabet, *(left + right for left, right in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for change in changes:
        change(tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def lower_case(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Lowercase()


def write_jsonl(path: Path, texts: list[str], **more: Any) -> Path:
    with atomic_write(path) as file:
        for number, text in enumerate(texts):
            file.write((json.dumps({"id": f"{number}", "text": text, **more}) + "\n").encode())
    return path
