"""Which metadata records are in scope: subject, year, withdrawn, licence, abstract. One reason each, or none.

    python data_prep/filters.py --metadata raw/arxiv-metadata-oai-snapshot.json

counts what each rule would keep, alone and in order, over a whole snapshot (2.8 million records: some three minutes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.settings.data import DataSettings
from data_prep.papers.metadata import first_year
from data_prep.papers.taxonomy import license_key
from data_prep.screening.withdrawal import is_withdrawn


def metadata_reason(record: Mapping[str, Any], settings: DataSettings) -> str | None:
    """Why a snapshot record is out of scope (a key of REASONS), or None: the first rule that refuses it.

    The record is one that `record_problem` finds nothing wrong with.
    """
    for reason, keeps in RULES.items():
        if not keeps(record, settings):
            return reason
    return None


def in_subject(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether a category is in `data.categories`: `math` is every math.XX, `stat.ML` is itself; never a substring."""
    if settings.categories is None:
        return True
    categories = record["categories"].split()
    if settings.primary_category_only:
        categories = categories[:1]
    wanted = frozenset(settings.categories)
    return any(category in wanted or category.partition(".")[0] in wanted for category in categories)


def in_years(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether the first version's year lies in `data.year_min`..`data.year_max`."""
    year = first_year(record)
    return (settings.year_min is None or year >= settings.year_min) and (
        settings.year_max is None or year <= settings.year_max
    )


def not_withdrawn(record: Mapping[str, Any], settings: DataSettings) -> bool:
    return not (settings.drop_withdrawn and is_withdrawn(record))


def in_licenses(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether the licence is one of `data.licenses`; a record without one has none of them."""
    if settings.licenses is None:
        return True
    key = license_key(record.get("license"))
    return key is not None and key in map(license_key, settings.licenses)


def long_abstract(record: Mapping[str, Any], settings: DataSettings) -> bool:
    """Whether the abstract has `data.abstract_min_chars` characters, runs of white space counted as one."""
    return len(" ".join((record.get("abstract") or "").split())) >= settings.abstract_min_chars


# In the order of the funnel (and of REASONS).
RULES: dict[str, Callable[[Mapping[str, Any], DataSettings], bool]] = {
    "subject": in_subject,
    "year": in_years,
    "withdrawn": not_withdrawn,
    "license": in_licenses,
    "short_abstract": long_abstract,
}
