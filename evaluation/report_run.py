"""A run as a page: what it is, what came of it, its curves, and what in them is worth a look.

    python evaluation/report_run.py                    # the newest run
    python evaluation/report_run.py --run runs/NAME    # writes runs/NAME/report/report.html, PNGs and summary.json

A run in progress can be reported on, and one that was killed; the page is one file, and needs no network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/report_run.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.files import write_json
from common.paths import project_path
from evaluation.run_data.data import Record, RunData, find_runs, flat, read_run, run_folder, short
from evaluation.run_data.summary import summarize, told, warnings
from reports.curves import window
from reports.html import details, image, page, pairs, paragraph, table, write_page
from reports.run import run_figures

# Events in the page's table; metrics.jsonl has all.
MAX_EVENTS = 200
MAX_DOCUMENTS = 8
# Facts with a line of their own.
TOLD_BY_NAME = {"processes", "device", "git_commit", "versions", "train_sha256", "val_sha256", "tokenizer"}
CAPTIONS = {
    "loss": "Loss",
    "validation": "Validation",
    "optimizer": "Gradient norm and learning rate",
    "throughput": "Throughput, waiting and memory",
}


def report_html(run: RunData, summary: Record, found: Sequence[str], figures: dict[str, bytes]) -> str:
    """One self-contained page."""
    parts = [pairs(_head(run)), "<h2>What came of it</h2>"]
    if not len(run.steps["step"]):
        parts.append(paragraph("No step was logged yet: there are no curves of training.", "warning"))
    parts.append(pairs(_outcome(run, summary)))
    parts.append("<h2>Warnings</h2>")
    parts += [paragraph(text, "warning") for text in found] or [paragraph("None of the rules is broken.")]
    for name, png in figures.items():
        parts += [f"<h2>{CAPTIONS[name]}</h2>", image(CAPTIONS[name], png)]
    if run.results:
        parts += ["<h2>Evaluations</h2>", pairs((key, _value(value)) for key, value in run.results.items())]
    parts += [*_categories(run), *_events(run), *_starts(run), "<h2>Configuration</h2>"]
    known = "\n".join(f"{key} = {json.dumps(value)}" for key, value in flat(run.identity).items())
    parts += [details("every key of it, without paths and logging", known)]
    return page(f"Run {run.name}", parts)


def _head(run: RunData) -> list[tuple[str, Any]]:
    """What the run is."""
    model, train, record = run.identity, run.settings | run.train, run.details
    parameters = run.parameters
    processes = record.get("processes")
    size = [train.get(key) for key in ("micro_batch_size", "gradient_accumulation_steps", "seq_len")] + [processes]
    names = ("layers", "hidden", "feed-forward", "heads")
    keys = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    shape = ", ".join(f"{name} {_value(model.get(key))}" for name, key in zip(names, keys, strict=True))
    betas = f"{_value(train.get('adam_beta1'))}, {_value(train.get('adam_beta2'))}"
    rows = [
        ("state", run.state),
        (
            "model",
            f"{f'{parameters:,}' if parameters else 'unknown number of'} parameters in {model.get('dtype')}: {shape}",
        ),
        ("tokenizer", run.tokenizer.removeprefix("tokenizer ")),
        ("sequence length", _value(train.get("seq_len"))),
        ("tokens a step", _tokens_a_step(size)),
        ("planned steps", _value(train.get("max_steps"))),
        (
            "learning rate",
            f"{_value(train.get('learning_rate'))}, warm-up over steps 1 to {_value(train.get('warmup_steps'))}, "
            f"ends at {_value(train.get('min_lr_ratio'))} of it",
        ),
        (
            "AdamW",
            f"betas {betas}, weight decay {_value(train.get('weight_decay'))}, clipped at "
            f"{_value(train.get('max_grad_norm'))}",
        ),
        ("seed", _value(train.get("seed"))),
    ]
    optional = (
        *("learn_from", "document_masking", "gradient_checkpointing", "loss_kernel", "layer_kernels", "attention"),
        "compile",
    )
    rows += [(key.replace("_", " "), _value(train[key])) for key in optional if key in train]
    stage = flat(model).get("deepspeed.zero_optimization.stage")
    versions = record.get("versions") or {}
    further = {key: value for key, value in run.facts.items() if key.partition(".")[0] not in TOLD_BY_NAME}
    return [
        *rows,
        ("ZeRO stage", _value(stage)),
        ("device", f"{_value(processes)} x {record.get('device', 'unknown')}"),
        ("git commit", record.get("git_commit") or "unknown"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown"),
        ("training split", f"sha256 {_value(record.get('train_sha256'))}"),
        *([("validation split", f"sha256 {record['val_sha256']}")] if record.get("val_sha256") else []),
        ("tokenizer's fingerprint", _value(record.get("tokenizer"))),
        *((key.replace("_", " "), _value(value)) for key, value in further.items()),
        ("command", " ".join(map(str, record.get("command") or [])) or "unknown"),
    ]


def _tokens_a_step(size: Sequence[Any]) -> str:
    if not all(isinstance(number, int) for number in size):
        return "unknown"
    micro, accumulation, length, processes = size
    tokens = micro * accumulation * length * processes
    return f"{tokens:,} (micro-batch {micro} x accumulation {accumulation} x length {length} x processes {processes})"


def _outcome(run: RunData, summary: Record) -> list[tuple[str, Any]]:
    planned = summary["planned_steps"]
    rows = [
        ("steps", f"{summary['steps']:,}" + (f" of {planned:,} ({summary['steps'] / planned:.1%})" if planned else "")),
        ("tokens seen", told("tokens", summary["tokens"])),
    ]
    for name, label in (("first", "first"), ("best", "best"), ("final", "last")):
        if summary[f"{name}_step"] is None:
            rows.append((f"{label} validation", "none"))
            continue
        bits, perplexity = summary[f"{name}_bits_per_byte"], summary[f"{name}_perplexity"]
        rows.append(
            (
                f"{label} validation",
                f"{told('best_bits_per_byte', bits)} bits per byte, perplexity {told('best_perplexity', perplexity)} "
                f"({run.tokenizer}), at step {summary[f'{name}_step']:,}",
            )
        )
    before, after = summary["first_pretraining_bits_per_byte"], summary["final_pretraining_bits_per_byte"]
    if after is not None:
        change = f"{before:.4f} at the start, {after:.4f} at the end: {after / before - 1:+.1%} bits per byte"
        rows.append(("pretraining's validation", change))
    over = window(len(run.steps["step"]))
    averaged = f" nats a token, mean of the last {over} logged steps" if over > 1 else " nats a token, of the last step"
    loss, memory, clipped = summary["final_loss"], summary["memory_bytes"], summary["clipped_share"]
    hours, mfu, restarts = summary["hours"], summary["mfu"], summary["starts"] - 1
    rows += [
        ("training loss", "–" if loss is None else told("final_loss", loss) + averaged),
        (
            "time of the steps",
            "–" if hours is None else f"{told('hours', hours)} hours (without validation and checkpoints)",
        ),
        ("tokens/s, mean", told("tokens_per_second", summary["tokens_per_second"])),
        (
            "MFU, mean",
            "–" if hours is None else "– (the device's peak is not known)" if mfu is None else told("mfu", mfu),
        ),
        ("data wait, mean", "–" if summary["data_wait"] is None else f"{summary['data_wait']:.2%} of a step"),
        ("GPU utilization, mean", "–" if summary["gpu_utilization"] is None else f"{summary['gpu_utilization']:.0%}"),
        ("memory, most", "–" if memory is None else f"{memory / 2**30:,.1f} GiB"),
        ("gradients clipped", "–" if clipped is None else f"{clipped:.1%} of the logged steps after warm-up"),
        ("restarts", f"{restarts:,}"),
        ("loss spikes", "not looked for" if summary["spikes"] is None else f"{summary['spikes']:,}"),
        ("rewinds", f"{summary['rewinds']:,}"),
        ("checkpoints that failed", f"{summary['failed_checkpoints']:,}"),
    ]
    return rows


def _categories(run: RunData) -> list[str]:
    if not run.categories:
        return []
    rows = [
        [name, _figure(row, "bits_per_byte", ".4f"), _figure(row, "perplexity", ".2f"), _figure(row, "tokens", ",.0f")]
        for name, row in run.categories.items()
    ]
    header = ["category", "bits per byte", f"perplexity ({run.tokenizer})", "tokens"]
    return ["<h2>Validation by category, at the end</h2>", table(header, rows)]


def _figure(row: Record, key: str, form: str) -> str:
    value = row.get(key)
    return format(value, form) if isinstance(value, int | float) else "–"


def _events(run: RunData) -> list[str]:
    if not run.events:
        return []
    rows = []
    for event in run.events[:MAX_EVENTS]:
        documents = [str(document) for document in event.get("documents") or []]
        listed = ", ".join(documents[:MAX_DOCUMENTS])
        if len(documents) > MAX_DOCUMENTS:
            listed += f" and {len(documents) - MAX_DOCUMENTS} more (metrics.jsonl has them)"
        loss = _figure(event, "loss", ".4f")
        rows.append(
            [f"{event['step']:,}", str(event["event"]).replace("_", " "), loss, str(event.get("message", "")), listed]
        )
    left = len(run.events) - len(rows)
    return [
        "<h2>What happened</h2>",
        table(["step", "event", "loss", "message", "documents"], rows, left=(1, 3, 4)),
        *([paragraph(f"{left:,} more are in metrics.jsonl.")] if left else []),
    ]


def _starts(run: RunData) -> list[str]:
    starts = run.details.get("starts") or []
    if not starts:
        return []
    rows = []
    for start in starts:
        changed = start.get("changed") or {}
        told_changes = "; ".join(f"{key}: {json.dumps(old)} → {json.dumps(new)}" for key, (old, new) in changed.items())
        device = f"{_value(start.get('processes'))} x {start.get('device', 'unknown')}"
        rows.append(
            [str(start.get("time")), _value(start.get("step")), device, short(start.get("git_commit")), told_changes]
        )
    header = ["started", "from step", "on", "git commit", "changed"]
    return ["<h2>Starts</h2>", table(header, rows, left=(0, 2, 3, 4))]


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write the page and the plots of a run.",
        epilog="example: python evaluation/report_run.py --run runs/NAME",
    )
    parser.add_argument("--run", type=Path, help="folder or name of a run (default: the newest in train.runs)")
    parser.add_argument("--out", type=Path, help="folder of the report (default: report/ in the run's)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    runs = project_path(settings_from_args(args).train.runs)
    run = read_run(run_folder(args.run, runs) if args.run else find_runs(runs)[-1])
    summary, found, figures = summarize(run), warnings(run), run_figures(run)
    out = args.out.absolute() if args.out else run.folder / "report"
    path = write_page(out, "report.html", report_html(run, summary, found, figures), figures)
    write_json(out / "summary.json", {"run": run.name, "tokenizer": run.tokenizer, **summary, "warnings": found})
    if not len(run.steps["step"]):
        print(f"run {run.name}: {run.state}, no step was logged yet")
    else:
        best = "no validation"
        if summary["best_step"] is not None:
            best = (
                f"{told('best_bits_per_byte', summary['best_bits_per_byte'])} bits per byte at best, perplexity "
                f"{told('best_perplexity', summary['best_perplexity'])} ({run.tokenizer})"
            )
        print(
            f"run {run.name}: {run.state}, {told('steps', summary['steps'])} steps, "
            f"{told('tokens', summary['tokens'])} tokens; {best}"
        )
    for text in found:
        print(f"warning: {text}")
    print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
