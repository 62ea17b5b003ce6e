"""Measure the quality of files of cleaned text, and say whether each would be kept.

    python data_prep/quality.py FILE.tex

The measures and limits are in screening/quality.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/quality.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.screening.quality import measure, quality_reason


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Measure the quality of files of cleaned text.",
        epilog="example: python data_prep/quality.py paper.tex",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tex")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args).data
    for path in args.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file; give the path of a text file")
        quality = measure(path.read_text(encoding="utf-8", errors="replace"))
        reason = quality_reason(quality, settings)
        print(
            f"{path}: words {quality.words:.3f}, repeated {quality.repeated:.3f}, compression "
            f"{quality.compression:.3f}: {': '.join(reason) if reason else 'kept'}"
        )
    return 0


if __name__ == "__main__":
    run_command(main)
