"""Print the cleaned text of one TeX file.

    python data_prep/latex_cleaner.py FILE.tex

`--passes` lists the passes, `--after NAME` stops after one. The passes are in latex/passes/, a file each; their order,
and what goes and what stays, in latex/clean.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/latex_cleaner.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.archive.from_disk import read_text_file
from data_prep.latex.clean import PASSES, clean, steps
from data_prep.latex.passes.unicode_text import unicode_text
from data_prep.latex.scanner import strip_comments


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Print the cleaned text of a TeX file (included files are not followed: see data_prep/paper.py).",
        epilog="example: python data_prep/latex_cleaner.py paper.tex",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.tex")
    parser.add_argument("--after", metavar="NAME", help="print the text as it is after this pass")
    parser.add_argument("--passes", action="store_true", help="list the passes and what each does")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    described = (("comments", strip_comments), ("unicode_text", unicode_text), *PASSES)
    if args.passes:
        for name, function in described:
            print(f"{name}: {(function.__doc__ or '').strip().splitlines()[0]}")
        return 0
    names = [name for name, _ in described]
    if args.after and args.after not in names:
        raise UserError(f"--after {args.after}: no such pass; the passes are {', '.join(names)}")
    if args.file is None or not args.file.is_file():
        raise UserError(f"{args.file or 'no file given'}: no such file; give the path of a TeX file")
    text = strip_comments(read_text_file(args.file, settings.data))
    if args.after:
        if args.after != "comments":
            text = next(after for name, after in steps(text, settings.data) if name == args.after)
    else:
        text = clean(text, settings.data)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    run_command(main)
