r"""Let a model write: a prompt in, text out as it is made.

    python evaluation/generate.py --prompt 'Let $G$ be a finite group.'
    python evaluation/generate.py --model runs/NAME/export --prompt '\begin{theorem}' --stop '\end{theorem}' --seed 7
    python evaluation/generate.py --interactive
    python evaluation/generate.py --prompt '\begin{theorem}' --num 5 --html theorems.html

The prompt stands at the beginning of a document, as in training (`evaluation/models/load.py`). The same seed, prompt
and device give the same text. The text alone goes to standard output; what else there is to say goes to standard error.
`--html` writes a page with the source beside its mathematics as drawn, which needs no network.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/generate.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.files import write_bytes
from evaluation.generation.sampling import FULL, INTERRUPTED, Sampling, Writing, check_sampling, seeds
from evaluation.models.load import LoadedModel, chosen_model, load_model

if TYPE_CHECKING:
    from reports.math_page import Sample

COMMANDS = r"""One line is a prompt; Ctrl-C stops a text. Further commands:
  :begin   a prompt of several lines, up to a line with :end alone     :file FILE   a prompt from a file
  :seed N  :temperature X  :top-p X  :tokens N   change that from now on (no number: show all)
  :help    this text     :q, or Ctrl-D   ends
"""


def read_prompt(path: Path, option: str) -> str:
    """Raises UserError where the file cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} {path}: cannot be read: {error}") from None


def encode_prompt(loaded: LoadedModel, prompt: str) -> list[int]:
    """Raises UserError where the model cannot take it: not UTF-8, or no room left in its context."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the prompt is not UTF-8 at character {error.start + 1}; give it in UTF-8") from None
    ids = loaded.encode(prompt)
    if len(ids) >= loaded.max_context:
        raise UserError(
            f"the prompt has {len(ids):,} tokens, the model takes {loaded.max_context - 1:,} at most; shorten it"
        )
    return ids


def describe(sampling: Sampling) -> str:
    chosen = f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed {sampling.seed}"
    return "the likeliest tokens" if sampling.temperature == 0 else chosen


def write_one(loaded: LoadedModel, prompt: str, sampling: Sampling, stops: Sequence[str]) -> Sample:
    """Print prompt and text as the latter is made, then, on standard error, what it was; Ctrl-C ends the text."""
    from reports.math_page import Sample

    ids = encode_prompt(loaded, prompt)
    writing, text, started = Writing(loaded, ids, sampling, stops), "", time.perf_counter()
    print(prompt, end="", flush=True)
    try:
        for part in writing:
            text += part
            print(part, end="", flush=True)
    except KeyboardInterrupt:
        writing.ended = INTERRUPTED
    print(flush=True)
    speed = writing.tokens / max(time.perf_counter() - started, 1e-9)
    facts = f"{describe(sampling)}: {writing.tokens} new tokens, {writing.ended}"
    full = f" of {loaded.max_context:,} tokens" if writing.ended == FULL else ""
    print(f"{facts}{full}; {speed:.1f} tokens/s on {loaded.device}", file=sys.stderr)
    return Sample(prompt, text, facts)


def converse(loaded: LoadedModel, sampling: Sampling, stops: Sequence[str]) -> list[Sample]:
    """Prompts from standard input, one after the other, until its end; returns what was made."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  (input() edits and remembers lines with it)

        print(COMMANDS, file=sys.stderr)
    samples: list[Sample] = []
    while True:
        try:
            line = input("prompt> " if sys.stdin.isatty() else "")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return samples
        if line.strip() in (":q", ":quit"):
            return samples
        try:
            sampling, prompt = _command(line, sampling)
            if prompt is not None:
                samples.append(write_one(loaded, prompt, sampling, stops))
        except KeyboardInterrupt:  # within a prompt of several lines, or while a text begins
            print(file=sys.stderr)
        except UserError as error:  # the next prompt may do better
            print(f"error: {error}", file=sys.stderr)


def _command(line: str, sampling: Sampling) -> tuple[Sampling, str | None]:
    """What a line asks for: settings from now on, and a prompt or None."""
    word, _, rest = line.partition(" ")
    if not line.startswith(":"):
        return sampling, line
    if word == ":begin":
        return sampling, _lines()
    if word == ":file":
        return sampling, read_prompt(Path(rest.strip()), ":file")
    knobs: dict[str, tuple[str, Callable[[str], Any]]] = {
        ":seed": ("seed", int),
        ":temperature": ("temperature", float),
        ":top-p": ("top_p", float),
        ":tokens": ("max_new_tokens", int),
    }
    if word in knobs and rest.strip():
        field, kind = knobs[word]
        try:
            sampling = replace(sampling, **{field: kind(rest)})
        except ValueError:
            raise UserError(f"{line}: expected a number") from None
        check_sampling(sampling)
    if word in knobs:
        print(f"{describe(sampling)}, at most {sampling.max_new_tokens} tokens", file=sys.stderr)
        return sampling, None
    if word != ":help":
        print(f"{word}: no such command", file=sys.stderr)
    print(COMMANDS, file=sys.stderr)
    return sampling, None


def _lines() -> str:
    """The lines up to `:end`, or the end of the input."""
    lines: list[str] = []
    try:
        while (line := input()) != ":end":
            lines.append(line)
    except EOFError:
        pass
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Generate text after a prompt with a trained model.",
        epilog=r"example: python evaluation/generate.py --prompt 'Let $G$ be a finite group.' --max-new-tokens 200",
    )
    parser.add_argument("--model", type=Path, help="model folder (default: the newest runs/*/export)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", help="text to go on from (default: none, a document from its beginning)")
    source.add_argument("--prompt-file", type=Path, help="the same, from a UTF-8 file")
    source.add_argument("--interactive", action="store_true", help="prompts from the keyboard, one after the other")
    parser.add_argument("--max-new-tokens", type=int, default=200, help="tokens at most (default: 200)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token (default: 0.8)")
    parser.add_argument("--top-p", type=float, default=0.95, help="share of probability to draw from (default: 0.95)")
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text (may be given several times)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another text (default: 0)")
    parser.add_argument("--num", type=int, default=1, help="texts, with one seed after the other (default: 1)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with the mathematics drawn, too")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the GPU where there is one)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args)
    sampling = Sampling(args.max_new_tokens, args.temperature, args.top_p, args.seed)
    check_sampling(sampling)
    if args.num < 1:
        raise UserError(f"--num {args.num}: must be at least 1")
    if args.num > 1 and args.interactive:
        raise UserError("--num belongs to a prompt that is given; with --interactive, give the prompt again")
    if args.html:
        from reports.math_page import mathjax

        mathjax()  # missing, it is told before the model has written
    prompt = read_prompt(args.prompt_file, "--prompt-file") if args.prompt_file else args.prompt or ""
    loaded = load_model(chosen_model(args.model, settings), args.device)
    print(f"model {loaded.folder}", file=sys.stderr)
    if args.interactive:
        samples = converse(loaded, sampling, args.stop)
    else:
        samples = []
        for one in seeds(sampling, args.num):
            samples.append(write_one(loaded, prompt, one, args.stop))
            if samples[-1].facts.endswith(INTERRUPTED):
                break
    if args.html:
        from evaluation.generation.latex_html import to_html
        from reports.math_page import math_page

        facts = f"{loaded.folder}, tokenizer of {loaded.tokenizer_name()}"
        write_bytes(
            args.html, math_page(f"Generated by {loaded.name}", facts, samples, to_html).encode("utf-8", "replace")
        )
        print(f"page {args.html}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
