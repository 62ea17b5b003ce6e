"""The dataset card: README.md beside the splits, by which `datasets.load_dataset` reads them. Imported, not run.

Format: the metadata block of the Hugging Face hub's dataset cards (YAML between two lines of dashes). It has the type
of each field: without, `datasets` takes those that it sees in the first 10 MB, where every licence may be null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.pipeline.record import PaperRecord, fields
from data_prep.screening.reasons import REASONS

# How the files are read, the same in every card.
LOADING = """```python
import os

from datasets import load_dataset

data = load_dataset(os.getcwd())  # in this folder; from elsewhere, its path
```

That reads this card, which has the files of each split and the type of each field; `streaming=True` works too.
`load_dataset("json", ...)` can fail on the same files: it guesses the types from their first 10 MB.
"""


def metadata_block(splits: Mapping[str, Any], kind: type, tags: Sequence[str] = ()) -> str:
    """The card's head: files of each split and types of each field.

    Args:
        splits: "train" and "val", as `SplitWriter.summary` describes them.
        kind: the records' TypedDict.
    """
    # `datasets` loads nothing at all where one split is empty. If all are, no card can help; this one still names no
    # other files than the dataset's.
    listed = {name: split for name, split in splits.items() if split["documents"]} or {"train": splits["train"]}
    lines = ["---", "configs:", "  - config_name: default", "    data_files:"]
    for name, split in listed.items():
        lines += [f"      - split: {'validation' if name == 'val' else name}", "        path:"]
        lines += [f"          - {file['name']}" for file in split["files"]]
    lines += ["dataset_info:", "  features:"]
    lines += [f"    - {{name: {name}, {field.feature}}}" for name, field in fields(kind).items()]
    lines += ["task_categories:", "  - text-generation"]
    if tags:
        lines += ["tags:", *(f"  - {tag}" for tag in tags)]
    return "\n".join([*lines, "---", ""])


def record_table(kind: type) -> str:
    """What each field of a record means."""
    rows = "".join(f"| `{name}` | {field.meaning} |\n" for name, field in fields(kind).items())
    return f"## Record\n\n| key | |\n| --- | --- |\n{rows}"


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """The card of the dataset that `manifest` describes."""
    splits, counts, knobs = manifest["splits"], manifest["counts"], manifest["knobs"]
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
    return f"""{metadata_block(splits, PaperRecord, ("arxiv", "latex", "mathematics"))}# Cleaned LaTeX of arXiv papers

Papers from arXiv's metadata and LaTeX sources: one JSON record a line, {counts["written"]:,} documents of {total:,}
records and archives read; {made}.

| split | documents | text | sha256 of the records |
| --- | --- | --- | --- |
{sizes}
{LOADING}
{record_table(PaperRecord)}
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
