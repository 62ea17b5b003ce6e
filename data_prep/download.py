"""Get arXiv's sources and metadata: bulk tars from S3, the metadata snapshot and its updates, single papers.

    python data_prep/download.py sources --months 2301:2303     # bulk tars; says what it costs and asks
    python data_prep/download.py metadata                       # the public snapshot of all records
    python data_prep/download.py updates                        # newer records, by OAI-PMH, merged into the snapshot
    python data_prep/download.py papers 2301.00001 hep-th/9901001

Each can be killed at any time; the same command goes on where it stopped. `sources` is the way to a corpus: the bucket
is "requester pays", so it takes an AWS account and costs what Amazon asks for the transfer (nothing to a machine in
its region, us-east-1). `papers` takes three seconds a paper, as arXiv demands, and is for a handful.
"""

from __future__ import annotations

import argparse
import fcntl
import glob
import gzip
import json
import lzma
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/download.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.files import TEMPORARY, atomic_write
from common.paths import project_path
from common.settings.data import DataSettings
from data_prep.fetch import bulk_tars, eprints, harvest, oai
from data_prep.fetch.http_client import ARXIV_SECONDS, HttpClient, HttpFailure
from data_prep.papers.ids import parse_months
from data_prep.papers.metadata import record_problem

# The snapshot as Kaggle serves it: a zip of one JSON-lines file.
SNAPSHOT_URL = "https://www.kaggle.com/api/v1/datasets/download/Cornell-University/arxiv"
SNAPSHOT_PAGE = "https://www.kaggle.com/datasets/Cornell-University/arxiv"
GB = bulk_tars.GB
LONGEST_BETWEEN = 3600  # seconds
FAILED = 1  # exit status where some tars or papers are missing in the end


def main(argv: Sequence[str] | None = None) -> int:
    parser, groups = build_parser()
    args = parser.parse_intermixed_args(argv)
    for name, group in groups.items():
        for action in group._group_actions:
            if name != args.what and getattr(args, action.dest) != action.default:
                parser.error(f"{'/'.join(action.option_strings) or action.dest} belongs to '{name}', not '{args.what}'")
    if args.out is not None and args.what in ("metadata", "updates"):
        parser.error(
            f"--out belongs to 'sources' and 'papers'; '{args.what}' writes data.metadata (--set data.metadata=FILE)"
        )
    data = settings_from_args(args).data
    folder = (args.out or project_path(data.source)) if args.what in ("sources", "papers") else None
    place = folder or project_path(data.metadata).parent
    place.mkdir(parents=True, exist_ok=True)
    with open(place / ".download.lock", "w") as lock:  # gone with the process, however it ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{place}: another download is at work in this folder; wait for it") from None
        if args.what == "sources":
            return get_sources(args, data, place)
        if args.what == "metadata":
            return get_metadata(args, project_path(data.metadata))
        if args.what == "updates":
            return get_updates(args, project_path(data.metadata))
        return get_papers(args, place)


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    parser = argparse.ArgumentParser(
        description="Get arXiv's sources and metadata.",
        epilog="example: python data_prep/download.py sources --months 2301:2303 --list",
    )
    what = ("sources", "metadata", "updates", "papers")
    parser.add_argument("what", choices=what, help="bulk tars; metadata snapshot; its updates; single papers")
    parser.add_argument("--out", type=Path, help="folder for sources or papers (default: data.source)")
    parser.add_argument("--contact", metavar="EMAIL", help="your address in the User-Agent, so that arXiv can write")
    add_config_arguments(parser)
    groups = {name: parser.add_argument_group(name) for name in what}
    group = groups["sources"]
    group.add_argument("--months", metavar="A:B", help="months of submission, YYMM:YYMM (data.months; null: all)")
    group.add_argument("--list", action="store_true", help="show what there is, what is missing and its cost; no more")
    group.add_argument("--yes", action="store_true", help="do not ask before spending")
    group.add_argument("--price", type=float, default=bulk_tars.PRICE_PER_GB, help="US dollars a GB (default: 0.09)")
    group.add_argument("--parallel", type=int, default=4, help="tars at a time (default: 4)")
    group.add_argument("--verify", action="store_true", help="read the tars that are there again, and check their md5")
    group = groups["metadata"]
    group.add_argument("--url", default=SNAPSHOT_URL, help="where the snapshot is (default: Kaggle's public address)")
    group.add_argument("--from", dest="from_file", type=Path, metavar="FILE", help="a zip, .gz or JSONL had already")
    group = groups["updates"]
    group.add_argument("--since", metavar="DATE", help="YYYY-MM-DD (default: where the snapshot ceases to be complete)")
    group.add_argument("--until", metavar="DATE", help="YYYY-MM-DD (default: today)")
    group.add_argument("--subject", metavar="SET", help="an OAI set, e.g. math or physics:hep-th (default: all)")
    group.add_argument("--oai-url", default=oai.BASE_URL, help="base URL of the OAI-PMH server")
    group = groups["papers"]
    group.add_argument("ids", nargs="*", default=[], metavar="ID", help="e.g. 2301.00001v2; without vN the latest")
    group.add_argument("--ids", dest="id_files", type=Path, action="append", default=[], metavar="FILE", help="of ids")
    group.add_argument("--eprint-url", default=eprints.BASE_URL, help="base URL of the e-print endpoint")
    parser.add_argument(
        "--seconds-between", type=float, default=ARXIV_SECONDS, help="pause between requests (default: 3, arXiv's rule)"
    )
    return parser, groups


def http_client(args: argparse.Namespace, url: str) -> HttpClient:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError as error:
        raise UserError(f"{url}: not a URL: {error}") from None
    if not 0 <= args.seconds_between <= LONGEST_BETWEEN:
        raise UserError(f"--seconds-between is {args.seconds_between:g}, expected seconds, 0 to {LONGEST_BETWEEN}")
    if args.seconds_between < ARXIV_SECONDS and (host == "arxiv.org" or host.endswith(".arxiv.org")):
        raise UserError(
            f"--seconds-between is {args.seconds_between:g}, but {host} allows one request in {ARXIV_SECONDS:g} seconds"
        )
    if args.contact and not (args.contact.isascii() and args.contact.isprintable()):
        raise UserError(f"--contact is {args.contact!r}: a header takes plain ASCII, e.g. name@example.org")
    return HttpClient(args.seconds_between, args.contact, say=say)


def say(text: str) -> None:
    """A line above the progress bars."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def byte_bar(total: int | None, what: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="B", unit_scale=True, desc=what, mininterval=0.5)


def get_sources(args: argparse.Namespace, data: DataSettings, place: Path) -> int:
    """Bulk tars of some months: list, price, question, download."""
    if args.parallel < 1:
        raise UserError(f"--parallel is {args.parallel}, expected 1 or more")
    if not 0 <= args.price < float("inf"):
        raise UserError(f"--price is {args.price:g}, expected US dollars a GB, 0 or more")
    months = parse_months(args.months or data.months)
    client = bulk_tars.connect(args.parallel)
    listed = bulk_tars.fetch_manifest(client, place, say)
    tars = bulk_tars.within(listed, months)
    if not tars:
        first, last = listed[0].month, listed[-1].month
        raise UserError(f"the manifest has no tar of these months; it reaches from {first} to {last}")
    folder = bulk_tars.Folder(place)
    if args.verify:
        for tar in tars:
            folder.checked.pop(tar.name, None)
    complete = {tar.key for tar in tars if folder.complete(tar)}
    missing = [tar for tar in tars if tar.key not in complete]
    for tar in missing:
        if (place / tar.name).exists():
            say(f"{tar.name}: is not the file that the manifest means (size or md5); it will be fetched again")
    left = sum(folder.bytes_left(tar) for tar in missing)
    print(bulk_tars.months_table(tars, args.price))
    print(
        f"{len(tars) - len(missing):,} of {len(tars):,} tars are in {place}; {left / GB:,.2f} GB are to come: "
        f"{left / GB * args.price:,.2f} USD at {args.price:g} USD/GB (--price)"
    )
    if kept := folder.all_kept(tar for tar in tars if tar.key in complete):
        print(f"{len(kept):,} tars are right as the bucket has them; the manifest lists others: {', '.join(kept[:5])}")
    if args.list or not missing:
        return 0
    bulk_tars.check_space(place, left)
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError("this costs money and there is no terminal to ask on: add --yes")
        try:
            answer = input("download them? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing downloaded")
            return 0
    with byte_bar(left, "sources") as bar:
        problems = bulk_tars.download_tars(client, missing, folder, args.parallel, bar.update, say)
    for problem in sorted(problems):
        print(f"problem: {problem}", file=sys.stderr)
    print(f"{len(missing) - len(problems):,} tars downloaded, {len(problems):,} failed; all in {place}")
    print(f"next: python data_prep/prepare_dataset.py --source {place}")
    return FAILED if problems else 0


def get_metadata(args: argparse.Namespace, snapshot: Path) -> int:
    """The snapshot, from the network or from a file, unpacked under its name."""
    archive, url = args.from_file, args.url
    # What has come from another address is not this download's.
    downloaded = snapshot.with_name(f"{snapshot.name}.{zlib.crc32(url.encode()):08x}.download")
    remove_left_overs(snapshot)
    if archive is None:
        if not downloaded.exists():
            with byte_bar(None, "metadata") as bar:
                try:
                    http_client(args, url).download(url, downloaded, bar.update)
                except HttpFailure as error:
                    raise UserError(
                        f"{error}. Download it by hand from {SNAPSHOT_PAGE}, then run: "
                        "python data_prep/download.py metadata --from archive.zip"
                    ) from None
        archive = downloaded
    try:
        lines = unpack(archive, snapshot)
    except BadSnapshot as error:
        if archive != downloaded:
            raise UserError(f"{archive}: {error}; download it again from {SNAPSHOT_PAGE}") from None
        downloaded.unlink()
        raise UserError(f"{url}: {error}; run the same command to download it again") from None
    of_the_old_one = [harvest.Marks(snapshot).path, harvest.Store(snapshot).path]
    for path in [*of_the_old_one, *snapshot.parent.glob(f"{glob.escape(snapshot.name)}.*.download*")]:
        path.unlink(missing_ok=True)
    print(f"{snapshot}: {lines:,} records, {snapshot.stat().st_size / GB:,.2f} GB")
    return 0


class BadSnapshot(Exception):
    """The file is damaged, or no metadata snapshot."""


def unpack(archive: Path, snapshot: Path) -> int:
    """Copy the JSON lines in a zip, a .gz or a plain file to `snapshot`; how many there are.

    Raises:
        BadSnapshot: damaged (the checksums are verified), or the first line is no metadata record.
    """
    try:
        with open(archive, "rb") as raw:
            magic = raw.read(2)
            raw.seek(0)
            if magic == b"PK":
                with zipfile.ZipFile(raw) as packed:
                    members = [info for info in packed.infolist() if info.filename.endswith(".json")]
                    if len(members) != 1:
                        raise BadSnapshot(f"expected one .json file in it, found {len(members)}")
                    if members[0].flag_bits & 1:  # the zip format's flag (APPNOTE.TXT, 4.4.4)
                        raise BadSnapshot("it is encrypted")
                    size = members[0].file_size
                    with packed.open(members[0]) as file:
                        return _copy_lines(file, size, snapshot)
            if magic == eprints.GZIP:
                with gzip.open(raw) as file:
                    return _copy_lines(file, None, snapshot)
            return _copy_lines(raw, archive.stat().st_size, snapshot)
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise BadSnapshot(f"damaged: {error}") from None
    except NotImplementedError as error:  # a method of compression that Python does not know
        raise BadSnapshot(f"cannot be unpacked: {error}") from None


def _copy_lines(file: IO[bytes] | gzip.GzipFile, size: int | None, snapshot: Path) -> int:
    lines = 0
    bulk_tars.check_space(snapshot.parent, size or 0)
    with atomic_write(snapshot) as out, byte_bar(size, "unpacking") as bar:
        for line in _sound_lines(file):
            if not lines:
                try:
                    problem = record_problem(json.loads(line))
                except (ValueError, RecursionError) as error:
                    problem = f"not JSON: {error}"
                if problem:
                    raise BadSnapshot(f"its first line is no metadata record: {problem}")
            lines += 1
            out.write(line)
            bar.update(len(line))
        if not lines:
            raise BadSnapshot("it is empty")
    return lines


def _sound_lines(file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    try:
        yield from file
    except OSError as error:
        if error.errno is not None:  # of the disk, not of a decoder
            raise
        raise BadSnapshot(f"damaged: {error}") from None


def get_updates(args: argparse.Namespace, snapshot: Path) -> int:
    """Records that changed since the snapshot was complete, merged into it."""
    client = http_client(args, args.oai_url)
    for flag, day in (("--since", args.since), ("--until", args.until)):
        if day is not None and not oai.is_date(day):
            raise UserError(f"{flag} is '{day}', expected a date YYYY-MM-DD")
    if args.since and args.until and args.since > args.until:
        raise UserError(f"--since {args.since} is after --until {args.until}")
    given = {"url": args.oai_url, "from": args.since, "until": args.until, "set": args.subject}
    asked = {key: value for key, value in given.items() if value}
    remove_left_overs(snapshot)
    marks, store = harvest.Marks(snapshot), harvest.Store(snapshot)
    with store.usable():
        plan = store.plan()
        if plan and plan.asked == asked:  # it was killed, or the server turned it away
            print(f"going on with the harvest of {plan}")
        else:
            if plan:
                print(f"leaving the unfinished harvest of {plan}, which was asked for otherwise")
            with byte_bar(snapshot.stat().st_size if snapshot.exists() else 0, "reading the snapshot") as bar:
                plan = harvest.make_plan(asked, snapshot, marks, lambda data: bar.update(len(data)))
            store.begin(plan)
            print(f"harvesting {plan}, by {args.oai_url}")
        harvest_pages(client, args.oai_url, store, plan)
        size = snapshot.stat().st_size if snapshot.exists() else 0
        bulk_tars.check_space(snapshot.parent, size + store.path.stat().st_size)
        with byte_bar(size, "merging") as bar:
            counts = store.merge(snapshot, lambda data: bar.update(len(data)))
        last, missing = store.last_day(), store.missing()
        if missing:
            say(f"problem: the server spoke of {missing:,} records more than it gave; the next harvest asks again")
        elif plan.complete:
            marks.advance(args.subject, min(last, args.until or last))
        else:
            say(f"note: changes before {plan.selection['from']} are still missing; without --since they are asked for")
    store.path.unlink()
    print(f"{snapshot}: " + ", ".join(f"{count:,} records {what}" for what, count in counts.items()))
    return 0


def harvest_pages(client: HttpClient, url: str, store: harvest.Store, plan: harvest.Plan) -> None:
    """The network's part of an update, with a bar and what was wrong."""
    from tqdm import tqdm

    with tqdm(unit=" records", desc="updates", mininterval=0.5) as bar:

        def on_page(records: int, in_all: int | None) -> None:
            bar.total = in_all or bar.total
            bar.update(records - bar.n)

        try:
            store.fetch(client, url, plan.selection, on_page)
        except HttpFailure as error:
            raise UserError(f"{error}; try again later: the same command goes on where it stopped") from None
    problems = store.problems()
    for problem in problems[:10]:
        print(f"problem: {problem}", file=sys.stderr)
    if len(problems) > 10:
        print(f"problem: and {len(problems) - 10:,} records more", file=sys.stderr)


def remove_left_overs(snapshot: Path) -> None:
    """What a kill left of a snapshot half-written: it is large, and under the lock nobody is at it."""
    for path in snapshot.parent.glob(f"{glob.escape(snapshot.name)}.*{TEMPORARY}"):
        path.unlink()


def get_papers(args: argparse.Namespace, place: Path) -> int:
    """Single papers by their ids."""
    papers = eprints.read_ids(args.ids, args.id_files)
    from tqdm import tqdm

    with tqdm(total=len(papers), unit=" papers", desc="papers", mininterval=0.5) as bar:

        def on_paper(paper: str, outcome: str) -> None:
            bar.update()
            if outcome not in ("had", "fetched"):
                bar.write(f"{paper}: {outcome}", file=sys.stderr)

        outcomes: Counter[str] = eprints.fetch_papers(
            http_client(args, args.eprint_url), args.eprint_url, papers, place, on_paper
        )
    print(", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items())) + f"; in {place}")
    return 0 if set(outcomes) <= {"had", "fetched"} else FAILED


if __name__ == "__main__":
    run_command(main)
