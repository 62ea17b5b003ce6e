"""The data pipeline from end to end: papers/s and MB/s of each stage, the parent's share, one and two workers, memory,
input/output, and the hours that three million papers would take on 16 cores.

    python benchmarks/data/pipeline.py --metadata CORPUS/arxiv-metadata-snapshot.json --source CORPUS/src

The corpus is copied `--copies` times under other ids, each copy with words of its own, so that a run is long enough to
measure; and each archive gets a figure (noise, as a compressed picture is) that brings it to the size of arXiv's. The
pipeline itself then runs on it, each time in a new process with another number of workers.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/data/pipeline.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command
from data_prep.papers.archives import list_archives, read_bytes
from data_prep.papers.metadata import read_snapshot

# arXiv, for the projection: papers, bytes of text and of archives, cores.
PAPERS, TEXT_BYTES, ARCHIVE_BYTES, CORES = 3e6, 200e9, 3e12, 16
# Stages of the run that one process does alone, before or after the workers.
SERIAL = ("metadata", "sources", "plan", "collection", "writing")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Speed of each stage of the data pipeline, and what it means for all of arXiv.",
        epilog="example: python benchmarks/data/pipeline.py --metadata raw/snapshot.json --source raw/src --copies 4",
    )
    parser.add_argument("--metadata", type=Path, required=True, help="metadata snapshot of a small corpus")
    parser.add_argument("--source", type=Path, required=True, help="folder of its archives")
    parser.add_argument("--copies", type=int, default=6, help="copies of the corpus (default: 6)")
    parser.add_argument("--archive-bytes", type=int, default=1_000_000, help="bytes that a figure brings archives to")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each; the fastest counts (default: 2)")
    parser.add_argument("--work", type=Path, help="folder for the corpus and the output (default: a temporary one)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        place = Path(folder)
        records = enlarge(args, place)
        best: dict[int, dict[str, Any]] = {}
        for turn in range(args.rounds):
            for workers in args.workers:
                run = measured_run(args, place, workers)
                print(f"round {turn + 1}, {workers} workers: papers stage {run['wall']['papers']:.1f} s", flush=True)
                if workers not in best or run["wall"]["papers"] < best[workers]["wall"]["papers"]:
                    best[workers] = run
        print(f"\n{records:,} records, {best[args.workers[0]]['papers']:,} papers\n")
        for workers, run in best.items():
            show(workers, run)
        if len(best) > 1:
            one, more = args.workers[0], args.workers[-1]
            ratio = best[one]["wall"]["papers"] / best[more]["wall"]["papers"]
            print(f"papers stage, {one} -> {more} workers: {ratio:.2f} x as fast")
        project(best[args.workers[0]])
    return 0


def enlarge(args: argparse.Namespace, place: Path) -> int:
    """Write the corpus `--copies` times over to `place`; the number of records."""
    lines = [line.record for line in read_snapshot(args.metadata) if line.record]
    archives = {ref.paper_id: ref for ref in reversed(list_archives(args.source))}
    (place / "src").mkdir()
    written = 0
    with open(place / "snapshot.json", "w") as snapshot:
        for copy in range(args.copies):
            month = f"{10 + copy // 12:02d}{copy % 12 + 1:02d}"
            with tarfile.open(place / "src" / f"arXiv_src_{month}_001.tar", "w") as tar:
                for number, record in enumerate(lines, 1):
                    paper_id = f"{month}.{number:05d}"
                    snapshot.write(json.dumps({**record, "id": paper_id}) + "\n")
                    written += 1
                    if ref := archives.get(record["id"]):
                        random_words = random.Random(written)
                        data = salted(read_bytes(ref), random_words, args.archive_bytes)
                        info = tarfile.TarInfo(f"{month}/{paper_id}.gz")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
    return written


def salted(data: bytes, source: random.Random, size: int) -> bytes:
    """The archive with some words of its own in each TeX file and a figure; a broken one or a PDF as it is."""
    try:
        plain = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return data
    if not plain:
        return data
    members: list[tuple[str, bytes]] = [("main.tex", plain)]
    if plain[257:262] == b"ustar":
        try:
            with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                members = [(m.name, file.read()) for m in tar if m.isfile() and (file := tar.extractfile(m))]
        except tarfile.TarError:
            return data
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = " ".join("".join(source.choices(letters, k=7)) for _ in range(40)).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in [*members, ("figure.png", source.randbytes(max(0, size - len(data))))]:
            if name.endswith(".tex") and b"\\end{document}" in content:
                content = content.replace(b"\\end{document}", b"\n\n" + words + b"\n\\end{document}", 1)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(out.getvalue(), 6)


def measured_run(args: argparse.Namespace, place: Path, workers: int) -> dict[str, Any]:
    """One run of the pipeline from nothing, in a process of its own."""
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = ["--metadata", str(place / "snapshot.json"), "--source", str(place / "src"), "--out", str(out)]
    command += ["--workers", str(workers), "--config", str(args.config)]
    # Every record in scope, and copies stay: the later stages have the most to do.
    overrides = ["data.categories=null", "data.near_duplicates=keep", "data.shard_papers=100", *args.overrides]
    for override in overrides:
        command += ["--set", override]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(False)
    process = context.Process(target=run_pipeline, args=(command, theirs))
    process.start()
    theirs.close()
    usage = ours.recv()
    process.join()
    times = json.loads((out / "report" / "timing.json").read_bytes())
    splits = json.loads((out / "manifest.json").read_bytes())["splits"].values()
    return {
        **usage,
        "wall": times["wall_seconds"],
        "stages": times["worker_seconds"],
        "papers": times["papers"],
        "archive_bytes": times["archive_bytes"],
        "text_bytes": sum(split["text_bytes"] for split in splits),
        "documents": sum(split["documents"] for split in splits),
    }


def run_pipeline(command: list[str], result: Any) -> None:
    """Runs in a process of its own: the pipeline, and what the kernel counts of it and of its workers."""
    from data_prep import prepare_dataset
    from data_prep.pipeline import stages

    sys.stdout = open(os.devnull, "w")
    own: list[float] = []
    real = stages.process_papers

    def watched(*arguments: Any) -> None:
        before = processor_seconds(resource.RUSAGE_SELF)
        real(*arguments)
        own.append(processor_seconds(resource.RUSAGE_SELF) - before)

    setattr(stages, "process_papers", watched)  # noqa: B010
    started = time.monotonic()
    prepare_dataset.main(command)
    result.send(
        {
            "parent_papers": own[0],
            "parent": processor_seconds(resource.RUSAGE_SELF),
            "workers_cpu": processor_seconds(resource.RUSAGE_CHILDREN),
            "worker_memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
            "parent_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "total": time.monotonic() - started,
        }
    )


def processor_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def show(workers: int, run: dict[str, Any]) -> None:
    papers, megabytes = run["papers"], run["text_bytes"] / 1e6
    stages = run["stages"]
    busy = sum(stages.values())
    print(f"{workers} workers: {run['total']:.1f} s in all, {papers / run['total']:,.0f} papers/s")
    print(f"  {'stage':<12}{'seconds':>10}{'share':>8}{'papers/s':>12}{'MB of text/s':>14}   a core")
    for stage, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        rate, size = papers / max(seconds, 1e-9), megabytes / max(seconds, 1e-9)
        print(f"  {stage:<12}{seconds:>10.2f}{seconds / busy:>8.1%}{rate:>12,.0f}{size:>14,.1f}")
    print(f"  {'all':<12}{busy:>10.2f}{1:>8.0%}{papers / busy:>12,.0f}{megabytes / busy:>14,.1f}")
    for stage in ("overlaps", *SERIAL):
        if seconds := run["wall"].get(stage):
            who = "wall, by the workers" if stage == "overlaps" else "wall, one process"
            print(
                f"  {stage:<12}{seconds:>10.2f}{'':>8}{papers / seconds:>12,.0f}{megabytes / seconds:>14,.1f}   {who}"
            )
    share = run["parent_papers"] / (run["parent_papers"] + run["workers_cpu"])
    waiting = (stages.get("read", 0) + stages.get("write", 0)) / busy
    each = run["parent_papers"] / papers * 1e6
    print(f"  parent: {share:.2%} of the processor time of the papers stage, {each:.0f} us a paper")
    print(
        f"  input/output: {waiting:.1%} of the workers' time, {run['archive_bytes'] / papers / 1e6:.2f} MB an archive"
    )
    memory = [run[who] / 1e6 for who in ("worker_memory", "parent_memory")]
    print(f"  memory: {memory[0]:,.0f} MB the largest worker, {memory[1]:,.0f} MB the parent")


def project(run: dict[str, Any]) -> None:
    """Hours for all of arXiv on CORES cores, from one worker's seconds by paper and by byte, whichever says more."""
    busy = sum(run["stages"].values()) + run["wall"]["overlaps"]
    alone = sum(run["wall"].get(stage, 0) for stage in SERIAL)
    print(f"\n{PAPERS / 1e6:.0f} million papers, {TEXT_BYTES / 1e9:.0f} GB of text, {CORES} cores:")
    longest = 0.0
    for name, times in (("by paper", PAPERS / run["papers"]), ("by byte of text", TEXT_BYTES / run["text_bytes"])):
        workers, serial = busy * times / CORES / 3600, alone * times / 3600
        print(f"  {name:<16} {workers:.2f} h by the workers + {serial:.2f} h by one process = {workers + serial:.2f} h")
        longest = max(longest, sum(run["stages"].values()) * times / CORES)
    speed = ARCHIVE_BYTES / longest / 1e6
    total = ARCHIVE_BYTES / 1e12
    print(f"  the workers then read {total:.0f} TB of archives at {speed:,.0f} MB/s; a slower disk bounds them")


if __name__ == "__main__":
    run_command(main)
