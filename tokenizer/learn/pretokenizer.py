r"""LaTeX cut into pre-tokens: the spans of text that one entry of the vocabulary may cover, and their counts.

The tokenizer is trained on counts of pre-tokens, so that an entry never runs over one of these borders: a command with
the brace that it opens (`\frac{`), `\begin{theorem}`, `\mathbb{R}`, a word with the space before it, a single digit, a
run of punctuation (`}_{`), a run of line ends. Imported by `train_tokenizer.py` and its worker processes; not run.
"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tokenizer.cache.source_lines import SourceFile, text_of
from tokenizer.learn.sample import Catalogue

# Units of several symbols that one entry may cover; tried in this order, before the rest.
UNITS = {
    "environment": r"[ ]?\\(?:begin|end)\{[A-Za-z]+\*?\}",  # \begin{align*}
    "alphabet": r"[ ]?\\(?:math[a-z]+|bar|hat|tilde|vec|dot)\{[A-Za-z]\}",  # \mathbb{R}
}
REST = r"""
      [ ]?\\[A-Za-z]+\*?\{?                                 # \alpha  \frac{  \section*{
    | [ ]?\\[^A-Za-z\s]?                                    # \\  \,  \{
    | [ ]?[^\W\d_]+                                         # words and letters
    | \d
    | \n+[ \t]*
    | [ \t]+(?=[ \n])                                       # the last space before a word belongs to the word
    | [ ]?(?:[^\w\s\\]|_)+                                  # }_{   $.   the space before it belongs to it, too
    | [ \t]
    | .
    """


def pretoken_pattern(units: Iterable[str]) -> re.Pattern[str]:
    """The expression whose matches, one after the other, are the pre-tokens; `units` are tried first."""
    return re.compile("|".join([*units, REST]), re.VERBOSE | re.DOTALL)


PRETOKEN = pretoken_pattern(UNITS.values())
COMMAND = re.compile(r" ?\\[A-Za-z]+")
# SentencePiece reads lines: these stand for line end and tab during training, and give way to them in the model.
STAND_INS = {"\n": "\ue00a", "\t": "\ue009"}
# SentencePiece's sign for a space.
SPACE = "\u2581"
# What cannot be trained on: the stand-ins themselves, SentencePiece's sign for a space, other ends of lines.
UNTRAINABLE = re.compile("[\ue009\ue00a\u2581\x00\r]")
BATCH_BYTES = 4_000_000
# Below this a pool of processes costs more than it saves.
SERIAL_BYTES = 32_000_000
# Distinct pre-tokens in memory, some 150 bytes each, and several times that in SentencePiece.
MAX_PRETOKENS = 20_000_000


@dataclass
class Sample:
    """Pre-token counts of the sampled documents, and what they were taken from (bytes are UTF-8)."""

    counts: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    text_bytes: int = 0
    # Pre-tokens of small counts that were left out to bound memory.
    forgotten: int = 0

    def forget(self) -> None:
        """Leave out the rarest pre-tokens, until half of `MAX_PRETOKENS` are left: no entry comes of them."""
        limit = 1
        while len(self.counts) > MAX_PRETOKENS // 2:
            kept = Counter({piece: count for piece, count in self.counts.items() if count > limit})
            self.forgotten += len(self.counts) - len(kept)
            self.counts, limit = kept, limit + 1


def pretokens(text: str) -> list[str]:
    """The pre-tokens of `text`; joined they are the text."""
    return PRETOKEN.findall(text)


def cut(text: str, max_bytes: int) -> str:
    """The first `max_bytes` bytes of `text`, at a character's border."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= max_bytes else raw[:max_bytes].decode("utf-8", "ignore")


def count_batch(lines: list[tuple[SourceFile, int, bytes]], max_document_bytes: int) -> Sample:
    """Pre-token counts of some lines; runs in worker processes."""
    sample = Sample(documents=len(lines))
    for line in lines:
        text = cut(text_of(*line), max_document_bytes)
        sample.counts.update(PRETOKEN.findall(text))
        sample.text_bytes += len(text.encode())
    return sample


def count_pretokens(
    documents: Catalogue, chosen: np.ndarray, max_document_bytes: int, workers: int, progress: bool = True
) -> Sample:
    """Count the pre-tokens of the chosen documents. The result does not depend on `workers` (0: one per core)."""
    from tqdm import tqdm

    total = Sample()
    workers = workers or os.cpu_count() or 1
    size = int(documents.sizes[chosen].sum())
    bar = tqdm(total=size, unit="B", unit_scale=True, desc="counting", disable=None if progress else True)

    def add(part: Sample) -> None:
        total.counts.update(part.counts)
        total.documents += part.documents
        total.text_bytes += part.text_bytes
        bar.update(part.text_bytes)
        if len(total.counts) > MAX_PRETOKENS:  # in the order of the batches, and so at the same place every time
            total.forget()

    batches = _batches(documents.lines(chosen))
    with bar:
        if workers == 1 or size <= SERIAL_BYTES:
            for batch in batches:
                add(count_batch(batch, max_document_bytes))
        else:
            with ProcessPoolExecutor(workers) as pool:
                waiting: deque = deque()
                for batch in batches:
                    waiting.append(pool.submit(count_batch, batch, max_document_bytes))
                    if len(waiting) > 2 * workers:  # no more of the file in memory than the workers can chew
                        add(waiting.popleft().result())
                for future in waiting:
                    add(future.result())
    return total


def _batches(lines: Iterable[tuple[SourceFile, int, bytes]]) -> Iterator[list[tuple[SourceFile, int, bytes]]]:
    batch: list[tuple[SourceFile, int, bytes]] = []
    length = 0
    for line in lines:
        batch.append(line)
        length += len(line[2])
        if length >= BATCH_BYTES:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def boosted(counts: Counter[str], min_count: int, boost: int, standard: Iterable[str] = ()) -> Counter[str]:
    r"""The counts with every frequent command counted `boost` times more, so that it becomes an entry of its own.

    The boost falls on the bare command and the command after a space (`\alpha`, ` \alpha`), whatever followed it; a
    pre-token that opens a group (`\frac{`) or is longer (`\mathbb{R}`) keeps its own count beside. The `standard`
    commands count as frequent ones, however rare they are.
    """
    commands: Counter[str] = Counter()
    for piece, count in counts.items():
        match = COMMAND.match(piece)
        if match:
            commands[match[0]] += count
    result = counts.copy()
    for command, count in commands.items():
        if boost and count >= min_count:
            result[command] += boost * count
    for command in standard:
        result[command] = max(result[command], (1 + boost) * min_count)
    return result


def write_counts(counts: Counter[str], path: Path) -> None:
    """`pre-token <tab> count` lines for SentencePiece, in an order that depends on the counts alone."""
    table = str.maketrans(STAND_INS)
    with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as file:
        for piece, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            if not UNTRAINABLE.search(piece):
                file.write(f"{piece.translate(table)}\t{count}\n")


def mathematical_characters() -> list[str]:
    """Unicode mathematics, the characters of most use first: Greek, sets, operators, arrows, scripts, alphabets."""
    ranges = (
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩℝℤℂℕℚℓℏℵ∂∇∞∈∉⊂⊆∪∩∅∀∃∑∏∫√±×·≤≥≠≈≡→←↔⇒⇔↦⟨⟩∘⊕⊗⊥∥∼≅",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉₊₋′″–—‘’“”…†‡§ϕϵϑ",
        "".join(map(chr, range(0x2200, 0x2300))),
        "".join(map(chr, range(0x2190, 0x2200))),
        "".join(map(chr, range(0x2100, 0x2150))),
        "".join(map(chr, range(0x1D400, 0x1D800))),
    )
    return [c for c in dict.fromkeys("".join(ranges)) if c.isprintable()]


def required_characters(vocab_size: int) -> str:
    """Characters that are entries whatever their count: space, line end, ASCII, as much mathematics as has room."""
    ascii_printable = "".join(map(chr, range(0x21, 0x7F)))
    return STAND_INS["\n"] + SPACE + ascii_printable + "".join(mathematical_characters()[: vocab_size // 128])
