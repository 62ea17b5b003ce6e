"""The `data` section of `config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.settings.knob import knob


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """From arXiv's metadata and archives to train.jsonl and val.jsonl (`data_prep/`)."""

    # The public metadata snapshot, one JSON record a line.
    metadata: str
    # Folder of bulk tars (arXiv_src_YYMM_NNN.tar) or of single archives.
    source: str
    # Folder of train.jsonl, val.jsonl, manifest.json, report/ and rejected/.
    out: str
    # Whole archives ("math") or subject classes ("stat.ML"), matched exactly; null keeps every subject.
    categories: list[str] | None
    # Match the primary category alone; otherwise any of a paper's categories.
    primary_category_only: bool
    # Year of the first version, both ends included; null leaves an end open.
    year_min: int | None = knob(1986, 2200)
    year_max: int | None = knob(1986, 2200)
    # Licence URLs that a paper may carry; null keeps all.
    licenses: list[str] | None
    drop_withdrawn: bool
    # Characters of the abstract; 0 keeps all: early papers have none, and their text is as good as that of others.
    abstract_min_chars: int = knob(0)
    # Length of the cleaned text. Shorter (not counting a title and abstract that only the metadata has) is an erratum,
    # a notice, a bibliography alone or a failed extraction; longer is data, not prose.
    min_chars: int = knob(0)
    max_chars: int = knob(1)
    # Quality of the text, by limits that no document of the corpus reaches (benchmarks/latex/quality.py). Least share
    # of its characters in words (real ones 0.17 to 0.92; tables of numbers and base64 under 0.12); largest share in
    # lines that stood before (up to 0.71; a page over and over 0.99) and in verbatim listings (up to 0.67); what
    # compression leaves (0.12 to 0.50; repetition 0.01, noise 0.77).
    min_word_share: float = knob(0, 1)
    max_repeated_share: float = knob(0, 1)
    max_listing_share: float = knob(0, 1)
    min_compression: float = knob(0, 1)
    max_compression: float = knob(0)
    # ISO 639-1 codes that langdetect may answer for the prose of a paper; null keeps every language.
    languages: list[str] | None
    # Limits that one archive may reach (decompressed bytes, bytes of one TeX file, members) before it is refused.
    max_archive_bytes: int = knob(1)
    max_file_bytes: int = knob(1)
    max_members: int = knob(1)
    # Processor time that one paper may take, in seconds; an ordinary one takes a hundredth of a second.
    max_seconds_per_paper: float = knob(0.1)
    # What the cleaner does with \author, with tables (dropped ones leave their captions), with citations and
    # cross-references (a placeholder is the command without its key), with accents written as commands (\'e).
    authors: Literal["drop", "keep"]
    tables: Literal["keep", "drop"]
    references: Literal["placeholder", "keep", "drop"]
    accents: Literal["unicode", "keep"]
    # Share of clusters (a paper and its duplicates) that goes to val.jsonl, by hash of the cluster and `split_seed`.
    val_fraction: float = knob(0, 0.5)
    split_seed: int = knob(0)
    # Papers whose texts share this much (estimated Jaccard similarity of their word 5-grams) form a cluster. All of a
    # cluster go to one split; of "drop" the longest text alone stays, with "keep" all that are not the same.
    near_duplicates: Literal["drop", "keep"]
    near_duplicate_similarity: float = knob(0.5, 1)
    # Validation papers of whose 13-grams training holds more than this share (null: not measured), and papers that hold
    # more than this share of a question in the folder `benchmarks` (null: none), are left out or only reported.
    max_val_overlap: float | None = knob(0, 1)
    benchmarks: str | None
    max_benchmark_overlap: float = knob(0, 1)
    contaminated: Literal["drop", "report"]
    # Bytes of text records in one output file (null: a split is one file), and whether files are Zstandard-compressed.
    output_file_bytes: int | None = knob(1000)
    compress: bool
    # Papers that one worker takes at a time; an interrupted run redoes at most this many a worker.
    shard_papers: int = knob(1)
    # Worker processes; 0 means one per core.
    workers: int = knob(0)
    # Pilot runs: the first N papers with a source (null: all), and months "YYMM:YYMM" of submission, both ends
    # included.
    limit: int | None = knob(1)
    months: str | None
    # Rejected papers kept as samples, for each reason.
    reject_samples: int = knob(0)
