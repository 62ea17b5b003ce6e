"""What there is to do: the plan cut into shards, and an account of everything that no archive need be opened for.

Imported by `prepare_dataset.py`; not run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.samples import Samples
from common.settings.data import DataSettings
from data_prep.papers.ids import month_of, paper_id_of
from data_prep.pipeline import catalog
from data_prep.pipeline.shards import ShardJob, Task, processed_papers, read_marker

# Numbers that a month has for its shards.
SHARDS_OF_A_MONTH = 10_000


@dataclass(frozen=True)
class Job:
    """What this run works on, with every path resolved."""

    settings: DataSettings
    metadata: Path
    source: Path
    out: Path
    accept_stale: tuple[str, ...]
    # --config and --set of this command, for the one to run next
    flags: str
    # this command, to be run again
    command: str
    # --only-shards (part, parts), and --append
    part: tuple[int, int] | None = None
    append: bool = False

    @property
    def work(self) -> Path:
        return self.out / "work"

    @property
    def shards(self) -> Path:
        return self.work / "shards"

    @property
    def metadata_index(self) -> Path:
        return self.work / "metadata.sqlite"

    @property
    def archive_list(self) -> Path:
        return self.work / "archives.sqlite"

    @property
    def finished(self) -> Path:
        return self.work / "finished.json"


@dataclass(frozen=True)
class Shard:
    """A shard of the plan: its number, papers and bytes of archives, and fingerprints of which papers it holds, of all
    that its content depends on, and of the part of that which is code and knobs."""

    number: int
    count: int
    archive_bytes: int
    papers: str
    inputs: str
    stage: str


@dataclass
class Survey:
    """What one pass over the plan finds before any archive is opened."""

    records: int = 0
    unclaimed: int = 0
    shards: list[Shard] = field(default_factory=list)
    archives_sha256: str = ""
    # Papers, and bytes of their archives, by reason.
    counts: Counter[str] = field(default_factory=Counter)
    archive_bytes: Counter[str] = field(default_factory=Counter)
    # Papers that an append keeps although their records are out of scope by now, by reason.
    overruled: Counter[str] = field(default_factory=Counter)

    def refuse(self, samples: Samples, reason: str, name: str, archive_bytes: int = 0, **entry: Any) -> None:
        """Count one record or archive under its reason and offer it as a sample."""
        self.counts[reason] += 1
        self.archive_bytes[reason] += archive_bytes
        samples.add(reason, name, **entry)


def planned_shards(job: Job) -> Iterator[tuple[int, list[catalog.Planned]]]:
    """The plan cut into shards: `shard_papers` papers of a month with record and archive each, whatever their reasons.

    Shards are cut before the metadata rules apply, so that another filter or a longer pilot keeps their borders, and
    between months, so that a paper that comes late moves those of its month alone. What has no archive travels with the
    shard that it falls into. A shard's number is its month and its place in it: 2023010002 is the third of 2301.
    """
    plan = catalog.plan(job.metadata_index, job.archive_list, job.source, job.settings)
    gone = gone_sources(job)
    for month, planned in groupby(plan, lambda paper: month_of(paper.paper_id)):
        place, matched, papers = 0, 0, []
        made = made_earlier(job, month)
        for paper in planned:
            papers.append(keep_made(paper, made, gone))
            matched += bool(paper.in_pilot and paper.record and paper.archives)
            if matched == job.settings.shard_papers or len(papers) >= 100 * job.settings.shard_papers:
                yield int(month) * SHARDS_OF_A_MONTH + place, papers
                place, matched, papers = place + 1, 0, []
        if papers:
            yield int(month) * SHARDS_OF_A_MONTH + place, papers
        if place >= SHARDS_OF_A_MONTH:
            raise UserError(
                f"data.shard_papers {job.settings.shard_papers} cuts the papers of {month} into more than "
                f"{SHARDS_OF_A_MONTH:,} shards; raise it"
            )


def gone_sources(job: Job) -> frozenset[str]:
    """Source files, by path, that an append does without."""
    if not job.append:
        return frozenset()
    return frozenset(str(job.source / name) for name in catalog.gone_sources(job.archive_list, job.source))


def made_earlier(job: Job, month: str) -> set[str]:
    """Papers of a month that an append leaves as they are."""
    if not job.append:
        return set()
    return {found[0] for name in processed_papers(job.shards, month) if (found := paper_id_of(name))}


def keep_made(paper: catalog.Planned, made: set[str], gone: frozenset[str]) -> catalog.Planned:
    """On an append, papers that shards were `made` of stay in scope, whatever has become of their records since.

    An update of the metadata touches many: some are withdrawn, some change their categories. Of other papers, archives
    that have gone count as absent.
    """
    if paper.record and paper.paper_id in made:
        if paper.record.reason:
            return replace(paper, record=replace(paper.record, reason=None), overruled=paper.record.reason)
    elif paper.archives and paper.archives[0].path in gone:
        return replace(paper, archives=[archive for archive in paper.archives if archive.path not in gone])
    return paper


def tasks_of(papers: Sequence[catalog.Planned]) -> list[tuple[catalog.Planned, Task]]:
    """The papers that are to be processed: in the pilot, in scope, with an archive."""
    return [
        (paper, Task(paper.archives[0], paper.record.offset, paper.record.length))
        for paper in papers
        if paper.in_pilot and paper.record and paper.record.reason is None and paper.archives
    ]


def take_survey(job: Job, stage: str, samples: Samples) -> Survey:
    """Account for everything that no archive needs to be opened for, and list the shards for the rest.

    `stage` is the fingerprint of what all papers' processing depends on: knobs, modules, packages.
    """
    survey = Survey()
    states = catalog.source_state(job.archive_list)
    gone = gone_sources(job)
    archives = hashlib.sha256()
    for reason, name, offset, detail in catalog.refused_lines(job.metadata_index):
        survey.records += 1
        survey.refuse(samples, reason, name, detail=detail, offset=offset)
    for number, planned in planned_shards(job):
        for paper in planned:
            account(paper, survey, samples)
            if paper.overruled:
                survey.overruled[paper.overruled] += 1
        tasks = tasks_of(planned)
        if not tasks:
            continue
        papers, inputs = hashlib.sha256(), hashlib.sha256(stage.encode())
        for paper, task in tasks:
            archive = task.archive
            assert paper.record is not None
            identity = repr((paper.paper_id, archive.name, archive.size)).encode()
            papers.update(identity)
            file = str(Path(archive.path).relative_to(job.source))
            inputs.update(identity + repr((paper.record.digest, file, archive.offset, states[file])).encode())
            archives.update(identity + repr((file, archive.offset)).encode())
        size = sum(task.archive.size for _, task in tasks)
        shard = Shard(number, len(tasks), size, papers.hexdigest(), inputs.hexdigest(), stage)
        if any(task.archive.path in gone for _, task in tasks):
            marker = read_marker(job.shards, number)
            if marker and (marker["papers"], marker["stage"]) == (shard.papers, stage):
                shard = replace(shard, inputs=marker["inputs"])  # records may have changed; the shard stays
        survey.shards.append(shard)
    survey.archives_sha256 = archives.hexdigest()
    return survey


def account(paper: catalog.Planned, survey: Survey, samples: Samples) -> None:
    """Count a planned paper's record and archives, those that are to be processed apart."""
    record, spare = paper.record, paper.archives
    if record:
        survey.records += 1
        spare = spare[1:]  # the first is the record's own
        reason = record.reason if paper.in_pilot else "outside_pilot"
        if reason or not paper.archives:
            size = paper.archives[0].size if paper.archives else 0
            survey.refuse(samples, reason or "no_source", paper.paper_id, size)
    survey.unclaimed += len(spare)
    for i, archive in enumerate(spare):
        first = paper.archives[0].name
        if not paper.in_pilot:
            survey.refuse(samples, "outside_pilot", archive.name, archive.size)
        elif record or i:
            survey.refuse(samples, "duplicate_source", archive.name, archive.size, detail=f"{first} is used")
        else:
            survey.refuse(samples, "no_metadata", archive.name, archive.size)


def shard_jobs(job: Job, todo: dict[int, Shard]) -> Iterator[ShardJob]:
    """The work on the shards of `todo`, read from the plan as it is asked for."""
    for number, planned in planned_shards(job):
        shard = todo.get(number)
        if shard:
            yield ShardJob(
                number=number,
                folder=job.shards,
                metadata=job.metadata,
                settings=job.settings,
                tasks=[task for _, task in tasks_of(planned)],
                papers=shard.papers,
                inputs=shard.inputs,
                stage=shard.stage,
            )
