"""One text out of a paper's files: the main file found, `\\input` and its family replaced by what they name, in order.

    python data_prep/flatten.py FOLDER_OR_ARCHIVE

prints the flattened text of a single archive, or of the TeX files of a folder (comments are gone, nothing else is).

Which file is the main one, and which others belong to the paper, is decided in `main_file.py`; what is included, and
how, in `inclusion.py`; how a supplement is appended, in `supplement.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/flatten.py`
    sys.path.insert(0, str(ROOT))

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from data_prep.extraction import Rejected, read_archive, read_text_file
from data_prep.inclusion import include
from data_prep.main_file import Choice, choose, is_supplement
from data_prep.supplement import append
from data_prep.tex_files import PaperFiles


@dataclass
class Flattened:
    """The text of a paper in one piece, comments removed.

    `counters` counts what was met: `input_missing` (no such file), `input_cycle`, `input_repeated` (left out),
    `input_dead` (in a branch that is never read), `input_of_drawing`, `input_of_bibliography`, `input_of_format`,
    `include_excluded` (by `\\includeonly`), `supplements` (appended), `documents_left_out` (other versions, figures),
    `input_limit` (more commands than are looked at).
    """

    text: str
    main: str
    included: list[str] = field(default_factory=list)  # the main file first, then in the order of inclusion
    missing: list[str] = field(default_factory=list)  # names for which there is no file
    counters: Counter[str] = field(default_factory=Counter)


def flatten(files: Mapping[str, str], max_chars: int, main: str | None = None) -> Flattened:
    """Find the main file (unless given), put what it includes in place, and append its supplements (unless given).

    Args:
        files: the paper's TeX files, text by path.
        max_chars: the most characters that the whole may have.
        main: path of the main file.

    Raises:
        Rejected: `no_main_file`, or `archive_too_large` if the whole exceeds `max_chars` characters.
    """
    known = PaperFiles(files)
    choice = choose(known, max_chars) if main is None else Choice(main)
    whole = choice.whole or include(known, choice.main, max_chars)
    seen = whole.seen
    result = Flattened(whole.text, choice.main, whole.included, whole.missing, whole.counters)
    for path in choice.others:
        whole = include(known, path, max_chars - len(result.text), seen)
        if not is_supplement(whole.text, result.text):
            result.counters["documents_left_out"] += 1
            continue
        result.text = append(result.text, whole.text)
        result.included += whole.included
        result.missing += whole.missing
        result.counters += whole.counters
        result.counters["supplements"] += 1
    return result


def choose_main(files: Mapping[str, str]) -> str:
    """The path of the main file, by the rules of `main_file.py`. Raises Rejected (`no_main_file`)."""
    return choose(PaperFiles(files), sum(map(len, files.values()))).main


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
