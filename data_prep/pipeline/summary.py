"""What a run comes to: sums over its shards, samples of the rejected papers, and what is printed at its end."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from common.files import write_bytes
from common.jsonl import dump_line
from common.samples import Samples
from common.settings.load import Settings
from common.vocabulary_size import needed_bytes, supported_vocab_size
from data_prep.dedup import assignments
from data_prep.dedup.assignments import SPLITS
from data_prep.papers.ids import paper_id_of
from data_prep.pipeline import catalog
from data_prep.pipeline.plan import Job, Survey
from data_prep.pipeline.shards import read_record
from data_prep.screening.reasons import REASONS


class Steps:
    """Sums over the survey and all shards: papers, bytes of archives and of text by reason; counters; seconds."""

    def __init__(self, survey: Survey) -> None:
        self.counts = Counter(survey.counts)
        self.archive_bytes = Counter(survey.archive_bytes)
        self.text_bytes: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def add_shard(self, marker: dict[str, Any], samples: Samples) -> None:
        self.counters.update(marker["counters"])
        for stage, seconds in marker["seconds"].items():
            self.seconds[stage] += seconds
        for paper_id, reason, detail, archive_bytes in marker["rejects"]:
            self.counts[reason] += 1
            self.archive_bytes[reason] += archive_bytes
            samples.add(reason, paper_id, detail=detail)


def output_names(job: Job, manifest: dict[str, Any]) -> list[str]:
    folders = [job.out / "report", job.out / "rejected"]
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    splits = [file["name"] for split in SPLITS for file in manifest["splits"][split]["files"]]
    return [*splits, assignments.NAME, "README.md", "manifest.json", *(str(p.relative_to(job.out)) for p in files)]


def describe(samples: Samples, job: Job) -> None:
    """Let each sample tell title, categories, comments, licence and date of its paper."""
    with open(job.metadata, "rb") as snapshot:
        for reason in samples.reasons():
            for entry in samples.of(reason):
                found = paper_id_of(entry["id"])
                if reason == "bad_metadata" or found is None:
                    continue
                record, _ = catalog.find_planned(job.metadata_index, job.archive_list, job.source, found[0])
                if record:
                    metadata = read_record(snapshot, record.offset, record.length)
                    entry.update({key: metadata.get(key) for key in ("title", "categories", "comments", "license")})
                    entry["created"] = metadata["versions"][0]["created"]


def check_sum(counts: Counter[str], documents: int, total: int) -> None:
    """Every record and every archive without one must have ended in exactly one place."""
    unknown = sorted(set(counts) - set(REASONS))
    if unknown:
        raise RuntimeError(f"reasons that data_prep/screening/reasons.py does not know: {', '.join(unknown)}")
    if counts.total() + documents != total:
        raise RuntimeError(
            f"the counts do not add up: {documents:,} written and {counts.total():,} left out, of {total:,}: "
            f"{dict(counts)}"
        )


def write_samples(job: Job, samples: Samples) -> None:
    folder = job.out / "rejected"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():  # of an earlier run
        if path.suffix == ".jsonl" and path.stem not in samples.reasons():
            path.unlink()
    for reason in samples.reasons():
        lines = [dump_line({"id": entry["id"], "reason": reason} | entry) for entry in samples.of(reason)]
        write_bytes(folder / f"{reason}.jsonl", b"".join(lines))


def merged(records: dict[str, dict[str, int]], written: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Records, those in scope, papers written and bytes of text, by the same key."""
    none = {"written": 0, "text_bytes": 0}
    return {
        key: {"records": count, "in_scope": records["in_scope"].get(key, 0), **none, **written.get(key, {})}
        for key, count in sorted(records["records"].items())
    }


def print_result(job: Job, manifest: dict[str, Any], settings: Settings) -> None:
    """Counts, sizes, the vocabulary that the text supports, where to look, and the next command."""
    counts = manifest["counts"]
    total = counts["input"]["total"]
    print()
    print(f"{'input':<20}{total:>14,}")
    for reason, count in counts["reasons"].items():
        print(f"  {reason:<18}{count:>14,}{count / total:>9.2%}  {REASONS[reason]}")
    print(f"{'written':<20}{counts['written']:>14,}{counts['written'] / total:>9.2%}")
    print()
    for split, sizes in manifest["splits"].items():
        first = sizes["files"][0]["name"]
        more = f" and {len(sizes['files']) - 1:,} more" if len(sizes["files"]) > 1 else ""
        size = sizes["text_bytes"] / 1e6
        print(f"{split:<6}{sizes['documents']:>12,} documents {size:>12,.2f} MB of text   {job.out / first}{more}")
    text_bytes = manifest["splits"]["train"]["text_bytes"]
    supported, wanted = supported_vocab_size(text_bytes), settings.model.vocab_size
    print(f"vocabulary that the training text supports: about {supported:,} entries (configured: {wanted:,})")
    if supported < wanted:
        print(f"  {wanted:,} entries want {needed_bytes(wanted) / 1e6:,.0f} MB; else use --set vocab_size={supported}")
    print(
        f"look at: {job.out / 'report' / 'report.html'}, {job.out / 'report' / 'funnel.png'}, {job.out / 'rejected'}/"
    )
    if counts["written"]:
        print(f"next:    python tokenizer/train_tokenizer.py{job.flags} --set data.out={shlex.quote(str(job.out))}")
