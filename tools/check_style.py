"""Check the style and the types of every Python file that git knows: ruff check, ruff format, mypy.

    python tools/check_style.py

Each of the three gets the files by name and must have seen them all: an exclude that swallows one is a complaint too.
pyproject.toml has their settings, tests/requirements.txt their versions.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tools/check_style.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from common.errors import UserError

TOOLS = ("ruff check", "ruff format --check", "mypy")
# How ruff format and mypy say, in their last line, how many files they saw; ruff check lists them on demand.
SEEN = re.compile(r"(\d+) files? (?:already formatted|would be reformatted)|(\d+) source files?\b")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Check the style and the types of every tracked Python file with ruff and mypy.",
        epilog="example: python tools/check_style.py",
    )
    parser.parse_args(argv)
    files = tracked(ROOT)
    print(f"git ls-files '*.py': {len(files)} files", flush=True)
    return 0 if all([check(tool, ROOT, files) for tool in TOOLS]) else 1


def tracked(root: Path) -> list[str]:
    """Python files that git knows, by path below `root`."""
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=root, capture_output=True, text=True)
    if listed.returncode:
        raise UserError(f"{root}: not a git checkout: {listed.stderr.strip()}")
    return listed.stdout.split("\0")[:-1]


def check(tool: str, root: Path, files: Sequence[str]) -> bool:
    """Run one of TOOLS over the files; whether it saw all of them and found nothing to complain of."""
    result = _run(tool, root, files)
    if tool == "ruff check":
        seen = _run("ruff check --show-files", root, files).stdout.count("\n")
    else:
        last = result.stdout.splitlines()[-1:]
        seen = sum(int(one or other) for one, other in SEEN.findall("".join(last)))
    clean = result.returncode == 0
    if not clean:
        print(result.stdout + result.stderr, end="")
    print(f"{tool}: saw {seen} files, {'clean' if clean else 'not clean'}", flush=True)
    if seen != len(files):
        print(f"{tool}: saw {seen} of {len(files)} files; look for an exclude in pyproject.toml", file=sys.stderr)
    return clean and seen == len(files)


def _run(tool: str, root: Path, files: Sequence[str]) -> subprocess.CompletedProcess[str]:
    module, *options = tool.split()
    if find_spec(module) is None:
        raise UserError(f"{module} is not installed here: pip install -r requirements.txt -r tests/requirements.txt")
    command = [sys.executable, "-m", module, *options, *files]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


if __name__ == "__main__":
    run_command(main)
