"""Archives in, their cleaned text or the reason why not out.

    python data_prep/paper.py ARCHIVE...

prints a JSON line for each archive with file, status, reason, detail and text (`--text` prints the text alone); an
arXiv bulk tar or a folder gives a line for each of its papers. The way of one paper is in pipeline/process_paper.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/paper.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from data_prep.archive.from_disk import archives_of
from data_prep.pipeline.process_paper import process_paper


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Turn archives into cleaned text: a JSON line each, or the text alone.",
        epilog="example: python data_prep/paper.py --text 2301.00001v2.tar.gz",
    )
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="single archives, bulk tars, folders")
    parser.add_argument(
        "--text", action="store_true", help="print the text alone, the reason on stderr where there is none"
    )
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args).data
    for path in args.archives:
        for name, data in archives_of(path):
            outcome = process_paper(data, name, None, settings)
            file = str(path) if name == path.name else f"{path}:{name}"
            if args.text:
                if outcome.text is None:
                    print(f"{file}: {outcome.reason}: {outcome.detail}", file=sys.stderr)
                else:
                    sys.stdout.write(outcome.text)
                continue
            status = "ok" if outcome.text is not None else "rejected"
            record = {"file": file, "status": status, "reason": outcome.reason, "detail": outcome.detail}
            print(json.dumps(record | {"counters": outcome.counters, "text": outcome.text}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    run_command(main)
