"""Runs beside each other: what differed in the configuration, and what came of it.

    python evaluation/compare_runs.py                                # all runs in train.runs
    python evaluation/compare_runs.py runs/a runs/b --out compared   # these, into a folder of one's choice

Writes comparison.html (one file), curves.png, comparison.json and comparison.csv. Bits per byte rank the runs of one
validation split; a perplexity names its tokenizer. Runs that differ in `train.seed` alone are averaged. A results.json
in a run's folder, {metric: value}, is read along.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/compare_runs.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.files import write_bytes, write_json
from common.paths import project_path
from evaluation.run_data.data import Record, RunData, find_runs, read_run, run_folder
from evaluation.run_data.groups import SEED, differences, group_key, groups, validation_split, value_text
from evaluation.run_data.summary import TOLD, summarize, told
from reports.comparison import compare_figure
from reports.html import image, page, paragraph, table, write_page

# Figures that can rank: by the summary's key, and whether less is better.
RANKED_BY = {
    "bits_per_byte": ("best_bits_per_byte", True),
    "perplexity": ("best_perplexity", True),
    "loss": ("final_loss", True),
    "tokens_per_second": ("tokens_per_second", False),
}
# Perplexity and loss are per token: of two tokenizers they tell nothing of the models.
PER_TOKEN = {"perplexity", "loss"}
# Told of runs that trained on from others, where there are any.
FORGETTING = "final_pretraining_bits_per_byte"
# Columns of the table on the screen; the page has all.
ON_SCREEN = (
    *("state", "steps", "tokens", "best_bits_per_byte", "final_bits_per_byte", "best_perplexity"),
    FORGETTING,
    *("final_loss", "tokens_per_second", "mfu", "hours"),
)
MAX_LEGEND = 70
SPLIT = "validation split"


def compare(runs: Sequence[RunData], left_out: Sequence[str], sort: str) -> Record:
    """The comparison as comparison.json holds it, ranked; its "order" are the runs' numbers.

    Raises:
        UserError: they were to be ranked by a figure that cannot rank them.
    """
    tokenizers = {run.tokenizer for run in runs}
    if sort in PER_TOKEN and len({run.details.get("tokenizer") for run in runs}) > 1:
        raise UserError(
            f"--sort {sort}: the runs have {len(tokenizers)} tokenizers ({'; '.join(sorted(tokenizers))}), and a "
            f"{sort} is per token of its own; take --sort bits_per_byte, or name runs of one tokenizer"
        )
    summaries = [summarize(run) for run in runs]
    differ, partly = differences(runs)
    splits = [validation_split(run) for run in runs]
    order, ranks = ranking(runs, summaries, splits, sort)
    rows = [
        {
            "rank": ranks[number],
            "run": runs[number].name,
            "folder": str(runs[number].folder),
            "validation_split": splits[number],
            "tokenizer": runs[number].tokenizer,
            "differs": {key: values[number] for key, values in differ.items()},
            **summaries[number],
            "results": runs[number].results,
        }
        for number in order
    ]
    found = groups([runs[number] for number in order], [summaries[number] for number in order])
    for group in found:
        first = rows[group.pop("numbers")[0]]
        # What sets the group apart: of that in which its runs differ there is only the seed, and where they ran.
        members = [row for row in rows if row["run"] in group["runs"]]
        group["settings"] = {
            key: value
            for key, value in first["differs"].items()
            if key != SEED and all(row["differs"][key] == value for row in members)
        }
        group["validation_split"] = first["validation_split"]
    return {
        "sorted_by": sort,
        "order": order,
        "runs": rows,
        "groups": found,
        "noted_by_some_only": partly,
        "notes": notes(runs, splits),
        "left_out": list(left_out),
    }


def ranking(
    runs: Sequence[RunData], summaries: Sequence[Record], splits: Sequence[str], sort: str
) -> tuple[list[int], list[int | None]]:
    """Numbers of the runs in the table's order, and the rank of each run; runs without the figure come last, unranked.

    Figures of validation rank within a validation split, the one with most runs first; speed ranks all runs.
    """
    key, less_is_better = RANKED_BY[sort]
    classes = list(splits) if key != "tokens_per_second" else [""] * len(runs)
    sizes = {split: classes.count(split) for split in classes}

    def place(number: int) -> tuple[Any, ...]:
        value, split = summaries[number][key], classes[number]
        signed = 0.0 if value is None else value if less_is_better else -value
        return (-sizes[split], split, value is None, signed, runs[number].name)

    order = sorted(range(len(runs)), key=place)
    ranks: list[int | None] = [None] * len(runs)
    taken: dict[str, int] = {}
    for number in order:
        if summaries[number][key] is not None:
            taken[classes[number]] = ranks[number] = taken.get(classes[number], 0) + 1
    return order, ranks


def notes(runs: Sequence[RunData], splits: Sequence[str]) -> list[str]:
    """What to mind in reading the table."""
    found = []
    if len(set(splits)) > 1:
        found.append(
            f"{len(set(splits))} validation splits: bits per byte and perplexity of one are not comparable with those "
            "of another, and ranks count within each."
        )
    if len({run.details.get("tokenizer") for run in runs}) > 1:
        found.append(
            "Several tokenizers: perplexities and losses are per token of each run's own, and are not ranked; bits per "
            "byte are."
        )
    for split in sorted(set(splits)):
        of = [run for run, its in zip(runs, splits, strict=True) if its == split]
        parts = {(run.train.get("seq_len"), run.train.get("val_sequences"), run.details.get("tokenizer")) for run in of}
        if len(parts) > 1:
            found.append(
                f"Of the validation split {split} the runs read {len(parts)} different parts (train.seq_len, "
                "train.val_sequences or the tokenizer differ): small differences may come from that."
            )
    going = [run.name for run in runs if run.state in ("unfinished", "training now")]
    if going:
        found.append(f"Not at their end: {', '.join(going)}.")
    return found


def labels(comparison: Record) -> list[str]:
    """What the legend says of each run of the table: rank, name, bits per byte, and the settings that differ."""
    shown = []
    several = len({row["validation_split"] for row in comparison["runs"]}) > 1
    for row in comparison["runs"]:
        best = row["best_bits_per_byte"]
        label = f"{row['rank'] or '–'}. {row['run']}" + (f"  {best:.4f}" if best is not None else "")
        label += f"  [{row['validation_split'].rpartition(' ')[2]}]" if several else ""
        settings = [
            f"{key.rpartition('.')[2]} {value_text(key, value)}"
            for key, value in row["differs"].items()
            if key.startswith("train.") or "." not in key
        ]
        for text in settings:
            if len(label) + len(text) + 2 > MAX_LEGEND:
                break
            label += f"  {text}" if text is settings[0] else f", {text}"
        shown.append(label)
    return shown


def colours(runs: Sequence[RunData]) -> list[tuple[int, int]]:
    """(colour, line) of each run: a colour a group of seeds; and without such groups ten colours, then other lines."""
    keys = [group_key(run) for run in runs]
    alike = list(dict.fromkeys(keys))
    if len(alike) == len(runs):
        return [(number % 10, number // 10) for number in range(len(runs))]
    return [
        (alike.index(key) % 20, alike.index(key) // 20 + keys[:number].count(key)) for number, key in enumerate(keys)
    ]


def header(comparison: Record) -> list[tuple[str, Callable[[Record], str]]]:
    """Columns of the table of runs: title, and a row's text."""

    def setting(key: str) -> Callable[[Record], str]:
        return lambda row: value_text(key, row["differs"][key])

    def figure(key: str) -> Callable[[Record], str]:
        if key.endswith("perplexity"):
            return lambda row: "–" if row[key] is None else f"{told(key, row[key])} ({_tokenizer(row)})"
        return lambda row: told(key, row[key])

    def result(key: str) -> Callable[[Record], str]:
        return lambda row: _result(row["results"].get(key))

    rows = comparison["runs"]
    left_out = {"planned_steps"}
    if all(row[FORGETTING] is None for row in rows):
        left_out.add(FORGETTING)
    several = len({row["validation_split"] for row in rows}) > 1
    split: list[tuple[str, Callable[[Record], str]]] = [(SPLIT, lambda row: row["validation_split"])]
    return [
        ("rank", lambda row: str(row["rank"] or "–")),
        ("run", lambda row: row["run"]),
        *(split if several else []),
        *((key, setting(key)) for key in rows[0]["differs"]),
        *((title, figure(key)) for key, (title, _) in TOLD.items() if key not in left_out),
        *((key, result(key)) for key in dict.fromkeys(key for row in rows for key in row["results"])),
    ]


def _tokenizer(row: Record) -> str:
    return row["tokenizer"].removeprefix("tokenizer ").partition(",")[0]


def _result(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def comparison_html(comparison: Record, figure: bytes) -> str:
    """One self-contained page."""
    rows, columns = comparison["runs"], header(comparison)
    parts = [
        paragraph(
            f"{len(rows)} runs, sorted by {comparison['sorted_by'].replace('_', ' ')}. What differed stands first, "
            "then what came of it. Training loss is smoothed; tokens/s, MFU and hours are of the steps alone."
        )
    ]
    parts += [paragraph(text, "warning") for text in comparison["notes"]]
    splits: list[str | None] = list(dict.fromkeys(row["validation_split"] for row in rows))
    if len(splits) == 1 or comparison["sorted_by"] == "tokens_per_second":
        splits = [None]
    else:  # a table each
        columns = [column for column in columns if column[0] != SPLIT]
    titles = [title for title, _ in columns]
    for split in splits:
        of = [row for row in rows if split in (None, row["validation_split"])]
        parts.append(f"<h2>{'Runs' if split is None else f'Validation split {split}'}</h2>")
        place = titles.index(TOLD["best_bits_per_byte"][0])
        known = [row["best_bits_per_byte"] for row in of if row["best_bits_per_byte"] is not None]
        best = {(i, place) for i, row in enumerate(of) if len(known) > 1 and row["best_bits_per_byte"] == min(known)}
        parts.append(table(titles, [[text(row) for _, text in columns] for row in of], left=(1,), best=best))
    names = sorted({row["tokenizer"] for row in rows})
    parts.append(paragraph("Perplexities are of: " + "; ".join(names) + ".", "note"))
    if comparison["noted_by_some_only"]:
        partly = ", ".join(comparison["noted_by_some_only"])
        parts.append(paragraph(f"Noted by some of the runs only, with one value: {partly}.", "note"))
    if comparison["groups"]:
        parts += ["<h2>Over seeds</h2>", paragraph("Mean ± standard deviation of the runs that came to their end.")]
        parts.append(table(*group_table(comparison), left=(0, 1, 3)))
    parts += ["<h2>Curves</h2>", image("Curves", figure)]
    if comparison["left_out"]:
        parts += ["<h2>Left out</h2>", *(paragraph(text, "warning") for text in comparison["left_out"])]
    return page("Runs compared", parts)


def group_table(comparison: Record) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the table of groups."""
    found = comparison["groups"]
    told_keys = [key for key in TOLD if any(isinstance(group.get(key), dict) for group in found)]
    results = list(dict.fromkeys(key for group in found for key in group if key.startswith("results.")))
    rows = []
    for group in found:
        settings = [f"{key} {value_text(key, value)}" for key, value in group["settings"].items()]
        row = [", ".join(settings) or "no other difference", ", ".join(group["runs"])]
        row += [f"{group['ended']} of {len(group['runs'])}", ", ".join(map(str, group["seeds"]))]
        for key in (*told_keys, *results):
            value, form = group.get(key), TOLD[key][1] if key in TOLD else "{:.4g}".format
            row.append("–" if value is None else f"{form(value['mean'])} ± {form(value['deviation'])}")
        rows.append(row)
    titles = [TOLD[key][0] for key in told_keys] + [key.removeprefix("results.") for key in results]
    return ["settings", "runs", "at their end", "seeds", *titles], rows


def comparison_csv(comparison: Record) -> str:
    """A line a run, figures unrounded."""
    rows = comparison["runs"]
    settings = list(rows[0]["differs"])
    results = list(dict.fromkeys(key for row in rows for key in row["results"]))
    plain = [key for key in rows[0] if key not in ("differs", "results")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*plain, *settings, *(f"results.{key}" for key in results)])
    for row in rows:
        differs = [value if isinstance(value, str) else json.dumps(value) for value in row["differs"].values()]
        writer.writerow([*(row[key] for key in plain), *differs, *(row["results"].get(key) for key in results)])
    return out.getvalue()


def _on_screen(key: str) -> bool:
    """Whether a figure of a later evaluation has room in the table on the screen."""
    evaluation, _, rest = key.partition(".")
    if evaluation == "perplexity" and rest:
        return rest == "bits_per_byte"
    return evaluation != "generations" and not rest.endswith("_stderr")


def comparison_text(comparison: Record) -> str:
    """The tables for the screen."""
    rows = comparison["runs"]
    wanted = {"rank", "run", SPLIT, *(TOLD[key][0] for key in ON_SCREEN)} | {*rows[0]["differs"]}
    wanted |= {key for row in rows for key in row["results"] if _on_screen(key)}
    columns = [(title, text) for title, text in header(comparison) if title in wanted]
    lines = [[title for title, _ in columns], *([text(row) for _, text in columns] for row in rows)]
    parts = [_aligned(lines)]
    if comparison["groups"]:
        titles, groups_rows = group_table(comparison)
        parts.append("over seeds (mean ± standard deviation):\n" + _aligned([titles, *groups_rows]))
    parts += [f"note: {text}" for text in comparison["notes"]]
    parts += [f"left out: {text}" for text in comparison["left_out"]]
    return "\n".join(parts)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def read_all(folders: Sequence[Path]) -> tuple[list[RunData], list[str]]:
    """The runs, and why others were left out.

    Raises:
        UserError: none of them can be read.
    """
    runs, left_out = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            left_out.append(str(error))
    if not runs:
        raise UserError("no run to compare: " + "; ".join(left_out))
    return runs, left_out


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare runs: what differed in the configuration and what came of it.",
        epilog="example: python evaluation/compare_runs.py runs/a runs/b --json",
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="folders or names (default: all in train.runs)"
    )
    parser.add_argument("--sort", choices=list(RANKED_BY), default="bits_per_byte", help="default: bits_per_byte")
    parser.add_argument(
        "--x", choices=("tokens", "step"), default="tokens", help="axis of the curves (default: tokens)"
    )
    parser.add_argument("--out", type=Path, help="folder for what is written (default: comparison/ in train.runs)")
    parser.add_argument("--json", action="store_true", help="print comparison.json instead of the tables")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    folder = project_path(settings_from_args(args).train.runs)
    named = list(dict.fromkeys(run_folder(run, folder) for run in args.runs))
    runs, left_out = read_all(named or find_runs(folder))
    comparison = compare(runs, left_out, args.sort)
    ordered = [runs[number] for number in comparison.pop("order")]
    figure = compare_figure(ordered, labels(comparison), colours(ordered), by_tokens=args.x == "tokens")
    out = args.out.absolute() if args.out else folder / "comparison"
    write_json(out / "comparison.json", comparison)
    write_bytes(out / "comparison.csv", comparison_csv(comparison).encode("utf-8", "replace"))
    path = write_page(out, "comparison.html", comparison_html(comparison, figure), {"curves": figure})
    print(json.dumps(comparison, indent=2) if args.json else comparison_text(comparison))
    print(path, file=sys.stderr if args.json else sys.stdout)
    return 0


if __name__ == "__main__":
    run_command(main)
