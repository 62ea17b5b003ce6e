"""One paper before, after, and after each pass, and what became of it, for `prepare_dataset.py --show`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from data_prep.papers.archives import ArchiveRef, read_bytes
from data_prep.papers.ids import paper_id_of
from data_prep.pipeline import catalog
from data_prep.pipeline.outcome import Today, differences, in_dataset, plan_reason, read_build, read_manifest
from data_prep.pipeline.plan import Job
from data_prep.pipeline.shards import read_record
from data_prep.pipeline.stages import index_metadata, list_sources


def show(job: Job, name: str) -> int:
    """Print one paper: its record, its source, the text after each pass, its outcome alone and in the dataset."""
    found = paper_id_of(name)
    if not found:
        raise UserError(f"--show {name}: not an arXiv identifier, e.g. 2301.00001 or hep-th/9901001")
    paper_id = found[0]
    indexed = index_metadata(job)["file"]
    listed = list_sources(job, keep_gone=True)
    record, archives = catalog.find_planned(job.metadata_index, job.archive_list, job.source, paper_id)
    metadata = None
    if record:
        with open(job.metadata, "rb") as snapshot:
            metadata = read_record(snapshot, record.offset, record.length)
    today = Today(paper_id, metadata, archives, indexed, listed)
    within, notes = of_dataset(job, today)
    if not record and not archives and not within:
        raise UserError(f"--show {name}: neither {job.metadata} nor {job.source} has it, nor a dataset in {job.out}")
    if record:
        print(json.dumps(metadata, indent=2, ensure_ascii=False))
        print(f"metadata rules: {record.reason or 'in scope'}")
    for archive in archives:
        print(f"archive: {archive.name}, {archive.size:,} bytes at {archive.offset:,} of {archive.path}")
    processed = show_passes(job, archives[:1], metadata)
    if record or archives:
        alone = plan_reason(job, job.settings, today, record.reason if record else None) or processed
    else:
        alone = "neither its metadata nor its source is there"
    print(f"\n======== outcome: {alone}, by this paper alone, with the settings and the code of today")
    if not within:
        print(f"{job.out} holds no finished dataset: duplicates, split and contamination are decided when it is made")
        return 0
    print(f"======== in the dataset of {job.out}: {within}")
    for note in notes:
        print(f"note: that dataset was made {note}")
    return 0


def of_dataset(job: Job, today: Today) -> tuple[str | None, list[str]]:
    """What became of the paper in the finished dataset of OUT (None: there is none, or it does not name a paper that
    today's input does not have either), and in what its making differed from a run of today."""
    if not (job.out / "manifest.json").exists():
        return None, []
    build, notes = None, []
    try:
        manifest = read_manifest(job)
        if "mixture" in manifest:
            return "not known: it is a mixture (mix_datasets.py made it), which does not tell of single papers", []
        build = read_build(job, manifest)
        notes = differences(job, build, today)
    except UserError as error:
        notes = [f"in a way that its manifest does not tell ({error})"]
    return in_dataset(job, build, today), notes


def show_passes(job: Job, archives: Sequence[ArchiveRef], metadata: dict[str, Any] | None) -> str:
    """Print the text of an archive (if there is one) after each pass; returns its outcome."""
    from data_prep.pipeline.process_paper import passes, process_paper
    from data_prep.screening.reasons import Rejected

    for archive in archives:
        if not Path(archive.path).exists():
            print(f"archive: {archive.path} has gone since it was listed")
            return "its source has gone"
        data = read_bytes(archive)
        try:
            for title, text in passes(data, archive.name, metadata, job.settings):
                print(f"\n======== {title}: {len(text):,} characters ========\n{text}")
        except Rejected as rejected:
            print(f"rejected: {rejected.reason}: {rejected.detail}")
        outcome = process_paper(data, archive.name, metadata, job.settings)
        return f"{outcome.reason}: {outcome.detail}" if outcome.reason else "kept"
    return "no_source"
