"""Is a cleaned text a paper's prose and mathematics, or repetition, a listing, numbers, or bytes that are no text?

    python data_prep/quality.py FILE.tex

prints the measures of cleaned text. They look at a bounded sample spread over the text (but for repeated lines), so
that they cost a fraction of cleaning. The defaults of the limits lie well outside of what real documents show
(benchmarks/RESULTS.md): such a rule is for what is not a paper, not for papers of an unusual kind.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from common.settings.data import DataSettings
from data_prep.latex.scanner import VERBATIM_ENVIRONMENTS, any_of

WINDOWS, WINDOW_CHARS = 6, 2_500
# A shorter text compresses badly, whatever it says.
NOISE_CHARS = 4_000
# Shorter lines repeat in any text: \end{proof}, a bracket.
LINE_CHARS = 20
# Letters in a row, as words have; cut out of base64 or a table of codes they are few.
WORD = re.compile(r"(?<![^\W_])[^\W\d_]{3,40}(?![^\W_])")
LISTING = re.compile(
    r"\\begin\{(?P<name>" + any_of(VERBATIM_ENVIRONMENTS) + r")\}.*?(?:\\end\{(?P=name)\}|\Z)", re.DOTALL
)


@dataclass(frozen=True)
class Quality:
    """Measures of a text, each a share of 0 to 1 but for `compression`."""

    # Of the characters that are not blank, those in words; the rest is mathematics, numbers and punctuation.
    words: float
    # Of the characters in lines of some length, those in lines that have stood before.
    repeated: float
    # Bytes after compression (zlib, level 1) for each byte: 0.3 to 0.5 for papers; little where it repeats itself,
    # much where it is noise.
    compression: float
    # Of all characters, those in verbatim material: programs, their output, data.
    listings: float
    characters: int  # looked at


def measure(text: str) -> Quality:
    """The measures of cleaned text; an empty one is all repetition."""
    sample = _sample(text)
    blank = sum(map(sample.count, " \n\t"))
    words = sum(map(len, WORD.findall(sample))) / max(1, len(sample) - blank)
    lines = [line for line in text.splitlines() if len(line) > LINE_CHARS]
    total = sum(map(len, lines))
    repeated = 1 - sum(map(len, set(lines))) / total if total else 0.0
    data = sample.encode("utf-8", "replace")
    listings = sum(len(match[0]) for match in LISTING.finditer(text)) / max(1, len(text))
    return Quality(words, repeated, len(zlib.compress(data, 1)) / max(1, len(data)), listings, len(sample))


def quality_reason(quality: Quality, settings: DataSettings) -> tuple[str, str] | None:
    """Why a text of this quality is left out: a key of REASONS and what was measured, or None."""
    if quality.repeated > settings.max_repeated_share:
        return "repetitive", f"{quality.repeated:.2f} of it in repeated lines > data.max_repeated_share"
    if quality.compression < settings.min_compression:
        return "repetitive", f"compresses to {quality.compression:.3f} < data.min_compression"
    if quality.listings > settings.max_listing_share:
        return "listing", f"{quality.listings:.2f} of it in listings > data.max_listing_share"
    if quality.words < settings.min_word_share:
        return "gibberish", f"{quality.words:.2f} of it in words < data.min_word_share"
    if quality.compression > settings.max_compression and quality.characters >= NOISE_CHARS:
        return "gibberish", f"compresses to {quality.compression:.2f} > data.max_compression"
    return None


def _sample(text: str) -> str:
    if len(text) <= WINDOWS * WINDOW_CHARS:
        return text
    step = (len(text) - WINDOW_CHARS) // (WINDOWS - 1)
    return "".join(text[i * step : i * step + WINDOW_CHARS] for i in range(WINDOWS))
