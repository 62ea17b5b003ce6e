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
import shlex
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/prepare_dataset.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.engines import ENGINES, Engine
from common.errors import UserError
from common.files import write_error
from common.paths import project_path
from data_prep.papers.archives import source_files
from data_prep.papers.ids import parse_months
from data_prep.papers.metadata import read_snapshot
from data_prep.papers.taxonomy import check_scope
from data_prep.pipeline.plan import Job
from data_prep.pipeline.rerun import STALE_STAGES
from data_prep.pipeline.show import show
from data_prep.pipeline.stages import prepare


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
        "--show",
        metavar="ID",
        help="print one paper before, after, and after each pass, and what became of it (no dataset is written)",
    )
    parser.add_argument(
        "--accept-stale",
        metavar="STAGE",
        action="append",
        choices=(*STALE_STAGES, "all"),
        default=[],
        help=f"reuse a stage's output although its code or knobs have changed: {', '.join(STALE_STAGES)} or all",
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
        accept_stale=STALE_STAGES if "all" in args.accept_stale else tuple(sorted(set(args.accept_stale))),
        flags=repeated_flags(args),
        command=shlex.join(["python", *sys.argv] if argv is None else ["python", __file__, *argv]),
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


if __name__ == "__main__":
    run_command(main)
