r"""The second stage of the vocabulary: entries that run over several words or symbols (` such that`, `\mathcal{O}_X`).

The first stage learns entries within pre-tokens (`pretokenizer.py`). This one learns byte-pair merges of whole
pre-tokens that are entries, inside spans that no superword may leave: a line, and no digit, so that digits stay single;
a pre-token of several entries ends a span, so that superwords begin and end where words and commands do. They get lower
scores than every entry of the first stage, so the text is cut as before and its tokens are joined afterwards: a command
is never cut by them. After Liu et al., SuperBPE: Space Travel for Language Models, 2025 (arXiv:2503.13423). Imported by
`train_tokenizer.py`; not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenizer.learn.pretokenizer import PRETOKEN, SPACE

# Entries are handed to the trainer as characters: id -> private-use code point of planes 15 and 16 (131,072 of them).
FIRST_CODE_POINT = 0xF0000
MAX_ENTRIES = 0x20000
# Merges that spell an entry which another merge has spelt already are no entries: this many more are learnt.
SPARE = 1.25
# No superword holds a digit, a line end or a tab.
BARRIER = re.compile(r"[\d\n\t\r\x0c]")


def spans(text: str, signs: Mapping[str, str]) -> Iterator[str]:
    """The stretches of two and more pre-tokens that have a sign, a sign each."""
    span: list[str] = []
    for piece in [*PRETOKEN.findall(text), "\n"]:
        if piece in signs:
            span.append(signs[piece])
        else:
            if len(span) > 1:
                yield "".join(span)
            span = []


def learn_superwords(model: Any, texts: Iterable[str], count: int, max_entries: int) -> list[str]:
    """Up to `count` new entries, the most useful first, each joined from at most `max_entries` entries of `model`.

    Args:
        model: SentencePieceProcessor of the first stage.
        texts: the sample; memory follows its number of pre-tokens (about 100 bytes each).

    Returns:
        pieces as SentencePiece writes them (U+2581 for a space); fewer than `count` where the text repeats too little.
    """
    import json

    from tokenizers import Tokenizer, models, trainers

    size = model.get_piece_size()
    if size > MAX_ENTRIES:
        raise ValueError(f"{size} entries, at most {MAX_ENTRIES} can be joined")
    pieces = [model.id_to_piece(index) for index in range(size)]
    special = [pieces[index] for index in range(size) if model.is_control(index) or model.is_unknown(index)]
    signs = {
        piece.replace(SPACE, " "): chr(FIRST_CODE_POINT + index)
        for index, piece in enumerate(pieces)
        if not (model.is_byte(index) or model.is_control(index) or model.is_unknown(index) or BARRIER.search(piece))
        # transformers would join `<s` and `>` of a text into the special entry, which SentencePiece never does.
        and not any(token.startswith(piece) or token.endswith(piece) for token in special)
    }
    joined = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=len(signs) + int(count * SPARE) + 1,
        initial_alphabet=[*signs.values()],
        max_token_length=max_entries,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
    )
    joined.train_from_iterator((span for text in texts for span in spans(text, signs)), trainer)
    known, found = set(pieces), []
    for left, right in json.loads(joined.to_str())["model"]["merges"]:
        piece = "".join(pieces[ord(char) - FIRST_CODE_POINT] for char in left + right)
        if piece not in known:
            known.add(piece)
            found.append(piece)
    return found[:count]


def add_pieces(proto: Any, found: Iterable[str]) -> None:
    """Append entries to a SentencePiece model, of lower rank than all that it has."""
    score = min(piece.score for piece in proto.pieces)
    for text in found:
        score -= 1
        proto.pieces.add(piece=text, score=score)
    proto.trainer_spec.vocab_size = len(proto.pieces)
