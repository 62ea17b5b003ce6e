r"""How good is the LaTeX that a model writes, and does it copy? Balance, compilation, repetition, memorization.

    python evaluation/evaluate_generations.py --model runs/NAME/export
    python evaluation/evaluate_generations.py --texts generated.jsonl --out quality       # texts made elsewhere

The model continues the beginnings of validation documents, and writes from nothing; the same figures are measured of
how those documents really go on, since a rate says little without that of people. Copying is looked for in the training
split (data.out), token by token. Results land in `--out`: report.html with plots, generations.json, generations.jsonl;
the headline figures go to the results file of the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/evaluate_generations.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, repeated_flags, run_command, settings_from_args
from common.errors import UserError
from common.files import atomic_write, write_json
from common.jsonl import dump_line
from evaluation.generation.texts import (
    CONTINUED,
    COPIED,
    FREE,
    GIVEN,
    HUMAN,
    Text,
    beginnings,
    given_texts,
    look_at,
    look_for_copies,
    write_texts,
)
from evaluation.models.load import LoadedModel, chosen_model, load_model
from evaluation.run_data.results import output_folder, read_results, record_results
from evaluation.scoring.breakdown import find_data

LOOPING = 0.5


def figures(texts: Sequence[Text]) -> dict[str, Any]:
    """The rates of a group of texts; None where something was not measured."""

    def share(wanted: Sequence[bool]) -> float | None:
        return sum(wanted) / len(wanted) if wanted else None

    def values(key: str) -> list[float]:
        return [text.found[key] for text in texts if text.found.get(key) is not None]

    def mean(numbers: Sequence[float]) -> float | None:
        return sum(numbers) / len(numbers) if numbers else None

    tokens = sum(text.found.get("tokens", 0) for text in texts)
    copies = sorted(text.found.get("longest_copy", 0) for text in texts)
    return {
        "texts": len(texts),
        "tokens": tokens,
        "ended": share([text.ended for text in texts]),
        "balanced": share([text.found["fault"] is None for text in texts]),
        "faults": {
            fault: sum(text.found["fault"] == fault for text in texts)
            for fault in dict.fromkeys(text.found["fault"] for text in texts if text.found["fault"])
        },
        "compiles": share([bool(value) for value in values("compiles")]),
        "repetition": mean(values("repetition")),
        "looping": share([value > LOOPING for value in values("repetition")]),
        "compression": mean(values("compression")),
        "longest_copy_median": copies[len(copies) // 2],
        "longest_copy": copies[-1],
        "copied": {
            str(least): sum(text.found["copied"][str(least)] for text in texts) / tokens if tokens else None
            for least in COPIED
        },
        "texts_with_copy_of_50": share([copy >= COPIED[-1] for copy in copies]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Balance, compilation, repetition and memorization of the LaTeX that a model writes.",
        epilog="example: python evaluation/evaluate_generations.py --model runs/NAME/export --num 100",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", type=Path, help="model folder (default: the newest runs/*/export)")
    source.add_argument(
        "--texts", type=Path, help="JSONL of texts made elsewhere: 'text', and 'prompt' if there was one"
    )
    parser.add_argument("--data", type=Path, help="documents to continue: JSONL, or a folder (default: data.out)")
    parser.add_argument("--num", type=int, default=100, help="texts of each group (default: 100)")
    parser.add_argument("--prompt-tokens", type=int, default=64, help="of a document, to be continued (default: 64)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="of each text (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token (default: 0.8)")
    parser.add_argument("--top-p", type=float, default=0.95, help="share of probability to draw from (default: 0.95)")
    parser.add_argument("--engine", help="TeX engine (default: the first installed of pdflatex, lualatex, xelatex)")
    parser.add_argument("--no-copies", action="store_true", help="do not look for the texts in the training split")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the GPU where there is one)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: generations/ in the model's run)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    for name in ("num", "prompt_tokens", "max_new_tokens"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    from evaluation.generation.compiler import find_engine
    from evaluation.generation.sampling import Sampling, check_sampling

    check_sampling(Sampling(args.max_new_tokens, args.temperature, args.top_p, 0))
    engine = find_engine(args.engine)
    loaded = None
    if args.texts:
        texts = given_texts(args.texts)
        out = output_folder(args.out, [args.texts.absolute()], "generations")
    else:
        folder = chosen_model(args.model, settings)
        paths = find_data(args.data, "val", settings)
        out = output_folder(args.out, [folder], "generations")
        loaded = load_model(folder, args.device)
        texts = _written(loaded, paths, args)
    look_at(texts, engine)
    if args.no_copies:
        from evaluation.generation.latex_quality import repetition

        for text in texts:
            text.found |= {"repetition": repetition(text.text.split()), "copied": dict.fromkeys(map(str, COPIED), 0)}
    else:
        look_for_copies(texts, settings, repeated_flags(args), _trained_on(loaded))
    groups = {name: [text for text in texts if text.group == name] for name in (CONTINUED, FREE, HUMAN, GIVEN)}
    result = {
        "model": str(loaded.folder) if loaded else None,
        "settings": {key: getattr(args, key) for key in ("prompt_tokens", "max_new_tokens", "temperature", "top_p")},
        "engine": engine,
        "looked_for_copies": not args.no_copies,
        "groups": {name: figures(members) for name, members in groups.items() if members},
    }
    page = _write(out, result, texts)
    if loaded:
        record_results(loaded.folder, "generations", headline(result))
    print(summary(result))
    print(page)
    return 0


def _trained_on(loaded: LoadedModel | None) -> str | None:
    """What the run of the model notes of its training split."""
    run = loaded.folder.parent / "run.json" if loaded else None
    if run is None or not run.is_file():
        return None
    return read_results(run).get("train_sha256")


def _written(loaded: LoadedModel, paths: Sequence[Path], args: argparse.Namespace) -> list[Text]:
    """What the model writes, and what people wrote in its place."""
    room = loaded.max_context - 1
    if args.prompt_tokens + args.max_new_tokens > room:
        raise UserError(
            f"--prompt-tokens {args.prompt_tokens} and --max-new-tokens {args.max_new_tokens}: the model takes {room} "
            "tokens at most"
        )
    human = list(beginnings(loaded, paths, args.num, args.prompt_tokens, args.max_new_tokens))
    if not human:
        raise UserError(f"{paths[0]}: no document has more than --prompt-tokens {args.prompt_tokens} tokens")
    made = [Text(CONTINUED, text.name, text.prompt, "", False) for text in human]
    made += [Text(FREE, f"text {number + 1}", "", "", False) for number in range(args.num)]
    write_texts(loaded, made, args.max_new_tokens, args.temperature, args.top_p)
    return [*made, *human]


def headline(result: dict[str, Any]) -> dict[str, Any]:
    """What goes to the results file of the model."""
    found = {}
    for group in (CONTINUED, HUMAN):
        if of := result["groups"].get(group):
            copies = ("longest_copy", "texts_with_copy_of_50") if result["looked_for_copies"] else ()
            keys = ("balanced", "compiles", "repetition", *copies)
            found[group] = {key: of[key] for key in keys}
    return found


def summary(result: dict[str, Any]) -> str:
    """A table for the screen."""
    rows = [["", *result["groups"]]]
    for title, cells in rows_of(result):
        rows.append([title, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def rows_of(result: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The table: what is measured, and each group's figure."""
    groups = result["groups"].values()

    def percent(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.1%}"

    yield "texts", [f"{group['texts']:,}" for group in groups]
    yield "come to their own end", [percent(group["ended"]) for group in groups]
    yield "well-formed as far as they go", [percent(group["balanced"]) for group in groups]
    missing = "no TeX engine" if result["engine"] is None else "not measured"
    yield "compile", [missing if group["compiles"] is None else percent(group["compiles"]) for group in groups]
    yield "4-grams repeated (seq-rep-4)", [percent(group["repetition"]) for group in groups]
    yield f"loop (over {LOOPING:.0%} repeated)", [percent(group["looping"]) for group in groups]
    yield "left by compression", [percent(group["compression"]) for group in groups]
    if result["looked_for_copies"]:
        yield "longest copy, median (tokens)", [_copy(group["longest_copy_median"]) for group in groups]
        yield "longest copy of all (tokens)", [_copy(group["longest_copy"]) for group in groups]
        for least in COPIED:
            title = f"tokens in copies of {least} and more"
            yield title, [percent(group["copied"][str(least)]) for group in groups]
        yield "texts with a copy of 50 and more", [percent(group["texts_with_copy_of_50"]) for group in groups]


def _copy(tokens: int) -> str:
    return f"{tokens:,}" if tokens else f"under {COPIED[0]}"


def _write(out: Path, result: dict[str, Any], texts: Sequence[Text]) -> Path:
    """The page with its plots, generations.json and generations.jsonl; returns the page's path."""
    from evaluation.generation.latex_quality import FAULTS
    from reports.generations import write_report

    write_json(out / "generations.json", result)
    with atomic_write(out / "generations.jsonl") as file:
        for text in texts:
            record = {"group": text.group, "id": text.name, "prompt": text.prompt, "text": text.text}
            file.write(dump_line(record | {"ended": text.ended} | text.found))
    return write_report(out, result, texts, list(rows_of(result)), FAULTS)


if __name__ == "__main__":
    run_command(main)
