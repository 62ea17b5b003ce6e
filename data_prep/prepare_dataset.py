"""From arXiv's metadata and LaTeX archives to train.jsonl and val.jsonl: the pipeline, from one end to the other.

    python data_prep/prepare_dataset.py --metadata raw/arxiv-metadata-oai-snapshot.json --source raw/src \\
        --out dataset_train_val

Stages: (1) metadata: index the snapshot, one reason or none for each record; (2) sources: list the archives; (3)
papers: process them in shards by worker processes; (4) collection: drop exact duplicates, split, write; (5) report.

Safe to kill and run again: finished shards are kept in `OUT/work`, and what a stage depends on (its knobs, its modules,
its input) decides what is done again. The output is the same, byte for byte, for any number of workers.

    OUT/train.jsonl, val.jsonl   the dataset, by order of (shard, position)
    OUT/manifest.json            knobs, code and input it was made from; sizes, sha256 and counts
    OUT/report/                  funnel.png, report.html, report.json; timing.json (of the last run alone)
    OUT/rejected/REASON.jsonl    samples of what was left out
    OUT/work/                    index, finished shards: needed to continue or extend; may be deleted afterwards
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/prepare_dataset.py`
    sys.path.insert(0, str(ROOT))

from data_prep import index, report
from data_prep.assemble import SPLITS, assemble, marker
from data_prep.fingerprints import (
    file_state,
    fingerprint,
    knobs,
    module_hashes,
    package_versions,
)
from data_prep.jsonl import TEMPORARY, dump_line, write_bytes, write_error, write_json
from data_prep.pool import run_jobs
from data_prep.reasons import REASONS
from data_prep.samples import Samples
from data_prep.shards import ShardJob, Task, process_shard, read_marker, read_record
from data_prep.snapshot import read_snapshot
from data_prep.source import paper_id_of, parse_months, read_bytes, source_files
from data_prep.vocabulary import needed_bytes, supported_vocab_size
from settings import (
    DataSettings,
    Settings,
    UserError,
    add_config_arguments,
    project_path,
    repeated_flags,
    run_command,
    settings_from_args,
)

# The first modules of each stage; what they import belongs to it.
MODULES = {
    "metadata": ("index", "filters"),
    "sources": ("source",),
    "papers": ("shards",),
    "collection": ("assemble", "samples"),
    "report": ("report", "prepare_dataset"),
}
# Packages whose versions can change a paper's text or reason.
PACKAGES = ("langdetect",)
STALE_STAGES = ("metadata", "papers")
# Papers after which the rest is projected.
PROJECT_AFTER = 200
# Bytes of index for each byte of snapshot, with room to spare (measured: 0.03).
INDEX_SHARE = 0.15


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
    """A shard of the plan: its number and papers, and what its content depends on."""

    number: int
    count: int
    papers: str
    inputs: str


@dataclass
class Survey:
    """What one pass over the plan finds before any archive is opened."""

    counts: Counter[str]
    records: int
    unclaimed: int
    shards: list[Shard]
    archives_sha256: str


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="From arXiv's metadata and LaTeX archives to train.jsonl and val.jsonl.",
        epilog="example: python data_prep/prepare_dataset.py --metadata raw/arxiv-metadata-oai-snapshot.json "
        "--source raw/src --out dataset_train_val --limit 2000",
    )
    parser.add_argument("--metadata", type=Path, help="metadata snapshot, one JSON record a line (data.metadata)")
    parser.add_argument("--source", type=Path, help="folder of bulk tars or single archives (data.source)")
    parser.add_argument("--out", type=Path, help="folder to write (data.out)")
    parser.add_argument("--workers", type=int, help="worker processes; 0: one per core (data.workers)")
    parser.add_argument("--limit", type=int, help="pilot: the first N papers that have a source (data.limit)")
    parser.add_argument("--months", metavar="A:B", help="pilot: months of submission, YYMM:YYMM (data.months)")
    parser.add_argument(
        "--show", metavar="ID", help="print one paper before, after, and after each pass (no dataset is written)"
    )
    parser.add_argument(
        "--accept-stale",
        metavar="STAGE",
        action="append",
        choices=STALE_STAGES,
        default=[],
        help=f"reuse a stage's output although its code or knobs have changed: {' or '.join(STALE_STAGES)}",
    )
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(
        args,
        data__metadata=args.metadata,
        data__source=args.source,
        data__out=args.out,
        data__workers=args.workers,
        data__limit=args.limit,
        data__months=args.months,
    )
    data = settings.data
    parse_months(data.months)
    job = Job(
        settings=data,
        metadata=project_path(data.metadata),
        source=project_path(data.source),
        out=project_path(data.out),
        accept_stale=tuple(sorted(set(args.accept_stale))),
        flags=repeated_flags(args),
    )
    # Both say what is missing and where to get it, before anything is written.
    next(read_snapshot(job.metadata), None)
    for _ in source_files(job.source, lambda what: print(f"note: {what}", file=sys.stderr)):
        pass
    try:
        job.shards.mkdir(parents=True, exist_ok=True)
        opened = open(job.work / "lock", "w")
    except OSError as error:
        raise write_error(Path(error.filename or job.shards), error) from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except BlockingIOError:
            raise UserError(
                f"{job.out}: another run is at work in this folder; wait for it, or give another --out"
            ) from None
        try:
            return show(job, args.show) if args.show else prepare(job, settings)
        except sqlite3.Error as error:
            raise UserError(
                f"{job.work}: the index cannot be read or written: {error}. With space on the disk, run again; if it "
                "stays so, remove metadata.sqlite and archives.sqlite there (they are made anew)"
            ) from error


def prepare(job: Job, settings: Settings) -> int:
    """The whole run, or as much of it as is not done."""
    started = time.monotonic()
    identity = run_identity(job)
    if already_finished(job, identity):
        manifest = json.loads((job.out / "manifest.json").read_bytes())
        print(f"{job.out}: finished already, and nothing has changed since.")
        print_result(job, manifest, settings)
        return 0
    for folder in (job.out, job.work, job.shards, job.out / "report", job.out / "rejected"):
        for path in folder.glob(f"*{TEMPORARY}*"):  # of a run that was killed
            path.unlink()

    timing: dict[str, float] = {}
    clock = Clock(timing)
    meta = index_metadata(job)
    clock.lap("metadata")
    listing = list_sources(job)
    clock.lap("sources")
    samples = Samples(job.settings.reject_samples)
    survey = take_survey(job, samples)
    clock.lap("plan")
    process_papers(job, survey)
    clock.lap("papers")
    keep_earlier_dataset(job, survey)
    for path in (job.finished, job.out / "manifest.json"):
        path.unlink(missing_ok=True)
    written = collect(job, survey, samples)
    clock.lap("collection")

    counts = survey.counts + Counter(exact_duplicate=written["exact_duplicate"])
    counters: Counter[str] = Counter()
    for shard in survey.shards:
        stats = marker(job.shards, shard.number)
        counters.update(stats["counters"])
        for paper_id, reason, detail in stats["rejects"]:
            counts[reason] += 1
            samples.add(reason, paper_id, detail=detail)
    documents = sum(written["splits"][split]["documents"] for split in SPLITS)
    total = survey.records + survey.unclaimed
    check_sum(counts, documents, total)

    funnel = {
        "input": {"total": total, "metadata_records": survey.records, "unclaimed_archives": survey.unclaimed},
        "reasons": {reason: counts[reason] for reason in REASONS if counts[reason]},
        "written": documents,
    }
    manifest = {
        "format": 1,
        "splits": written["splits"],
        "counts": funnel,
        "knobs": {stage: knobs(job.settings, stage) for stage in ("metadata", "papers", "collection")},
        "inputs": {
            "metadata": meta["file"],
            "source": {key: listing[key] for key in ("archives", "papers", "bytes")}
            | {"problems": len(listing["problems"]), "used_sha256": survey.archives_sha256},
        },
        "modules": {stage: module_hashes(roots) for stage, roots in MODULES.items()},
        "packages": package_versions(PACKAGES),
        "accepted_stale": list(job.accept_stale),
    }
    describe(samples, job)
    write_samples(job, samples)
    text_bytes = written["splits"]["train"]["text_bytes"]
    report.write(
        job.out / "report",
        {
            **funnel,
            "splits": written["splits"],
            "vocabulary": {
                "supported": supported_vocab_size(text_bytes),
                "configured": settings.model.vocab_size,
                "needed_bytes": needed_bytes(settings.model.vocab_size),
            },
            "lengths": written["lengths"],
            "years": merged(meta["years"], written["years"]),
            "subjects": merged(meta["subjects"], written["subjects"]),
            "counters": dict(sorted(counters.items())),
            "problems": listing["problems"],
            "samples": {reason: samples.of(reason) for reason in funnel["reasons"]},
        },
    )
    clock.lap("report")
    timing["total"] = time.monotonic() - started
    write_json(job.out / "report" / "timing.json", {stage: round(seconds, 3) for stage, seconds in timing.items()})
    write_json(job.out / "manifest.json", manifest)
    outputs = {name: file_state(job.out / name) for name in output_names(job)}
    write_json(job.finished, {"identity": identity, "outputs": outputs})
    print_result(job, manifest, settings)
    if not documents:
        unreadable = counts["bad_metadata"] == survey.records
        hint = f"; is {job.metadata} arXiv's metadata snapshot, one JSON record a line?" if unreadable else ""
        raise UserError(f"no paper was kept; {job.out / 'report' / 'report.html'} and rejected/ tell why{hint}")
    return 0


def keep_earlier_dataset(job: Job, survey: Survey) -> None:
    """Refuse to put an empty dataset in the place of one that holds papers: a slip in a filter must not cost it.

    Raises:
        UserError: no paper is left, and `train.jsonl` of an earlier run lies there.
    """
    train = job.out / "train.jsonl"
    if not train.exists() or not train.stat().st_size:
        return
    counts = Counter(survey.counts)
    for shard in survey.shards:
        stats = marker(job.shards, shard.number)
        if stats["documents"]:
            return
        counts.update(reason for _, reason, _ in stats["rejects"])
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(4)) or "no record was read"
    raise UserError(
        f"no paper was kept ({reasons}), so the dataset of an earlier run in {job.out} stays as it is; see what the "
        "rules keep with data_prep/filters.py, or choose another folder with --out"
    )


class Clock:
    """Seconds of each stage."""

    def __init__(self, timing: dict[str, float]) -> None:
        self.timing = timing
        self.last = time.monotonic()

    def lap(self, stage: str) -> None:
        now = time.monotonic()
        self.timing[stage] = now - self.last
        self.last = now


def run_identity(job: Job) -> str:
    """Fingerprint of all that decides about the output; needs no more than the state of each input file."""
    sources = hashlib.sha256()
    for path in source_files(job.source):
        sources.update(repr((str(path.relative_to(job.source)), file_state(path))).encode())
    return fingerprint(
        {
            "metadata": [str(job.metadata), file_state(job.metadata)],
            "source": [str(job.source), sources.hexdigest()],
            "knobs": [knobs(job.settings, stage) for stage in ("metadata", "papers", "collection")],
            "modules": [module_hashes(roots) for roots in MODULES.values()],
            "packages": package_versions(PACKAGES),
            "accept_stale": job.accept_stale,
        }
    )


def already_finished(job: Job, identity: str) -> bool:
    try:
        finished = json.loads(job.finished.read_bytes())
        return finished["identity"] == identity and all(
            file_state(job.out / name) == state for name, state in finished["outputs"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged: then it is not finished
        return False


def output_names(job: Job) -> list[str]:
    folders = [job.out / "report", job.out / "rejected"]
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    return [*(f"{split}.jsonl" for split in SPLITS), "manifest.json", *(str(p.relative_to(job.out)) for p in files)]


def index_metadata(job: Job) -> dict[str, Any]:
    """Stage 1: the index of the snapshot, made where there is none that fits."""
    provenance = {"modules": module_hashes(MODULES["metadata"]), "knobs": knobs(job.settings, "metadata")}
    meta = index.index_meta(job.metadata_index)
    if meta is not None:
        same_file = index.same_snapshot(job.metadata_index, meta, job.metadata)
        if same_file and meta["provenance"] == provenance:
            print(f"metadata: index of {meta['lines']:,} lines reused")
            return meta
        if "metadata" in job.accept_stale:
            if same_file:
                print(f"metadata: index of {meta['lines']:,} lines reused, though made by other code or knobs")
                return meta
            raise UserError(
                f"{job.metadata} itself has changed since it was indexed, so the index points nowhere: run without "
                "--accept-stale metadata"
            )
    size = job.metadata.stat().st_size
    need = int(size * INDEX_SHARE) + 1_000_000
    free = shutil.disk_usage(job.work).free
    if free < need:
        raise UserError(f"{job.work}: the index needs {need / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free on that disk")
    from tqdm import tqdm

    with tqdm(total=size, unit="B", unit_scale=True, desc="metadata", mininterval=1) as bar:
        index.build_metadata_index(job.metadata_index, job.metadata, job.settings, provenance, bar.update)
    meta = index.index_meta(job.metadata_index)
    assert meta is not None
    return meta


def list_sources(job: Job) -> dict[str, Any]:
    """Stage 2: the list of archives, brought up to date."""
    from tqdm import tqdm

    with tqdm(unit=" files", desc="sources", mininterval=1) as bar:
        listing = index.update_archive_list(job.archive_list, job.source, module_hashes(MODULES["sources"]), bar.update)
    print(
        f"sources: {listing['archives']:,} archives of {listing['papers']:,} papers, {listing['bytes'] / 1e9:,.2f} GB"
    )
    for problem in listing["problems"][:10]:
        print(f"  problem: {problem}")
    if len(listing["problems"]) > 10:
        print(f"  ... and {len(listing['problems']) - 10:,} more: see report.json")
    if not listing["archives"]:
        raise UserError(
            f"{job.source}: no archive there. Expected bulk tars (arXiv_src_YYMM_NNN.tar) or files named by arXiv ids "
            "(2301.00001v2.tar.gz, hep-th9901001.gz); name their folder with --source FOLDER"
        )
    return listing


def planned_shards(job: Job) -> Iterator[tuple[int, list[index.Planned]]]:
    """The plan cut into shards: `shard_papers` papers with record and archive each, whatever their reasons.

    Shards are cut before the metadata rules apply, so that another filter or a longer pilot keeps their borders. What
    has no archive travels with the shard that it falls into.
    """
    number, matched, papers = 0, 0, []
    for paper in index.plan(job.metadata_index, job.archive_list, job.source, job.settings):
        papers.append(paper)
        matched += bool(paper.in_pilot and paper.record and paper.archives)
        if matched == job.settings.shard_papers or len(papers) >= 100 * job.settings.shard_papers:
            yield number, papers
            number, matched, papers = number + 1, 0, []
    if papers:
        yield number, papers


def tasks_of(papers: Sequence[index.Planned]) -> list[tuple[index.Planned, Task]]:
    """The papers that are to be processed: in the pilot, in scope, with an archive."""
    return [
        (paper, Task(paper.archives[0], paper.record.offset, paper.record.length))
        for paper in papers
        if paper.in_pilot and paper.record and paper.record.reason is None and paper.archives
    ]


def take_survey(job: Job, samples: Samples) -> Survey:
    """Account for everything that no archive needs to be opened for, and list the shards for the rest."""
    survey = Survey(Counter(), 0, 0, [], "")
    states = index.source_state(job.archive_list)
    stage = fingerprint(
        {
            "knobs": knobs(job.settings, "papers"),
            "modules": module_hashes(MODULES["papers"]),
            "packages": package_versions(PACKAGES),
        }
    )
    archives = hashlib.sha256()
    for reason, name, offset, detail in index.refused_lines(job.metadata_index):
        survey.records += 1
        survey.counts[reason] += 1
        samples.add(reason, name, detail=detail, offset=offset)
    for number, planned in planned_shards(job):
        for paper in planned:
            account(paper, survey, samples)
        tasks = tasks_of(planned)
        if not tasks:
            continue
        papers, inputs = hashlib.sha256(), hashlib.sha256(stage.encode())
        for paper, task in tasks:
            archive = task.archive
            assert paper.record is not None
            identity = repr((paper.paper_id, archive.name, archive.size, paper.record.digest)).encode()
            papers.update(identity)
            file = str(Path(archive.path).relative_to(job.source))
            inputs.update(identity + repr((file, archive.offset, states[file])).encode())
            archives.update(identity + repr((file, archive.offset)).encode())
        survey.shards.append(Shard(number, len(tasks), papers.hexdigest(), inputs.hexdigest()))
    survey.archives_sha256 = archives.hexdigest()
    return survey


def account(paper: index.Planned, survey: Survey, samples: Samples) -> None:
    """Count a planned paper's record and archives, those that are to be processed apart."""

    def refuse(reason: str, name: str, **entry: Any) -> None:
        survey.counts[reason] += 1
        samples.add(reason, name, **entry)

    record, spare = paper.record, paper.archives
    if record:
        survey.records += 1
        spare = spare[1:]  # the first is the record's own
        reason = record.reason if paper.in_pilot else "outside_pilot"
        if reason or not paper.archives:
            refuse(reason or "no_source", paper.paper_id)
    survey.unclaimed += len(spare)
    for i, archive in enumerate(spare):
        first = paper.archives[0].name
        if not paper.in_pilot:
            refuse("outside_pilot", archive.name)
        elif record or i:
            refuse("duplicate_source", archive.name, detail=f"{first} is used")
        else:
            refuse("no_metadata", archive.name)


def describe(samples: Samples, job: Job) -> None:
    """Let each sample tell title, categories, comments, licence and date of its paper."""
    with open(job.metadata, "rb") as snapshot:
        for reason in samples.reasons():
            for entry in samples.of(reason):
                found = paper_id_of(entry["id"])
                if reason == "bad_metadata" or found is None:
                    continue
                record, _ = index.find_planned(job.metadata_index, job.archive_list, job.source, found[0])
                if record:
                    metadata = read_record(snapshot, record.offset, record.length)
                    entry.update({key: metadata.get(key) for key in ("title", "categories", "comments", "license")})
                    entry["created"] = metadata["versions"][0]["created"]


def process_papers(job: Job, survey: Survey) -> None:
    """Stage 3: run every shard that is not there, or was made by other code, knobs or input."""
    todo: dict[int, Shard] = {}
    stale = 0
    for shard in survey.shards:
        stats = read_marker(job.shards, shard.number)
        if stats and stats["inputs"] == shard.inputs:
            continue
        if stats and stats["papers"] == shard.papers and "papers" in job.accept_stale:
            stale += 1
            continue
        todo[shard.number] = shard
    papers = sum(shard.count for shard in todo.values())
    reused = len(survey.shards) - len(todo)
    if reused:
        note = f" ({stale:,} of them made by other code, knobs or input)" if stale else ""
        print(f"papers: {reused:,} of {len(survey.shards):,} shards reused{note}, {papers:,} papers to process")
    if not todo:
        return
    workers = min(job.settings.workers or available_cores(), len(todo))
    print(f"papers: {papers:,} in {len(todo):,} shards by {workers:,} worker processes", flush=True)
    from tqdm import tqdm

    with tqdm(total=papers, unit=" papers", desc="papers", mininterval=1, smoothing=0.05) as bar:
        progress = Progress(job, bar, papers)
        run_jobs(shard_jobs(job, todo), workers, process_shard, progress.update)


class Progress:
    """The bar, and the projection after the first papers."""

    def __init__(self, job: Job, bar: Any, papers: int) -> None:
        self.job, self.bar, self.papers = job, bar, papers
        self.started = time.monotonic()
        self.state: dict[int, tuple[int, int]] = {}
        self.done = self.bytes = 0
        self.projected = False

    def update(self, shard: int, papers: int, size: int) -> None:
        before = self.state.get(shard, (0, 0))
        self.state[shard] = papers, size
        self.done += papers - before[0]
        self.bytes += size - before[1]
        self.bar.update(papers - before[0])
        if not self.projected and self.done >= PROJECT_AFTER and self.done < self.papers:
            self.projected = True
            self.project()

    def project(self) -> None:
        """Hours and disk for the rest, from what the first papers took."""
        left = self.papers - self.done
        hours = (time.monotonic() - self.started) / self.done * left / 3600
        # Shards, then the splits beside them: the text is on disk twice.
        need = self.bytes / self.done * (self.papers + left)
        free = shutil.disk_usage(self.job.out).free
        self.bar.write(
            f"papers: after the first {self.done:,}, the other {left:,} should take {hours:,.2f} hours and "
            f"{need / 1e9:,.2f} GB of disk ({free / 1e9:,.2f} GB free in {self.job.out})"
        )
        if need > free:
            self.bar.write("papers: WARNING: that is more than is free; the run will stop there, and can go on later")


def shard_jobs(job: Job, todo: dict[int, Shard]) -> Iterator[ShardJob]:
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
            )


def available_cores() -> int:
    """Cores that this process may use (a container's or a scheduler's share, where there is one)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def collect(job: Job, survey: Survey, samples: Samples) -> dict[str, Any]:
    """Stage 4: duplicates, split, and the two files."""
    from tqdm import tqdm

    numbers = [shard.number for shard in survey.shards]
    total = sum(marker(job.shards, number)["bytes"] for number in numbers)
    with tqdm(total=total, unit="B", unit_scale=True, desc="writing", mininterval=1) as bar:
        return assemble(job.out, job.shards, numbers, job.settings, samples, bar.update)


def check_sum(counts: Counter[str], documents: int, total: int) -> None:
    """Every record and every archive without one must have ended in exactly one place."""
    unknown = sorted(set(counts) - set(REASONS))
    if unknown:
        raise RuntimeError(f"reasons that data_prep/reasons.py does not know: {', '.join(unknown)}")
    if counts.total() + documents != total:
        raise RuntimeError(
            f"the counts do not add up: {documents:,} written and {counts.total():,} left out, of {total:,}: "
            f"{dict(counts)}"
        )


def write_samples(job: Job, samples: Samples) -> None:
    folder = job.out / "rejected"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():  # of an earlier run
        if path.suffix == ".jsonl" and path.stem not in samples.reasons():
            path.unlink()
    for reason in samples.reasons():
        lines = [dump_line({"id": entry["id"], "reason": reason} | entry) for entry in samples.of(reason)]
        write_bytes(folder / f"{reason}.jsonl", b"".join(lines))


def merged(records: dict[str, dict[str, int]], written: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Records, those in scope, papers written and bytes of text, by the same key."""
    none = {"written": 0, "text_bytes": 0}
    return {
        key: {"records": count, "in_scope": records["in_scope"].get(key, 0), **none, **written.get(key, {})}
        for key, count in sorted(records["records"].items())
    }


def print_result(job: Job, manifest: dict[str, Any], settings: Settings) -> None:
    """Counts, sizes, the vocabulary that the text supports, where to look, and the next command."""
    counts = manifest["counts"]
    total = counts["input"]["total"]
    print()
    print(f"{'input':<20}{total:>14,}")
    for reason, count in counts["reasons"].items():
        print(f"  {reason:<18}{count:>14,}{count / total:>9.2%}  {REASONS[reason]}")
    print(f"{'written':<20}{counts['written']:>14,}{counts['written'] / total:>9.2%}")
    print()
    for split, sizes in manifest["splits"].items():
        path = job.out / f"{split}.jsonl"
        print(f"{split:<6}{sizes['documents']:>12,} documents {sizes['text_bytes'] / 1e6:>12,.2f} MB of text   {path}")
    text_bytes = manifest["splits"]["train"]["text_bytes"]
    supported, wanted = supported_vocab_size(text_bytes), settings.model.vocab_size
    print(f"vocabulary that the training text supports: about {supported:,} entries (configured: {wanted:,})")
    if supported < wanted:
        print(f"  {wanted:,} entries want {needed_bytes(wanted) / 1e6:,.0f} MB; else use --set vocab_size={supported}")
    print(
        f"look at: {job.out / 'report' / 'report.html'}, {job.out / 'report' / 'funnel.png'}, {job.out / 'rejected'}/"
    )
    if counts["written"]:
        print(f"next:    python tokenizer/train_tokenizer.py{job.flags} --input {job.out / 'train.jsonl'}")


def show(job: Job, name: str) -> int:
    """Print one paper: its record, its source, and the text after each pass."""
    from data_prep.extraction import Rejected
    from data_prep.paper import passes, process_paper

    found = paper_id_of(name)
    if not found:
        raise UserError(f"--show {name}: not an arXiv identifier, e.g. 2301.00001 or hep-th/9901001")
    index_metadata(job)
    list_sources(job)
    record, archives = index.find_planned(job.metadata_index, job.archive_list, job.source, found[0])
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


if __name__ == "__main__":
    run_command(main)
