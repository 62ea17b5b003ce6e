r"""Make a small sample corpus in arXiv's own layout, written by the project's own grammar.

    python tools/make_sample_corpus.py --out quickstart_out/raw
    python tools/make_sample_corpus.py --out /tmp/sample --papers 100 --seed 7

The folder holds what a download from arXiv would: `arxiv-metadata-oai-snapshot.json` (JSON lines with the fields of the
public snapshot), `src/arXiv_src_YYMM_NNN.tar` (members `YYMM/<id without slash>.gz` or `.pdf`) and
`src/arXiv_src_manifest.xml`. Besides ordinary papers it holds the usual troubles, one kind at a time: a PDF without
source, a truncated archive, withdrawn papers, duplicates, another language, another encoding and so on; `truth.json`
says which paper is which. The same arguments give the same TeX everywhere, and the same bytes with the same zlib.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python tools/make_sample_corpus.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.paths import DEFAULT_CONFIG, project_path
from tools.sample.grammar import Paper, between, pick, write_paper
from tools.sample.packing import gzip_bytes, manifest_entry, small_pdf, source_archive, tar_bytes

# Of this generator's output: a change of the text or of the layout gets a new number, so that old samples show.
GENERATOR_VERSION = 4
# The version that wrote small samples (see SMALL) as this one does; larger ones had ids that arXiv does not give.
SAME_SMALL_SAMPLES = 3
METADATA_NAME = "arxiv-metadata-oai-snapshot.json"
MIN_PAPERS, MAX_PAPERS = 40, 1_000_000
# Months of the bulk tars, old identifiers (before April 2007) and new ones; the fuller ones are cut into two tars.
OLD_MONTHS = ("0309", "0502")
MONTHS = ("0806", "1211", "1509", "1803", "2105", "2401")
# Papers that a month can number: by the three digits of old identifiers, by the four of the next, and, where there are
# five, about as many as arXiv's busiest months had. What does not fit goes to the next months.
LAST_NUMBERS = {3: 999, 4: 9_999, 5: 20_000}
# A sample of so many ordinary papers fits into the months above.
SMALL = LAST_NUMBERS[3] * len(OLD_MONTHS + MONTHS)
PAPERS_PER_TAR = 40
LICENSES = (
    "http://arxiv.org/licenses/nonexclusive-distrib/1.0/",
    "http://creativecommons.org/licenses/by/4.0/",
    "http://creativecommons.org/publicdomain/zero/1.0/",
    None,
)

FRENCH = ROOT / "tools/sample/french.tex"
LATIN_1_SENTENCES = (
    "The r\u00f4le of the coefficients was first clarified by Poincar\u00e9, and later by "
    "M\u00fcller and Nu\u00f1ez; we follow the "
    "na\u00efve approach of H\u00f6lder and \u00c5ngstr\u00f6m, \u00e0 la Fr\u00e9chet.",
)


@dataclass
class Entry:
    """One paper of the sample: its metadata record (None: source only) and its archive (None: metadata only)."""

    id: str
    record: dict[str, Any] | None
    data: bytes | None
    suffix: str = ".gz"

    @property
    def member(self) -> str:
        """Name in the bulk tar: `0309/math0309001.gz`, `2401/2401.00001.gz`."""
        flat = self.id.replace("/", "")
        return f"{month_of(self.id)}/{flat}{self.suffix}"


@dataclass
class Ids:
    """Hands out identifiers in the shape of their month: `math/0309001`, `0806.0001`, `2401.00001`.

    A month whose numbers are used up passes what comes on to the next one.
    """

    used: dict[str, int] = field(default_factory=dict)

    def take(self, month: str, archive: str = "math") -> str:
        while self.used.get(month, 0) == LAST_NUMBERS[digits(month)]:
            month = next_month(month)
        number = self.used[month] = self.used.get(month, 0) + 1
        numbered = f"{number:0{digits(month)}d}"
        return f"{archive}/{month}{numbered}" if digits(month) == 3 else f"{month}.{numbered}"

    def months(self) -> list[str]:
        """The months that have papers, in order."""
        return sorted(self.used)


def digits(month: str) -> int:
    """Digits of a paper's number within its month "YYMM" of this century: the new identifiers came with 0704."""
    return 3 if month < "0704" else 4 if month < "1501" else 5


def next_month(month: str) -> str:
    """ "0312" -> "0401"."""
    year, number = int(month[:2]), int(month[2:])
    return f"{year + number // 12:02d}{number % 12 + 1:02d}"


def month_of(paper_id: str) -> str:
    return re.sub(r"^.*/", "", paper_id)[:4]


def metadata_record(rng: random.Random, paper_id: str, paper: Paper, **changes: Any) -> dict[str, Any]:
    """A record with the fields of the public metadata snapshot, in its order."""
    month = month_of(paper_id)
    year = (1900 if month > "9000" else 2000) + int(month[:2])
    first = datetime(
        year, int(month[2:]), between(rng, 1, 27), between(rng, 0, 23), between(rng, 0, 59), tzinfo=timezone.utc
    )
    versions = [{"version": "v1", "created": first.strftime("%a, %d %b %Y %H:%M:%S GMT")}]
    updated = first
    if rng.random() < 0.4:
        updated = datetime.fromtimestamp(first.timestamp() + 86400 * between(rng, 3, 400), tz=timezone.utc)
        versions.append({"version": "v2", "created": updated.strftime("%a, %d %b %Y %H:%M:%S GMT")})
    names = [author.rsplit(" ", 1) for author in paper.authors]
    record = {
        "id": paper_id,
        "submitter": paper.authors[0],
        "authors": ", ".join(paper.authors[:-1]) + (" and " if len(names) > 1 else "") + paper.authors[-1],
        "title": paper.title,
        "comments": pick(rng, [None, f"{between(rng, 4, 40)} pages", f"{between(rng, 4, 40)} pages, 1 figure"]),
        "journal-ref": None,
        "doi": None,
        "report-no": None,
        "categories": paper.categories,
        "license": pick(rng, LICENSES),
        # The snapshot's abstracts start with two spaces and end with a line end.
        "abstract": f"  {paper.abstract}\n",
        "versions": versions,
        "update_date": updated.strftime("%Y-%m-%d"),
        "authors_parsed": [[last, first_name, ""] for first_name, last in names],
    }
    return record | changes


def ordinary_papers(seed: int, count: int, ids: Ids) -> list[tuple[Entry, Paper]]:
    """`count` good papers over all months: six in ten as several files, the rest as one."""
    result = []
    months = OLD_MONTHS + MONTHS
    for index in range(count):
        rng = random.Random(f"sample corpus {seed} {index}")
        month = months[index * len(months) // count]
        paper = write_paper(rng, old=month in OLD_MONTHS)
        archive = paper.categories.split()[0].split(".")[0]
        paper_id = ids.take(month, "math" if archive == "stat" else archive)  # stat is younger than the old identifiers
        data = source_archive(rng, paper, several=rng.random() < 0.6)
        result.append((Entry(paper_id, metadata_record(rng, paper_id, paper), data), paper))
    return result


def planted_papers(seed: int, ordinary: list[tuple[Entry, Paper]], ids: Ids) -> tuple[list[Entry], dict[str, Any]]:
    """The papers with something about them, and what that is.

    The second value is the truth: ids by kind, and `expected_reasons`, the counts by reason of
    data_prep/screening/reasons.py that the default configuration should find among all papers of the sample.
    """
    rng = random.Random(f"sample corpus {seed} planted")
    entries: list[Entry] = []
    truth: dict[str, Any] = {}
    reasons: dict[str, int] = {}

    def plant(kind: str, reason: str | None, month: str, data: Any = "own", suffix: str = ".gz", **changes: Any) -> str:
        """Add a new paper; `data` is its archive, "own" for its own text, None for no source."""
        paper = write_paper(rng, old=False, scale=0.7)
        paper_id = ids.take(month)
        source = source_archive(rng, paper, several=True) if data == "own" else data
        entries.append(Entry(paper_id, metadata_record(rng, paper_id, paper, **changes), source, suffix))
        truth.setdefault(kind, []).append(paper_id)
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
        return paper_id

    plant("pdf_only", "pdf_only", "1509", small_pdf(), ".pdf")
    whole = gzip_bytes(write_paper(rng).single_file().encode("utf-8"))
    plant("truncated_gzip", "broken_archive", "1803", whole[: len(whole) * 2 // 3])
    stub = b"%auto-ignore\nThis paper has been withdrawn by the author because of an error in the proof of Lemma 2.\n"
    plant("withdrawn_stub", "withdrawn_source", "2105", gzip_bytes(stub))
    plant(
        "withdrawn",
        "withdrawn",
        "1211",
        comments="This paper has been withdrawn by the author due to an error in Section 3",
    )
    plant("withdrawn", "withdrawn", "2105", comments="Withdrawn", abstract="  This paper has been withdrawn.\n")
    for month in ("1803", "2401"):
        plant("out_of_subject", "subject", month, categories=pick(rng, ["econ.EM", "q-bio.PE", "econ.TH q-fin.EC"]))
    plant("metadata_without_source", "no_source", "0806", None)
    plant("metadata_without_source", "no_source", "2401", None)
    for month in ("1509", "2105"):
        plant("source_without_metadata", "no_metadata", month)
        entries[-1].record = None
    plant(
        "french",
        "language",
        "1803",
        gzip_bytes(FRENCH.read_bytes()),
        title="Sur les groupes nilpotents et leurs quotients finis",
        categories="math.GR",
        abstract="  Nous \\'etudions les quotients finis des groupes nilpotents de type fini.\n",
    )
    erratum = r"\documentclass{article}\begin{document}The sign in equation (3) of our paper is wrong.\end{document}"
    plant(
        "erratum", "too_short", "2401", gzip_bytes(erratum.encode()), title="Erratum", abstract="  We correct a sign.\n"
    )

    # Good papers with a twist: they must survive.
    paper = write_paper(rng)
    paper.sections[0] += "\n\n" + LATIN_1_SENTENCES[0]
    paper.preamble = paper.preamble.replace(
        "\\usepackage{amsmath", "\\usepackage[latin1]{inputenc}\n\\usepackage{amsmath", 1
    )
    paper_id = ids.take("0806")
    entries.append(
        Entry(paper_id, metadata_record(rng, paper_id, paper), gzip_bytes(paper.single_file().encode("latin-1")))
    )
    truth["latin_1"] = [paper_id]
    paper = write_paper(rng)
    paper_id = ids.take("2401")
    windows = paper.single_file().replace("\n", "\r\n").encode("utf-8-sig")
    entries.append(Entry(paper_id, metadata_record(rng, paper_id, paper), gzip_bytes(windows)))
    truth["byte_order_mark_and_crlf"] = [paper_id]

    # Copies: the same archive again, the same text packed as one file, and a text of which one paragraph was changed.
    truth["exact_duplicates"], truth["near_duplicates"] = [], []
    for position, month in ((len(ordinary) // 3, "1803"), (len(ordinary) // 2, "2105"), (len(ordinary) // 5, "2401")):
        original, paper = ordinary[position]
        paper_id = ids.take(month)
        assert original.record is not None
        record = original.record | {"id": paper_id}
        record["versions"] = metadata_record(rng, paper_id, paper)["versions"][:1]
        if month == "1803":
            data, kind = original.data, "exact_duplicates"
        elif month == "2105":
            data, kind = gzip_bytes(paper.single_file().replace("\n\n", "\n\n\n").encode("utf-8")), "exact_duplicates"
        else:
            changed = paper.single_file().replace(
                paper.sections[0], paper.sections[0] + "\n\nIn this version a gap was filled.", 1
            )
            data, kind = gzip_bytes(changed.encode("utf-8")), "near_duplicates"
        entries.append(Entry(paper_id, record, data))
        truth[kind].append([original.id, paper_id])
    reasons["exact_duplicate"] = len(truth["exact_duplicates"])
    truth["expected_reasons"] = dict(sorted(reasons.items()))
    return entries, truth


def write_corpus(folder: Path, papers: int, seed: int) -> dict[str, Any]:
    """Write the whole corpus into `folder` (which exists and is empty) and give back its truth."""
    ids = Ids()
    ordinary = ordinary_papers(seed, papers, ids)
    planted, truth = planted_papers(seed, ordinary, ids)
    entries = [entry for entry, _ in ordinary] + planted

    records = sorted((e.record for e in entries if e.record), key=lambda r: (month_of(r["id"]), r["id"]))
    lines = "".join(json.dumps(record, ensure_ascii=True, separators=(",", ":")) + "\n" for record in records)
    (folder / METADATA_NAME).write_text(lines, encoding="utf-8", newline="\n")

    (folder / "src").mkdir()
    files, manifest, unpacked = {METADATA_NAME: len(lines)}, [], 0
    for month in ids.months():
        members = sorted((e for e in entries if month_of(e.id) == month and e.data is not None), key=lambda e: e.member)
        for number, start in enumerate(range(0, len(members), PAPERS_PER_TAR), 1):
            part = {e.member: e.data or b"" for e in members[start : start + PAPERS_PER_TAR]}
            name = f"src/arXiv_src_{month}_{number:03d}.tar"
            data = tar_bytes(part, directory=month)
            (folder / name).write_bytes(data)
            files[name] = len(data)
            manifest.append(manifest_entry(name, month, number, data, part))
    xml = '<?xml version="1.0" standalone="yes"?>\n<arXivSRC>\n' + "".join(manifest) + "</arXivSRC>\n"
    (folder / "src" / "arXiv_src_manifest.xml").write_text(xml, encoding="utf-8", newline="\n")
    files["src/arXiv_src_manifest.xml"] = len(xml)
    unpacked = sum(len(paper.single_file()) for _, paper in ordinary)
    truth = {
        "arguments": arguments_of(papers, seed),
        "metadata_records": len(records),
        "archives": sum(e.data is not None for e in entries),
        "ordinary_papers": len(ordinary),
        "ordinary_tex_bytes": unpacked,
        "files": files,
        **truth,
    }
    # Written last: a folder without it is not a finished sample.
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return truth


def arguments_of(papers: int, seed: int) -> dict[str, int]:
    """What decides about the bytes of a sample."""
    version = SAME_SMALL_SAMPLES if papers <= SMALL else GENERATOR_VERSION
    return {"papers": papers, "seed": seed, "generator": version}


def existing_sample(folder: Path, papers: int, seed: int) -> dict[str, Any] | None:
    """The truth of the sample that is there already; None where the folder is absent or empty.

    Raises:
        UserError: the folder holds something else, which is never overwritten.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    advice = "remove it, or choose another folder with --out"
    try:
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        arguments = truth["arguments"]
        files = truth["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder}: exists and is not a sample corpus of this tool; {advice}") from None
    wanted = arguments_of(papers, seed)
    if arguments != wanted:
        raise UserError(f"{folder}: holds a sample made with {arguments}, asked for is {wanted}; {advice}")
    for name, size in files.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise UserError(f"{folder / name}: missing or not the {size} bytes that truth.json records; {advice}")
    return truth


def describe(folder: Path, truth: dict[str, Any]) -> str:
    planted = [f"{kind}: {len(ids)}" for kind, ids in truth.items() if isinstance(ids, list)]
    size = truth["ordinary_tex_bytes"] / 1e6
    return (
        f"  {truth['metadata_records']} metadata records   {folder / METADATA_NAME}\n"
        f"  {truth['archives']} archives in {sum('.tar' in n for n in truth['files'])} tars   {folder / 'src'}\n"
        f"  {truth['ordinary_papers']} ordinary papers, {size:.1f} MB of TeX, and planted: {', '.join(planted)}\n"
        f"  what is where: {folder / 'truth.json'}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Make a small sample corpus in arXiv's own layout (metadata snapshot, bulk tars, manifest).",
        epilog="example: python tools/make_sample_corpus.py --out quickstart_out/raw --papers 350 --seed 0",
    )
    parser.add_argument(
        "--out", type=Path, help="folder to make (default: the one of data.metadata, if --config is given)"
    )
    parser.add_argument(
        "--papers", type=int, default=350, help="ordinary papers; the planted ones come on top (default: 350)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed writes other papers (default: 0)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    if args.papers < MIN_PAPERS:
        raise UserError(f"--papers {args.papers}: at least {MIN_PAPERS}, so that every month has some")
    if args.papers > MAX_PAPERS:
        raise UserError(
            f"--papers {args.papers}: at most {MAX_PAPERS}; with more, months that are still to come would be filled"
        )
    if args.out is None and args.config == DEFAULT_CONFIG:
        raise UserError("give --out FOLDER (the folder of config.json is meant for arXiv's real data)")
    folder = args.out.absolute() if args.out else project_path(settings.data.metadata).parent

    truth = existing_sample(folder, args.papers, args.seed)
    if truth is not None:
        print(f"{folder}: this sample corpus exists already, nothing to do\n{describe(folder, truth)}")
        return 0
    started = time.perf_counter()
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        truth = write_corpus(work, args.papers, args.seed)
        work.chmod(0o755)  # mkdtemp's folders are closed to others
        os.replace(work, folder)  # takes the place of an empty folder too
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{folder}: sample corpus written in {time.perf_counter() - started:.1f} s\n{describe(folder, truth)}")
    return 0


if __name__ == "__main__":
    run_command(main)
