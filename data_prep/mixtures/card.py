"""README.md of a mixture, by which `datasets.load_dataset` finds its splits."""

from __future__ import annotations

from typing import Any

from data_prep.pipeline.dataset_card import data_files


def mixture_card(manifest: dict[str, Any]) -> str:
    """README.md beside the splits, by which `datasets.load_dataset` finds them."""
    rows = "".join(
        f"| {name} | {source['written']['train']:,} | {source['written']['val']:,} | {source['train_bytes']:,} "
        f"| {source['repeats']:.2f} |\n"
        for name, source in manifest["sources"].items()
    )
    return f"""---
configs:
  - config_name: default
    data_files:
{data_files(manifest["splits"])}task_categories:
  - text-generation
---
# A mixture for training on

One JSON record a line; `answers` are the parts of `text`, [start, end) in characters, that are to be learnt where a
record has them. `manifest.json` has the mixture file and its inputs, `report/report.html` what was left out and how
documents look.

| source | in train | in validation | bytes in train | times read |
| --- | --- | --- | --- | --- |
{rows}"""
