"""README.md of a mixture, by which `datasets.load_dataset` reads its splits. Imported, not run."""

from __future__ import annotations

from typing import Any

from data_prep.pipeline.dataset_card import LOADING, metadata_block, record_table
from data_prep.pipeline.record import MixtureRecord


def mixture_card(manifest: dict[str, Any]) -> str:
    """README.md beside the splits, by which `datasets.load_dataset` reads them."""
    rows = "".join(
        f"| {name} | {source['written']['train']:,} | {source['written']['val']:,} | {source['train_bytes']:,} "
        f"| {source['repeats']:.2f} |\n"
        for name, source in manifest["sources"].items()
    )
    return f"""{metadata_block(manifest["splits"], MixtureRecord)}# A mixture for training on

One JSON record a line. `manifest.json` has the mixture file and its inputs, `report/report.html` what was left out and
how documents look.

| source | in train | in validation | bytes in train | times read |
| --- | --- | --- | --- | --- |
{rows}
{LOADING}
{record_table(MixtureRecord)}"""
