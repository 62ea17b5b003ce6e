"""Print a TeX file with its author macros expanded; on stderr, what was defined, expanded and left alone.

    python data_prep/macros.py FILE.tex

How macros are expanded is in latex/macros.py.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/macros.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.archive.from_disk import read_text_file
from data_prep.latex.macros import ensuremath, expand
from data_prep.latex.scanner import hide_verbatim, show_verbatim, strip_comments


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Print a TeX file with its author macros expanded; on stderr, what was defined and expanded.",
        epilog="example: python data_prep/macros.py paper.tex",
    )
    parser.add_argument("file", type=Path, metavar="FILE.tex")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    if not args.file.is_file():
        raise UserError(f"{args.file}: no such file; give the path of a TeX file")
    counters: Counter[str] = Counter()
    text, hidden = hide_verbatim(strip_comments(read_text_file(args.file, settings.data)))
    sys.stdout.write(show_verbatim(ensuremath(expand(text, counters=counters)), hidden))
    print(", ".join(f"{count} {name}" for name, count in sorted(counters.items())), file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
