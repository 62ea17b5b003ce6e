"""Why a paper is not in the dataset: the closed list of reasons, one line of meaning each.

Every record that `prepare_dataset.py` reads ends either written or with exactly one of these; the counts add up to the
input. The order is that of the funnel.
"""

from __future__ import annotations

REASONS: dict[str, str] = {
    # metadata
    "bad_metadata": "the metadata record is not a JSON object with an id, or its fields cannot be read",
    "duplicate_metadata": "an earlier metadata record has the same id",
    "outside_pilot": "not among the papers chosen by --limit or --months",
    "subject": "no category in data.categories",
    "year": "year of the first version outside data.year_min..year_max",
    "withdrawn": "the metadata says that the paper was withdrawn",
    "license": "licence not in data.licenses",
    "short_abstract": "abstract shorter than data.abstract_min_chars",
    "no_source": "metadata without an archive in the source folder",
    "no_metadata": "an archive whose id has no metadata record",
    "duplicate_source": "another archive of the same paper is newer or came first",
    # archive
    "empty_archive": "zero bytes, or an archive without members",
    "broken_archive": "truncated or corrupt compression, or not a format that arXiv ships",
    "archive_too_large": "beyond data.max_archive_bytes, max_file_bytes or max_members",
    "pdf_only": "arXiv holds a PDF and no source",
    "postscript_only": "PostScript and no TeX",
    "html_only": "an HTML page and no TeX",
    "docx_only": "an office document and no TeX",
    "withdrawn_source": "the source is arXiv's stub for a withdrawn paper",
    "no_tex": "readable members, none of them TeX",
    # text
    "no_main_file": "TeX files, none of which is a document",
    "time_limit": "cleaning takes more processor time than data.max_seconds_per_paper",
    "processing_error": "an unexpected error in cleaning; the sample holds the traceback",
    "too_short": "the source's own text, without what the metadata adds, is shorter than data.min_chars",
    "too_long": "cleaned text longer than data.max_chars",
    "repetitive": "the same lines over and over (data.max_repeated_share, min_compression)",
    "listing": "programs or data in verbatim, and hardly a text around them (data.max_listing_share)",
    "gibberish": "numbers, codes or bytes in place of words (data.min_word_share, max_compression)",
    "language": "prose in another language than data.languages",
    # collection
    "exact_duplicate": "same text, after normalization, as another paper that was kept",
    "near_duplicate": "much of the text is that of another paper that was kept (data.near_duplicate_similarity)",
    "bridges_splits": "similar to papers of both splits of the dataset that it was to be appended to",
    "contaminated": "a validation paper much of which training holds (data.max_val_overlap)",
    "benchmark_overlap": "holds a question of data.benchmarks (data.max_benchmark_overlap)",
}


class Rejected(Exception):
    """An archive that cannot become text, for one of `reasons.REASONS`; `detail` says what was found."""

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
