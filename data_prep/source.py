"""Count the archives of a source folder, and say what cannot be read of it.

    python data_prep/source.py --source raw/src

lists how many archives there are, of how many papers, and what could not be read. The names that count are in
papers/ids.py, the walk in papers/archives.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/source.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.paths import project_path
from data_prep.papers.archives import list_archives


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Count the archives of a source folder, and say what cannot be read.",
        epilog="example: python data_prep/source.py --source raw/src --list",
    )
    parser.add_argument("--source", type=Path, help="folder of bulk tars or single archives (data.source)")
    parser.add_argument("--list", action="store_true", help="print id, version, name and bytes of each archive")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    source = project_path(settings_from_args(args, data__source=args.source).data.source)
    problems: list[str] = []
    refs = list_archives(source, problems)
    if args.list:
        for ref in refs:
            print(ref.paper_id, f"v{ref.version}" if ref.version else "-", ref.name, ref.size, sep="\t")
    papers = len({ref.paper_id for ref in refs})
    total = sum(ref.size for ref in refs)
    print(f"{len(refs):,} archives of {papers:,} papers, {total / 1e6:,.1f} MB, in {source}", file=sys.stderr)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
