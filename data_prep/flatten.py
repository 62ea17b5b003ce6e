"""Print a paper's text in one piece: the main file found, what it includes in its place.

    python data_prep/flatten.py FOLDER_OR_ARCHIVE

prints the flattened text of a single archive, or of the TeX files of a folder (comments are gone, nothing else is).
The rules are in archive/main_file.py and archive/includes.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/flatten.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.archive.flatten import flatten
from data_prep.archive.formats import read_archive
from data_prep.archive.from_disk import read_text_file
from data_prep.screening.reasons import Rejected


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Print a paper's text in one piece: main file found, included files in their places.",
        epilog="example: python data_prep/flatten.py 2301.00001v2.tar.gz > paper.tex",
    )
    parser.add_argument("paper", type=Path, metavar="FOLDER_OR_ARCHIVE")
    parser.add_argument("--main", help="path of the main file within the paper (default: found by rule)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args).data
    try:
        if args.paper.is_dir():
            paths = sorted(p for p in args.paper.rglob("*") if p.suffix.lower() in (".tex", ".ltx", ".latex"))
            files = {p.relative_to(args.paper).as_posix(): read_text_file(p, settings) for p in paths}
        elif args.paper.is_file():
            files = read_archive(args.paper.read_bytes(), args.paper.name, settings).files
        else:
            raise UserError(f"{args.paper}: no such file or folder; give an archive, or a folder of TeX files")
        if args.main and args.main not in files:
            raise UserError(f"--main {args.main}: not in {args.paper}; its TeX files are {', '.join(files) or 'none'}")
        flat = flatten(files, settings.max_file_bytes, args.main)
    except Rejected as rejected:
        raise UserError(f"{args.paper}: {rejected}; see what it holds with data_prep/extraction.py") from None
    print(flat.text)
    if flat.missing:
        print("no file for: " + ", ".join(flat.missing), file=sys.stderr)
    notes = "".join(f"; {count} {name}" for name, count in sorted(flat.counters.items()))
    print(f"main file {flat.main}, {len(flat.included)} files{notes}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
