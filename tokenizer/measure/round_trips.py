r"""Does text come back from its tokens, and do SentencePiece and transformers give the same ids? On random chunks.

A chunk is 1 to 400 characters from a random place of the documents; a quarter is damaged with what tokenizers are known
to lose: runs of blanks, carriage returns, marks that combine, emoji, text that looks like control tokens, any character
of Unicode. Chunks depend on the seed and their number alone, never on the worker that draws them.
Imported by `evaluate_tokenizer.py` and its worker processes; not run.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from common.errors import UserError
from tokenizer.measure.adapters import AnyTokenizer, SentencePieceFile, TransformersFolder, load_tokenizer

MAX_CHARS = 400
DAMAGED = 0.25
BLOCK = 1000
SAMPLES = 10
# SentencePiece's sign for a space: it cannot tell the two apart, and the dataset's cleaner takes it out.
SPACE_SIGN = "\u2581"
AWKWARD = (
    *("  ", "    ", "\t", "\t\t", "\n\n\n", " \n ", "\r", "\r\n", "\x0b", "\x0c", "\x00", "\x7f", "\x85"),
    *("\u00a0", "\u2003", "\u3000", "\u200b", "\u200d", "\u2028", "\ufeff", "\ufffd", "\ue009", "\ue00a", "\U000f0041"),
    *(
        "<s>",
        "</s>",
        "<unk>",
        "<pad>",
        "<0x41>",
        "<0x0A>",
        "<|endoftext|>",
        "<|im_start|>",
        "[CLS]",
        "[INST]",
        "<mask>",
    ),
    *(
        "e\u0301",
        "\u0308",
        "a\u0304\u0323",
        "\u1100\u1161",
        "\U0001f600",
        "\U0001f469\u200d\U0001f4bb",
        "\U0001f1eb\U0001f1f7",
    ),
    *("\\", "\\\\", "$", "{", "}", "%", "~", "日本語", "∀x∈ℝ", "𝔸", "ﬁ", "İ", "ß", " .", " ,", " n't", "don 't"),
)


@dataclass
class Trips:
    """Counts of one tokenizer, which add up over chunks; samples are of the first that went wrong."""

    texts: int = 0
    skipped: int = 0
    lossy: int = 0
    losses: list[dict[str, str]] = field(default_factory=list)
    compared: int = 0
    unequal: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)

    def merge(self, other: Trips) -> None:
        for name in ("texts", "skipped", "lossy", "compared", "unequal"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.losses = (self.losses + other.losses)[:SAMPLES]
        self.differences = (self.differences + other.differences)[:SAMPLES]


class Readers:
    """One tokenizer as each of its libraries reads it.

    Attributes:
        main: what all else is measured with.
        not_compared: why ids are not compared, or None where SentencePiece and transformers both read it.
    """

    def __init__(self, path: Path) -> None:
        self.main = load_tokenizer(path)
        self.all: list[AnyTokenizer] = [self.main]
        self.not_compared: str | None = "no folder with the files of SentencePiece and of transformers"
        if path.is_dir() and (path / "tokenizer.model").is_file():
            try:
                self.all = [TransformersFolder(path), SentencePieceFile(path / "tokenizer.model")]
                self.not_compared = None
            except UserError as error:
                self.not_compared = str(error)

    def try_all(self, texts: Iterable[str]) -> Trips:
        """Encode and decode the texts with every library, and compare."""
        trips = Trips()
        for text in texts:
            if SPACE_SIGN in text:
                trips.skipped += 1
                continue
            trips.texts += 1
            encoded = [reader.ids(text) for reader in self.all]
            back = [reader.decode(ids) for reader, ids in zip(self.all, encoded, strict=True)]
            wrong = [i for i, decoded in enumerate(back) if decoded != text]
            if wrong:
                trips.lossy += 1
                if len(trips.losses) < SAMPLES:
                    trips.losses.append({"library": self.all[wrong[0]].library, "text": text, "back": back[wrong[0]]})
            if self.not_compared is None:
                trips.compared += 1
                if encoded[0] != encoded[1]:
                    trips.unequal += 1
                    if len(trips.differences) < SAMPLES:
                        ids = {reader.library: ids for reader, ids in zip(self.all, encoded, strict=True)}
                        trips.differences.append({"text": text, **ids})
        return trips


class Chunks:
    """Random chunks of documents."""

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        self.texts, self.seed = texts, seed
        self.ends = list(accumulate(map(len, texts)))

    def block(self, number: int, size: int = BLOCK) -> list[str]:
        """The chunks of one block."""
        rng = random.Random(f"{self.seed} {number}")
        return [self._chunk(rng) for _ in range(size)]

    def _chunk(self, rng: random.Random) -> str:
        place = rng.randrange(self.ends[-1])
        index = bisect_right(self.ends, place)
        start = place - (self.ends[index] - len(self.texts[index]))
        chunk = self.texts[index][start : start + rng.randint(1, MAX_CHARS)]
        if rng.random() < DAMAGED:
            for _ in range(rng.randint(1, 4)):
                spot = rng.randint(0, len(chunk))
                chunk = chunk[:spot] + self._awkward(rng) + chunk[spot:]
        return chunk

    @staticmethod
    def _awkward(rng: random.Random) -> str:
        kind = rng.randrange(3)
        if kind == 0:
            return rng.choice(AWKWARD)
        if kind == 1:
            return "".join(rng.choices(" \t\n\r\u00a0", k=rng.randint(1, 40)))
        point = rng.randrange(0x110000 if rng.random() < 0.5 else 0x3000)
        return "" if 0xD800 <= point < 0xE000 or chr(point) == SPACE_SIGN else chr(point) * rng.randint(1, 3)
