"""Tell the language of the prose of TeX files.

    python data_prep/language.py FILE.tex

How it is judged is in screening/language.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/language.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.archive.from_disk import read_text_file
from data_prep.latex.clean import clean
from data_prep.latex.scanner import strip_comments
from data_prep.screening.language import judge, prose_sample


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Tell the language of the prose of TeX files.",
        epilog="example: python data_prep/language.py paper.tex",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tex")
    parser.add_argument("--sample", action="store_true", help="print the prose that was looked at")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    for path in args.files:
        if not path.is_file():
            raise UserError(f"{path}: no such file; give the path of a TeX file")
        text = clean(strip_comments(read_text_file(path, settings.data)), settings.data)
        verdict = judge(text)
        print(f"{path}: {verdict.code or 'unknown'} ({verdict.rule}, {verdict.letters} letters of prose)")
        if args.sample:
            print(prose_sample(text))
    return 0


if __name__ == "__main__":
    run_command(main)
