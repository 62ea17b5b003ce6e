"""How fast is a mixture made, against reading its input once?

    python benchmarks/data/mixture.py --megabytes 200 --workers 2

Made-up conversations in a file of JSON lines, mixed with nothing to compare them with; beside the floor: reading and
parsing the same lines. Peak memory is that of the whole process tree's largest member.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/data/mixture.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from common.errors import UserError

WORDS, RECORD_WORDS = 20_000, 250


def write_input(path: Path, size: int) -> None:
    """Conversations of `RECORD_WORDS` words, `size` bytes in all."""
    draw = random.Random(0)
    words = [f"w{number:x}" for number in range(WORDS)]
    with path.open("w", encoding="utf-8") as file:
        written = 0
        while written < size:
            texts = [" ".join(draw.choices(words, k=RECORD_WORDS // 2)) for _ in range(2)]
            roles = ("user", "assistant")
            messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
            written += file.write(json.dumps({"messages": messages}) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Speed and memory of mix_datasets.py, against parsing the same lines.",
        epilog="example: python benchmarks/data/mixture.py --megabytes 200 --workers 2",
    )
    parser.add_argument("--megabytes", type=int, default=200, help="of input (default: 200)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: 1)")
    args = parser.parse_args(argv)
    if args.megabytes < 1:
        raise UserError(f"--megabytes {args.megabytes}: must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        path, mixture = Path(folder, "input.jsonl"), Path(folder, "mixture.json")
        write_input(path, args.megabytes * 10**6)
        source = {"name": "chat", "files": [str(path)], "messages": "messages"}
        mixture.write_text(json.dumps({"sources": [source]}))
        started = time.perf_counter()
        with path.open("rb") as file:
            records = sum(1 for line in file if json.loads(line))
        floor = time.perf_counter() - started
        command = [sys.executable, str(ROOT / "data_prep/mix_datasets.py"), "--mixture", str(mixture)]
        command += ["--out", str(Path(folder, "out")), "--workers", str(args.workers)]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    size = args.megabytes
    print(f"{size:,} MB, {records:,} records, {args.workers} worker(s)")
    print(f"read and parsed (floor)  {size / floor:8.1f} MB/s")
    print(
        f"mixed                    {size / seconds:8.1f} MB/s   {seconds / floor:.1f} x the floor; peak {peak:,.0f} MB"
    )
    return 0


if __name__ == "__main__":
    run_command(main)
