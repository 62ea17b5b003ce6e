"""One paper in, its cleaned text or one reason out: what the workers of `prepare_dataset.py` run."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.settings.data import DataSettings
from common.time_limit import TimeLimit, time_limit
from data_prep.archive.flatten import flatten
from data_prep.archive.formats import read_archive
from data_prep.latex.balance import imbalances
from data_prep.latex.clean import clean, steps
from data_prep.latex.passes.unicode_text import unicode_text
from data_prep.screening.language import judge
from data_prep.screening.quality import measure, quality_reason
from data_prep.screening.reasons import Rejected


@dataclass(frozen=True)
class Outcome:
    """A paper's cleaned text, or one of `reasons.REASONS` (never both) with what was found."""

    text: str | None
    reason: str | None
    detail: str = ""
    counters: dict[str, int] = field(default_factory=dict)  # what was met on the way, by what happened


def process_paper(
    data: bytes,
    name: str,
    metadata: Mapping[str, Any] | None,
    settings: DataSettings,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Outcome:
    """Extract, flatten, clean, complete from the metadata, and judge one archive.

    Args:
        data: the archive's bytes.
        name: its file name.
        metadata: the paper's record of the metadata snapshot (`title` and `abstract` are used), or None.
        settings: limits of size and length, languages.
        on_stage: told the name of each stage when it ends well: extraction, flatten, clean, quality, language.

    Returns:
        An outcome, whatever the input: an unexpected error is the reason `processing_error`, its traceback the detail.
    """
    counters: Counter[str] = Counter()
    try:
        with time_limit(settings.max_seconds_per_paper):
            archive = read_archive(data, name, settings)
            counters.update(archive.counters)
            counters[f"kind_{archive.kind}"] = 1
            on_stage("extraction")
            flat = flatten(archive.files, settings.max_file_bytes)
            counters.update(flat.counters)
            counters["files_included"] = len(flat.included)
            on_stage("flatten")
            cleaned = clean(flat.text, settings, archive.files, counters)
            if (unbalanced := imbalances(cleaned)) and not imbalances(flat.text):
                counters.update(f"unbalanced_{what}" for what in unbalanced)
            text = with_metadata(cleaned, metadata)
            on_stage("clean")
            if len(cleaned) < settings.min_chars:
                raise Rejected("too_short", f"{len(cleaned)} characters < data.min_chars {settings.min_chars}")
            if len(text) > settings.max_chars:
                raise Rejected("too_long", f"{len(text)} characters > data.max_chars {settings.max_chars}")
            if poor := quality_reason(measure(text), settings):
                raise Rejected(*poor)
            on_stage("quality")
            _check_language(text, metadata, settings, counters)
            on_stage("language")
    except Rejected as rejected:
        return Outcome(None, rejected.reason, rejected.detail, counters)
    except TimeLimit:
        limit = f"more than data.max_seconds_per_paper {settings.max_seconds_per_paper:g} of processor time"
        return Outcome(None, "time_limit", limit, counters)
    except Exception:
        # One paper in a million must not end a run of days; the reason is counted and the traceback kept as a sample.
        return Outcome(None, "processing_error", traceback.format_exc(), counters)
    return Outcome(text, None, "", counters)


def passes(data: bytes, name: str, metadata: Mapping[str, Any] | None, settings: DataSettings) -> list[tuple[str, str]]:
    """(name of a pass, the whole text after it), from the raw main file to the finished text. Raises Rejected."""
    archive = read_archive(data, name, settings)
    flat = flatten(archive.files, settings.max_file_bytes)
    shown = [
        ("extraction", archive.files[flat.main]),
        ("flatten", flat.text),
        *steps(flat.text, settings, archive.files),
    ]
    return [*shown, ("metadata", with_metadata(shown[-1][1], metadata))]


def with_metadata(text: str, metadata: Mapping[str, Any] | None) -> str:
    """`text` with the metadata's title and abstract in front where the source gives none (not even by hand)."""
    if not metadata:
        return text
    title, abstract = (" ".join(unicode_text(str(metadata.get(key) or "")).split()) for key in ("title", "abstract"))
    head, rest = "", text
    if text.startswith("\\title{"):
        head, _, rest = text.partition("\n\n")
    elif title and _letters(title) not in _letters(text[:_TITLE_PAGE]):
        head = f"\\title{{{title}}}"
    if abstract and not rest.startswith("\\begin{abstract}") and not _ABSTRACT_HEADING.search(rest, 0, _TITLE_PAGE):
        abstract = f"\\begin{{abstract}}\n{abstract}\n\\end{{abstract}}"
    else:
        abstract = ""
    return "\n\n".join(filter(None, (head, abstract, rest)))


_TITLE_PAGE = 3_000  # characters of the text in which a title page by hand stands
_ABSTRACT_HEADING = re.compile(r"(?:[{}\s]|\A)(?i:abstract)[.:]?[ \t]*(?:[}\n\\]|--|\Z)")


def _letters(text: str) -> str:
    """Letters alone, case folded: what two spellings of a title have in common."""
    return "".join(filter(str.isalpha, text.casefold()))


def _check_language(
    text: str, metadata: Mapping[str, Any] | None, settings: DataSettings, counters: dict[str, int]
) -> None:
    """Refuse prose in another language; a paper whose prose, and whose abstract, are too short to tell is kept."""
    if settings.languages is None:
        return
    verdict = judge(text)
    if verdict.code is None and metadata:
        verdict = judge(str(metadata.get("abstract") or ""))
    counters[f"language_by_{verdict.rule}"] = 1
    counters[f"language_{verdict.code or 'unknown'}"] = 1
    if verdict.code is not None and verdict.code not in settings.languages:
        allowed = ", ".join(settings.languages)
        raise Rejected(
            "language", f"{verdict.code} ({verdict.rule}, {verdict.letters} letters), not in data.languages {allowed}"
        )
