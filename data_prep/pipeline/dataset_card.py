"""The dataset card: README.md beside the splits, by which `datasets.load_dataset` finds them. Imported, not run.

Format: the metadata block of the Hugging Face hub's dataset cards (YAML between two lines of dashes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_prep.screening.reasons import REASONS


def data_files(splits: Mapping[str, Any]) -> str:
    """The files of each split, as the metadata block lists them."""
    return "".join(
        f"      - split: {'validation' if split == 'val' else split}\n        path:\n"
        + "".join(f"          - {file['name']}\n" for file in sizes["files"])
        for split, sizes in splits.items()
    )


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """The card of the dataset that `manifest` describes."""
    splits, counts, knobs = manifest["splits"], manifest["counts"], manifest["knobs"]
    files = data_files(splits)
    metadata = knobs["metadata"]
    subjects = ", ".join(metadata["categories"]) if metadata["categories"] else "all"
    licenses = ", ".join(metadata["licenses"]) if metadata["licenses"] else "all: each record names its own"
    years = f"{metadata['year_min'] or 'the first'} to {metadata['year_max'] or 'the last'}"
    rules = knobs["collection"]
    near = "too" if rules["near_duplicates"] == "drop" else "stay, all of a cluster in one split"
    total = counts["input"]["total"]
    rows = "".join(f"| {reason} | {count:,} | {REASONS[reason]} |\n" for reason, count in counts["reasons"].items())
    sizes = "".join(
        f"| {split} | {s['documents']:,} | {s['text_bytes'] / 1e6:,.1f} MB | `{s['sha256'][:16]}` |\n"
        for split, s in splits.items()
    )
    build = manifest["build"]
    made = "built as a whole" if build["kind"] == "full" else f"appended to {build['earlier_documents']:,} documents"
    return f"""---
configs:
  - config_name: default
    data_files:
{files}task_categories:
  - text-generation
tags:
  - arxiv
  - latex
  - mathematics
---
# Cleaned LaTeX of arXiv papers

Papers from arXiv's metadata and LaTeX sources: one JSON record a line, {counts["written"]:,} documents of {total:,}
records and archives read; {made}.

| split | documents | text | sha256 of the records |
| --- | --- | --- | --- |
{sizes}
```python
from datasets import load_dataset

data = load_dataset("json", data_files={{"train": "train*.jsonl*", "validation": "val*.jsonl*"}})
```

## Record

| key | |
| --- | --- |
| `id` | arXiv identifier |
| `text` | cleaned LaTeX: title and abstract first, then the body; paragraphs are parted by one blank line |
| `title`, `categories`, `year`, `license` | of the metadata; primary category first, year of the first version |
| `cluster` | near-duplicate cluster: all of one are in the same split |

## How it was made

- Subjects: {subjects}. Years: {years}. Licences: {licenses}.
- Exact duplicates are dropped, near-duplicates (estimated Jaccard similarity of word 5-grams from
  {rules["near_duplicate_similarity"]}) {near}.
- Split by the hash of the cluster: {rules["val_fraction"]:.2%} is held out.
- `manifest.json` has every knob, the sha256 of the code and of the input; `report/report.html` the funnel.

| left out | papers | |
| --- | --- | --- |
{rows}
Each paper carries its author's licence (`license`, null where arXiv's own licence to distribute applies).
"""
