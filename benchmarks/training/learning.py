"""Does the trainer learn: a small model for an hour, and a tenth of the data against all of it with the same steps.

    python benchmarks/training/learning.py --dataset TEXTS --tokenizer TOKENIZER --out LEARNING
    python benchmarks/training/learning.py --out LEARNING --plot-only     # table and plot of what has been run so far

TEXTS is a folder with the splits `train` and `val` (of prepare_dataset.py, or of ../tokenizer/splits.py, which holds
out more papers); TOKENIZER one that train_tokenizer.py made. Every run is train.py's: LEARNING/runs/<name>, its
output in LEARNING/logs. The same command goes on where it was stopped, and leaves finished runs alone. `--set` holds
for all runs and comes last. results.json and learning.png land in LEARNING.

The runs: `hour`, 5.3 million parameters; `tenth-seed0`, `all-seed0`, `tenth-seed1`, ..., 1.8 million parameters. The
tenth are the documents whose ids hash below a tenth; validation split and tokenizer are the same, so figures compare.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/training/learning.py`
    sys.path[0] = str(ROOT)

from benchmarks.training.learning_figures import KINDS, REGIMES, all_figures, by_regime, plot, table
from common.cli import add_config_arguments, run_command
from common.errors import UserError
from common.files import atomic_write, write_bytes, write_json
from common.jsonl import dump_line, find_split, read_jsonl
from common.settings.load import load_settings

CONFIG = ROOT / "examples/quickstart/config.json"
SHARE = 0.1
# Of the hash of ids. Papers differ a thousandfold in size: of the seeds 0 to 5, that whose 61 of 618 documents hold a
# tenth of the bytes (9.8 %) of the corpus that RESULTS.md reports on. Chosen before anything was trained.
SHARE_SEED = 2
COMMON = {
    "dtype": "bfloat16",
    "train.seq_len": 256,
    "train.warmup_steps": 100,
    "train.val_every": 100,
    "train.val_sequences": 128,
    "train.save_every": 500,
    "train.keep_last": 1,
    "train.log_every": 1,
    "train.wandb": "disabled",
}
HOUR = {"train.micro_batch_size": 16, "train.max_steps": 4500, "train.learning_rate": 0.002}
REGIME = {
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "train.micro_batch_size": 8,
    "train.max_steps": 2500,
    "train.learning_rate": 0.004,
}


@dataclass(frozen=True)
class Job:
    """One run of train.py: its name, its --set values, and whether it reads a tenth of the data."""

    name: str
    overrides: dict[str, Any]
    tenth: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train a small model for an hour, and smaller ones on a tenth of the data and on all of it; "
        "by default with the configuration of the quickstart.",
        epilog="example: python benchmarks/training/learning.py --dataset texts --tokenizer tokenizer --out learning",
    )
    parser.add_argument("--dataset", type=Path, help="folder of the splits train and val")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs, results.json and learning.png")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="kinds of runs (default: all three)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each data regime (default: 3)")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side, which share the cores (default: 1)")
    parser.add_argument("--plot-only", action="store_true", help="train nothing; table and plot from the runs in --out")
    add_config_arguments(parser)
    parser.set_defaults(config=CONFIG)
    args = parser.parse_args(argv)
    if not args.plot_only:
        if args.dataset is None or args.tokenizer is None:
            parser.error("--dataset and --tokenizer are needed, except with --plot-only")
        if args.seeds < 1 or args.at_once < 1:
            parser.error("--seeds and --at-once are at least 1")
        train_all(args)
    found = all_figures(args.out / "runs")
    write_json(args.out / "results.json", {"runs": found, "regimes": by_regime(found)})
    write_bytes(args.out / "learning.png", plot(args.out / "runs", found))
    print(table(found))
    print(f"look at: {args.out / 'learning.png'}; figures: {args.out / 'results.json'}")
    return 0


def train_all(args: argparse.Namespace) -> None:
    """Every run that --only and --seeds ask for, finished."""
    splits = find_splits(args.dataset)
    size = vocabulary_size(args.tokenizer)
    if "tenth" in args.only:
        write_tenth(splits, args.out / "tenth")
    (args.out / "logs").mkdir(parents=True, exist_ok=True)
    commands = {}
    for job in plan(args.only, args.seeds):
        data = args.out / "tenth" if job.tenth else args.dataset
        values = {
            "vocab_size": size,
            "data.out": str(data.absolute()),
            "tokenizer.out": str(args.tokenizer.absolute()),
            "train.runs": str((args.out / "runs").absolute()),
            "train.run_name": job.name,
            **job.overrides,
        }
        overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()] + args.overrides
        load_settings(args.config, overrides)  # what is wrong with it is said here, before an hour of training
        flags = [part for override in overrides for part in ("--set", override)]
        commands[job.name] = [sys.executable, str(ROOT / "train.py"), "--config", str(args.config.absolute()), *flags]
    with ThreadPoolExecutor(args.at_once) as pool:
        waiting = [pool.submit(train, command, name, args) for name, command in commands.items()]
        try:
            for done in as_completed(waiting):
                done.result()
        except BaseException:  # the runs under way are finished or were interrupted with us; no further one begins
            pool.shutdown(cancel_futures=True)
            raise


def plan(kinds: Sequence[str], seeds: int) -> list[Job]:
    """The runs in their order; the regimes take turns, so that whatever is finished can be compared."""
    jobs = [Job("hour", COMMON | HOUR)] if "hour" in kinds else []
    for seed in range(seeds):
        for regime in REGIMES:
            if regime in kinds:
                jobs.append(Job(f"{regime}-seed{seed}", COMMON | REGIME | {"train.seed": seed}, regime == "tenth"))
    return jobs


def train(command: Sequence[str], name: str, args: argparse.Namespace) -> None:
    """One run of train.py, which resumes it or leaves it alone where it is finished; its output goes to a log."""
    log, started = args.out / "logs" / f"{name}.log", time.monotonic()
    # train.py gives each process its share of the cores.
    environment = os.environ | {"MASTER_PORT": str(free_port()), "LOCAL_SIZE": str(args.at_once)}
    print(f"{name}: training, see {log}", flush=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(command)}\n")
        file.flush()
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1]
    if status:
        raise UserError(f"{name}: train.py ended with status {status}: {last} (all of it: {log})")
    print(f"{name}: done after {time.monotonic() - started:.0f} s", flush=True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def find_splits(dataset: Path) -> dict[str, list[Path]]:
    splits = {name: find_split(dataset, name) for name in ("train", "val")}
    for name, paths in splits.items():
        if not paths:
            raise UserError(
                f"{dataset / name}.jsonl: no such split; python data_prep/prepare_dataset.py makes a dataset, and "
                "--dataset names its folder"
            )
    return splits


def vocabulary_size(tokenizer: Path) -> int:
    """Entries of a tokenizer's folder, added ones included."""
    path = tokenizer / "tokenizer.json"
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        return len({*spec["model"]["vocab"].values(), *(token["id"] for token in spec["added_tokens"])})
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; python tokenizer/train_tokenizer.py makes one") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a tokenizer that train_tokenizer.py wrote ({error!r})") from None


def in_share(document: str, share: float = SHARE, seed: int = SHARE_SEED) -> bool:
    """Whether the hash of this id (with the seed, as a fraction of its range) lies below `share`."""
    digest = hashlib.blake2b(f"{seed} {document}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def write_tenth(splits: dict[str, list[Path]], folder: Path) -> None:
    """The splits with a tenth of the training documents; the same bytes every time, which train.py knows again.

    Raises:
        UserError: no document falls into the tenth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, paths in splits.items():
        count = 0
        with atomic_write(folder / f"{name}.jsonl") as file:
            for record in (record for path in paths for record in read_jsonl(path)):
                if name == "val" or in_share(record["id"]):
                    file.write(dump_line(record))
                    count += 1
            if not count:
                raise UserError(f"{paths[0].parent}: no document of {name} falls into the tenth; give more documents")


if __name__ == "__main__":
    run_command(main)
