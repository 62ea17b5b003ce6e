r"""Mix datasets for training on: instruction sets, chats and plain text to train.jsonl and val.jsonl, answers marked.

    python data_prep/mix_datasets.py --mixture examples/post_training/mixture.json --out dataset_post_training
    deepspeed train.py --set data.out=dataset_post_training --set train.init_from=runs/NAME \
        --set train.learn_from=answers

The mixture file (data_prep/mixtures/config.py has its keys) names sources: JSON lines, JSON, Parquet, or datasets of
the hub; how a record becomes a text; and how much of each is wanted. Texts are cleaned of the characters that papers
are cleaned of. Duplicates within the mixture and of what was trained on before are left out, as is what holds
benchmark questions. OUT gets what prepare_dataset.py writes, too: the splits, manifest.json, report/,
rejected/. The output depends on input, mixture file and seed alone; what has been done of a mixture that was killed is
not done again.
"""

from __future__ import annotations

import argparse
import fcntl
import heapq
import json
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/mix_datasets.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.engines import available_cores
from common.errors import UserError
from common.paths import project_path
from common.settings.load import Settings
from data_prep.mixtures.config import Mixture, load_mixture

MODULES = (
    "data_prep.mix_datasets",
    *(f"data_prep.mixtures.{name}" for name in ("selection", "source_stage", "records")),
)
NO_CLUSTER = b'"cluster": null, "source": '


def mix(
    mixture: Mixture, out: Path, settings: Settings, workers: int, keep: str | None = None, accept_stale: bool = False
) -> dict[str, Any]:
    """Make the dataset in `out`; returns its manifest. One that is there already, of the same input, is left alone.

    Args:
        keep: the command that keeps what other code has made, to be named where that is made again.
        accept_stale: leave alone what other code has made, too.

    Raises:
        UserError: a source cannot be read, weights cannot be had, or nothing is left.
    """
    from common.files import TEMPORARY, write_bytes
    from common.provenance import fingerprint, module_hashes
    from data_prep.mixtures.card import mixture_card

    manifest_path = out / "manifest.json"
    knobs = mixture.to_dict() | {key: getattr(settings.data, key) for key in ("output_file_bytes", "compress")}
    inputs = _inputs(mixture)
    mark = fingerprint([knobs, inputs, module_hashes(MODULES)])
    if (found := _finished(manifest_path, knobs, inputs)) is not None:
        if accept_stale or found["fingerprint"] == mark:
            print(f"{out}: made of this mixture already; left as it is")
            path, card = out / "README.md", mixture_card(found).encode()
            if not path.exists() or path.read_bytes() != card:
                write_bytes(path, card)
                print(f"{path}: written anew, as today's code describes the dataset")
            return found
        keeping = f". To keep it instead, stop this and run:\n    {keep}" if keep else ""
        print(f"{out}: made of this mixture by other code than today's, so it is made again{keeping}", flush=True)
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{out}: another mix_datasets.py is writing there; wait for it, or take another --out"
            ) from None
        for folder in (out, work):  # of a run that was killed
            for leftover in folder.glob(f"*{TEMPORARY}"):
                leftover.unlink()
        return _make(mixture, out, work, settings, workers, {"knobs": knobs, "inputs": inputs, "fingerprint": mark})


def _make(
    mixture: Mixture, out: Path, work: Path, settings: Settings, workers: int, marks: dict[str, Any]
) -> dict[str, Any]:
    """What `mix` does where it has the folder for itself."""
    from common.files import write_bytes, write_json
    from data_prep.mixtures.card import mixture_card
    from data_prep.mixtures.records import MIX_REASONS
    from data_prep.mixtures.selection import choose, first_documents
    from data_prep.mixtures.source_stage import prepare
    from reports.mixture import write_report

    stages = [prepare(source, work, workers, mixture.reject_samples) for source in mixture.sources]
    choice = choose(stages, mixture, work, workers)
    manifest_path = out / "manifest.json"
    manifest_path.unlink(missing_ok=True)  # it tells of what is there, and that is about to change
    splits = _write_splits(out, stages, choice, settings)
    counts = _counts(stages, choice)
    manifest = {
        "format": 1,
        "mixture": marks["knobs"],
        "inputs": marks["inputs"],
        "fingerprint": marks["fingerprint"],
        "splits": splits,
        "sources": counts,
        "compared": choice.report,
    }
    samples = _samples(stages, choice, mixture)
    _write_rejected(out, samples)
    shown = {stage.source.name: list(first_documents(stage, choice, number)) for number, stage in enumerate(stages)}
    write_report(out / "report", manifest, shown, MIX_REASONS)
    write_bytes(out / "README.md", mixture_card(manifest).encode())
    write_json(manifest_path, manifest)
    shutil.rmtree(work)
    return manifest


def _inputs(mixture: Mixture) -> list[Any]:
    """Size and time of every file that the mixture reads, by name."""
    from common.provenance import file_state
    from data_prep.dedup.ngram_table import questions_state
    from data_prep.mixtures.records import source_files
    from data_prep.mixtures.selection import SPLITS, earlier_files

    files = [path for source in mixture.sources for path in source_files(source)]
    files += [path for split in SPLITS for path in earlier_files(mixture, split)]
    found: list[Any] = [[str(path), *file_state(path)] for path in files]
    if mixture.benchmarks:
        found.append([mixture.benchmarks, questions_state(project_path(mixture.benchmarks))])
    return found


def _finished(path: Path, knobs: dict[str, Any], inputs: list[Any]) -> dict[str, Any] | None:
    """The manifest of a mixture of these knobs and inputs, by whatever code, whose files are there.

    Raises:
        UserError: a dataset of another kind is there.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it, or write elsewhere with --out FOLDER") from None
    if not isinstance(manifest, dict) or "mixture" not in manifest:
        raise UserError(
            f"{path.parent}: a dataset that mix_datasets.py did not make; write elsewhere with --out FOLDER"
        )
    names = [file["name"] for split in manifest["splits"].values() for file in split["files"]]
    wanted = json.loads(json.dumps([knobs, inputs]))
    if [manifest["mixture"], manifest.get("inputs")] != wanted or not all(
        (path.parent / name).exists() for name in names
    ):
        return None
    from_hub = [source for source in manifest["mixture"]["sources"] if source["dataset"] and not source["revision"]]
    return None if from_hub else manifest


def _write_splits(out: Path, stages: Sequence[Any], choice: Any, settings: Settings) -> dict[str, Any]:
    from tqdm import tqdm

    from common.jsonl import split_paths
    from data_prep.mixtures.selection import CODE, SPLITS, document_names
    from data_prep.pipeline.write_splits import SplitWriter, file_names

    names, sizes = document_names(choice, stages), _final_sizes(stages, choice)
    written = {}
    for split in SPLITS:
        total = int(sizes[choice.outcome == CODE[split]].sum())
        parts = [_used(stages[number], choice, number, CODE[split]) for number in range(len(stages))]
        files = file_names(split, total, settings.data)
        bar = tqdm(total=total, unit="B", unit_scale=True, desc=split)
        with SplitWriter(out, files, total) as writer, bar:
            # Sources beside each other, each spread evenly over the whole.
            for _, source, number, line in heapq.merge(*parts):
                row = stages[source].rows[number - choice.starts[source]]
                cluster = json.dumps(names(int(choice.cluster[number])), ensure_ascii=False).encode()
                # Within a text the quotes of a key have backslashes, so this is the key itself.
                line = line.replace(NO_CLUSTER, NO_CLUSTER.replace(b"null", cluster), 1)
                writer.write(line, int(row["text_bytes"]), int(row["characters"]))
                bar.update(int(row["line_bytes"]))
        for path in split_paths(out, split):
            if path.name not in files:  # of an earlier run with other knobs
                path.unlink()
        written[split] = writer.summary()
    return written


def _final_sizes(stages: Sequence[Any], choice: Any) -> Any:
    """Bytes of each document's lines as they are written, all uses together: int64 [documents]."""
    import numpy as np

    def digits(numbers: Any) -> Any:
        return np.char.str_len(numbers.astype(str))

    # An id is the name of its source, a slash, and a number.
    ids = np.concatenate([len(stage.source.name.encode()) + 1 + digits(stage.rows["number"]) for stage in stages])
    lines = np.concatenate([stage.rows["line_bytes"].astype(np.int64) for stage in stages])
    lines += ids[choice.cluster] + len('""') - len("null")
    whole = lines * choice.uses
    for turn in range(2, int(choice.uses.max(initial=0)) + 1):
        whole += (choice.uses >= turn) * len(f"#{turn}")
    return whole


def _of(choice: Any, source: int, code: int) -> Any:
    """Mask of a source's documents that have this outcome."""
    return choice.outcome[choice.part(source)] == code


def _used(stage: Any, choice: Any, source: int, code: int) -> Iterator[tuple[float, int, int, bytes]]:
    """(place in the split from 0 to 1, source, number, line) of each use of a source's documents, in order."""
    chosen, part = _of(choice, source, code), choice.part(source)
    uses = choice.uses[part] * chosen
    sizes = stage.rows["line_bytes"].astype("int64")
    total, done = int((sizes * uses).sum()), 0
    for turn in range(1, int(uses.max(initial=0)) + 1):
        for index, line in enumerate(stage.each_line()):
            if uses[index] < turn:
                continue
            if turn > 1:
                name = f"{stage.source.name}/{stage.rows[index]['number']}".encode()
                line = line.replace(name, name + f"#{turn}".encode(), 1)
            yield (done + sizes[index] / 2) / total, source, part.start + index, line
            done += int(sizes[index])


def _counts(stages: Sequence[Any], choice: Any) -> dict[str, Any]:
    """What became of each source's records; every one of them is counted once.

    Raises:
        RuntimeError: it does not add up.
    """
    from data_prep.mixtures.selection import OUTCOMES, SPLITS

    found = {}
    for number, stage in enumerate(stages):
        part = choice.part(number)
        codes = Counter(choice.outcome[part].tolist())
        outcomes = Counter(stage.rejected) + Counter({OUTCOMES[code]: count for code, count in codes.items()})
        if outcomes.total() != stage.read:
            raise RuntimeError(f"{stage.source.name}: {stage.read} records read, {outcomes.total()} accounted for")
        uses, text_bytes = choice.uses[part], stage.rows["text_bytes"].astype("int64")
        train, val = (choice.outcome[part] == code for code in range(len(SPLITS)))
        found[stage.source.name] = {
            "records": stage.read,
            "written": {split: outcomes[split] for split in SPLITS},
            "reasons": {name: count for name, count in sorted(outcomes.items()) if name not in SPLITS},
            # Texts made of its records, duplicates and all, in which this was changed.
            "changed": stage.changed,
            "train_bytes": int((text_bytes * uses)[train].sum()),
            "val_bytes": int(text_bytes[val].sum()),
            "repeats": float((text_bytes * uses)[train].sum() / max(1, text_bytes[train].sum())),
        }
    return found


def _samples(stages: Sequence[Any], choice: Any, mixture: Mixture) -> dict[str, list[dict[str, Any]]]:
    """Samples of the rejected documents of each reason, from all sources."""
    import numpy as np

    from common.samples import Samples
    from data_prep.mixtures.selection import OUTCOMES, SPLITS, document_names

    names, samples = document_names(choice, stages), Samples(mixture.reject_samples)
    for number in np.flatnonzero(choice.outcome >= len(SPLITS)).tolist():
        reason = OUTCOMES[choice.outcome[number]]
        detail = choice.details.get(number, f"the same text as {names(int(choice.cluster[number]))}")
        if reason == "near_duplicate":
            detail = f"{names(int(choice.cluster[number]))}: {detail}"
        if reason != "not_wanted":
            samples.add(reason, names(number), detail=detail)
    found = {reason: samples.of(reason) for reason in samples.reasons()}
    for stage in stages:
        for reason, entries in stage.samples.items():
            found[reason] = [*found.get(reason, []), *entries]
    return found


def _write_rejected(out: Path, samples: dict[str, list[dict[str, Any]]]) -> None:
    from common.files import write_bytes
    from common.jsonl import dump_line

    shutil.rmtree(out / "rejected", ignore_errors=True)
    for reason, entries in samples.items():
        lines = [dump_line({"id": entry["id"], "reason": reason} | entry) for entry in entries]
        write_bytes(out / "rejected" / f"{reason}.jsonl", b"".join(lines))


def print_result(out: Path, manifest: dict[str, Any], flags: str) -> None:
    """Counts by source, sizes, where to look, and the next command."""
    from data_prep.mixtures.records import MIX_REASONS

    whole = sum(source["train_bytes"] for source in manifest["sources"].values()) or 1
    for name, source in manifest["sources"].items():
        share = source["train_bytes"] / whole
        print(
            f"{name}: {source['records']:,} records, {source['written']['train']:,} in train "
            f"({source['train_bytes'] / 1e6:,.2f} MB, {share:.1%}, read {source['repeats']:.2f} times), "
            f"{source['written']['val']:,} in val"
        )
        for reason, count in source["reasons"].items():
            print(f"  {reason:<26}{count:>10,}  {MIX_REASONS[reason]}")
        for what, count in source.get("changed", {}).items():  # a mixture of earlier code has no such counts
            print(f"  {what:<26}{count:>10,}  texts that were cleaned of these, as papers are")
    for split, sizes in manifest["splits"].items():
        print(f"{split:<6}{sizes['documents']:>10,} documents {sizes['text_bytes'] / 1e6:>10,.2f} MB of text")
    if asked := manifest["compared"].get("benchmarks"):
        print(f"{asked['too_short']:,} of the benchmark questions are too short for a 13-gram: they are not looked for")
    marked = any(source["answers"] or source["messages"] for source in manifest["mixture"]["sources"])
    learn = " --set train.learn_from=answers" if marked else ""
    print(f"look at: {out / 'report' / 'report.html'}, {out / 'rejected'}/")
    data = f" --set data.out={shlex.quote(str(out))}"
    print(f"next:    deepspeed train.py{flags}{data} --set train.init_from=runs/NAME{learn}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Mix datasets (JSON lines, Parquet, hub) into the splits that training on reads.",
        epilog="example: python data_prep/mix_datasets.py --mixture examples/post_training/mixture.json --out mixed",
    )
    parser.add_argument(
        "--mixture", type=Path, required=True, help="the mixture file (JSON; see data_prep/mixtures/config.py)"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the splits (default: dataset_post_training in the project's folder)"
    )
    parser.add_argument("--workers", type=int, help="worker processes (default: data.workers; 0: one per core)")
    parser.add_argument(
        "--accept-stale", action="store_true", help="leave a mixture as it is though the code has changed since"
    )
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args, data__workers=args.workers)
    out = args.out.absolute() if args.out else project_path("dataset_post_training")
    mixture = load_mixture(args.mixture.absolute())
    again = shlex.join(["python", *sys.argv] if argv is None else ["python", __file__, *argv])
    workers = settings.data.workers or available_cores()
    manifest = mix(mixture, out, settings, workers, f"{again} --accept-stale", args.accept_stale)
    print_result(out, manifest, repeated_flags(args, but="data.out"))
    return 0


if __name__ == "__main__":
    run_command(main)
