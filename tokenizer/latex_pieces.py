r"""LaTeX cut into pre-tokens: the spans of text that one entry of the vocabulary may cover, and their counts.

The tokenizer is trained on counts of pre-tokens, so that an entry never runs over one of these borders: a command with
the brace that it opens (`\frac{`), `\begin{theorem}`, `\mathbb{R}`, a word with the space before it, a single digit, a
run of punctuation (`}_{`), a run of line ends. Imported by `train_tokenizer.py` and its worker processes; not run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.jsonl import parse_line
from settings import UserError

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
# The id opens every record of train.jsonl; with it alone, a document that is not sampled need not be parsed.
LEADING_ID = re.compile(rb'\{\s*"id"\s*:\s*"([^"\\]+)"')


@dataclass
class Sample:
    """Pre-token counts of the sampled documents, and what they were taken from (bytes are UTF-8)."""

    counts: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    text_bytes: int = 0
    documents_seen: int = 0
    commands: int = 0


def pretokens(text: str) -> list[str]:
    """The pre-tokens of `text`; joined they are the text."""
    return PRETOKEN.findall(text)


def cut(text: str, max_bytes: int) -> str:
    """The first `max_bytes` bytes of `text`, at a character's border."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= max_bytes else raw[:max_bytes].decode("utf-8", "ignore")


def is_sampled(document_id: bytes, seed: int, fraction: float) -> bool:
    """Whether a document belongs to the sample: by hash of its id, whatever the order of the file."""
    if fraction >= 1:
        return True
    digest = hashlib.blake2b(b"%d %b" % (seed, document_id), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def sampled_lines(path: Path, seed: int, fraction: float, chosen: bool = True) -> Iterator[tuple[int, bytes]]:
    """(line number, line) of the documents in the sample, or of those outside it, one in memory at a time.

    Raises:
        UserError: the file cannot be read, or a record has no id.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.isspace():
                    continue
                leading = LEADING_ID.match(line)
                document_id = leading[1] if leading else json.dumps(_field(path, number, line, "id")).encode()
                if is_sampled(document_id, seed, fraction) == chosen:
                    yield number, line
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def text_of(path: Path, number: int, line: bytes) -> str:
    """The text of one record."""
    return _field(path, number, line, "text")


def _field(path: Path, number: int, line: bytes, name: str) -> str:
    value = parse_line(line, f"{path}:{number}").get(name)
    if not isinstance(value, str):
        raise UserError(f"{path}:{number}: the record has no '{name}'; is this the train.jsonl of prepare_dataset.py?")
    return value


def count_batch(path: Path, batch: list[tuple[int, bytes]], max_document_bytes: int) -> Sample:
    """Pre-token counts of some lines; runs in worker processes."""
    sample = Sample(documents=len(batch))
    for number, line in batch:
        text = cut(text_of(path, number, line), max_document_bytes)
        sample.counts.update(PRETOKEN.findall(text))
        sample.text_bytes += len(text.encode("utf-8", "replace"))
    return sample


def count_pretokens(
    path: Path, sample_bytes: int, max_document_bytes: int, seed: int, workers: int, progress: bool = True
) -> tuple[Sample, float]:
    """Count the pre-tokens of a sample of about `sample_bytes` bytes, and give the share of documents that it took.

    The share follows from the file's size, so that one pass over the file is enough. Counts are sums: the result does
    not depend on `workers` (0: one per core).
    """
    from tqdm import tqdm

    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    fraction = min(1.0, sample_bytes / size) if size else 1.0
    total = Sample()
    workers = workers or os.cpu_count() or 1
    bar = tqdm(
        total=int(size * fraction), unit="B", unit_scale=True, desc="counting", disable=None if progress else True
    )

    def add(part: Sample, batch_bytes: int) -> None:
        total.counts.update(part.counts)
        total.documents += part.documents
        total.text_bytes += part.text_bytes
        bar.update(batch_bytes)

    batches = _batches(sampled_lines(path, seed, fraction))
    with bar:
        if workers == 1 or size * fraction <= SERIAL_BYTES:
            for batch, length in batches:
                add(count_batch(path, batch, max_document_bytes), length)
        else:
            with ProcessPoolExecutor(workers) as pool:
                waiting: deque = deque()
                for batch, length in batches:
                    waiting.append((pool.submit(count_batch, path, batch, max_document_bytes), length))
                    if len(waiting) > 2 * workers:  # no more of the file in memory than the workers can chew
                        future, done = waiting.popleft()
                        add(future.result(), done)
                for future, done in waiting:
                    add(future.result(), done)
    return total, fraction


def _batches(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[list[tuple[int, bytes]], int]]:
    batch: list[tuple[int, bytes]] = []
    length = 0
    for number, line in lines:
        batch.append((number, line))
        length += len(line)
        if length >= BATCH_BYTES:
            yield batch, length
            batch, length = [], 0
    if batch:
        yield batch, length


def boosted(counts: Counter[str], min_count: int, boost: int) -> Counter[str]:
    r"""The counts with every frequent command counted `boost` times more, so that it becomes an entry of its own.

    The boost falls on the bare command and the command after a space (`\alpha`, ` \alpha`), whatever followed it; a
    pre-token that opens a group (`\frac{`) or is longer (`\mathbb{R}`) keeps its own count beside.
    """
    commands: Counter[str] = Counter()
    for piece, count in counts.items():
        match = COMMAND.match(piece)
        if match:
            commands[match[0]] += count
    result = counts.copy()
    for command, count in commands.items():
        if count >= min_count:
            result[command] += boost * count
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
