"""List what the scanner takes for comments, verbatim text and mathematics.

    python data_prep/tex_scan.py FILE.tex

The scanner itself is latex/scanner.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/tex_scan.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.archive.from_disk import read_text_file
from data_prep.latex.scanner import math_spans, opaque_spans


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="List what the scanner takes for comments, verbatim text and mathematics.",
        epilog="example: python data_prep/tex_scan.py paper.tex",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tex")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)

    for path in args.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file; give the path of a TeX file")
        text = read_text_file(path, settings.data)
        spans = [*opaque_spans(text), *(("mathematics", *span) for span in math_spans(text))]
        for kind, start, end in sorted(spans, key=lambda span: span[1]):
            line = text.count("\n", 0, start) + 1
            print(f"{path}:{line}: {kind}: {' '.join(text[start : min(end, start + 80)].split())}")
    return 0


if __name__ == "__main__":
    run_command(main)
