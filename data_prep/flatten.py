"""One text out of a paper's files: the main file found, `\\input` and its family replaced by what they name, in order.

    python data_prep/flatten.py FOLDER_OR_ARCHIVE

prints the flattened text of a single archive, or of the TeX files of a folder (comments are gone, nothing else is).

How the main file is chosen, first rule that decides:

1. `00README.json` or `00README.XXX` names a top-level file (the first one); files that they say to ignore are out.
2. Files with `\\documentclass` or `\\documentstyle` and a beginning of the document. Of several: not one that another
   of them includes; not one whose name or class says supplement, reply, cover letter, difference, slides or poster;
   one with a `.bbl` of its own name; the one that reaches most text; the one nearest to the top; the first by name.
3. Without such a file: one with `\\begin{document}`, else one that ends by `\\bye` or `\\end`, else any file that no
   other includes; of several the one that reaches most text.

A file is included once: a cycle is cut, and a second `\\input` of the same file is dropped and counted (in papers it
is a separator or a slip, and repeated text harms training). Hence no bomb of inclusions can be built; the sum is
limited too.
"""

from __future__ import annotations

import argparse
import json
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/flatten.py`
    sys.path.insert(0, str(ROOT))

from data_prep.extraction import Rejected, read_archive, read_text_file
from data_prep.tex_scan import control_words, inside, is_escaped, opaque_spans, strip_comments
from settings import UserError, add_config_arguments, run_command, settings_from_args


@dataclass
class Flattened:
    """The text of a paper in one piece, comments removed."""

    text: str
    main: str
    included: list[str] = field(default_factory=list)  # the main file first, then in the order of inclusion
    counters: Counter[str] = field(default_factory=Counter)


# What a paper may name that is no file of its own: formats and packages of TeX's installation.
_SUPPORT = {".sty", ".cls", ".clo", ".def", ".bst", ".fd", ".cfg"}
# Drawings written as TeX by other programs.
_DRAWINGS = {".pdf_tex", ".pstex_t", ".pspdftex", ".eps_tex", ".svg_tex", ".tikz", ".pgf", ".tkz", ".eepic", ".pstex"}
_TEXT_SUFFIXES = ("", ".tex", ".ltx", ".latex", ".TEX", ".txt")

_CLASS = re.compile(r"\\document(?:class|style)\s*(?:\[[^\]]*\]\s*)?\{\s*([^{}\s]*)")
_BEGIN = re.compile(r"\\begin\s*\{document\}|\\document(?![a-zA-Z])")
_END = re.compile(r"\\end\s*\{document\}|\\enddocument(?![a-zA-Z])")
_PLAIN_END = re.compile(r"\\(?:bye|end)(?![a-zA-Z{ @])")
_SIDE_NAME = re.compile(
    r""
    r"(?:^|[^a-z])(?:supp|suppl|supplement\w*|supplementary\w*|si|response|reply|rebuttal|referee\w*|cover\w*|letter_to\w*"
    r"|diff|latexdiff|template|sample|slides|talk|poster|readme|old|backup|copy)(?:[^a-z]|$)"
)
_SIDE_CLASS = {"beamer", "letter", "standalone", "subfiles", "a0poster", "slides", "tikzposter", "minimal"}

_INCLUDE = control_words("input include subfile subfileinclude import subimport InputIfFileExists loadgeometry".split())
_ENDINPUT = re.compile(r"\\endinput(?![a-zA-Z@])")
_BARE_NAME = re.compile(r'[ \t]*\n?[ \t]*(?:"([^"\n]+)"|([^\s{}\\%"$#&]+))')
_BRACED_NAME = re.compile(r"[ \t]*\n?[ \t]*\{([^{}\n]*)\}")


class _Files:
    """A paper's files, comments stripped when first asked for, looked up as TeX would."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.raw = files
        self._lower = {path.lower(): path for path in sorted(files, reverse=True)}
        self._stripped: dict[str, str] = {}

    def text(self, path: str) -> str:
        if path not in self._stripped:
            text = strip_comments(self.raw[path])
            ending = next((m for m in _ENDINPUT.finditer(text) if not is_escaped(text, m.start())), None)
            if ending and not any(s <= ending.start() < e for _, s, e in opaque_spans(text)):
                text = text[: ending.start()]
            self._stripped[path] = text
        return self._stripped[path]

    def find(self, name: str, folders: Sequence[str]) -> str | None:
        """The path that `name` means, looked for in `folders` in turn; the case of letters matters only if it must."""
        name = name.strip().strip('"').replace("\\space", " ")
        if not name:
            return None
        bases = [posixpath.normpath(posixpath.join(folder, name)) for folder in folders]
        suffix = posixpath.splitext(name)[1]
        # TeX tries `a.tex` before `a`.
        suffixes = _TEXT_SUFFIXES if suffix in _TEXT_SUFFIXES[1:] else (".tex", *_TEXT_SUFFIXES)
        for known in (self.raw, self._lower):
            for base in bases:
                for ending in suffixes:
                    path = base + ending
                    path = path if known is self.raw else path.lower()
                    if path in known:
                        return path if known is self.raw else self._lower[path]
        return None


def flatten(files: Mapping[str, str], max_chars: int, main: str | None = None) -> Flattened:
    """Find the main file (unless given) and put the files that it includes in their places.

    Raises:
        Rejected: `no_main_file`, or `archive_too_large` if the whole exceeds `max_chars` characters.
    """
    known = _Files(files)
    return _expand(known, main or _choose(known), max_chars)


def choose_main(files: Mapping[str, str]) -> str:
    """The path of the main file, by the rules at the top of this module. Raises Rejected (`no_main_file`)."""
    return _choose(_Files(files))


@dataclass
class _Frame:
    """A file being read: where its next piece begins and where it looks for its own inputs."""

    path: str
    text: str
    folder: str
    position: int = 0
    in_opaque: Callable[[int], bool] | None = None  # where `\input` is no command, once it has been asked for


def _expand(known: _Files, main: str, max_chars: int) -> Flattened:
    result = Flattened("", main, [main])
    counters, parts, total = result.counters, [], 0
    root = posixpath.dirname(main)
    seen = {main}
    stack = [_Frame(main, known.text(main), root)]
    while stack:
        frame = stack[-1]
        text = frame.text
        call = _next_include(frame)
        end = call.start if call else len(text)
        parts.append(text[frame.position : end])
        total += end - frame.position
        if total > max_chars:
            raise Rejected("archive_too_large", f"included files exceed data.max_file_bytes {max_chars} from {main}")
        if call is None:
            stack.pop()
            if stack:
                parts.append("\n" if not text.endswith("\n") else "")
            continue
        frame.position = call.end
        suffix = posixpath.splitext(call.name)[1].lower()
        path = known.find(call.name, [posixpath.join(frame.folder, call.folder), posixpath.join(root, call.folder), ""])
        if suffix in _DRAWINGS:
            counters["input_of_drawing"] += 1
        elif path is None:
            if suffix not in _SUPPORT:
                counters["input_missing"] += 1
        elif path in seen:
            counters["input_cycle" if any(f.path == path for f in stack) else "input_repeated"] += 1
        else:
            seen.add(path)
            result.included.append(path)
            # `\import` and `\subfile` look beside the file that they name, `\input` beside the main file.
            folder = posixpath.dirname(path) if call.command in _MOVING else frame.folder
            stack.append(_Frame(path, _body(known.text(path)), folder))
    result.text = "".join(parts)
    return result


_MOVING = {"import", "subimport", "subfile", "subfileinclude"}


@dataclass(frozen=True)
class _Call:
    command: str
    folder: str
    name: str
    start: int
    end: int


def _next_include(frame: _Frame) -> _Call | None:
    text = frame.text
    for match in _INCLUDE.finditer(text, frame.position):
        start = match.start()
        if frame.in_opaque is None:
            frame.in_opaque = inside([(s, e) for _, s, e in opaque_spans(text)])
        if is_escaped(text, start) or frame.in_opaque(start):
            continue
        command, folder = match[1], ""
        name = _BRACED_NAME.match(text, match.end())
        if name and command in ("import", "subimport"):
            folder = name[1].strip()
            name = _BRACED_NAME.match(text, name.end())
        if name:
            return _Call(command, folder, name[1], start, name.end())
        if command == "input" and (bare := _BARE_NAME.match(text, match.end())):
            return _Call(command, "", bare[1] or bare[2], start, bare.end())
    return None


def _body(text: str) -> str:
    """What an included file that is a document of its own (`\\subfile`, standalone) contributes."""
    if not _CLASS.search(text):
        return text
    begin = _BEGIN.search(text)
    if not begin:
        return text
    ends = _END.search(text, begin.end())
    return text[begin.end() : ends.start() if ends else len(text)]


def _choose(known: _Files) -> str:
    top, ignored = _directives(known.raw)
    for name in top:
        if path := known.find(name, [""]):
            return path
    suffixes = {path: posixpath.splitext(path)[1].lower() for path in known.raw}
    eligible = [
        path
        for path, suffix in suffixes.items()
        if suffix not in _SUPPORT | _DRAWINGS | {".bbl"}
        and not posixpath.basename(path).lower().startswith("00readme")
        and path.lower() not in ignored
        and known.raw[path].strip()
    ]
    if len(eligible) == 1:
        return eligible[0]
    with_class = [path for path in eligible if _CLASS.search(known.text(path)) and _BEGIN.search(known.text(path))]
    begun = [path for path in eligible if _BEGIN.search(known.text(path))]
    plain = [path for path in eligible if _PLAIN_END.search(known.text(path)[-2000:])]
    for candidates in (with_class, begun, plain, eligible):
        if candidates:
            return candidates[0] if len(candidates) == 1 else _best(known, candidates)
    raise Rejected("no_main_file", f"none of {len(known.raw)} TeX files is a document")


def _best(known: _Files, candidates: list[str]) -> str:
    """The main file among several that could be; see the rules at the top."""
    # Each is expanded once: what it includes cannot be the main file, and how much it reaches is compared.
    reach, included = {}, set()
    for path in sorted(candidates, key=lambda p: (-len(known.raw[p]), p))[:50]:
        try:
            whole = _expand(known, path, 10**9)
        except Rejected:  # beyond any limit: it reaches the most
            reach[path] = 10**9
            continue
        reach[path] = len(whole.text)
        included.update(whole.included[1:])
    roots = [path for path in reach if path not in included] or list(reach)
    lower = {path.lower() for path in known.raw}

    def rank(path: str) -> tuple:
        document_class = _CLASS.search(known.text(path))
        stem, _ = posixpath.splitext(path.lower())
        aside = bool(_SIDE_NAME.search(posixpath.basename(stem))) or bool(
            document_class and document_class[1].lower() in _SIDE_CLASS
        )
        return aside, stem + ".bbl" not in lower, -reach[path], path.count("/"), path

    return min(roots, key=rank)


def _directives(files: Mapping[str, str]) -> tuple[list[str], set[str]]:
    """(top-level files in order, paths to ignore in lower case) of arXiv's 00README files."""
    top, ignored = [], set()
    for path, text in files.items():
        base = posixpath.basename(path).lower()
        if base == "00readme.json":
            try:
                sources = json.loads(text).get("sources", [])
                pairs = [(str(source["filename"]), str(source.get("usage", ""))) for source in sources]
            except (ValueError, AttributeError, TypeError, KeyError):
                continue  # written by hand, and not as arXiv reads it: then it directs nothing
        elif base.startswith("00readme"):
            words = [line.split() for line in text.splitlines()]
            pairs = [(line[0], line[1]) for line in words if len(line) >= 2 and not line[0].startswith("#")]
        else:
            continue
        for name, usage in pairs:
            if usage.lower() in ("toplevel", "toplevelfile"):
                top.append(name)
            elif usage.lower() == "ignore":
                ignored.add(posixpath.normpath(name).lower())
    return top, ignored


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
    notes = "".join(f"; {count} {name}" for name, count in sorted(flat.counters.items()))
    print(f"main file {flat.main}, {len(flat.included)} files{notes}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
