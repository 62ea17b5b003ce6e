"""The language of a paper's prose, mathematics and commands removed.

    python data_prep/language.py FILE.tex

prints the language, how it was decided, and how many letters of prose were looked at. The judge is langdetect, seeded
so that a paper always gets the same answer, on a bounded sample spread over the paper. It is asked only where cheaper
evidence is missing: where the words that only English uses are as frequent as in English all over the sample, it is
English. Formula-heavy English papers are what such judges get wrong, so two rules soften langdetect's answer: with too
little prose, or when it can only guess between several languages, there is no verdict (None: the caller asks the
abstract or keeps the paper); and another language than English is overruled by those words in the sample as a whole.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.latex.scanner import hide_verbatim, math_spans

WINDOWS = 6  # places of the paper that are looked at
WINDOW_CHARS = 4_000  # read at each of them
PROSE_CHARS = 800  # kept of each: langdetect's cost grows with what it is given
MIN_LETTERS = 200  # less prose than this is no ground for a verdict,
MIN_WORDS = 40  # nor is prose of fewer different words (in scripts that part them): it is a table or a listing
PIECE_WORDS = 100  # the words of only English are counted in pieces of the sample: an abstract alone decides nothing
MIN_PROBABILITY = 0.8  # langdetect's own: under this its answer is a guess between several
# Frequent in English and words of no other language that arXiv holds.
ENGLISH = frozenset("the of and that this with which for are be by we from then have it's such let there where".split())
ENGLISH_SHARE = 0.15  # of the words of English papers they are 0.2 to 0.35, of others' under 0.05


@dataclass(frozen=True)
class Verdict:
    """The language of a text: ISO 639-1 code, or None where there is too little prose to tell."""

    code: str | None
    rule: str  # "little_prose", "langdetect", "english_words" or "unsure"
    letters: int  # letters of prose in the sample


_COMMAND = re.compile(
    r"\\(?:begin|end|label|ref|eqref|cite\w*|input|include\w*)\*?\s*(?:\[[^\]]*\])?\s*\{[^{}]*\}|\\[a-zA-Z@]+\*?|\\."
)
_HIDDEN = re.compile("\ue000[0-9]+\ue001|https?://\\S+")
_NOT_PROSE = re.compile(r"[{}\[\]&~^_$#<>=+*/|`0-9]+|--+")
# A capitalised word inside a sentence is mostly a name, and names mislead the judge.
_NAME = re.compile(r"(?<=[^\W\d_.?!:;] )[A-Z][\w’'.-]*|\b\w\b\.?")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_BLANKS = re.compile(r"\s+")
_IDEOGRAPHS = re.compile("[\u0e00-\u0eff\u2e80-\u9fff\uac00-\ud7af]{4}")


def judge(text: str) -> Verdict:
    """The language of cleaned LaTeX (or of plain text)."""
    sample = prose_sample(text)
    words = _WORD.findall(sample.lower())
    letters = sum(map(len, words))
    if letters < MIN_LETTERS or (len(set(words)) < MIN_WORDS and not _IDEOGRAPHS.search(sample)):
        return Verdict(None, "little_prose", letters)
    pieces = max(1, len(words) // PIECE_WORDS)
    bounds = [len(words) * i // pieces for i in range(pieces + 1)]
    shares = [_english(words[bounds[i] : bounds[i + 1]]) for i in range(pieces)]
    if min(shares) >= ENGLISH_SHARE:
        return Verdict("en", "english_words", letters)
    code = _detect()(sample)
    if code != "en" and _english(words) >= ENGLISH_SHARE:
        return Verdict("en", "english_words", letters)
    return Verdict(code, "langdetect" if code else "unsure", letters)


def _english(words: Sequence[str]) -> float:
    """Share of the words that only English uses."""
    return sum(word in ENGLISH for word in words) / len(words)


def prose_sample(text: str) -> str:
    """Prose from places spread evenly over the text, at most WINDOWS × PROSE_CHARS characters."""
    if len(text) <= WINDOWS * WINDOW_CHARS:
        windows = [text]
    else:
        step = (len(text) - WINDOW_CHARS) // (WINDOWS - 1)
        starts = []
        for index in range(WINDOWS):
            # A window begins at a paragraph, where no mathematics can be open.
            paragraph = text.find("\n\n", index * step, index * step + WINDOW_CHARS)
            starts.append(paragraph if index and paragraph > 0 else index * step)
        windows = [text[start : start + WINDOW_CHARS] for start in starts]
    room = WINDOWS * PROSE_CHARS // len(windows)
    pieces = []
    for window in windows:
        prose = _prose(window)
        if len(prose) > room:
            prose = prose[:room].rsplit(" ", 1)[0]
        pieces.append(prose)
    return "\n".join(pieces)


def _prose(text: str) -> str:
    text = hide_verbatim(text)[0]
    parts, position = [], 0
    for start, end in math_spans(text):
        parts.append(text[position:start])
        position = end
    parts.append(text[position:])
    text = _HIDDEN.sub(" ", _COMMAND.sub(" ", " ".join(parts)))
    text = _BLANKS.sub(" ", _NOT_PROSE.sub(" ", text))
    return _NAME.sub("", text)


@functools.cache
def _detect() -> Callable[[str], str | None]:
    """langdetect's detector, its profiles loaded and its seed set once a process."""
    import langdetect
    from langdetect import DetectorFactory
    from langdetect.lang_detect_exception import LangDetectException

    DetectorFactory.seed = 0

    def detect(sample: str) -> str | None:
        try:
            best: Any = langdetect.detect_langs(sample)[0]
        except LangDetectException:  # no feature that any profile knows
            return None
        if best.prob < MIN_PROBABILITY:
            return None
        return best.lang.split("-")[0]  # zh-cn and zh-tw are both zh

    return detect
