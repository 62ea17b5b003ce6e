"""Does the judge of languages keep English mathematics and refuse other languages, and at what cost?

    python benchmarks/latex/language.py --source CORPUS/src

False negatives on formula-heavy paragraphs of the corpus (which is English) beside langdetect on the raw paragraph, by
letters of prose; documents refused; papers in other languages kept, of those that the tests generate; seconds beside
cleaning.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/latex/language.py`
    sys.path[0] = str(ROOT)

import itertools

from common.cli import add_config_arguments, run_command, settings_from_args
from data_prep.latex.scanner import math_spans
from data_prep.papers.archives import list_archives, read_bytes
from data_prep.pipeline.process_paper import process_paper
from data_prep.screening.language import Verdict, judge

# Share of a paragraph's characters that are mathematics, from which on it is formula-heavy.
FORMULA_HEAVY = 0.3
BUCKETS = (0, 50, 100, 200, 400, 800, 10**9)
FOREIGN_PAPERS = 200


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="False negatives, false positives and speed of the judge of languages.",
        epilog="example: python benchmarks/latex/language.py --source raw/src",
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of their archives")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    texts = corpus_texts(args)

    start = time.process_time()
    verdicts = [judge(text) for text in texts.values()]
    seconds = time.process_time() - start
    refused = [(i, v) for i, v in zip(texts, verdicts, strict=True) if v.code not in ("en", None)]
    print(f"documents: {len(texts)}, refused {len(refused)}: {[(i, v.code) for i, v in refused]}")
    print(f"seconds: {seconds:.2f}, {seconds / len(texts) * 1e3:.2f} ms a document")
    foreign()
    paragraphs([text for (paper, text) in texts.items() if paper not in dict(refused)])
    return 0


def corpus_texts(args: argparse.Namespace) -> dict[str, str]:
    """Cleaned texts by id, of all languages."""
    settings = dataclasses.replace(settings_from_args(args).data, languages=None)
    texts: dict[str, str] = {}
    start = time.process_time()
    for ref in list_archives(args.source):
        outcome = process_paper(read_bytes(ref), ref.name, None, settings)
        if outcome.text:
            texts.setdefault(ref.paper_id, outcome.text)
    print(f"extraction and cleaning: {time.process_time() - start:.2f} s")
    return texts


def raw_langdetect(text: str) -> str | None:
    """The usual way: langdetect on the text as it is."""
    import langdetect

    try:
        return langdetect.detect(text)
    except langdetect.lang_detect_exception.LangDetectException:
        return None


def heavy_paragraphs(text: str) -> Iterator[tuple[str, int]]:
    """Paragraphs of a share of mathematics of FORMULA_HEAVY and more, with their letters outside it."""
    for paragraph in text.split("\n\n"):
        spans = list(math_spans(paragraph))
        mathematics = sum(end - start for start, end in spans)
        if mathematics >= FORMULA_HEAVY * len(paragraph) and len(paragraph) > 40:
            letters = sum(map(str.isalpha, paragraph)) - sum(
                sum(map(str.isalpha, paragraph[start:end])) for start, end in spans
            )
            yield paragraph, letters


def paragraphs(texts: Sequence[str]) -> None:
    found = [pair for text in texts for pair in heavy_paragraphs(text)]
    every = max(1, len(found) // 6000)
    found = found[::every]
    print(f"formula-heavy English paragraphs: {len(found):,}")
    print(f"{'letters':>12} {'paragraphs':>11} {'raw refuses':>12} {'ours refuses':>13} {'ours too little':>16}")
    for low, high in itertools.pairwise(BUCKETS):
        chosen = [paragraph for paragraph, letters in found if low <= letters < high]
        raw = sum(raw_langdetect(paragraph) != "en" for paragraph in chosen)
        ours = [judge(paragraph) for paragraph in chosen]
        refused = sum(v.code not in ("en", None) for v in ours)
        none = sum(v.code is None for v in ours)
        print(f"{low:>6}-{min(high, 99999):<5} {len(chosen):>11,} {raw:>12,} {refused:>13,} {none:>16,}")


def foreign() -> None:
    from tests.helpers.foreign_papers import SENTENCES, foreign_paper

    print(f"{'language':>9} {'displays':>9} {'abstract':>9} {'papers':>7} {'refused':>8} {'raw refuses':>12}")
    for language in SENTENCES:
        for displays in (0.3, 3.0):
            for english in (False, True):
                papers = [foreign_paper(language, i, 60, displays, english) for i in range(FOREIGN_PAPERS // 4)]
                ours: list[Verdict] = [judge(paper) for paper in papers]
                refused = sum(v.code not in ("en", None) for v in ours)
                raw = sum(raw_langdetect(paper) != "en" for paper in papers)
                abstract = "English" if english else "none"
                print(f"{language:>9} {displays:>9} {abstract:>9} {len(papers):>7} {refused:>8} {raw:>12}")


if __name__ == "__main__":
    run_command(main)
