"""Mutated papers and archives against the path from archive to text: no crash, no hang, no memory lost.

    python -m tests.helpers.fuzz_latex --runs 20000                      # seeded mutations of whole papers
    python -m tests.helpers.fuzz_latex --atheris -- -max_total_time=600  # coverage-guided (pip install atheris)

A finding is written to --findings (default: fuzz_findings/) and told with the command that repeats it. What counts as
one: an unexpected exception (the outcome `processing_error`), more than 10 s of processor time, a process of more than
1 GB, or a mark of the cleaner's own left in the text.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
import re
import resource
import shutil
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.paths import ROOT
from common.settings.data import DataSettings
from common.settings.load import load_settings
from data_prep.pipeline.process_paper import process_paper

PAPERS = sorted((ROOT / "tests/data_prep/latex/papers").glob("*.tex"))
MAX_SECONDS = 10
MAX_BYTES = 1_000_000_000
_MARKS = re.compile("[\ue000-\uf8ff]")
_TOKENS = (
    "{ } [ ] $ $$ % # & ~ ^ _ \\ \\\\ \\{ \\} \\[ \\] \\( \\) \\% #1 ##1 \\begin{ \\end{ \\begin{document} "
    "\\end{document} \\begin{equation} \\end{equation} \\begin{verbatim} \\end{verbatim} \\begin{comment} "
    "\\end{comment} \\verb| \\iffalse \\iftrue \\else \\fi \\ifx \\ifmmode \\newif\\ifa \\atrue \\ifa \\def\\a{ "
    "\\def\\a#1{ \\def\\a(#1){ \\a \\a{\\a \\edef\\a{\\a} \\let\\a\\b \\let\\a=\\a \\newcommand{\\a}[1]{ "
    "\\newcommand\\a[9][x]{ \\renewcommand{\\a} \\newenvironment{a}{ \\begin{a} \\end{a} \\newtheorem{a}{A} "
    "\\DeclareMathOperator{\\a}{ \\NewDocumentCommand\\a{s m}{ \\NewDocumentCommand\\a{d<> R()}{ "
    "\\DeclarePairedDelimiter\\a{|}{|} \\input{ \\input{a} \\include{b} \\endinput \\cite[ \\cite{ \\ref{ "
    "\\section{ \\title{ \\author{ \\footnote{ \\caption{ \\begin{figure} \\includegraphics[ "
    "\\begin{thebibliography}{9} \\bibitem \\href{ \\url{ \\ensuremath{ \\xspace \\csname \\endcsname \\' \\\"{ \\c{ "
    "\\H \\hskip -3pt \\vskip\\baselineskip \\font\\a=cmr10 \\textcolor{ {\\color{red} \\IEEEPARstart{ \\gdef "
    "\\begingroup \\endgroup \\bye \\document \\topmatter \\endtitle \\abstract \\endabstract \\Refs \\endRefs \ue000 "
    "\ue001 \x00 \ufeff \u2028 \u00e9 \U0001d54f"
).split(" ")


def mutated_text(text: str, other: str, chance: random.Random) -> str:
    """`text` after 1 to 12 random edits: spans cut, doubled, moved, spliced from `other`, tokens put in or repeated."""
    for _ in range(chance.randint(1, 12)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + int(chance.expovariate(1 / 40)))
        kind = chance.randrange(8)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:end] + text[start:]
        elif kind == 2:
            place = chance.randrange(len(text) + 1)
            text = text[:place] + text[start:end] + text[place:]
        elif kind == 3:
            place = chance.randrange(len(other) + 1)
            text = text[:start] + other[place : place + chance.randint(1, 400)] + text[end:]
        elif kind == 4:
            text = text[:start] + chance.choice(_TOKENS) * chance.choice((2, 50, 3000)) + text[start:]
        elif kind == 5 and chance.random() < 0.2:
            text = text[:start]
        else:
            text = text[:start] + chance.choice(_TOKENS) + text[start:]
        text = text[:300_000]
    return text


def mutated_archive(papers: Sequence[str], chance: random.Random) -> bytes:
    """An archive of one or several mutated files, at times damaged itself."""
    texts = [mutated_text(chance.choice(papers), chance.choice(papers), chance) for _ in range(chance.randint(1, 4))]
    encoded = [text.encode(chance.choice(("utf-8", "utf-8", "latin-1", "utf-16")), "replace") for text in texts]
    if len(encoded) == 1 and chance.random() < 0.7:
        data = encoded[0]
    else:
        buffer = io.BytesIO()
        with tarfile.open(
            fileobj=buffer, mode="w", format=chance.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT))
        ) as tar:
            for content in encoded:
                names = (
                    "main.tex",
                    "a.tex",
                    "b.tex",
                    "sub/c.TEX",
                    "x.sty",
                    "../out.tex",
                    "/abs.tex",
                    "00README.XXX",
                    "noext",
                )
                member = tarfile.TarInfo(chance.choice(names))
                member.size = len(content)
                if chance.random() < 0.05:
                    member.type = chance.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE))
                    member.size = 0
                tar.addfile(member, io.BytesIO(content[: member.size]))
        data = buffer.getvalue()
    data = damaged(data, chance) if chance.random() < 0.15 else data
    data = gzip.compress(data, 1) if chance.random() < 0.9 else data
    return damaged(data, chance) if chance.random() < 0.15 else data


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with bytes changed, or cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.randrange(len(changed) + 1)] if chance.random() < 0.4 else changed)


def finding(data: bytes, settings: DataSettings) -> tuple[str | None, str]:
    """(what is wrong with how this archive is handled, or None; the outcome)."""
    started = time.process_time()
    outcome = process_paper(data, "fuzz.gz", None, settings)
    seconds = time.process_time() - started
    result = outcome.reason or "text"
    if outcome.reason == "processing_error":
        return outcome.detail, result
    if seconds > MAX_SECONDS or outcome.reason == "time_limit":
        return f"{seconds:.1f} s of processor time", result
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MAX_BYTES:
        return f"the process has taken more than {MAX_BYTES:,} bytes", result
    if outcome.text and (mark := _MARKS.search(outcome.text)):
        return f"{mark[0]!r} is left at character {mark.start()}", result
    return None, result


def fuzz_settings() -> DataSettings:
    """No judgement of length or language: every text comes through."""
    return load_settings(overrides=["data.min_chars=0", "data.languages=null"]).data


def report(data: bytes, what: str, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.gz"
    path.write_bytes(data)
    print(f"{path}: {what.strip().splitlines()[-1]}\n    python data_prep/paper.py {path}", file=sys.stderr)


def run_seeded(runs: int, seed: int, folder: Path) -> int:
    papers = [path.read_text(encoding="utf-8") for path in PAPERS]
    settings = fuzz_settings()
    outcomes: Counter[str] = Counter()
    found = 0
    slowest = 0.0
    for number in range(seed, seed + runs):
        data = mutated_archive(papers, random.Random(number))
        started = time.process_time()
        what, result = finding(data, settings)
        slowest = max(slowest, time.process_time() - started)
        outcomes[result] += 1
        if what:
            found += 1
            report(data, what, folder, f"seed{number}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{runs:,} archives, {found} findings; slowest {slowest:.2f} s; {memory / 1e6:.0f} MB; "
        + ", ".join(f"{count:,} {reason}" for reason, count in outcomes.most_common())
    )
    return 1 if found else 0


def run_atheris(arguments: Sequence[str]) -> int:
    try:
        import atheris
    except ImportError:
        raise SystemExit("--atheris needs the package atheris: pip install atheris (or leave the option out)") from None
    atheris.instrument_all()
    settings = fuzz_settings()

    def one(data: bytes) -> None:
        what, _ = finding(data, settings)
        if what:
            raise RuntimeError(what)

    with tempfile.TemporaryDirectory() as corpus:  # libFuzzer adds its own files to the folder that it is given
        for path in PAPERS:
            shutil.copy(path, corpus)
        atheris.Setup([sys.argv[0], *arguments, corpus], one)
        atheris.Fuzz()  # ends the process
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Fuzz the path from archive to text.",
        epilog="example: python -m tests.helpers.fuzz_latex --runs 2000",
    )
    parser.add_argument("--runs", type=int, default=2000, help="archives to try")
    parser.add_argument("--seed", type=int, default=0, help="number of the first one")
    parser.add_argument("--findings", type=Path, default=Path("fuzz_findings"), metavar="FOLDER")
    parser.add_argument("--atheris", action="store_true", help="coverage-guided; what follows `--` goes to libFuzzer")
    parser.add_argument("libfuzzer", nargs="*", metavar="OPTION")
    args = parser.parse_args(argv)
    return run_atheris(args.libfuzzer) if args.atheris else run_seeded(args.runs, args.seed, args.findings)


if __name__ == "__main__":
    sys.exit(main())
