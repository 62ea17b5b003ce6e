"""Places at which a text can be cut without changing a token, which makes encoding several times faster.

A BPE tokenizer of this project reads a document as one word: each merge gives an entry of the vocabulary, so no merge
joins two characters that stand side by side in no entry. Between such characters the text is cut; the pieces, most of
which have been seen before, are encoded apart and remembered. Imported, not run.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenizer.cache.token_file import TOKEN_DTYPE

SPACE = "\u2581"  # what SentencePiece writes for a space
# Pieces remembered (some 50 MB), and the longest one: longer ones hardly come back.
REMEMBERED = 200_000
LONGEST = 100
# Characters told apart in the table of neighbours (a byte for each two of them).
MOST_NUMBERS = 5000
NORMALIZERS = (None, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
PRE_TOKENIZERS = (None, {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "never", "split": False})


def merges_alone_decide(spec: dict[str, Any]) -> bool:
    """Whether the tokenizer of this tokenizer.json is one of which the above holds: nothing but merges looks at what
    stands side by side."""
    model = spec["model"]
    return (
        model.get("type") == "BPE"
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and not model.get("ignore_merges")
        and model.get("byte_fallback") is True
        and all(f"<0x{byte:02X}>" in model["vocab"] for byte in range(256))  # else unknown neighbours become one token
        and spec.get("normalizer") in NORMALIZERS
        and spec.get("pre_tokenizer") in PRE_TOKENIZERS
        and all(token["special"] for token in spec["added_tokens"])
    )


class Cutter:
    """Encodes texts in pieces; the tokens are those of whole texts."""

    def __init__(self, tokenizer: Any, spec: dict[str, Any]):
        self.tokenizer = tokenizer
        entries = [entry.replace(SPACE, " ") for entry in spec["model"]["vocab"] if len(entry) > 1]
        characters = [ord(character) for character in sorted({*"".join(entries)})]
        # A number for each character; 0 for those that are never joined to anything, the last one for all the rest.
        self.number = np.zeros(0x110000, np.uint16)
        self.number[characters] = np.minimum(np.arange(1, len(characters) + 1), MOST_NUMBERS - 1)
        self.number[ord(SPACE)] = self.number[ord(" ")]
        self.joined = np.zeros((MOST_NUMBERS, MOST_NUMBERS), np.bool_)
        for entry in entries:
            numbers = self.number[_code_points(entry)]
            self.joined[numbers[:-1], numbers[1:]] = True
        self.known: dict[str, bytes] = {}

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each text: uint32 [tokens]."""
        pieces = [self.cut(text) for text in texts]
        new = list({*itertools.chain.from_iterable(pieces)} - self.known.keys())
        found = self.tokenizer.encode_batch_fast(new, add_special_tokens=False)
        for piece, encoding in zip(new, found, strict=True):
            self.known[piece] = np.array(encoding.ids, TOKEN_DTYPE).tobytes()
        get = self.known.__getitem__
        tokens = [np.frombuffer(b"".join(map(get, of_text)), TOKEN_DTYPE) for of_text in pieces]
        if len(self.known) > REMEMBERED:
            self.known.clear()
        for piece in new:
            if len(piece) > LONGEST:
                self.known.pop(piece, None)
        return tokens

    def cut(self, text: str) -> list[str]:
        numbers = self.number[_code_points(text)]
        places = (np.flatnonzero(~self.joined[numbers[:-1], numbers[1:]]) + 1).tolist()
        return [text[start:stop] for start, stop in itertools.pairwise([0, *places, len(text)])]


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
