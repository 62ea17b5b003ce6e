"""The funnel: how many papers came in, where they went, and what is left. As figures, a page and a JSON file.

All but the page, which tells the time it took, depend on the data alone. `reasons` is the closed list of reasons with
their meanings, in the order of the funnel.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_bytes, write_json
from reports.html import STYLE
from reports.numbers import percent, size_text

# Counters of the judge of languages: the evidence that decided, and what it found.
LANGUAGE_RULE, LANGUAGE = "language_by_", "language_"
# The stages that the reasons belong to, by the first reason of each (`reasons` has the funnel's order).
STAGES = (
    ("bad_metadata", "metadata", "#7b8fa6"),
    ("empty_archive", "archive", "#c98a3b"),
    ("no_main_file", "text", "#a8556b"),
    ("exact_duplicate", "collection", "#6b5b95"),
)
KEPT_COLOUR = "#2f7d6b"
LEFT_COLOUR = "#d9e5e2"
# Right edges of the figure's columns of numbers, in widths of the axes.
COLUMNS = (1.11, 1.22, 1.33)
# Rows of the table of subjects; the rest is one row.
MAX_SUBJECTS = 40
MAX_SAMPLES = 5
# Categories in the figure.
MAX_BARS = 14
# What the whole of arXiv is projected to: papers with a source, and cores.
ARXIV_PAPERS, ARXIV_CORES = 3_000_000, 16


def write(
    folder: Path, data: Mapping[str, Any], reasons: Mapping[str, str], timing: Mapping[str, Any] | None = None
) -> None:
    """Write report.json, funnel.png, overview.png and report.html; `timing` is what timing.json holds."""
    funnel, overview = funnel_png(data, reasons), overview_png(data)
    write_json(folder / "report.json", data)
    write_bytes(folder / "funnel.png", funnel)
    write_bytes(folder / "overview.png", overview)
    write_bytes(folder / "report.html", report_html(data, reasons, funnel, overview, timing).encode("utf-8", "replace"))


def stage_of(reason: str, reasons: Mapping[str, str]) -> tuple[str, str]:
    """Name and colour of the stage at which a reason drops a paper."""
    order = list(reasons)
    place = order.index(reason)
    return [(name, colour) for first, name, colour in STAGES if order.index(first) <= place][-1]


def funnel_steps(data: Mapping[str, Any], reasons: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """(reason, dropped, left after it) in the order of the funnel, for reasons that dropped something."""
    left = data["input"]["total"]
    steps = []
    for reason in reasons:
        dropped = data["reasons"].get(reason, 0)
        if dropped:
            left -= dropped
            steps.append((reason, dropped, left))
    return steps


def funnel_png(data: Mapping[str, Any], reasons: Mapping[str, str]) -> bytes:
    """The funnel as a figure: what each reason dropped, between the input and what was written."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    total = max(1, data["input"]["total"])
    steps = funnel_steps(data, reasons)
    rows = [("input", data["input"]["total"], data["input"]["total"], KEPT_COLOUR)]
    rows += [(reason.replace("_", " "), dropped, left, stage_of(reason, reasons)[1]) for reason, dropped, left in steps]
    rows += [("written", data["written"], data["written"], KEPT_COLOUR)]
    figure, axes = plt.subplots(figsize=(11, 1.6 + 0.36 * len(rows)), dpi=130)
    for y, (label, count, left, colour) in enumerate(rows):
        ends = label in ("input", "written")
        axes.barh(y, left / total, color=KEPT_COLOUR if ends else LEFT_COLOUR, height=0.78)
        if not ends:
            axes.barh(y, count / total, left=left / total, color=colour, height=0.78)
        # Drops of a few papers would not show: a thin mark stands where they are.
        if not ends and count / total < 0.002:
            axes.plot([left / total] * 2, [y - 0.39, y + 0.39], color=colour, linewidth=1.4)
        columns = (f"{count:,}" if ends else f"−{count:,}", percent(count / total), "" if ends else f"{left:,}")
        for x, text in zip(COLUMNS, columns, strict=True):
            axes.text(x, y, text, va="center", ha="right", fontsize=10, fontweight="bold" if ends else "normal")
    for x, text in zip(COLUMNS, ("papers", "of the input", "left"), strict=True):
        axes.text(x, -0.62, text, va="bottom", ha="right", fontsize=9, color="#666666")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=10)
    for end in (0, -1):
        axes.get_yticklabels()[end].set_fontweight("bold")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    axes.set_xlabel("share of the input", fontsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    splits = data["splits"]
    sizes = ", ".join(
        f"{name} {split['documents']:,} documents ({size_text(split['text_bytes'])})" for name, split in splits.items()
    )
    axes.set_title(f"From arXiv's archives to the dataset: {sizes}", fontsize=12, loc="left", pad=22, x=-0.12)
    used = {stage_of(reason, reasons) for reason, _, _ in steps}
    handles = [Patch(color=colour, label=f"dropped by {name}") for _, name, colour in STAGES if (name, colour) in used]
    handles += [Patch(color=LEFT_COLOUR, label="still in")]
    below = -0.55 / (0.36 * len(rows))  # some half an inch, in heights of the axes
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, below), ncol=5, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def overview_png(data: Mapping[str, Any]) -> bytes:
    """Years, categories, lengths and clusters as small figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), dpi=110)
    years = data["years"]
    categories = dict(_largest(data["subjects"])[:MAX_BARS])
    for panel, rows, title in ((axes[0, 0], years, "by year"), (axes[0, 1], categories, "by primary category")):
        names = list(rows)
        for key, colour in (("records", "#d5dbe1"), ("in_scope", "#9db8b1"), ("written", KEPT_COLOUR)):
            panel.bar(names, [rows[name][key] for name in names], color=colour, label=key.replace("_", " "))
        panel.set_title(f"Papers {title}", loc="left", fontsize=11)
        panel.tick_params(axis="x", rotation=90 if len(names) > 6 else 0, labelsize=7)
        panel.legend(frameon=False, fontsize=8)
    histogram = data["lengths"]["histogram"]
    axes[1, 0].bar(
        [f"{row['from']:,}" for row in histogram], [row["documents"] for row in histogram], color=KEPT_COLOUR, width=0.9
    )
    axes[1, 0].set_title("Length of the texts (characters, from)", loc="left", fontsize=11)
    axes[1, 0].tick_params(axis="x", rotation=60, labelsize=7)
    clusters = data.get("clusters", {})
    axes[1, 1].bar(list(clusters), list(clusters.values()), color="#6b5b95")
    axes[1, 1].set_title("Clusters of duplicates, by papers in each", loc="left", fontsize=11)
    if not clusters:
        axes[1, 1].text(0.5, 0.5, "none", ha="center", transform=axes[1, 1].transAxes)
    for panel in axes.flat:
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def report_html(
    data: Mapping[str, Any],
    reasons: Mapping[str, str],
    figure: bytes,
    overview: bytes = b"",
    timing: Mapping[str, Any] | None = None,
) -> str:
    """One self-contained page."""
    archive_bytes, text_bytes = data.get("archive_bytes", {}), data.get("text_bytes", {})
    total = max(1, data["input"]["total"])
    vocabulary = data["vocabulary"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Dataset funnel</title><style>{STYLE}</style>",
        "<h1>From arXiv's archives to the dataset</h1>",
        f"<p>{data['input']['metadata_records']:,} metadata records and {data['input']['unclaimed_archives']:,} "
        f"archives that no record claims came in; <b>{data['written']:,} papers</b> were written.</p>",
        f'<img alt="The funnel" src="{_embedded(figure)}">',
        "<h2>Splits</h2>",
        _table(
            ["split", "documents", "text", "file", "sha256"],
            [
                [name, s["documents"], size_text(s["text_bytes"]), size_text(s["bytes"]), s["sha256"][:16]]
                for name, s in data["splits"].items()
            ],
        ),
        f"<p>The training text supports a vocabulary of about <b>{vocabulary['supported']:,}</b> entries; configured "
        f"are {vocabulary['configured']:,}, which want {size_text(vocabulary['needed_bytes'])} of text.</p>",
        "<h2>Where papers were dropped, and why</h2>",
        _table(
            ["reason", "stage", "papers", "of the input", "left", "archives", "text", "meaning"],
            [
                [
                    *(reason, stage_of(reason, reasons)[0], dropped, percent(dropped / total), left),
                    *(_bytes(archive_bytes.get(reason)), _bytes(text_bytes.get(reason)), reasons[reason]),
                ]
                for reason, dropped, left in funnel_steps(data, reasons)
            ],
        ),
        "<h2>Samples of what was dropped</h2><p>More of each in <code>rejected/REASON.jsonl</code>.</p>",
        *(_samples(reason, reasons[reason], samples) for reason, samples in data["samples"].items() if samples),
        *([f'<h2>What is in it</h2><img alt="Overview" src="{_embedded(overview)}">'] if overview else []),
        *_languages(data["counters"]),
        *_duplicates(data),
        *_timing(data, timing),
        "<h2>Length of the texts written (characters)</h2>",
        _lengths(data["lengths"]),
        "<h2>By year of the first version</h2>",
        _breakdown("year", data["years"].items()),
        "<h2>By primary category</h2>",
        _breakdown("category", _largest(data["subjects"])),
    ]
    if data["counters"]:
        parts += ["<h2>Counters of the passes</h2>", _table(["counter", "count"], data["counters"].items())]
    if data["problems"]:
        items = "".join(f"<li>{html.escape(problem)}</li>" for problem in data["problems"][:50])
        parts += [f"<h2>Problems in the source folder ({len(data['problems']):,})</h2><ul>{items}</ul>"]
    return "\n".join(parts) + "\n"


def _embedded(figure: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(figure).decode()}"


def _bytes(size: int | None) -> str:
    return size_text(size) if size else ""


def _languages(counters: Mapping[str, int]) -> list[str]:
    """Languages that the judge found, before those outside of data.languages were left out, and by which evidence."""
    rules, found = {}, {}
    for name, count in counters.items():
        if name.startswith(LANGUAGE_RULE):
            rules[name.removeprefix(LANGUAGE_RULE).replace("_", " ")] = count
        elif name.startswith(LANGUAGE):
            found[name.removeprefix(LANGUAGE)] = count
    if not found:
        return []
    total = sum(found.values())
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    evidence = ", ".join(f"{rule} {count:,}" for rule, count in sorted(rules.items()))
    return [
        "<h2>Languages</h2>",
        f"<p>Judged by: {evidence}. What is unknown has too little prose to tell, and is kept.</p>",
        _table(["language", "papers", "share"], [[code, count, count / total] for code, count in ranked]),
    ]


def _duplicates(data: Mapping[str, Any]) -> list[str]:
    """Clusters, and what was found of validation papers in training and of benchmark questions."""
    parts = []
    if clusters := data.get("clusters"):
        rows = [[int(size), count] for size, count in clusters.items()]
        parts += ["<h2>Clusters of duplicates</h2>", _table(["papers in it", "clusters"], rows[:MAX_SUBJECTS])]
    overlaps = data.get("overlaps", {})
    if val := overlaps.get("val"):
        parts += [
            "<h2>Validation papers that training holds</h2>",
            f"<p>Of {val['papers']:,} validation papers {val['above']:,} share more than {val['limit']:.0%} of their "
            f"13-grams with training; {val['dropped']:,} were left out for it.</p>",
            _table(["paper", "share in training", ""], [[p, f"{s:.1%}", float(s)] for p, s in val["highest"][:10]]),
        ]
    if asked := overlaps.get("benchmarks"):
        parts += [
            "<h2>Benchmark questions</h2>",
            f"<p>{asked['questions']:,} questions ({asked['too_short']:,} more are too short for a 13-gram): "
            f"{asked['above']:,} papers hold more than {asked['limit']:.0%} of one, {asked['dropped']:,} were left "
            "out.</p>",
            _table(["paper", "question", "share"], [[p, q, f"{s:.0%}"] for p, q, s in asked["found"]]),
        ]
    return parts


def _timing(data: Mapping[str, Any], timing: Mapping[str, Any] | None) -> list[str]:
    """Seconds and throughput of each stage, and what the whole of arXiv would take."""
    if not timing or not timing["papers"]:
        return []
    papers, archives = timing["papers"], timing["archive_bytes"]
    workers = timing["worker_seconds"]
    total = sum(workers.values()) or 1e-9
    rows = [
        [stage, f"{seconds:,.1f} s", f"{1000 * seconds / papers:,.2f} ms", f"{papers / seconds:,.0f}", seconds / total]
        for stage, seconds in workers.items()
        if seconds
    ]
    hours = total / papers * ARXIV_PAPERS / ARXIV_CORES / 3600
    share = ARXIV_PAPERS / papers
    text = sum(split["text_bytes"] for split in data["splits"].values())
    wall = ", ".join(f"{stage} {seconds:,.1f} s" for stage, seconds in timing["wall_seconds"].items())
    return [
        "<h2>Time</h2>",
        _table(["in the workers", "in all", "a paper", "papers/s a core", ""], rows),
        f"<p>{papers:,} papers of {size_text(archives)} took {total:,.0f} core-seconds, {papers / total:,.1f} papers/s "
        f"a core. This run by the clock (finished shards are not made again): {wall}.</p>",
        f"<p><b>Estimate for all of arXiv</b> ({ARXIV_PAPERS:,} papers like these, {ARXIV_CORES} cores): {hours:,.1f} "
        f"hours, {size_text(int(text * share))} of text from {size_text(int(archives * share))} of archives.</p>",
    ]


def _breakdown(what: str, rows: Iterable[tuple[str, Mapping[str, int]]]) -> str:
    rows = list(rows)
    most = max((row["text_bytes"] for _, row in rows), default=0) or 1
    body = [
        [key, row["records"], row["in_scope"], row["written"], size_text(row["text_bytes"]), row["text_bytes"] / most]
        for key, row in rows
    ]
    return _table([what, "records", "in scope", "written", "text", ""], body)


def _largest(subjects: Mapping[str, Mapping[str, int]]) -> list[tuple[str, Mapping[str, int]]]:
    """The categories with most text, the others together."""
    rows = sorted(subjects.items(), key=lambda item: (-item[1]["text_bytes"], -item[1]["records"], item[0]))
    others = [row for _, row in rows[MAX_SUBJECTS:]]
    if not others:
        return rows
    together = {key: sum(row[key] for row in others) for key in others[0]}
    return [*rows[:MAX_SUBJECTS], (f"{len(others)} others", together)]


def _lengths(lengths: Mapping[str, Any]) -> str:
    if not lengths["histogram"]:
        return "<p>No text was written.</p>"
    most = max(row["documents"] for row in lengths["histogram"])
    quantiles = ", ".join(f"{name}: {value:,}" for name, value in lengths["quantiles"].items())
    rows = [
        [f"{row['from']:,} to {row['to'] - 1:,}", row["documents"], row["documents"] / most]
        for row in lengths["histogram"]
    ]
    return f"<p>Quantiles: {quantiles}.</p>" + _table(["characters", "documents", ""], rows)


def _samples(reason: str, meaning: str, samples: Sequence[Mapping[str, Any]]) -> str:
    shown = "".join(
        f"<pre>{html.escape(json.dumps(sample, ensure_ascii=False, indent=1))}</pre>"
        for sample in samples[:MAX_SAMPLES]
    )
    return f"<details><summary><b>{reason}</b>: {html.escape(meaning)}</summary>{shown}</details>"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table: whole numbers to the right with separators, fractions as bars."""
    rows = [list(row) for row in rows]
    numeric = [bool(rows) and isinstance(rows[0][i], int) for i in range(len(header))]
    head = "".join(
        f"<th{_class(number)}>{html.escape(name)}</th>" for name, number in zip(header, numeric, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{_class(isinstance(cell, int))}>{_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _class(number: bool) -> str:
    return " class=n" if number else ""


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f'<span class=bar style="width:{round(value * 200)}px"></span>'
    return html.escape(str(value))


def compare(one: Path, other: Path, reasons: Mapping[str, str]) -> str:
    """What differs between the reports of two datasets: knobs, reasons, splits. Text, a table a block.

    Raises:
        UserError: a folder without a report.
    """
    a, b = (_load(folder) for folder in (one, other))
    lines = [f"A: {one}", f"B: {other}", ""]
    changed = [
        f"  {stage}.{key}: {a['knobs'][stage].get(key)!r} -> {b['knobs'][stage].get(key)!r}"
        for stage in a["knobs"]
        for key in sorted(a["knobs"][stage].keys() | b["knobs"][stage].keys())
        if a["knobs"][stage].get(key) != b["knobs"][stage].get(key)
    ]
    lines += ["knobs that differ:", *(changed or ["  none"]), "", f"{'':<22}{'A':>14}{'B':>14}{'B - A':>14}"]
    rows = [("input", a["input"]["total"], b["input"]["total"])]
    rows += [
        (r, a["reasons"].get(r, 0), b["reasons"].get(r, 0)) for r in reasons if r in a["reasons"] or r in b["reasons"]
    ]
    rows += [("written", a["written"], b["written"])]
    for split in a["splits"]:
        rows += [(f"{split} documents", a["splits"][split]["documents"], b["splits"][split]["documents"])]
        rows += [(f"{split} text bytes", a["splits"][split]["text_bytes"], b["splits"][split]["text_bytes"])]
    lines += [f"{name:<22}{x:>14,}{y:>14,}{y - x:>+14,}" for name, x, y in rows]
    return "\n".join(lines)


def _load(folder: Path) -> dict[str, Any]:
    path = folder / "report" / "report.json"
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no report to compare: {error}; name two folders of prepare_dataset.py") from None
