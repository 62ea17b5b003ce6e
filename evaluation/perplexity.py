r"""Bits per byte and perplexity of causal language models on documents: by category, year and kind of text.

    python evaluation/perplexity.py
    python evaluation/perplexity.py --model runs/NAME/export --data dataset_train_val/val.jsonl --limit 200
    python evaluation/perplexity.py --model runs/A/export runs/B/export peer-model --positions

Any folder that AutoModelForCausalLM loads with its tokenizer will do. Each document is scored by itself, in windows of
`--context` tokens that move on by `--stride`: every token is predicted once, from at least `context - stride` tokens
before it (from all there are, near the beginning). Bits per byte do not depend on the tokenizer; a perplexity does,
and names it. `--positions` adds the loss by position in the context. Results land in the folder `--out`: report.html
with its plots, perplexity.json, documents.jsonl; the headline figures go to the results file of each model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/perplexity.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.files import atomic_write, write_json
from common.jsonl import dump_line
from evaluation.models.load import LoadedModel, chosen_model, load_model, trained_length
from evaluation.run_data.results import output_folder, record_results
from evaluation.scoring.breakdown import (
    Document,
    Score,
    by_group,
    by_kind,
    cut,
    figures,
    find_data,
    paired_difference,
    read_documents,
    score,
)

RESULT = "perplexity.json"
# Rows of a table on the screen; the page has more.
SHOWN = 8


def score_documents(
    loaded: LoadedModel,
    documents: Sequence[Document] | Iterator[Document],
    context: int,
    stride: int,
    batch_size: int = 0,
) -> Iterator[Score]:
    """Score each document, in order; see `evaluation/scoring/windows.py` for the windows."""
    from tqdm import tqdm

    from evaluation.scoring.windows import document_losses
    from tokenizer.measure.adapters import TransformersFolder

    layout = TransformersFolder(loaded.folder)
    waiting: list[tuple[Document, list[int]]] = []

    def encoded() -> Iterator[list[int]]:
        for document in documents:
            waiting.append((document, loaded.encode(document.text)))
            yield waiting[-1][1]

    count = 0
    with tqdm(unit=" tokens", unit_scale=True, desc=f"scoring with {loaded.name}") as bar:
        for losses in document_losses(loaded, encoded(), context, stride, batch_size, bar.update):
            document, ids = waiting.pop(0)
            count += 1
            bar.set_postfix_str(f"{count} documents", refresh=False)
            yield score(document, losses, cut(layout, document.text, ids))


def measure(
    loaded: LoadedModel,
    paths: Sequence[Path],
    limit: int | None,
    context: int,
    stride: int,
    batch_size: int,
    positions: tuple[int, int | None] | None,
) -> tuple[dict[str, Any], list[Score]]:
    """Everything about one model, as perplexity.json holds it, and its scores; `positions`: context and windows."""
    started = time.perf_counter()
    scores = list(score_documents(loaded, read_documents(paths, limit), context, stride, batch_size))
    seconds = time.perf_counter() - started
    result = {
        "model": str(loaded.folder),
        "name": loaded.name,
        "tokenizer": loaded.tokenizer_name(),
        **figures(scores),
        "context": context,
        "stride": stride,
        "before_each_document": loaded.tokenizer.convert_ids_to_tokens(loaded.context_token),
        "trained_at": trained_length(loaded.folder),
        "device": str(loaded.device),
        "seconds": round(seconds, 2),
        "by_kind": by_kind(scores),
        "by_category": by_group(scores, lambda found: found.category),
        "by_year": dict(sorted(by_group(scores, lambda found: found.year).items())),
    }
    unlaid = sum(found.kind_nats is None for found in scores)
    if unlaid:
        result["without_kinds"] = unlaid
    if positions is not None:
        result["positions"] = _positions(loaded, paths, limit, *positions)
    return result, scores


def _positions(
    loaded: LoadedModel, paths: Sequence[Path], limit: int | None, context: int, windows: int | None
) -> dict[str, Any]:
    import numpy as np

    from evaluation.scoring.breakdown import token_bytes
    from evaluation.scoring.positions import position_loss
    from tokenizer.measure.adapters import TransformersFolder

    layout = TransformersFolder(loaded.folder)
    longest = 0

    def encoded() -> Iterator[tuple[list[int], Any]]:
        nonlocal longest
        for document in read_documents(paths, limit):
            ids = loaded.encode(document.text)
            longest = max(longest, len(ids))
            begins = cut(layout, document.text, ids)
            yield ids, np.zeros(len(ids), np.int64) if begins is None else token_bytes(document.text, begins)

    found = position_loss(loaded, encoded(), context, windows)
    if not found["windows"]:
        raise UserError(
            f"--positions {context}: no document has so many tokens, the longest has {longest:,} with the tokenizer of "
            f"{loaded.tokenizer_name()}; give a smaller number"
        )
    return found


def contexts(models: Sequence[LoadedModel], args: argparse.Namespace, seq_len: int) -> tuple[int, int]:
    """Context and stride of all models: by default the length that they were trained at, or `seq_len` where that is not
    known.

    Raises:
        UserError: a model takes less, or the stride is not less than the context.
    """
    least = min(models, key=lambda loaded: loaded.max_context)
    lengths = [min(trained_length(loaded.folder) or seq_len, loaded.max_context) for loaded in models]
    context = args.context or min(lengths)
    for asked, option in ((context, "--context"), (args.positions, "--positions")):
        if asked and asked > least.max_context:
            raise UserError(
                f"{option} {asked}: {least.folder} takes {least.max_context} tokens at most; python "
                f"evaluation/export_model.py --context {asked} makes a model of it that takes more"
            )
    stride = args.stride or max(1, context // 2)
    if stride >= context:
        raise UserError(f"--stride {stride}: must be less than the context of {context} tokens")
    return context, stride


def summary(result: dict[str, Any]) -> str:
    """One model on the screen."""
    error = result["standard_error"]
    spread = f" ± {error:.4f} (standard error over documents)" if error is not None else ""
    lines = [
        f"model      {result['model']}",
        f"bits per byte         {result['bits_per_byte']:.4f}{spread}",
        f"perplexity per token  {result['perplexity_per_token']:.3f} with the tokenizer of {result['tokenizer']}",
    ]
    for title, groups in (
        ("kind of text", result["by_kind"]),
        ("category", result["by_category"]),
        ("year", result["by_year"]),
    ):
        if len(groups) > 1:
            lines.append(f"  by {title}, bits per byte")
            for name, group in list(groups.items())[:SHOWN]:
                error = group["standard_error"]
                spread = f" ± {error:.4f}" if error is not None else ""
                lines.append(f"    {name:<24} {group['bits_per_byte']:.4f}{spread}, {group['bytes']:,} bytes")
            if len(groups) > SHOWN:
                lines.append(f"    and {len(groups) - SHOWN} more in the report")
    lines.append(f"{result['tokens'] / max(result['seconds'], 1e-9):,.0f} tokens/s on {result['device']}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Bits per byte and perplexity of one or several models on the documents of a split.",
        epilog="example: python evaluation/perplexity.py --model runs/NAME/export --data dataset_train_val --positions",
    )
    parser.add_argument("--model", type=Path, nargs="+", help="model folders (default: the newest runs/*/export)")
    parser.add_argument("--data", type=Path, help="JSONL with a 'text' in each record, or a folder (default: data.out)")
    parser.add_argument("--split", default="val", help="the split of a folder (default: val)")
    parser.add_argument("--limit", type=int, help="the first N documents only")
    parser.add_argument(
        "--context", type=int, help="tokens in a window (default: the length of training, else train.seq_len)"
    )
    parser.add_argument("--stride", type=int, help="tokens that a window moves on by (default: half of --context)")
    parser.add_argument(
        "--positions",
        type=int,
        nargs="?",
        const=0,
        metavar="N",
        help="loss by position in whole windows of N tokens (without N: the models' own context)",
    )
    parser.add_argument("--position-windows", type=int, help="windows read for --positions at most (default: all)")
    parser.add_argument(
        "--batch-size", type=int, default=0, help="windows at once (default: by the size of the logits)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the GPU where there is one)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: perplexity/ in the model's run)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    for name in ("limit", "context", "stride", "positions", "position_windows"):
        value, least = getattr(args, name), 2 if name in ("context", "positions") else 1
        if value is not None and value < least and not (name == "positions" and value == 0):
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least {least}")
    if args.batch_size < 0:
        raise UserError(f"--batch-size {args.batch_size}: must be at least 1 (or 0, to choose by memory)")
    folders = [chosen_model(folder, settings) for folder in args.model or [None]]
    paths = find_data(args.data, args.split, settings)
    out = output_folder(args.out, folders, "perplexity")
    next(read_documents(paths, 1))  # before models are loaded

    from tokenizer.measure.adapters import shortest_endings

    # A run's export is called after its run.
    places = [folder.parts[:-1] if folder.name == "export" else folder.parts for folder in folders]
    names = shortest_endings(places)
    models = [load_model(folder, args.device, name) for folder, name in zip(folders, names, strict=True)]
    context, stride = contexts(models, args, settings.train.seq_len)
    positions = None
    if args.positions is not None:
        whole = args.positions or min(loaded.max_context for loaded in models)
        positions = (whole, args.position_windows)
    results, scores = [], []
    for loaded in models:
        result, found = measure(loaded, paths, args.limit, context, stride, args.batch_size, positions)
        results.append(result)
        scores.append(found)
        print(summary(result), flush=True)
    written = _write(out, paths, args.limit, results, scores)
    for loaded, result in zip(models, results, strict=True):
        record_results(loaded.folder, "perplexity", headline(result, paths))
    first, more = results[0], " ..." if paths[1:] else ""
    print(
        f"data       {paths[0]}{more}: {first['documents']:,} documents, {first['bytes']:,} bytes\n"
        f"windows    {context} tokens, moving on by {stride}\n{written}"
    )
    return 0


def headline(result: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """What goes to the results file of the model."""
    return {
        "bits_per_byte": result["bits_per_byte"],
        "standard_error": result["standard_error"],
        "perplexity_per_token": result["perplexity_per_token"],
        "tokenizer": result["tokenizer"],
        "data": paths[0].name,
        "documents": result["documents"],
        "context": result["context"],
        "kinds": {name: part["bits_per_byte"] for name, part in result["by_kind"].items()},
    }


def _write(
    out: Path, paths: Sequence[Path], limit: int | None, results: list[dict[str, Any]], scores: list[list[Score]]
) -> Path:
    """The page, its plots, perplexity.json, documents.jsonl; returns the page's path."""
    from reports.perplexity import write_report

    differences = []
    for result, found in zip(results[1:], scores[1:], strict=True):
        ratio = paired_difference(found, scores[0])
        differences.append({"model": result["name"], "less": ratio.value, "standard_error": ratio.standard_error})
    whole = {
        "data": [str(path) for path in paths],
        "limit": limit,
        "models": results,
        "differences_from_first": differences,
    }
    write_json(out / RESULT, whole)
    with atomic_write(out / "documents.jsonl") as file:
        for of_document in zip(*scores, strict=True):
            first = of_document[0]
            record = {"id": first.id, "category": first.category, "year": first.year, "bytes": first.bytes}
            for result, found in zip(results, of_document, strict=True):
                record[result["name"]] = {"bits_per_byte": found.bits_per_byte, "tokens": found.tokens}
            file.write(dump_line(record))
    return write_report(out, whole)


if __name__ == "__main__":
    run_command(main)
