"""The token caches of the splits, made by parallel workers where they are not there yet, or waited for."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from common.engines import available_cores
from common.errors import UserError
from common.files import COMPRESSED, TEMPORARY
from common.settings.load import Settings
from common.workers import run_jobs
from tokenizer.cache.encoding import ShardJob, load_encoder, make_shard
from tokenizer.cache.plan import Plan, Split, Work, forecast, shard_size, size_text
from tokenizer.cache.source_lines import known_source, read_source
from tokenizer.cache.token_file import Header, Shard, TokenCache, write_manifest
from tokenizer.learn.fingerprint import tokenizer_fingerprint

# Work beyond this is worth doing where no GPU waits for it.
LONG_SECONDS = 600
# What a compressed file is taken to hold before it has been read: LaTeX is 0.28 of its size.
EXPANSION = 4


def ensure_token_cache(
    split: Split, tokenizer: Path, settings: Settings, builder: bool = True, flags: str | None = None
) -> TokenCache:
    """The tokens of a split; made first where there are none that fit it.

    Args:
        builder: this process makes them; any other waits until they are there.
        flags: of the command that does it beforehand, to be named where that pays.

    Raises:
        UserError: a source or tokenizer that is missing or does not fit the configuration, or too little disk.
    """
    load_encoder(tokenizer, tokenizer_fingerprint(tokenizer)).check_fits(settings)
    if builder:
        plan = Plan(split, read_source(split.paths, split.notes), tokenizer, settings)
        if not plan.complete():
            _build(plan, settings, flags)
    else:
        plan = _wait(split, tokenizer, settings)
    return TokenCache(plan.folder, plan.source, plan.shards)


def work_left(split: Split, tokenizer: Path, settings: Settings) -> Work | None:
    """What `ensure_token_cache` would have to do; None where the cache is there. Nothing is changed.

    Raises:
        UserError: as `ensure_token_cache`.
    """
    if source := known_source(split.paths, split.notes):
        plan = Plan(split, source, tokenizer, settings)
        if plan.complete():
            return None
        missing = plan.missing()
        text_bytes, shards = sum(shard.stop - shard.start for shard in missing), len(missing)
    else:  # not seen before: by the sizes of the files
        sizes = [(path.stat().st_size, path.suffix == COMPRESSED) for path in split.paths]
        text_bytes = sum(size * (EXPANSION if compressed else 1) for size, compressed in sizes)
        shards = -(-text_bytes // shard_size(text_bytes))
    return forecast(
        split, load_encoder(tokenizer, tokenizer_fingerprint(tokenizer)), text_bytes, _workers(settings, shards)
    )


def _workers(settings: Settings, shards: int) -> int:
    return max(1, min(settings.data.workers or available_cores(), shards))


def _build(plan: Plan, settings: Settings, flags: str | None) -> None:
    if not plan.shards:
        raise UserError(f"{plan.split.paths[0]}: no documents; run python data_prep/prepare_dataset.py first")
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _alone(plan.split):
        if missing := plan.missing():
            workers = _workers(settings, len(missing))
            _announce(plan, missing, workers, flags)
            try:
                _make(plan, missing, workers)
            finally:  # workers that were ended leave their unfinished files, and so did those of a killed build
                for leftover in plan.folder.glob(f"*{TEMPORARY}"):
                    leftover.unlink(missing_ok=True)
        if not any(Header.read(plan.folder / shard.file_name).num_documents for shard in plan.shards):
            raise UserError(f"{plan.split.paths[0]}: no documents; run python data_prep/prepare_dataset.py first")
        write_manifest(plan.folder, plan.shards)


def _announce(plan: Plan, missing: list[Shard], workers: int, flags: str | None) -> None:
    """Say what is to be done and what it takes; refuse where the disk is short."""
    for path in plan.stale():
        size = sum(file.stat().st_size for file in [path, *path.glob("*")] if file.is_file())
        print(f"note: {path} ({size_text(size)}) is of another text or tokenizer; delete it if it is no longer wanted")
    text_bytes = sum(shard.stop - shard.start for shard in missing)
    work = forecast(plan.split, load_encoder(plan.tokenizer, plan.fingerprint), text_bytes, workers)
    free = shutil.disk_usage(plan.folder).free
    made = len(plan.shards) - len(missing)
    shards = f"{len(missing):,} shard(s)" + (f" ({made:,} are made)" if made else "")
    print(f"building {plan.folder}: {shards}, {work} ({size_text(free)} free), {workers} process(es)", flush=True)
    if free < work.disk_bytes:
        raise UserError(
            f"{plan.folder}: about {size_text(work.disk_bytes)} are needed, {size_text(free)} are free; make room, "
            "then run the same command again"
        )
    if flags is not None and work.seconds > LONG_SECONDS:
        print(
            f"note: without a GPU waiting for it, that is done by: python tokenizer/token_cache.py{flags}\n"
            "      (stopping here loses nothing: finished shards are kept)",
            flush=True,
        )


def _make(plan: Plan, missing: list[Shard], workers: int) -> None:
    from tqdm import tqdm

    done = {shard.number: shard.stop - shard.start for shard in plan.shards}
    done |= {shard.number: 0 for shard in missing}
    jobs = [ShardJob(shard, plan.source, plan.tokenizer, plan.folder) for shard in missing]
    total, made = plan.source.size, sum(done.values())
    with tqdm(total=total, initial=made, unit="B", unit_scale=True, desc=f"tokens {plan.split.name}") as bar:

        def on_progress(shard: int, _: int, size: int) -> None:
            bar.update(size - done[shard])
            done[shard] = size

        if workers == 1:
            for job in jobs:
                make_shard(job, functools.partial(on_progress, job.number))
        else:
            run_jobs(jobs, workers, make_shard, on_progress)


@contextlib.contextmanager
def _alone(split: Split) -> Iterator[None]:
    """Only one process at a time makes caches of a split; others wait here."""
    path = split.caches / f"{split.name}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path}: another process makes tokens of this split; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _wait(split: Split, tokenizer: Path, settings: Settings) -> Plan:
    started, told = time.monotonic(), False
    while True:
        if source := known_source(split.paths, split.notes):
            plan = Plan(split, source, tokenizer, settings)
            if plan.complete():
                return plan
        time.sleep(0.5)
        if not told and time.monotonic() - started > 60:
            print(f"waiting for the tokens that process 0 makes in {split.caches} (all machines must see that folder)")
            told = True
