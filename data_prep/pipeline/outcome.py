"""What became of one paper in a finished dataset, as far as its files tell; for `show.py`. Imported, not run.

Its ledger has the papers that reached the collection; `rejected/` has samples of the others, the shards in `work/` all
that were processed. Of papers that were not, the plan is made again with the dataset's knobs, which tells the reason
where records, sources and rules are those of then. What none of these tells is said to be unknown.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.jsonl import read_jsonl
from common.provenance import module_hashes, package_versions
from common.settings.data import DataSettings
from common.settings.load import build_section
from data_prep.dedup import assignments
from data_prep.dedup.assignments import SPLITS, Assignment
from data_prep.papers.archives import ArchiveRef
from data_prep.papers.ids import month_of, paper_id_of, parse_months
from data_prep.pipeline import catalog
from data_prep.pipeline.plan import Job
from data_prep.pipeline.rerun import METADATA_KNOBS, MODULES, PACKAGES, knobs
from data_prep.pipeline.shards import Document, Reject, read_marker, shard_paths
from data_prep.screening.metadata_rules import metadata_reason
from data_prep.screening.reasons import REASONS

# Papers of a cluster whose shards are read to find the one that a paper is the same as.
MOST_LOOKED_AT = 100
# Samples of these are of a line of the snapshot or of one of several archives: the paper itself may be kept.
NOT_OF_PAPERS = ("bad_metadata", "duplicate_metadata", "duplicate_source")
KNOB_STAGES = ("metadata", "papers", "collection")


@dataclass(frozen=True)
class Today:
    """What there is of a paper today, and what today's snapshot and list of archives hold in all."""

    paper_id: str
    metadata: dict[str, Any] | None
    archives: list[ArchiveRef]
    indexed: dict[str, Any]
    listed: dict[str, Any]


@dataclass(frozen=True)
class Build:
    """How a dataset was made, by its manifest."""

    # Of this dataset: what selects papers by records, `months` and `limit`; the rest is of today.
    settings: DataSettings
    knobs: dict[str, Any]
    modules: dict[str, Any]
    packages: dict[str, Any]
    metadata: dict[str, Any]
    source: dict[str, Any]
    # Not appended to another one, and nothing reused of what other code or knobs had made of metadata or sources.
    plain: bool


def read_manifest(job: Job) -> dict[str, Any]:
    """The manifest of the finished dataset.

    Raises:
        UserError: it is damaged.
    """
    path = job.out / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(manifest).__name__}")
    return manifest


def read_build(job: Job, manifest: dict[str, Any]) -> Build:
    """What the manifest tells of how the dataset was made.

    Raises:
        UserError: it does not tell some of it.
    """
    path = job.out / "manifest.json"

    def at(place: str, kind: type) -> Any:
        value: Any = manifest
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, kind):
            raise UserError(
                f"{path}: {place} is {json.dumps(value):.40}, expected { {dict: 'an object', int: 'a number'}[kind] }"
            )
        return value

    then = {stage: at(f"knobs.{stage}", dict) for stage in KNOB_STAGES}
    selecting = {
        key: value
        for stage in KNOB_STAGES
        for key, value in then[stage].items()
        if key in (*METADATA_KNOBS, "limit", "months")
    }
    settings = build_section(DataSettings, dataclasses.asdict(job.settings) | selecting, "data.", path)
    parse_months(settings.months)
    for number in ("metadata.bytes", "source.archives", "source.papers", "source.bytes"):
        at(f"inputs.{number}", int)
    build, stale = manifest.get("build"), manifest.get("accepted_stale")
    return Build(
        settings=settings,
        knobs=then,
        modules=at("modules", dict),
        packages=at("packages", dict),
        metadata=at("inputs.metadata", dict),
        source=at("inputs.source", dict),
        plain=isinstance(build, dict) and build.get("kind") == "full" and stale in ([], ["papers"]),
    )


def differences(job: Job, build: Build, today: Today) -> list[str]:
    """In what the making of the dataset differed from a run of today: settings, code, metadata, sources."""
    then = {f"data.{key}": value for stage in build.knobs.values() for key, value in stage.items()}
    now = {f"data.{key}": value for stage in build.knobs for key, value in knobs(job.settings, stage).items()}
    now = json.loads(json.dumps(now))
    notes = [
        f"with {key}={json.dumps(then.get(key))}, now {json.dumps(now.get(key))}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
    if build.modules != {stage: module_hashes(roots) for stage, roots in MODULES.items()}:
        notes.append("by other code than today's")
    if build.packages != package_versions(PACKAGES):
        notes.append(f"with other packages: {build.packages}")
    if build.metadata != today.indexed:
        notes.append(f"from another {job.metadata.name} ({build.metadata['bytes']:,} bytes)")
    if not same_sources(build, today):
        notes.append(f"from {build.source['archives']:,} archives, of {today.listed['archives']:,} listed today")
    return notes


def same_sources(build: Build, today: Today) -> bool:
    return all(build.source[key] == today.listed[key] for key in ("archives", "papers", "bytes"))


def in_dataset(job: Job, build: Build | None, today: Today) -> str | None:
    """What became of the paper in the finished dataset of OUT; None where it does not name it, nor does today's input.

    `build`: None where its manifest does not tell.
    """
    ledger, paper_id = job.out / assignments.NAME, today.paper_id
    if not ledger.exists():
        return f"not known: it has no {assignments.NAME}, which datasets of this pipeline have"
    try:
        cluster = assignments.cluster_of(ledger, paper_id)
    except UserError as error:
        return f"not known: {error}"
    if cluster:
        return describe(job, cluster)
    sample, unread = find_sample(job, paper_id)
    if sample:
        return sample
    planned, certain = planned_outcome(job, build, today) if build else (None, False)
    if planned and certain:
        return planned
    made, damaged = find_in_shards(job, paper_id)
    if made:
        return told_by_shard(job, *made)
    if not today.metadata and not today.archives:
        return None
    unread += [f"{marker} is damaged, or its shard is" for marker in damaged]
    if not unread:
        unread = [f"no shard in {job.shards} has it (any more)"]
    if certain:  # it was in the plan
        return f"not known why it was left out: {'; '.join(unread)}; rejected/ has samples alone, and none of it"
    would = f"; by its knobs, and by records, sources and rules of today, it is {planned}" if planned else ""
    return f"not in it, not known why: {'; '.join(unread)}; rejected/ does not name it{would}"


def planned_outcome(job: Job, build: Build, today: Today) -> tuple[str | None, bool]:
    """Why the plan of that dataset left the paper out, by records and sources of today (None: it did not, or they do
    not have it), and whether those of then are known to have told the same."""
    settings, record = build.settings, today.metadata
    if not record and not today.archives:
        return None, False
    reason = plan_reason(job, settings, today, metadata_reason(record, settings) if record else None)
    if not in_months(settings, today.paper_id):
        return f"{reason} (data.months={settings.months})", True
    rules = {stage: module_hashes(MODULES[stage]) for stage in ("metadata", "sources")}
    certain = build.plain and build.metadata == today.indexed and rules.items() <= build.modules.items()
    if settings.limit is not None or not record or reason in (None, "no_source"):
        certain = certain and same_sources(build, today)
    return (f"{reason} (data.limit={settings.limit})" if reason == "outside_pilot" else reason), certain


def plan_reason(job: Job, settings: DataSettings, today: Today, scope: str | None) -> str | None:
    """Why a plan of these settings leaves out a paper that has a record or an archive; None: it is to be processed.

    `scope`: why its record is out of scope, if it is.
    """
    if not in_pilot(job, settings, today.paper_id):
        return "outside_pilot"
    if not today.metadata:
        return "no_metadata"
    return scope or (None if today.archives else "no_source")


def in_months(settings: DataSettings, paper_id: str) -> bool:
    months = parse_months(settings.months)
    return months is None or months[0] <= month_of(paper_id) <= months[1]


def in_pilot(job: Job, settings: DataSettings, paper_id: str) -> bool:
    """Whether a paper of the plan is among those that `months` and `limit` choose."""
    if settings.limit is None or not in_months(settings, paper_id):
        return in_months(settings, paper_id)
    for paper in catalog.plan(job.metadata_index, job.archive_list, job.source, settings):
        if paper.paper_id == paper_id:
            return paper.in_pilot
        if not paper.in_pilot and in_months(settings, paper.paper_id):  # the limit has been reached
            return False
    return False


def find_sample(job: Job, paper_id: str) -> tuple[str | None, list[str]]:
    """What the samples of what was left out tell of the paper, and what is wrong with those that cannot be read."""
    unread: list[str] = []
    for path in sorted((job.out / "rejected").glob("*.jsonl")):
        if path.stem not in REASONS or path.stem in NOT_OF_PAPERS:
            continue
        try:
            for entry in read_jsonl(path):
                found = paper_id_of(str(entry.get("id")))
                if found and found[0] == paper_id:
                    return with_detail(path.stem, entry.get("detail")), unread
        except UserError as error:
            unread.append(str(error))
    return None, unread


def with_detail(reason: str, detail: Any) -> str:
    return f"{reason}: {detail}" if detail else reason


def told_by_shard(job: Job, entry: Document | Reject, marker: Path) -> str:
    """What became of a paper that is in a shard and not in the ledger."""
    told = with_detail(entry.reason, entry.detail) if isinstance(entry, Reject) else "a text"
    if marker.stat().st_mtime_ns > (job.out / "manifest.json").stat().st_mtime_ns:
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
    documents = {paper.id: find_in_shards(job, paper.id)[0] for paper in looked_at}
    digests = {name: made[0].digest for name, made in documents.items() if made and isinstance(made[0], Document)}
    return [other for other in others if digests.get(other.id, 0) == digests.get(own.id, 1)] or others


def detail_of(job: Job, paper: Assignment) -> str:
    """What the samples of what was left out tell of this paper, in brackets; they do not have every paper."""
    path = job.out / "rejected" / f"{paper.outcome}.jsonl"
    try:
        entries = [entry for entry in (read_jsonl(path) if path.exists() else ()) if entry.get("id") == paper.id]
    except UserError as error:
        return f" (details not known: {error})"
    return next((f" ({entry['detail']})" for entry in entries if entry.get("detail")), "")


def find_in_shards(job: Job, paper_id: str) -> tuple[tuple[Document | Reject, Path] | None, list[Path]]:
    """What the shards of its month tell of a paper, with the marker that does, if one does; and damaged markers."""
    damaged: list[Path] = []
    for path in sorted(job.shards.glob(f"{month_of(paper_id)}*.json")):
        if not path.stem.isdecimal():
            continue
        marker = read_marker(job.shards, int(path.stem))
        try:
            if marker is None:
                raise ValueError("being replaced, or not whole")
            for kind, entries in ((Document, marker["documents"]), (Reject, marker["rejects"])):
                for entry in entries:
                    if entry[0] == paper_id:
                        return (kind(*entry), shard_paths(job.shards, int(path.stem))[2]), damaged
        except (ValueError, KeyError, TypeError, IndexError):
            damaged.append(path)
    return None, damaged
