"""Train the language model that config.json describes on the splits that data_prep/ made.

    deepspeed train.py                                            # the reference run, on all GPUs of this machine
    deepspeed --num_accelerators 2 train.py --config examples/quickstart/config.json      # two processes on a CPU
    python train.py --set train.micro_batch_size=8                # one process
    python train.py --stop runs/NAME                              # ask a run to save and stop

The same command resumes an unfinished run of the same configuration from its last checkpoint; --new starts another,
--resume RUN goes on with an edited configuration. Results go to runs/<name>/: metrics.jsonl, loss.png, checkpoints/,
and export/, which transformers loads.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # of this checkout, whatever else is installed
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.errors import UserError
from common.paths import project_path
from common.provenance import fingerprint
from common.settings.load import Settings
from training.checkpoints import manager as checkpoint
from training.collectives import Control, is_lost_peer, peer_lost
from training.engine import (
    end_process_group,
    resolve_deepspeed_config,
    single_process_environment,
    start_process_group,
)
from training.run_folder import preflight
from training.run_folder.folder import Run, hold_run, run_folder
from training.run_folder.may_resume import find_run, resumed_run
from training.run_folder.tested_versions import installed_versions, untested_note
from training.stopping import stop_run
from training.trainer import Trainer

# A process other than 0 that fails waits this long, so that process 0 can speak first: the launcher ends it then.
LET_FIRST_SPEAK_SECONDS = 20
# The watchdog speaks before the libraries' own limits, which say less.
LIBRARY_PATIENCE_SECONDS = 120


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train the model of config.json; without data or tokenizer, say what is missing.",
        epilog="example: deepspeed train.py --set train.micro_batch_size=16 --set train.gradient_accumulation_steps=64",
    )
    add_config_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--new", action="store_true", help="start a fresh run although one of this configuration exists")
    which.add_argument(
        "--resume", metavar="RUN", help="go on with the run in this folder although the configuration was edited"
    )
    which.add_argument("--stop", metavar="RUN", help="ask the run in this folder to save and stop, and wait for it")
    parser.add_argument("--check", action="store_true", help="print the checklist and stop")
    parser.add_argument("--local_rank", type=int, default=0, help="given by the deepspeed launcher")
    args = parser.parse_args(argv)
    if args.stop is not None:
        stop_run(run_folder(args.stop, settings_from_args(args)))
        return 0
    single_process_environment()
    rank = int(os.environ["RANK"])
    try:
        return _prepare_and_train(args)
    except UserError as error:
        if rank == 0:
            raise
        time.sleep(LET_FIRST_SPEAK_SECONDS)
        raise UserError(f"[process {rank}] {error}") from None


def _begins(args: argparse.Namespace, settings: Settings, deepspeed_config: dict[str, Any]) -> bool:
    """Whether the run that this command means has no checkpoint yet."""
    try:
        if args.resume is not None:
            folder = run_folder(args.resume, settings)
        else:
            folder = find_run(settings, deepspeed_config, args.new).folder
    except UserError:  # told where the run is opened
        return True
    return not checkpoint.finished(folder / "checkpoints")


def _prepare_and_train(args: argparse.Namespace) -> int:
    settings = settings_from_args(args)
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ["LOCAL_RANK"])
    local_processes = int(os.environ.get("LOCAL_SIZE") or os.environ.get("LOCAL_WORLD_SIZE") or processes)
    deepspeed_config = resolve_deepspeed_config(project_path(settings.train.deepspeed_config), settings, processes)

    device = preflight.find_device(local_processes, local_rank)
    flags = repeated_flags(args)
    checks = preflight.checklist(settings, device, processes, flags, _begins(args, settings, deepspeed_config))
    failed = [check for check in checks if check.todo]
    if args.check or failed:
        if rank == 0:
            print(f"Before training:\n{preflight.render(checks)}", flush=True)
            note = untested_note(installed_versions())
            if note:
                print(f"note: {note}", flush=True)
        if failed:
            # Process 0 has printed its list; another may be on a machine where other things are wrong.
            told = "" if rank == 0 else ": " + "; ".join(f"{check.state} -> {check.todo}" for check in failed)
            raise UserError(
                f"{len(failed)} of {len(checks)} checks failed; do what the arrows say, then the same command{told}"
            )
        return 0

    from tokenizer.cache.ensure import ensure_token_cache

    tokenizer_folder = project_path(settings.tokenizer.out)
    splits, note = preflight.training_splits(settings)
    if note and rank == 0:
        print(f"note: {note}", flush=True)
    caches = {
        name: ensure_token_cache(split, tokenizer_folder, settings, builder=rank == 0, flags=flags)
        for name, split in splits.items()
    }
    for name, cache in caches.items():
        if cache.num_tokens <= settings.train.seq_len:
            raise UserError(
                f"{cache.folder}: {cache.num_tokens} tokens do not fill one window of train.seq_len "
                f"{settings.train.seq_len}; lower it, or give the split {name} more text (data.val_fraction for val)"
            )
    if settings.train.learn_from == "answers" and not caches["train"].num_read_only:
        raise UserError(
            f"train.learn_from is answers, and {splits['train'].paths[0]} marks none in its texts; take a split that "
            "data_prep/mix_datasets.py made with answers, or set train.learn_from=all"
        )

    patience = settings.train.hang_seconds + LIBRARY_PATIENCE_SECONDS
    run_mark = fingerprint([settings.to_dict(), deepspeed_config, args.new, args.resume])
    start_process_group(device.cuda, local_rank, local_processes, patience, run_mark)
    control = Control(patience)
    held: list[Any] = []  # process 0's lock on the run's folder: it holds until this process ends

    def open_run() -> Run:
        if args.resume is not None:
            run = resumed_run(run_folder(args.resume, settings), settings, deepspeed_config)
        else:
            run = find_run(settings, deepspeed_config, args.new)
        held.append(hold_run(run))
        return run

    try:
        run = control.told_by_first(open_run)
        if not run.finished:
            Trainer(settings, deepspeed_config, device, run, caches, control).train()
        elif rank == 0:
            print(f"run {run.name} is finished: see {run.folder / 'loss.png'} and {run.export}; --new starts another")
        end_process_group()
    except Exception as error:
        control.close()
        if is_lost_peer(error):
            raise peer_lost("before the first step or after the last", error) from error
        raise
    for lock in held:
        lock.close()
    return 0


if __name__ == "__main__":
    run_command(main)
