"""The knobs of data.* that each stage depends on: what a rerun must do again when one changes."""

from __future__ import annotations

import dataclasses
from typing import Any

from common.settings.data import DataSettings

# Knobs of data.* by stage. Where files lie and how many processes work changes no output; every knob not named here
# belongs to the papers, so that a new one is safe without being listed.
METADATA_KNOBS = (
    *("categories", "primary_category_only", "year_min", "year_max", "licenses", "drop_withdrawn"),
    "abstract_min_chars",
)
COLLECTION_KNOBS = (
    *("near_duplicates", "near_duplicate_similarity", "val_fraction", "split_seed"),
    *("max_val_overlap", "benchmarks", "max_benchmark_overlap", "contaminated"),
    *("output_file_bytes", "compress", "limit", "months", "reject_samples", "shard_papers"),
)
NEUTRAL_KNOBS = ("metadata", "source", "out", "workers")


def knobs(settings: DataSettings, stage: str) -> dict[str, Any]:
    """The knobs of one stage: "metadata", "papers" or "collection"."""
    values = dataclasses.asdict(settings)
    if stage == "papers":
        named = METADATA_KNOBS + COLLECTION_KNOBS + NEUTRAL_KNOBS
        return {key: value for key, value in values.items() if key not in named}
    return {key: values[key] for key in {"metadata": METADATA_KNOBS, "collection": COLLECTION_KNOBS}[stage]}
