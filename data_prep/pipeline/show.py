"""One paper before, after, and after each pass, and what became of it, for `prepare_dataset.py --show`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.jsonl import read_jsonl
from common.provenance import module_hashes, package_versions
from data_prep.dedup import assignments
from data_prep.dedup.assignments import SPLITS, Assignment
from data_prep.papers.archives import ArchiveRef, read_bytes
from data_prep.papers.ids import month_of, paper_id_of, parse_months
from data_prep.pipeline import catalog
from data_prep.pipeline.plan import Job
from data_prep.pipeline.rerun import MODULES, PACKAGES, knobs
from data_prep.pipeline.shards import Document, Reject, read_marker, read_record, shard_paths
from data_prep.pipeline.stages import index_metadata, list_sources

# Papers of a cluster whose shards are read to find the one that a paper is the same as.
MOST_LOOKED_AT = 100
NEVER_THERE = "not in it, and not among the papers that it was made from (out of scope, without a source, or newer)"


def show(job: Job, name: str) -> int:
    """Print one paper: its record, its source, the text after each pass, its outcome alone and in the dataset."""
    found = paper_id_of(name)
    if not found:
        raise UserError(f"--show {name}: not an arXiv identifier, e.g. 2301.00001 or hep-th/9901001")
    paper_id = found[0]
    indexed = index_metadata(job)["file"]
    listed = list_sources(job, keep_gone=True)
    record, archives = catalog.find_planned(job.metadata_index, job.archive_list, job.source, paper_id)
    in_dataset = outcome_in_dataset(job, paper_id)
    notes = differences(job, indexed, listed) if in_dataset else []
    if not record and not archives and in_dataset in (None, NEVER_THERE):
        raise UserError(f"--show {name}: neither {job.metadata} nor {job.source} has it, nor a dataset in {job.out}")
    metadata = None
    if record:
        with open(job.metadata, "rb") as snapshot:
            metadata = read_record(snapshot, record.offset, record.length)
        print(json.dumps(metadata, indent=2, ensure_ascii=False))
        print(f"metadata rules: {record.reason or 'in scope'}")
    for archive in archives:
        print(f"archive: {archive.name}, {archive.size:,} bytes at {archive.offset:,} of {archive.path}")
    processed = show_passes(job, archives[:1], metadata)
    months = parse_months(job.settings.months)
    if not record:
        alone = "no_metadata" if archives else "neither its metadata nor its source is there"
    elif months and not months[0] <= month_of(paper_id) <= months[1]:
        alone = "outside_pilot"
    else:
        alone = record.reason or (processed if archives else "no_source")
    print(f"\n======== outcome: {alone}, by this paper alone, with the settings and the code of today")
    if not in_dataset:
        print(f"{job.out} holds no finished dataset: duplicates, split and contamination are decided when it is made")
        return 0
    print(f"======== in the dataset of {job.out}: {in_dataset}")
    for note in notes:
        print(f"note: that dataset was made {note}")
    return 0


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


def outcome_in_dataset(job: Job, paper_id: str) -> str | None:
    """What became of the paper in the finished dataset of OUT; None where there is no such dataset."""
    ledger, finished = job.out / assignments.NAME, job.out / "manifest.json"
    if not finished.exists():
        return None
    if not ledger.exists():
        return f"not known: it has no {assignments.NAME}, which datasets of this pipeline have"
    try:
        cluster = assignments.cluster_of(ledger, paper_id)
    except UserError as error:
        return f"not known: {error}"
    if cluster:
        return describe(job, cluster)
    made = made_of(job, paper_id)
    if not made:
        return NEVER_THERE
    entry, marker = made
    told = f"{entry.reason}: {entry.detail}".removesuffix(": ") if isinstance(entry, Reject) else "a text"
    if marker.stat().st_mtime_ns > finished.stat().st_mtime_ns:
        return f"not in it; {marker}, which is newer than it, has {told}"
    return told if isinstance(entry, Reject) else f"not in it, though {marker} has {told}"


def describe(job: Job, cluster: Sequence[Assignment]) -> str:
    """The outcome of the first of a cluster: its split, or of what it is a duplicate, or why else it was left out."""
    own, others = cluster[0], cluster[1:]
    named = f"cluster {own.cluster} of {len(cluster):,} papers" if others else "alone in its cluster"
    if own.outcome in SPLITS:
        return f"{own.outcome}, {named}"
    if own.outcome not in ("exact_duplicate", "near_duplicate"):
        return f"{own.outcome}{detail_of(job, own)}, {named} (split: {own.split})"
    stand = [
        other for other in others if not other.outcome.endswith("_duplicate") and other.outcome != "bridges_splits"
    ]
    if own.outcome == "exact_duplicate":
        stand = of_the_same_text(job, own, stand)
    originals = ", ".join(f"{other.id} ({other.outcome})" for other in stand[:5])
    return f"{own.outcome} of {'one of ' if len(stand) > 1 else ''}{originals or 'a paper that has gone'}, {named}"


def of_the_same_text(job: Job, own: Assignment, others: list[Assignment]) -> list[Assignment]:
    """Those of `others` whose text is that of `own`, where their shards are still there to tell; else all."""
    looked_at = (own, *others) if 1 < len(others) <= MOST_LOOKED_AT else ()
    documents = {paper.id: made_of(job, paper.id) for paper in looked_at}
    digests = {name: made[0].digest for name, made in documents.items() if made and isinstance(made[0], Document)}
    return [other for other in others if digests.get(other.id, 0) == digests.get(own.id, 1)] or others


def detail_of(job: Job, paper: Assignment) -> str:
    """What the samples of what was left out tell of this paper, in brackets; they do not have every paper."""
    path = job.out / "rejected" / f"{paper.outcome}.jsonl"
    entries = read_jsonl(path) if path.exists() else ()
    return next((f" ({entry['detail']})" for entry in entries if entry["id"] == paper.id and entry.get("detail")), "")


def made_of(job: Job, paper_id: str) -> tuple[Document | Reject, Path] | None:
    """What the shards tell of a paper, and the marker that does; None where none has it, or they have gone."""
    for path in sorted(job.shards.glob(f"{month_of(paper_id)}*.json")):
        marker = read_marker(job.shards, int(path.stem))
        if marker is None:  # being replaced, or damaged: the next run makes it anew
            continue
        for kind, entries in ((Document, marker["documents"]), (Reject, marker["rejects"])):
            for entry in entries:
                if entry[0] == paper_id:
                    return kind(*entry), shard_paths(job.shards, int(path.stem))[2]
    return None


def differences(job: Job, indexed: dict[str, Any], listed: dict[str, Any]) -> list[str]:
    """In what the making of the finished dataset differed from a run of today: settings, code, metadata, sources."""
    path = job.out / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        then = {f"data.{key}": value for stage in manifest["knobs"].values() for key, value in stage.items()}
        modules, packages = manifest["modules"], manifest["packages"]
        inputs = manifest["inputs"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"in a way that its manifest does not tell ({path}: {error!r})"]
    now = {f"data.{key}": value for stage in manifest["knobs"] for key, value in knobs(job.settings, stage).items()}
    now = json.loads(json.dumps(now))
    notes = [
        f"with {key}={json.dumps(then.get(key))}, now {json.dumps(now.get(key))}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
    if modules != {stage: module_hashes(roots) for stage, roots in MODULES.items()}:
        notes.append("by other code than today's")
    if packages != package_versions(PACKAGES):
        notes.append(f"with other packages: {packages}")
    if inputs["metadata"] != indexed:
        notes.append(f"from another {job.metadata.name} ({inputs['metadata'].get('bytes', 0):,} bytes)")
    if any(inputs["source"].get(key) != listed[key] for key in ("archives", "papers", "bytes")):
        notes.append(f"from {inputs['source'].get('archives', 0):,} archives, of {listed['archives']:,} listed today")
    return notes
