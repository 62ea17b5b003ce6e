"""From arXiv's metadata and LaTeX archives to train.jsonl and val.jsonl: the pipeline, from one end to the other.

    python data_prep/prepare_dataset.py --metadata raw/arxiv-metadata-oai-snapshot.json --source raw/src \\
        --out dataset_train_val

Stages: (1) metadata: index the snapshot, one reason or none for each record; (2) sources: list the archives; (3)
papers: process them in shards, by worker processes or a Ray cluster; (4) collection: duplicates, split, contamination;
(5) writing; (6) report.

Safe to kill and run again: finished shards are kept in `OUT/work`, and what a stage depends on (its knobs, its modules,
its input) decides what is done again. The output is the same bytes for any number of workers and either engine.

    OUT/train.jsonl, val.jsonl   the dataset, by order of (shard, position); numbered or compressed where knobs say so
    OUT/README.md                the dataset card, by which `datasets.load_dataset(OUT)` finds the files
    OUT/manifest.json            knobs, code and input it was made from; sizes, sha256 and counts
    OUT/clusters.tsv             cluster, split and outcome of each document: what --append builds upon
    OUT/report/                  report.html, report.json, figures; timing.json (of the last run alone)
    OUT/rejected/REASON.jsonl    samples of what was left out
    OUT/work/                    index, finished shards: needed to continue or extend; may be deleted afterwards

Several machines without Ray: `--only-shards 1/4` .. `4/4`, one each, in a folder that they share; then the command
without it. Where they share none, copy each `OUT/work/shards` into one before that last command, and keep the times of
the source files equal (`rsync -a`).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import shlex
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/prepare_dataset.py`
    sys.path.insert(0, str(ROOT))

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.engines import ENGINES, Engine, Progress
from common.errors import UserError
from common.files import TEMPORARY, write_bytes, write_error, write_json
from common.jsonl import dump_line, split_paths
from common.paths import project_path
from common.provenance import file_state, fingerprint, module_hashes, package_versions
from common.samples import Samples
from common.settings.load import Settings
from common.vocabulary_size import needed_bytes, supported_vocab_size
from data_prep import index, ledger, report
from data_prep.dataset_card import dataset_card
from data_prep.ledger import SPLITS
from data_prep.reasons import REASONS
from data_prep.shards import finished_marker, process_shard, read_marker, read_record
from data_prep.snapshot import read_snapshot
from data_prep.source import paper_id_of, parse_months, read_bytes, source_files
from data_prep.stage_knobs import knobs
from data_prep.survey import Job, Shard, Survey, shard_jobs, take_survey
from data_prep.taxonomy import check_scope

if TYPE_CHECKING:
    from data_prep.collection import Collection

# The first modules of each stage; what they import belongs to it.
MODULES = {
    "metadata": ("data_prep.index", "data_prep.filters"),
    "sources": ("data_prep.source",),
    "papers": ("data_prep.shards",),
    "collection": ("data_prep.collection", "data_prep.overlap"),
    "writing": ("data_prep.assemble", "common.samples"),
    "report": ("data_prep.report", "data_prep.prepare_dataset"),
}
# Packages whose versions can change a paper's text or reason.
PACKAGES = ("langdetect", "numpy")
STALE_STAGES = ("metadata", "papers")
# Papers after which the rest is projected.
PROJECT_AFTER = 200
# Bytes of a compressed shard for each of its records' (measured on LaTeX: 0.28).
SHARD_SHARE = 0.3
# Bytes of index for each byte of snapshot, with room to spare (measured: 0.03).
INDEX_SHARE = 0.15


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
        "--engine", choices=ENGINES, default="local", help="where papers are processed (default: local)"
    )
    parser.add_argument("--address", help='the Ray cluster, e.g. "auto"; without it Ray starts on this machine alone')
    parser.add_argument(
        "--only-shards", metavar="I/N", help="process every N-th shard, from the I-th on, and stop: one of N machines"
    )
    parser.add_argument(
        "--append",
        action="store_true",
        help="leave each paper of the dataset in OUT in its cluster and split, and add the new ones",
    )
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
    check_scope(data)
    job = Job(
        settings=data,
        metadata=project_path(data.metadata),
        source=project_path(data.source),
        out=project_path(data.out),
        accept_stale=tuple(sorted(set(args.accept_stale))),
        flags=repeated_flags(args),
        part=parse_part(args.only_shards),
        append=args.append,
    )
    if args.address and args.engine != "ray":
        raise UserError("--address names a Ray cluster: add --engine ray")
    engine = Engine(args.engine, data.workers, args.address)
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
        # Parts of one run share the folder, anything else has it alone. Gone with the process, however it ends.
        kind = fcntl.LOCK_SH if job.part else fcntl.LOCK_EX
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{job.out}: another run is at work in this folder; wait for it, or give another --out"
            ) from None
        try:
            return show(job, args.show) if args.show else prepare(job, settings, engine)
        except sqlite3.Error as error:
            raise UserError(
                f"{job.work}: the index cannot be read or written: {error}. With space on the disk, run again; if it "
                "stays so, remove metadata.sqlite and archives.sqlite there (they are made anew)"
            ) from error


def parse_part(text: str | None) -> tuple[int, int] | None:
    """ "2/4" as (2, 4).

    Raises:
        UserError: another shape, or a part that there is not.
    """
    if text is None:
        return None
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--only-shards is '{text}', expected I/N with I from 1 to N, e.g. --only-shards 1/4")
    return int(part), int(parts)


def prepare(job: Job, settings: Settings, engine: Engine) -> int:
    """The whole run, or as much of it as is not done."""
    started = time.monotonic()
    identity = run_identity(job)
    if already_finished(job, identity):
        manifest = json.loads((job.out / "manifest.json").read_bytes())
        print(f"{job.out}: finished already, and nothing has changed since.")
        print_result(job, manifest, settings)
        return 0
    if not job.part:
        for folder in (job.out, job.work, job.shards, job.out / "report", job.out / "rejected"):
            for path in folder.glob(f"*{TEMPORARY}*"):  # of a run that was killed
                path.unlink()
    base = ledger_to_extend(job)
    keep_gone_sources(job)

    timing: dict[str, float] = {}
    clock = Clock(timing)
    with open(job.work / "index.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the parts of a run make the index one after the other, the first of them
        meta = index_metadata(job)
        clock.lap("metadata")
        listing = list_sources(job, keep_gone=job.append or bool(job.part))
        clock.lap("sources")
    samples = Samples(job.settings.reject_samples)
    survey = take_survey(job, papers_stage(job), samples)
    if survey.overruled:
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(survey.overruled.items()))
        print(f"plan: kept as papers of the dataset, though out of scope by their records of today: {told}")
    clock.lap("plan")
    process_papers(job, survey, engine)
    clock.lap("papers")
    if job.part:
        print(
            f"papers: the shards of part {job.part[0]} of {job.part[1]} are done. When all parts are, run the same "
            "command without --only-shards: it collects them"
        )
        return 0
    keep_earlier_dataset(job, survey)
    for path in (job.finished, job.out / "manifest.json"):
        path.unlink(missing_ok=True)

    from data_prep.collection import decide  # numpy comes with it
    from data_prep.overlap import remove_contaminated

    numbers = [shard.number for shard in survey.shards]
    print(f"collection: looking for duplicates among the documents of {len(numbers):,} shards", flush=True)
    collection = decide(job.shards, numbers, job.settings, job.work, base, samples)
    duplicates = sum(size * count for size, count in collection.cluster_sizes.items())
    clusters = sum(collection.cluster_sizes.values())
    print(f"collection: {duplicates:,} of {len(collection.outcome):,} documents form {clusters:,} clusters", flush=True)
    clock.lap("collection")
    overlaps = remove_contaminated(job.shards, numbers, job.work, job.settings, collection, engine, samples)
    clock.lap("overlaps")
    written = write_splits(job, numbers, collection)
    clock.lap("writing")

    steps = Steps(survey)
    for number in numbers:
        steps.add_shard(finished_marker(job.shards, number), samples)
    for reason, sums in written["dropped"].items():
        steps.counts[reason] += sums["papers"]
        steps.archive_bytes[reason] += sums["archive_bytes"]
        steps.text_bytes[reason] += sums["text_bytes"]
    documents = sum(written["splits"][split]["documents"] for split in SPLITS)
    total = survey.records + survey.unclaimed
    check_sum(steps.counts, documents, total)

    funnel = {
        "input": {
            "total": total,
            "metadata_records": survey.records,
            "unclaimed_archives": survey.unclaimed,
            "archive_bytes": listing["bytes"],
        },
        "reasons": {reason: steps.counts[reason] for reason in REASONS if steps.counts[reason]},
        "written": documents,
    }
    build: dict[str, Any] = {"kind": "full"}
    if collection.earlier is not None:
        build = {
            "kind": "append",
            "earlier_documents": int(collection.earlier.sum()),
            "out_of_scope_by_now": dict(sorted(survey.overruled.items())),
        }
    manifest = {
        "format": 2,
        "build": build,
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
    timing["total"] = time.monotonic() - started
    times = {
        "wall_seconds": {stage: round(seconds, 3) for stage, seconds in timing.items()},
        # Of all shards, whichever run made them, by what workers did.
        "worker_seconds": {stage: round(seconds, 3) for stage, seconds in steps.seconds.items()},
        "papers": sum(shard.count for shard in survey.shards),
        "archive_bytes": sum(shard.archive_bytes for shard in survey.shards),
    }
    report.write(
        job.out / "report",
        {
            **funnel,
            "build": build,
            "archive_bytes": {reason: steps.archive_bytes[reason] for reason in funnel["reasons"]},
            "text_bytes": {
                reason: steps.text_bytes[reason] for reason in funnel["reasons"] if steps.text_bytes[reason]
            },
            "splits": written["splits"],
            "vocabulary": {
                "supported": supported_vocab_size(text_bytes),
                "configured": settings.model.vocab_size,
                "needed_bytes": needed_bytes(settings.model.vocab_size),
            },
            "lengths": written["lengths"],
            "years": merged(meta["years"], written["years"]),
            "subjects": merged(meta["subjects"], written["subjects"]),
            "clusters": {str(size): count for size, count in sorted(collection.cluster_sizes.items())},
            "overlaps": overlaps,
            "counters": dict(sorted(steps.counters.items())),
            "knobs": manifest["knobs"],
            "problems": listing["problems"],
            "samples": {reason: samples.of(reason) for reason in funnel["reasons"]},
        },
        times,
    )
    write_json(job.out / "report" / "timing.json", times)
    write_bytes(job.out / "README.md", dataset_card(manifest).encode())
    write_json(job.out / "manifest.json", manifest)
    outputs = {name: file_state(job.out / name) for name in output_names(job, manifest)}
    write_json(job.finished, {"identity": identity, "outputs": outputs})
    base_of(job).unlink(missing_ok=True)
    print_result(job, manifest, settings)
    if not documents:
        unreadable = steps.counts["bad_metadata"] == survey.records
        hint = f"; is {job.metadata} arXiv's metadata snapshot, one JSON record a line?" if unreadable else ""
        raise UserError(f"no paper was kept; {job.out / 'report' / 'report.html'} and rejected/ tell why{hint}")
    return 0


class Steps:
    """Sums over the survey and all shards: papers, bytes of archives and of text by reason; counters; seconds."""

    def __init__(self, survey: Survey) -> None:
        self.counts = Counter(survey.counts)
        self.archive_bytes = Counter(survey.archive_bytes)
        self.text_bytes: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def add_shard(self, marker: dict[str, Any], samples: Samples) -> None:
        self.counters.update(marker["counters"])
        for stage, seconds in marker["seconds"].items():
            self.seconds[stage] += seconds
        for paper_id, reason, detail, archive_bytes in marker["rejects"]:
            self.counts[reason] += 1
            self.archive_bytes[reason] += archive_bytes
            samples.add(reason, paper_id, detail=detail)


def base_of(job: Job) -> Path:
    """The ledger that an append builds upon, out of reach of what it writes until it has finished."""
    return job.work / f"base-{ledger.NAME}"


def ledger_to_extend(job: Job) -> Path | None:
    """The ledger of the dataset that this run appends to; None for a full build.

    Raises:
        UserError: --append, and no finished dataset is there.
    """
    base, table = base_of(job), job.out / ledger.NAME
    if job.part:
        return None
    if not job.append:
        base.unlink(missing_ok=True)
        return None
    if not base.exists():  # else an append was interrupted: it goes on from the same
        if not (table.exists() and (job.out / "manifest.json").exists()):
            raise UserError(f"--append: there is no finished dataset in {job.out}; run without --append")
        write_bytes(base, table.read_bytes())
    return base


def keep_gone_sources(job: Job) -> None:
    """Refuse to make a dataset anew without the papers of sources that were deleted since; --append keeps them.

    Raises:
        UserError: files that the finished dataset was made from have gone, and this is no append.
    """
    if job.append or not (job.out / ledger.NAME).exists():
        return
    gone = index.gone_sources(job.archive_list, job.source)
    if gone:
        raise UserError(
            f"{job.source}: {len(gone):,} files that {job.out} was made from have gone ({gone[0]}, ...). --append "
            f"keeps their papers; to make the dataset without them, remove {job.archive_list} first"
        )


def keep_earlier_dataset(job: Job, survey: Survey) -> None:
    """Refuse to put an empty dataset in the place of one that holds papers: a slip in a filter must not cost it.

    Raises:
        UserError: no paper is left, and the splits of an earlier run lie there.
    """
    if not any(path.stat().st_size for path in split_paths(job.out, "train")):
        return
    counts = Counter(survey.counts)
    for shard in survey.shards:
        stats = finished_marker(job.shards, shard.number)
        if stats["documents"]:
            return
        counts.update(reject[1] for reject in stats["rejects"])
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
            "benchmarks": benchmarks_state(job),
            "accept_stale": job.accept_stale,
            "append": job.append,
        }
    )


def benchmarks_state(job: Job) -> str | None:
    from data_prep.contamination import questions_state

    return questions_state(project_path(job.settings.benchmarks)) if job.settings.benchmarks else None


def papers_stage(job: Job) -> str:
    """Fingerprint of what the processing of all papers depends on."""
    return fingerprint(
        {
            "knobs": knobs(job.settings, "papers"),
            "modules": module_hashes(MODULES["papers"]),
            "packages": package_versions(PACKAGES),
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


def output_names(job: Job, manifest: dict[str, Any]) -> list[str]:
    folders = [job.out / "report", job.out / "rejected"]
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    splits = [file["name"] for split in SPLITS for file in manifest["splits"][split]["files"]]
    return [*splits, ledger.NAME, "README.md", "manifest.json", *(str(p.relative_to(job.out)) for p in files)]


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


def list_sources(job: Job, keep_gone: bool) -> dict[str, Any]:
    """Stage 2: the list of archives, brought up to date; see `index.update_archive_list` for `keep_gone`."""
    from tqdm import tqdm

    with tqdm(unit=" files", desc="sources", mininterval=1) as bar:
        rule = fingerprint(module_hashes(MODULES["sources"]))
        listing = index.update_archive_list(job.archive_list, job.source, rule, keep_gone, bar.update)
    print(
        f"sources: {listing['archives']:,} archives of {listing['papers']:,} papers, {listing['bytes'] / 1e9:,.2f} GB"
    )
    if listing["gone"]:
        print(f"sources: {listing['gone']:,} files of an earlier run have gone; their finished shards are kept")
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


def process_papers(job: Job, survey: Survey, engine: Engine) -> None:
    """Stage 3: run every shard (of this part) that is not there, or was made by other code, knobs or input."""
    todo: dict[int, Shard] = {}
    stale = 0
    part, parts = job.part or (1, 1)
    mine = survey.shards[part - 1 :: parts]
    for shard in mine:
        stats = read_marker(job.shards, shard.number)
        if stats and stats["inputs"] == shard.inputs:
            continue
        if stats and stats["papers"] == shard.papers and "papers" in job.accept_stale:
            stale += 1
            continue
        todo[shard.number] = shard
    papers = sum(shard.count for shard in todo.values())
    reused = len(mine) - len(todo)
    if reused:
        note = f" ({stale:,} of them made by other code, knobs or input)" if stale else ""
        print(f"papers: {reused:,} of {len(mine):,} shards reused{note}, {papers:,} papers to process")
    if not todo:
        return
    print(f"papers: {papers:,} in {len(todo):,} shards {engine.describe(len(todo))}", flush=True)
    with ProjectedProgress(job, papers) as progress:
        engine.run(shard_jobs(job, todo), len(todo), process_shard, progress)


class ProjectedProgress(Progress):
    """Hours and disk for the rest, from what the first papers took."""

    def __init__(self, job: Job, papers: int) -> None:
        super().__init__(papers, "papers")
        self.job = job
        self.projected = False

    def update(self, shard: int, papers: int, size: int) -> None:
        super().update(shard, papers, size)
        if not self.projected and PROJECT_AFTER <= self.done < self.papers:
            self.projected = True
            self.project()

    def project(self) -> None:
        left = self.papers - self.done
        hours = (time.monotonic() - self.started) / self.done * left / 3600
        # Compressed shards of what is left, then the splits beside them, compressed or not.
        shards = self.bytes / self.done * left * SHARD_SHARE
        splits = self.bytes / self.done * self.papers * (SHARD_SHARE if self.job.settings.compress else 1)
        free = shutil.disk_usage(self.job.out).free
        self.bar.write(
            f"papers: after the first {self.done:,}, the other {left:,} should take {hours:,.2f} hours and "
            f"{(shards + splits) / 1e9:,.2f} GB of disk ({free / 1e9:,.2f} GB free in {self.job.out})"
        )
        if shards + splits > free:
            self.bar.write("papers: WARNING: that is more than is free; the run will stop there, and can go on later")


def write_splits(job: Job, numbers: Sequence[int], collection: Collection) -> dict[str, Any]:
    """Stage 5: the files."""
    from tqdm import tqdm

    from data_prep.assemble import assemble

    total = sum(document[4] for number in numbers for document in finished_marker(job.shards, number)["documents"])
    with tqdm(total=total, unit="B", unit_scale=True, desc="writing", mininterval=1) as bar:
        return assemble(job.out, job.shards, numbers, job.settings, collection, bar.update)


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
        first = sizes["files"][0]["name"]
        more = f" and {len(sizes['files']) - 1:,} more" if len(sizes["files"]) > 1 else ""
        size = sizes["text_bytes"] / 1e6
        print(f"{split:<6}{sizes['documents']:>12,} documents {size:>12,.2f} MB of text   {job.out / first}{more}")
    text_bytes = manifest["splits"]["train"]["text_bytes"]
    supported, wanted = supported_vocab_size(text_bytes), settings.model.vocab_size
    print(f"vocabulary that the training text supports: about {supported:,} entries (configured: {wanted:,})")
    if supported < wanted:
        print(f"  {wanted:,} entries want {needed_bytes(wanted) / 1e6:,.0f} MB; else use --set vocab_size={supported}")
    print(
        f"look at: {job.out / 'report' / 'report.html'}, {job.out / 'report' / 'funnel.png'}, {job.out / 'rejected'}/"
    )
    if counts["written"]:
        print(f"next:    python tokenizer/train_tokenizer.py{job.flags} --set data.out={shlex.quote(str(job.out))}")


def show(job: Job, name: str) -> int:
    """Print one paper: its record, its source, and the text after each pass."""
    from data_prep.extraction import Rejected
    from data_prep.paper import passes, process_paper

    found = paper_id_of(name)
    if not found:
        raise UserError(f"--show {name}: not an arXiv identifier, e.g. 2301.00001 or hep-th/9901001")
    index_metadata(job)
    list_sources(job, keep_gone=True)
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
