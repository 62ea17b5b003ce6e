"""List what archives hold and what each would be taken for.

    python data_prep/extraction.py ARCHIVE...

An arXiv bulk tar (members YYMM/x.gz) lists each of its papers; `--members` lists every member too. How archives are
read is in archive/formats.py.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/extraction.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from data_prep.archive.flatten import choose_main
from data_prep.archive.formats import read_archive
from data_prep.archive.from_disk import archives_of
from data_prep.screening.reasons import Rejected


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="List what archives hold and what they would be taken for.",
        epilog="example: python data_prep/extraction.py raw/src/arXiv_src_0810_001.tar 2301.00001v2.tar.gz",
    )
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="single archives, bulk tars, folders")
    parser.add_argument("--members", action="store_true", help="list every member too")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args).data
    counts: Counter[str] = Counter()
    for path in args.archives:
        for name, data in archives_of(path):
            try:
                archive = read_archive(data, name, settings)
            except Rejected as rejected:
                counts[rejected.reason] += 1
                print(f"{name}: rejected: {rejected}")
                continue
            counts[archive.kind] += 1
            try:
                chosen = choose_main(archive.files)
            except Rejected as rejected:
                chosen = f"none ({rejected})"
            notes = "".join(f", {count} {note}" for note, count in sorted(archive.counters.items()))
            size = sum(map(len, archive.files.values()))
            print(
                f"{name}: {archive.kind}: main file {chosen}, {len(archive.files)} TeX files of {size:,} characters, "
                f"{len(archive.other_members)} others{notes}"
            )
            if args.members:
                for member, text in archive.files.items():
                    print(f"    {member}: {len(text):,} characters")
                for member, length in archive.other_members.items():
                    print(f"    {member}: {length:,} bytes, not read")
    if sum(counts.values()) > 1:
        print("; ".join(f"{count} {name}" for name, count in counts.most_common()))
    return 0


if __name__ == "__main__":
    run_command(main)
