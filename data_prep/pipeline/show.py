"""One paper before, after, and after each pass, for `prepare_dataset.py --show`."""

from __future__ import annotations

import json

from common.errors import UserError
from data_prep.papers.archives import read_bytes
from data_prep.papers.ids import paper_id_of
from data_prep.pipeline import catalog
from data_prep.pipeline.plan import Job
from data_prep.pipeline.shards import read_record
from data_prep.pipeline.stages import index_metadata, list_sources


def show(job: Job, name: str) -> int:
    """Print one paper: its record, its source, and the text after each pass."""
    from data_prep.pipeline.process_paper import passes, process_paper
    from data_prep.screening.reasons import Rejected

    found = paper_id_of(name)
    if not found:
        raise UserError(f"--show {name}: not an arXiv identifier, e.g. 2301.00001 or hep-th/9901001")
    index_metadata(job)
    list_sources(job, keep_gone=True)
    record, archives = catalog.find_planned(job.metadata_index, job.archive_list, job.source, found[0])
    if not record and not archives:
        raise UserError(f"--show {name}: neither {job.metadata} nor {job.source} has it")
    metadata = None
    if record:
        with open(job.metadata, "rb") as snapshot:
            metadata = read_record(snapshot, record.offset, record.length)
        print(json.dumps(metadata, indent=2, ensure_ascii=False))
        print(f"metadata rules: {record.reason or 'in scope'}")
    for archive in archives:
        print(f"archive: {archive.name}, {archive.size:,} bytes at {archive.offset:,} of {archive.path}")
    if archives:
        data = read_bytes(archives[0])
        try:
            for title, text in passes(data, archives[0].name, metadata, job.settings):
                print(f"\n======== {title}: {len(text):,} characters ========\n{text}")
        except Rejected as rejected:
            print(f"rejected: {rejected.reason}: {rejected.detail}")
            return 0
        outcome = process_paper(data, archives[0].name, metadata, job.settings)
        print(f"\n======== outcome: {outcome.reason or 'kept'} {outcome.detail}".rstrip())
    return 0
