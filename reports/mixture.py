"""The report of a mixture: what came of each source, and how its documents look, answers marked. Imported, not run."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import write_bytes, write_json
from reports.html import STYLE

# Characters shown of a document.
SHOWN_CHARACTERS = 1500
MARK_STYLE = "mark { background: #d6ebe5 } .sample { white-space: pre-wrap; background: #f6f6f6; padding: .6em }"
COLOURS = ("#2f7d6b", "#c98a3b", "#a8556b", "#6b5b95", "#7b8fa6", "#8c8c3c", "#3b7ec9", "#b0653b", "#557a46", "#999999")


def write_report(
    folder: Path, manifest: dict[str, Any], samples: dict[str, list[dict[str, Any]]], reasons: Mapping[str, str]
) -> None:
    """report.json, report.html and mixture.png, from documents of each source and the reasons with their meanings."""
    whole = {key: manifest[key] for key in ("mixture", "splits", "sources", "compared")} | {"samples": samples}
    write_json(folder / "report.json", whole)
    figure = _figure(manifest["sources"], reasons)
    write_bytes(folder / "mixture.png", figure)
    write_bytes(folder / "report.html", _page(manifest, samples, figure, reasons).encode("utf-8", "replace"))


def _page(
    manifest: dict[str, Any],
    samples: dict[str, list[dict[str, Any]]],
    figure: bytes,
    meanings: Mapping[str, str],
) -> str:
    import base64

    sources, mixture = manifest["sources"], manifest["mixture"]
    whole = sum(source["train_bytes"] for source in sources.values()) or 1
    weights = {source["name"]: source["weight"] for source in mixture["sources"]}
    total = sum(weight for weight in weights.values() if weight) or 1
    rows = []
    for name, source in sources.items():
        wanted = f"{weights[name] / total:.1%} of the weighted" if weights[name] else "–"
        cells = [name, f"{source['records']:,}", f"{source['written']['train']:,}", f"{source['written']['val']:,}"]
        cells += [f"{source['train_bytes']:,}", f"{source['train_bytes'] / whole:.1%}", wanted]
        rows.append([*cells, f"{source['repeats']:.2f}"])
    reasons = list(dict.fromkeys(reason for source in sources.values() for reason in source["reasons"]))
    lost = [
        [reason, *(f"{source['reasons'].get(reason, 0):,}" for source in sources.values()), meanings[reason]]
        for reason in meanings
        if reason in reasons
    ]
    kinds = sorted({kind for source in sources.values() for kind in source["changed"]})
    changed = [
        [kind.replace("_", " "), *(f"{source['changed'].get(kind, 0):,}" for source in sources.values())]
        for kind in kinds
    ]
    splits = [
        [name, f"{part['documents']:,}", f"{part['text_bytes']:,}", part["sha256"][:16]]
        for name, part in manifest["splits"].items()
    ]
    header = ["source", "records", "in train", "in val", "bytes in train", "share", "wanted", "times read"]
    parts = [
        "<h1>Mixture</h1>",
        f'<img alt="Shares and reasons" src="data:image/png;base64,{base64.b64encode(figure).decode()}">',
        _table(header, rows),
        "<h2>Splits</h2>",
        _table(["split", "documents", "bytes of text", "sha256 of the records"], splits),
        "<h2>What is left out, and why</h2>",
        _table(["reason", *sources, "meaning"], lost) if lost else "<p>Nothing.</p>",
        "<h2>Characters that texts were cleaned of, as papers are</h2>",
        _table(["texts with", *sources], changed) if changed else "<p>None.</p>",
        *_compared(manifest["compared"]),
        "<h2>How documents look</h2>",
        "<p>Marked: answers, the only thing that is learnt with train.learn_from=answers. A source without marks is "
        "learnt from as a whole.</p>",
    ]
    for name, shown in samples.items():
        parts.append(f"<h3>{html.escape(name)}</h3>")
        parts += [f'<p>{html.escape(sample["id"])}</p><div class="sample">{_marked(sample)}</div>' for sample in shown]
    parts += ["<h2>Mixture file</h2>", f"<pre>{html.escape(json.dumps(mixture, indent=2, ensure_ascii=False))}</pre>"]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Mixture</title>'
        f"<style>{STYLE}{MARK_STYLE}</style>\n{body}\n</html>\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _compared(report: dict[str, Any]) -> Iterator[str]:
    """What the comparisons with earlier data and benchmarks found."""
    if against := report.get("against"):
        for split in ("train", "val"):
            yield (
                f"<p>Against earlier {'training' if split == 'train' else 'validation'}: {against[split]['above']:,} "
                f"documents have the same text, or more than {against['limit']:.0%} of their 13-grams, there.</p>"
            )
    if asked := report.get("benchmarks"):
        yield (
            f"<p>Benchmark questions: {asked['questions']:,} looked for, found in {asked['above']:,} documents; "
            f"{asked['too_short']:,} are too short for a 13-gram and were not looked for.</p>"
        )


def _marked(sample: dict[str, Any]) -> str:
    text, done, parts = sample["text"], 0, []
    for start, end in sample.get("answers", ()):
        parts += [html.escape(text[done:start]), f"<mark>{html.escape(text[start:end])}</mark>"]
        done = end
    whole = "".join([*parts, html.escape(text[done:])])
    if len(text) <= SHOWN_CHARACTERS:
        return whole
    # Cut in the text, so that no mark is cut open.
    cut = text[:SHOWN_CHARACTERS]
    spans = [[a, min(b, len(cut))] for a, b in sample.get("answers", ()) if a < len(cut)]
    return _marked({"text": cut, "answers": spans}) + " …"


def _figure(sources: dict[str, Any], reasons: Mapping[str, str]) -> bytes:
    """Bars: share of the training text, and what became of the records, for each source."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(sources)[::-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 1.6 + 0.45 * max(2, len(names))), layout="constrained")
    whole = sum(source["train_bytes"] for source in sources.values()) or 1
    bars = left.barh(names, [sources[name]["train_bytes"] / whole for name in names], color=COLOURS[0])
    left.bar_label(bars, [f"{sources[name]['train_bytes'] / whole:.1%}" for name in names], padding=3, fontsize=8)
    left.set(title="Share of the training text", xlim=(0, 1.12))
    kinds = [
        "train",
        "val",
        *(reason for reason in reasons if any(reason in s["reasons"] for s in sources.values())),
    ]
    shares = {
        name: [
            (sources[name]["written"] | sources[name]["reasons"]).get(kind, 0) / max(1, sources[name]["records"])
            for kind in kinds
        ]
        for name in names
    }
    for number, kind in enumerate(kinds):
        starts = [sum(shares[name][:number]) for name in names]
        widths = [shares[name][number] for name in names]
        right.barh(names, widths, left=starts, color=COLOURS[number % len(COLOURS)], label=kind.replace("_", " "))
    right.set(title="What became of the records", xlim=(0, 1))
    right.set_yticks([])
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()
