"""The stages of `prepare_dataset.py`, in order, each as much as is not done: from the snapshot to the report."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.engines import Engine
from common.errors import UserError
from common.files import TEMPORARY, write_bytes, write_json
from common.jsonl import split_paths
from common.provenance import file_state, fingerprint, module_hashes, package_versions
from common.samples import Samples
from common.settings.load import Settings
from common.vocabulary_size import needed_bytes, supported_vocab_size
from data_prep.dedup import assignments
from data_prep.dedup.assignments import SPLITS
from data_prep.pipeline import catalog
from data_prep.pipeline.dataset_card import dataset_card
from data_prep.pipeline.plan import Job, Shard, Survey, shard_jobs, take_survey
from data_prep.pipeline.progress import ProjectedProgress
from data_prep.pipeline.rerun import (
    MODULES,
    PACKAGES,
    STALE_STAGES,
    already_finished,
    code_of_today,
    finished_by_other_code,
    knobs,
    papers_stage,
    run_identity,
    run_inputs,
)
from data_prep.pipeline.shards import finished_marker, process_shard, read_marker
from data_prep.pipeline.summary import Steps, check_sum, describe, merged, output_names, print_result, write_samples
from data_prep.screening.reasons import REASONS
from reports.dataset import write as write_report

if TYPE_CHECKING:
    from data_prep.dedup.assign import Collection

# Bytes of index for each byte of snapshot, with room to spare (measured: 0.03).
INDEX_SHARE = 0.15


def prepare(job: Job, settings: Settings, engine: Engine) -> int:
    """The whole run, or as much of it as is not done."""
    started = time.monotonic()
    inputs = run_inputs(job)
    identity = run_identity(inputs, code_of_today(job))
    finished, other = already_finished(job, identity), finished_by_other_code(job, inputs)
    if finished or (other and set(job.accept_stale) == set(STALE_STAGES)):
        manifest = json.loads((job.out / "manifest.json").read_bytes())
        print(f"{job.out}: finished already, and nothing {'but the code ' if not finished else ''}has changed since.")
        renew_card(job, manifest)
        print_result(job, manifest, settings)
        return 0
    if other and not job.accept_stale:
        print(
            f"{job.out}: finished, but by other code than today's, so it is made again. To keep what is there instead, "
            f"stop this and run:\n    {job.command} --accept-stale all",
            flush=True,
        )
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

    from data_prep.dedup.assign import decide  # numpy comes with it
    from data_prep.dedup.decontaminate import remove_contaminated

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
    write_report(
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
        REASONS,
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


def renew_card(job: Job, manifest: dict[str, Any]) -> None:
    """Write README.md anew where the code that made the dataset described it otherwise than today's."""
    path, card = job.out / "README.md", dataset_card(manifest).encode()
    if path.read_bytes() == card:
        return
    finished = json.loads(job.finished.read_bytes())
    del finished["outputs"]["README.md"]  # killed in between, the dataset still counts as finished
    write_json(job.finished, finished)
    write_bytes(path, card)
    finished["outputs"]["README.md"] = file_state(path)
    write_json(job.finished, finished)
    print(f"{path}: written anew, as today's code describes the dataset")


def base_of(job: Job) -> Path:
    """The ledger that an append builds upon, out of reach of what it writes until it has finished."""
    return job.work / f"base-{assignments.NAME}"


def ledger_to_extend(job: Job) -> Path | None:
    """The ledger of the dataset that this run appends to; None for a full build.

    Raises:
        UserError: --append, and no finished dataset is there.
    """
    base, table = base_of(job), job.out / assignments.NAME
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
    if job.append or not (job.out / assignments.NAME).exists():
        return
    gone = catalog.gone_sources(job.archive_list, job.source)
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


def index_metadata(job: Job) -> dict[str, Any]:
    """Stage 1: the index of the snapshot, made where there is none that fits."""
    provenance = {"modules": module_hashes(MODULES["metadata"]), "knobs": knobs(job.settings, "metadata")}
    meta = catalog.index_meta(job.metadata_index)
    if meta is not None:
        same_file = catalog.same_snapshot(job.metadata_index, meta, job.metadata)
        if same_file and meta["provenance"] == provenance:
            print(f"metadata: index of {meta['lines']:,} lines reused")
            return meta
        if "metadata" in job.accept_stale and (same_file or job.accept_stale != STALE_STAGES):
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
        catalog.build_metadata_index(job.metadata_index, job.metadata, job.settings, provenance, bar.update)
    meta = catalog.index_meta(job.metadata_index)
    assert meta is not None
    return meta


def list_sources(job: Job, keep_gone: bool) -> dict[str, Any]:
    """Stage 2: the list of archives, brought up to date; see `catalog.update_archive_list` for `keep_gone`."""
    from tqdm import tqdm

    with tqdm(unit=" files", desc="sources", mininterval=1) as bar:
        rule = fingerprint(module_hashes(MODULES["sources"]))
        listing = catalog.update_archive_list(
            job.archive_list, job.source, rule, keep_gone, bar.update, any_rule="sources" in job.accept_stale
        )
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


def process_papers(job: Job, survey: Survey, engine: Engine) -> None:
    """Stage 3: run every shard (of this part) that is not there, or was made by other code, knobs or input."""
    todo: dict[int, Shard] = {}
    stale = of_others = 0
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
        of_others += bool(stats and stats["papers"] == shard.papers)
    papers = sum(shard.count for shard in todo.values())
    reused = len(mine) - len(todo)
    if reused:
        note = f" ({stale:,} of them made by other code, knobs or input)" if stale else ""
        print(f"papers: {reused:,} of {len(mine):,} shards reused{note}, {papers:,} papers to process")
    if not todo:
        return
    if of_others:
        print(
            f"papers: {of_others:,} finished shards were made by other code, knobs or input, and are made again. To "
            f"keep them instead, stop this and run:\n    {job.command} --accept-stale papers"
        )
    print(f"papers: {papers:,} in {len(todo):,} shards {engine.describe(len(todo))}", flush=True)
    with ProjectedProgress(job, papers) as progress:
        engine.run(shard_jobs(job, todo), len(todo), process_shard, progress)


def write_splits(job: Job, numbers: Sequence[int], collection: Collection) -> dict[str, Any]:
    """Stage 5: the files."""
    from tqdm import tqdm

    from data_prep.pipeline.write_splits import assemble

    total = sum(document[4] for number in numbers for document in finished_marker(job.shards, number)["documents"])
    with tqdm(total=total, unit="B", unit_scale=True, desc="writing", mininterval=1) as bar:
        return assemble(job.out, job.shards, numbers, job.settings, collection, bar.update)
