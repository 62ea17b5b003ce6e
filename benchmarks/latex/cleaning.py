"""LaTeX to clean text: yield, prose recall and precision, residue, and processor time, over any archives.

    python benchmarks/latex/cleaning.py --source raw/src
    python benchmarks/latex/cleaning.py --source ../shared/corpus/src --sources-json ../shared/corpus/sources.json \\
        --truth ../shared/corpus/truth.json --peers pylatexenc --out latex.json

One process, one thread, processor time. The floor is what no cleaner can avoid: gunzip, untar and decode. Recall and
precision are those of `prose_reference.py`; they need detex (Debian: texlive-binaries). Peers need
`pip install -r benchmarks/requirements.txt`. Archives go through the code of data_prep/paper.py without its rules of
length and language.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import shutil
import statistics
import sys
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if not __package__:  # run as `python benchmarks/latex/cleaning.py`
    sys.path[0] = str(ROOT)

from benchmarks.latex.prose_reference import recall_and_precision, reference, words
from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.settings.data import DataSettings
from data_prep.archive.flatten import flatten
from data_prep.archive.formats import read_archive
from data_prep.archive.from_disk import archives_of
from data_prep.latex.balance import imbalances
from data_prep.latex.clean import passes
from data_prep.latex.commands import PROTECTED_COMMANDS
from data_prep.latex.passes.unicode_text import unicode_text
from data_prep.latex.scanner import hide_verbatim, show_verbatim
from data_prep.papers.ids import paper_id_of
from data_prep.screening.reasons import Rejected

FLOOR_RUNS = 3
SHORT = 200  # words of reference prose; shorter documents are reported apart
UNIT_TESTS = ("LaTeXML",)  # sources that are tests of TeX, not prose
PEER_BYTES = 150_000  # of LaTeX from each source: the slow peers take minutes for a megabyte
RATIO_BAR, RATIO_GOAL = 20, 9


@dataclass
class Paper:
    """One archive and what was measured on it; seconds of processor time."""

    name: str
    data: bytes
    source: str
    tex_bytes: int = 0
    floor: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    flat: str = ""
    text: str = ""
    files: dict[str, str] = field(default_factory=dict)
    recall: float | None = None
    precision: float | None = None
    words: int = 0

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())


def floor(data: bytes) -> int:
    """Gunzip, untar and decode one archive; the characters of its files."""
    try:
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError):
        return 0
    try:
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            return sum(len(f.read().decode("latin-1")) for member in tar if (f := tar.extractfile(member)))
    except tarfile.TarError:
        return len(raw.decode("latin-1"))


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = function()
    return result, time.process_time() - started


def process(paper: Paper, settings: DataSettings) -> None:
    """Run one archive through the stages of data_prep/paper.py, each with its time."""
    stages = paper.stages
    try:
        archive, stages["extraction"] = timed(lambda: read_archive(paper.data, paper.name, settings))
        flat, stages["flatten"] = timed(lambda: flatten(archive.files, settings.max_file_bytes))
    except Rejected as rejected:
        paper.reason = f"{rejected.reason}: {rejected.detail}"
        return
    text, stages["unicode_text"] = timed(lambda: unicode_text(flat.text))
    (text, hidden), stages["hide_verbatim"] = timed(lambda: hide_verbatim(text))
    for name, function in passes(settings, archive.files):
        text, stages[name] = timed(partial(function, text))
    text, stages["show_verbatim"] = timed(lambda: show_verbatim(text, hidden))
    paper.flat, paper.text, paper.files = flat.text, text, archive.files


_DEFINED = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|DeclareMathOperator|[gex]?def|let|NewDocumentCommand)\*?\s*\{?\s*\\([a-zA-Z]+)"
)
_USED = re.compile(r"\\([a-zA-Z]+)")


def residue(paper: Paper) -> Counter[str]:
    """Calls of the paper's own macros that are left in its cleaned text, by name."""
    names = {name for text in (paper.flat, *paper.files.values()) for name in _DEFINED.findall(text)}
    return Counter(name for name in _USED.findall(paper.text) if name in names - PROTECTED_COMMANDS)


def scaling(settings: DataSettings) -> list[tuple[float, float]]:
    """(MB, seconds) of one paper, doubled from 1.25 MB to 20 MB."""
    unit = (
        "\\section{A}\nLet $f\\colon\\R\\to\\C$ be a map \\cite{a}, see~\\eqref{b}. % note\n"
        "\\begin{thm}\\label{c} If \\norm{x} $\\le 1$ then \\emph{so}. \\end{thm}\n{\\def\\z{z}\\z}\n\n"
    )
    head = (
        "\\documentclass{article}\\newcommand{\\R}{\\mathbb{R}}\\def\\C{\\mathbb C}\\newcommand\\norm[1]{\\|#1\\|}"
        "\\newtheorem{thm}{Theorem}\\begin{document}"
    )
    measured = []
    for size in (1.25, 2.5, 5, 10, 19.9):
        paper = Paper("x.tex", (head + unit * int(size * 1e6 / len(unit))).encode(), "")
        process(paper, settings)
        measured.append((size, paper.seconds))
    return measured


def pylatexenc(text: str) -> str:
    from pylatexenc.latex2text import LatexNodes2Text

    return str(LatexNodes2Text(keep_comments=False, math_mode="verbatim").latex_to_text(text))


PEERS: dict[str, Callable[[str], str]] = {"pylatexenc": pylatexenc}


def peer_ratio(name: str, papers: Sequence[Paper]) -> dict[str, float]:
    """A peer's processor time on some papers of each source, against the floor and against ours on the same papers."""
    chosen, taken = [], Counter[str]()
    for paper in papers:
        if paper.text and taken[paper.source] + len(paper.flat) <= PEER_BYTES:
            taken[paper.source] += len(paper.flat)
            chosen.append(paper)
    failed = 0
    seconds = 0.0
    for paper in chosen:
        started = time.process_time()
        try:
            PEERS[name](paper.flat)
        except ImportError:
            raise UserError(f"peer {name} is not installed: pip install -r benchmarks/requirements.txt") from None
        except Exception:  # a peer that fails on a paper has lost it: that is the figure
            failed += 1
        seconds += time.process_time() - started
    base = sum(paper.floor for paper in chosen)
    ours = sum(paper.seconds for paper in chosen)
    return {"papers": len(chosen), "failed": failed, "x_floor": seconds / base, "x_ours": seconds / ours}


def load(folder: Path, sources_json: Path | None, limit: int | None) -> list[Paper]:
    sources: dict[str, str] = {}
    if sources_json:
        listed = json.loads(sources_json.read_text(encoding="utf-8"))
        sources = {name: entry["source"].split("/")[0] for name, entry in listed.items()}
    papers = []
    for name, data in archives_of(folder):
        found = paper_id_of(name)
        papers.append(Paper(name, data, sources.get(found[0] if found else "", "all")))
        if len(papers) == limit:
            break
    if not papers:
        raise UserError(f"{folder}: no archives there; name a folder of bulk tars or single archives with --source")
    return papers


def measure(papers: list[Paper], settings: DataSettings) -> None:
    for paper in papers:
        runs = [timed(partial(floor, paper.data)) for _ in range(FLOOR_RUNS)]
        paper.tex_bytes, paper.floor = runs[0][0], min(seconds for _, seconds in runs)
        process(paper, settings)


def measure_prose(papers: list[Paper]) -> None:
    for paper in papers:
        if paper.text:
            styles = (text for path, text in paper.files.items() if path.lower().endswith((".sty", ".cls")))
            extra = set(words(" ".join(styles)))
            paper.recall, paper.precision, paper.words = recall_and_precision(paper.flat, paper.text, extra)


def summary(papers: list[Paper], prose: bool, truth: dict[str, Any]) -> dict[str, Any]:
    groups: dict[str, list[Paper]] = defaultdict(list)
    for paper in papers:
        groups[paper.source].append(paper)
    broken = set(truth.get("broken", ()))
    ids = {id(paper): (paper_id_of(paper.name) or (paper.name,))[0] for paper in papers}
    result: dict[str, Any] = {"papers": len(papers), "sources": {}}
    for source, members in sorted(groups.items()):
        members = [paper for paper in members if not paper.reason]
        if not members:
            continue
        base = sum(paper.floor for paper in members)
        result["sources"][source] = {
            "papers": len(members),
            "mb": sum(paper.tex_bytes for paper in members) / 1e6,
            "mb_per_second": sum(paper.tex_bytes for paper in members) / 1e6 / sum(p.seconds for p in members),
            "x_floor": sum(paper.seconds for paper in members) / base,
        }
    base = sum(paper.floor for paper in papers)
    stages: Counter[str] = Counter()
    for paper in papers:
        stages.update(paper.stages)
    result["x_floor"] = sum(stages.values()) / base
    result["x_floor_macro"] = statistics.mean(entry["x_floor"] for entry in result["sources"].values())
    result["floor_mb_per_second"] = sum(paper.tex_bytes for paper in papers) / 1e6 / base
    result["stages_x_floor"] = {name: seconds / base for name, seconds in stages.most_common()}
    result["lost"] = {p.name: p.reason for p in papers if p.reason and ids[id(p)] not in broken}
    result["junk_kept"] = [p.name for p in papers if not p.reason and ids[id(p)] in broken]
    left = {source: sum((residue(p) for p in members), Counter()) for source, members in groups.items()}
    result["macros_left"] = {source: dict(names.most_common(10)) for source, names in left.items() if names}
    result["macros_left_total"] = {source: names.total() for source, names in left.items() if names}
    result["unbalanced"] = [p.name for p in papers if p.text and imbalances(p.text) and not imbalances(p.flat)]
    if prose:
        result["prose"] = {
            kind: prose_summary([p for p in papers if p.recall is not None and group(p) == kind])
            for kind in ("documents", "short documents", "unit tests")
        }
        result["worst"] = [
            {"name": p.name, "source": p.source, "recall": p.recall, "precision": p.precision, "words": p.words}
            for p in sorted((p for p in papers if p.recall is not None and group(p) == "documents"), key=worst)[:20]
        ]
    return result


def group(paper: Paper) -> str:
    if paper.source.startswith(UNIT_TESTS):
        return "unit tests"
    return "documents" if paper.words >= SHORT else "short documents"


def worst(paper: Paper) -> float:
    return min(paper.recall or 0.0, paper.precision or 0.0)


def prose_summary(papers: list[Paper]) -> dict[str, Any]:
    if not papers:
        return {"documents": 0}
    recalls = [paper.recall or 0.0 for paper in papers]
    precisions = [paper.precision or 0.0 for paper in papers]
    by_source: dict[str, list[float]] = defaultdict(list)
    for paper in papers:
        by_source[paper.source].append(paper.recall or 0.0)
    return {
        "documents": len(papers),
        "recall_median": statistics.median(recalls),
        "recall_at_least_95": sum(recall >= 0.95 for recall in recalls) / len(recalls),
        "recall_median_by_source": {source: statistics.median(values) for source, values in sorted(by_source.items())},
        "precision_median": statistics.median(precisions),
        "precision_at_least_95": sum(precision >= 0.95 for precision in precisions) / len(precisions),
    }


def show(result: dict[str, Any]) -> None:
    print(f"{'source':<24}{'papers':>8}{'MB':>9}{'MB/s':>9}{'x floor':>9}")
    for source, entry in result["sources"].items():
        print(
            f"{source:<24}{entry['papers']:>8}{entry['mb']:>9.2f}{entry['mb_per_second']:>9.1f}{entry['x_floor']:>9.1f}"
        )
    print(
        f"whole path: {result['x_floor']:.1f} x the floor ({result['floor_mb_per_second']:.0f} MB/s), "
        f"{result['x_floor_macro']:.1f} averaged over sources (bar {RATIO_BAR}, goal {RATIO_GOAL})"
    )
    print("stages, x floor: " + ", ".join(f"{name} {value:.2f}" for name, value in result["stages_x_floor"].items()))
    for name, entry in result.get("peers", {}).items():
        print(
            f"peer {name}: {entry['x_floor']:.0f} x the floor, {entry['x_ours']:.0f} x ours on {entry['papers']} "
            f"papers, {entry['failed']} failed"
        )
    if "scaling" in result:
        print("one paper: " + ", ".join(f"{size:g} MB {seconds:.2f} s" for size, seconds in result["scaling"]))
    print(f"usable archives lost: {len(result['lost'])}; junk kept: {len(result['junk_kept'])}")
    for name, reason in result["lost"].items():
        print(f"  {name}: {reason}")
    print(f"macros left: {result['macros_left_total']}; unbalanced by cleaning: {len(result['unbalanced'])}")
    for kind, entry in result.get("prose", {}).items():
        if entry["documents"]:
            print(
                f"{kind}: {entry['documents']}; recall {entry['recall_median']:.4f} median, "
                f">= 0.95 for {entry['recall_at_least_95']:.1%}; precision {entry['precision_median']:.4f} median, "
                f">= 0.95 for {entry['precision_at_least_95']:.1%}"
            )
    for entry in result.get("worst", ()):
        print(
            f"  {entry['name']:<28}{entry['source']:<24}recall {entry['recall']:.3f} precision {entry['precision']:.3f}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Measure the path from archive to clean text.",
        epilog="example: python benchmarks/latex/cleaning.py --source raw/src --limit 500 --out latex.json",
    )
    parser.add_argument("--source", type=Path, required=True, metavar="FOLDER", help="bulk tars or single archives")
    parser.add_argument("--sources-json", type=Path, metavar="FILE", help='{"id": {"source": NAME}}: report each apart')
    parser.add_argument("--truth", type=Path, metavar="FILE", help='{"broken": {ID: ..}}: archives that are no papers')
    parser.add_argument("--peers", nargs="*", default=[], choices=sorted(PEERS), help="other tools to run beside ours")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N archives")
    parser.add_argument("--no-scaling", action="store_true", help="leave out the paper that is doubled up to 20 MB")
    add_config_arguments(parser)
    parser.add_argument("--show-words", metavar="NAME", help="print the words that this archive lost and gained")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args(argv)
    settings = settings_from_args(args).data
    papers = load(args.source, args.sources_json, args.limit)
    if args.show_words:
        return show_words([paper for paper in papers if paper.name.endswith(args.show_words)], settings)
    measure(papers, settings)
    prose = shutil.which("detex") is not None
    if prose:
        measure_prose(papers)
    else:
        print("detex is not installed (Debian: texlive-binaries): no recall, no precision", file=sys.stderr)
    truth = json.loads(args.truth.read_text(encoding="utf-8")) if args.truth else {}
    result = summary(papers, prose, truth)
    result["peers"] = {name: peer_ratio(name, papers) for name in args.peers}
    if not args.no_scaling:
        result["scaling"] = scaling(settings)
    show(result)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def show_words(papers: list[Paper], settings: DataSettings) -> int:
    from benchmarks.latex.prose_reference import detex

    for paper in papers:
        process(paper, settings)
        wanted, given = words(detex(reference(paper.flat)[0])), words(detex(paper.text))
        print(f"{paper.name}: lost {dict((wanted - given).most_common(40))}")
        print(f"{paper.name}: gained {dict((given - wanted).most_common(40))}")
    return 0


if __name__ == "__main__":
    run_command(main)
