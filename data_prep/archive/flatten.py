"""One text out of a paper's files: the main file found, `\\input` and its family replaced by what they name, in order.

Which file is the main one, and which others belong to the paper, is decided in `main_file.py`; what is included, and
how, in `includes.py`; how a supplement is appended, in `supplement.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from data_prep.archive.includes import include
from data_prep.archive.main_file import Choice, choose, is_supplement
from data_prep.archive.supplement import append
from data_prep.archive.tex_files import PaperFiles


@dataclass
class Flattened:
    """The text of a paper in one piece, comments removed.

    `counters` counts what was met: `input_missing` (no such file), `input_cycle`, `input_repeated` (left out),
    `input_dead` (in a branch that is never read), `input_of_drawing`, `input_of_bibliography`, `input_of_format`,
    `include_excluded` (by `\\includeonly`), `supplements` (appended), `documents_left_out` (other versions, figures),
    `input_limit` (more commands than are looked at).
    """

    text: str
    main: str
    included: list[str] = field(default_factory=list)  # the main file first, then in the order of inclusion
    missing: list[str] = field(default_factory=list)  # names for which there is no file
    counters: Counter[str] = field(default_factory=Counter)


def flatten(files: Mapping[str, str], max_chars: int, main: str | None = None) -> Flattened:
    """Find the main file (unless given), put what it includes in place, and append its supplements (unless given).

    Args:
        files: the paper's TeX files, text by path.
        max_chars: the most characters that the whole may have.
        main: path of the main file.

    Raises:
        Rejected: `no_main_file`, or `archive_too_large` if the whole exceeds `max_chars` characters.
    """
    known = PaperFiles(files)
    choice = choose(known, max_chars) if main is None else Choice(main)
    whole = choice.whole or include(known, choice.main, max_chars)
    seen = whole.seen
    result = Flattened(whole.text, choice.main, whole.included, whole.missing, whole.counters)
    for path in choice.others:
        whole = include(known, path, max_chars - len(result.text), seen)
        if not is_supplement(whole.text, result.text):
            result.counters["documents_left_out"] += 1
            continue
        result.text = append(result.text, whole.text)
        result.included += whole.included
        result.missing += whole.missing
        result.counters += whole.counters
        result.counters["supplements"] += 1
    return result


def choose_main(files: Mapping[str, str]) -> str:
    """The path of the main file, by the rules of `main_file.py`. Raises Rejected (`no_main_file`)."""
    return choose(PaperFiles(files), sum(map(len, files.values()))).main
