"""Typed settings: `config.json` plus `--set section.key=value`, with every unknown key refused by name.

`config.json` is a transformers config as it stands (model keys at the top level) with three more sections, `data`,
`tokenizer` and `train`. Each knob of the project lives here once, with its meaning, type and limits; what DeepSpeed
alone needs lives in `ds_config.json`. To see what a command will use:

    python settings.py --config config.json --set train.seq_len=512
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import json
import math
import re
import shlex
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent
DEFAULT_CONFIG = ROOT / "config.json"


class UserError(Exception):
    """Wrong input or configuration: the message names the value, the limit and what to do next; no traceback."""


def knob(minimum: float | None = None, maximum: float | None = None, default: Any = MISSING) -> Any:
    """A dataclass field whose numbers must lie in [minimum, maximum] (elements, for a list)."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model: the keys of transformers' LlamaConfig that `config.json` may hold at its top level."""

    vocab_size: int = knob(1)
    hidden_size: int = knob(1)
    intermediate_size: int = knob(1)
    num_hidden_layers: int = knob(1)
    num_attention_heads: int = knob(1)
    max_position_embeddings: int = knob(1)
    rope_parameters: dict[str, Any]
    # Precision of the weights and of training; exported models carry it.
    dtype: Literal["bfloat16", "float16", "float32"]
    num_key_value_heads: int | None = knob(1, default=None)
    head_dim: int | None = knob(1, default=None)
    hidden_act: str = "silu"
    initializer_range: float = knob(0, 100, default=0.02)
    rms_norm_eps: float = knob(0, default=1e-6)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_dropout: float = knob(0, 1, default=0.0)
    mlp_bias: bool = False
    pretraining_tp: int = knob(1, default=1)
    use_cache: bool = True
    bos_token_id: int = knob(0, default=1)
    eos_token_id: int = knob(0, default=2)
    pad_token_id: int | None = knob(0, default=None)
    model_type: Literal["llama"] = "llama"
    architectures: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """From arXiv's metadata and archives to train.jsonl and val.jsonl (`data_prep/`)."""

    # The public metadata snapshot, one JSON record a line.
    metadata: str
    # Folder of bulk tars (arXiv_src_YYMM_NNN.tar) or of single archives.
    source: str
    # Folder of train.jsonl, val.jsonl, manifest.json, report/ and rejected/.
    out: str
    # Whole archives ("math") or subject classes ("stat.ML"), matched exactly; null keeps every subject.
    categories: list[str] | None
    # Match the primary category alone; otherwise any of a paper's categories.
    primary_category_only: bool
    # Year of the first version, both ends included; null leaves an end open.
    year_min: int | None = knob(1986, 2200)
    year_max: int | None = knob(1986, 2200)
    # Licence URLs that a paper may carry; null keeps all.
    licenses: list[str] | None
    drop_withdrawn: bool
    # Characters of the abstract; 0 keeps all: early papers have none, and their text is as good as that of others.
    abstract_min_chars: int = knob(0)
    # Length of the cleaned text. Shorter (not counting a title and abstract that only the metadata has) is an erratum,
    # a notice, a bibliography alone or a failed extraction; longer is data, not prose.
    min_chars: int = knob(0)
    max_chars: int = knob(1)
    # Quality of the text, by limits that no document of the corpus reaches (benchmarks/quality.py). Least share of its
    # characters in words (real ones 0.17 to 0.92; tables of numbers and base64 under 0.12); largest share in lines
    # that stood before (up to 0.71; a page over and over 0.99) and in verbatim listings (up to 0.67); what compression
    # leaves (0.12 to 0.50; repetition 0.01, noise 0.77).
    min_word_share: float = knob(0, 1)
    max_repeated_share: float = knob(0, 1)
    max_listing_share: float = knob(0, 1)
    min_compression: float = knob(0, 1)
    max_compression: float = knob(0)
    # ISO 639-1 codes that langdetect may answer for the prose of a paper; null keeps every language.
    languages: list[str] | None
    # Limits that one archive may reach (decompressed bytes, bytes of one TeX file, members) before it is refused.
    max_archive_bytes: int = knob(1)
    max_file_bytes: int = knob(1)
    max_members: int = knob(1)
    # Processor time that one paper may take, in seconds; an ordinary one takes a hundredth of a second.
    max_seconds_per_paper: float = knob(0.1)
    # What the cleaner does with \author, with tables (dropped ones leave their captions), with citations and
    # cross-references (a placeholder is the command without its key), with accents written as commands (\'e).
    authors: Literal["drop", "keep"]
    tables: Literal["keep", "drop"]
    references: Literal["placeholder", "keep", "drop"]
    accents: Literal["unicode", "keep"]
    # Share of clusters (a paper and its duplicates) that goes to val.jsonl, by hash of the cluster and `split_seed`.
    val_fraction: float = knob(0, 0.5)
    split_seed: int = knob(0)
    # Papers whose texts share this much (estimated Jaccard similarity of their word 5-grams) form a cluster. All of a
    # cluster go to one split; of "drop" the longest text alone stays, with "keep" all that are not the same.
    near_duplicates: Literal["drop", "keep"]
    near_duplicate_similarity: float = knob(0.5, 1)
    # Validation papers of whose 13-grams training holds more than this share (null: not measured), and papers that hold
    # more than this share of a question in the folder `benchmarks` (null: none), are left out or only reported.
    max_val_overlap: float | None = knob(0, 1)
    benchmarks: str | None
    max_benchmark_overlap: float = knob(0, 1)
    contaminated: Literal["drop", "report"]
    # Bytes of text records in one output file (null: a split is one file), and whether files are Zstandard-compressed.
    output_file_bytes: int | None = knob(1000)
    compress: bool
    # Papers that one worker takes at a time; an interrupted run redoes at most this many a worker.
    shard_papers: int = knob(1)
    # Worker processes; 0 means one per core.
    workers: int = knob(0)
    # Pilot runs: the first N papers with a source (null: all), and months "YYMM:YYMM" of submission, both ends
    # included.
    limit: int | None = knob(1)
    months: str | None
    # Rejected papers kept as samples, for each reason.
    reject_samples: int = knob(0)


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """Training of the tokenizer (`tokenizer/`); its size is the model key `vocab_size`."""

    # Folder of tokenizer.model, tokenizer.json and their companions.
    out: str
    # Text read, about: the share of documents that gives this many bytes is chosen by hash of the id.
    sample_bytes: int = knob(1)
    # Bytes taken from one document at the most, so that no book outweighs a hundred papers.
    max_document_bytes: int = knob(1)
    character_coverage: float = knob(0.9, 1.0)
    max_piece_chars: int = knob(8, 64)
    # A command seen this often is counted `command_boost` times more, so that it becomes a token.
    command_min_count: int = knob(1, 1_000_000_000)
    command_boost: int = knob(0, 1000)
    # Share of the entries that run over several words or symbols (superwords), and how many entries of the first stage
    # one of them joins at the most. They save a fifth of the tokens and more, and cost small models bits per byte at
    # equal FLOPs (benchmarks/RESULTS.md), so none are made unless asked for. They are learnt from about
    # `superword_sample_bytes` of text: memory follows it.
    superword_share: float = knob(0, 0.8)
    superword_entries: int = knob(2, 32)
    superword_sample_bytes: int = knob(1)
    # Worker processes that count, and SentencePiece's threads; 0 means one per core. The result does not depend on it.
    threads: int = knob(0, 1024)
    seed: int = knob(0)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Training (`train.py`). Batch sizes and clipping live here; `ds_config.json` takes them as "auto"."""

    # Folder of runs; the name is a short hash of the resolved configuration where null.
    runs: str
    run_name: str | None
    # The weights to begin with: those of a run (its folder, or one of its checkpoints), or of a folder that
    # export_model.py or transformers wrote; null: fresh ones.
    init_from: str | None = None
    # A second validation split, measured beside the first: a dataset's folder or a JSONL file; "auto": that of the run
    # that init_from names, so that forgetting is seen; null: none.
    pretraining_val: str | None = "auto"
    # The tokens that the loss counts: "all", or those of "answers" alone, where the split marks them
    # (data_prep/mix_datasets.py).
    learn_from: Literal["all", "answers"] = "all"
    seq_len: int = knob(1)
    # Attention stays within a document, whose positions start at 0; otherwise a window is one text (GPT-3's way).
    document_masking: bool
    micro_batch_size: int = knob(1, 1_000_000)
    gradient_accumulation_steps: int = knob(1)
    max_steps: int = knob(1)
    learning_rate: float = knob(0)
    # The cosine ends at this share of `learning_rate`.
    min_lr_ratio: float = knob(0, 1)
    warmup_steps: int = knob(0)
    adam_beta1: float = knob(0, 0.999999)
    adam_beta2: float = knob(0, 0.99999999)
    adam_eps: float = knob(1e-20)
    weight_decay: float = knob(0)
    max_grad_norm: float = knob(0)
    # Layers whose activations are made again in the backward pass, spread evenly over the model: "none", a number of
    # them, "all"; "auto" takes the fewest that fit into memory. Results do not depend on it.
    gradient_checkpointing: Literal["auto", "none", "all"] | int = knob(0)
    # Who computes the loss over the vocabulary, the norms and the gated MLP, and attention (training/kernels.py says
    # what "auto" takes here and falls back, saying so, where a package is missing).
    loss_kernel: Literal["auto", "chunked", "torch", "liger", "full"]
    layer_kernels: Literal["auto", "torch", "liger"]
    attention: Literal["sdpa", "eager"]
    fused_adamw: bool
    # torch.compile of each layer; needs a C++ compiler on the CPU.
    compile: bool
    seed: int = knob(0, 2**63 - 1)
    # Steps between validations, and sequences read at each (the same ones every time; null reads the whole split).
    val_every: int = knob(1)
    val_sequences: int | None = knob(1)
    # Stop after this many validations in a row that were not better than the best by `early_stop_gain` bits per byte
    # (null: never), and whether the checkpoint of the best validation is kept and exported at the end.
    early_stop_patience: int | None = knob(1)
    early_stop_gain: float = knob(0)
    keep_best: bool
    # Steps between checkpoints; the last `keep_last` are kept, and those of every `keep_every`-th step for good (null:
    # none). In the background: training goes on while a copy in memory is written.
    save_every: int = knob(1)
    keep_last: int = knob(1)
    keep_every: int | None = knob(1)
    background_checkpoints: bool
    # A loss that lies this many standard deviations above the mean of the last 100 steps is a spike (null: not looked
    # for). It is logged with the ids of its documents; "rewind" also goes back to the last checkpoint and skips the
    # windows read since, for losses that are not finite too, which otherwise end the run.
    spike_sigmas: float | None = knob(1)
    on_spike: Literal["log", "rewind"]
    # A process that makes no progress for this long ends the run with a message.
    hang_seconds: float = knob(5)
    log_every: int = knob(1)
    wandb: Literal["online", "offline", "disabled"]
    wandb_project: str
    deepspeed_config: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The resolved configuration of one command."""

    model: ModelSettings
    data: DataSettings
    tokenizer: TokenizerSettings
    train: TrainSettings

    def model_dict(self) -> dict[str, Any]:
        """The model keys alone, as transformers wants them (what an exported `config.json` may carry)."""
        return {k: v for k, v in dataclasses.asdict(self.model).items() if v is not None}

    def to_dict(self) -> dict[str, Any]:
        """The same shape as `config.json`: model keys at the top, then the sections."""
        return self.model_dict() | {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}


SECTIONS: dict[str, type] = {"data": DataSettings, "tokenizer": TokenizerSettings, "train": TrainSettings}
# Written by transformers into every config that it saves; they change nothing here.
IGNORED_MODEL_KEYS = {"transformers_version"}


def project_path(path: str | Path) -> Path:
    """A path of the configuration: relative ones start at the project's own folder, wherever the command runs."""
    return ROOT / Path(path).expanduser()


def load_settings(config: str | Path = DEFAULT_CONFIG, overrides: Sequence[str] = ()) -> Settings:
    """Read `config`, apply `key=value` and `section.key=value` overrides, check every key, type and limit.

    Raises:
        UserError: a file that cannot be read, an unknown key (the nearest valid one is named), a wrong type or value.
    """
    config = Path(config)
    try:
        raw = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{config}: no such configuration file; give one with --config FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{config}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{config}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{config}: expected a JSON object at the top, found {type(raw).__name__}")
    for override in overrides:
        _apply_override(raw, override)

    sections = {}
    for name, kind in SECTIONS.items():
        if not isinstance(raw.get(name), dict):
            raise UserError(f"{config}: section '{name}' is missing or not an object; see {DEFAULT_CONFIG.name}")
        sections[name] = build_section(kind, raw.pop(name), f"{name}.", config)
    for key in IGNORED_MODEL_KEYS:
        raw.pop(key, None)
    settings = Settings(model=build_section(ModelSettings, raw, "", config, extra=tuple(SECTIONS)), **sections)
    _check_together(settings, config)
    return settings


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The two options that every command shares."""
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="configuration file (default: config.json)")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key, e.g. --set train.seq_len=512 --set vocab_size=8192 (repeatable)",
    )


def settings_from_args(args: argparse.Namespace, **flags: Any) -> Settings:
    """Settings of a parsed command line; `flags` maps `section__key` to a flag's value (None: not given)."""
    overrides = list(args.overrides)
    for name, value in flags.items():
        if value is not None:
            if isinstance(value, Path):  # a flag's path is the caller's; only the configuration's start at ROOT
                value = str(value.absolute())
            overrides.append(f"{name.replace('__', '.')}={json.dumps(value)}")
    return load_settings(args.config, overrides)


def repeated_flags(args: argparse.Namespace, but: str | None = None) -> str:
    """The --config and --set of this command (all but the key `but`), for the commands that it proposes to run next."""
    flags = [] if args.config == DEFAULT_CONFIG else ["--config", str(args.config)]
    for override in args.overrides:
        if override.partition("=")[0].strip() != but:
            flags += ["--set", override]
    return "".join(f" {shlex.quote(flag)}" for flag in flags)


def run_command(main: Callable[[], int]) -> typing.NoReturn:
    """Run a script's `main`: a UserError, or a file that cannot be used, is one line on stderr and exit status 2."""
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader (`| head`) has gone; nothing is left to tell it
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # no space, no permission, a folder where a file should be
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror} (errno {error.errno}); put that right, then run again", file=sys.stderr)
        sys.exit(2)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {override}: expected KEY=VALUE, e.g. --set train.seq_len=512")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text  # a bare word is a string
    *parents, last = key.split(".")
    if len(parents) > 1 and parents[0] in SECTIONS:
        raise UserError(f"--set {override}: no such key; {_nearest(key, _all_keys())}")
    if last in SECTIONS and not parents:
        raise UserError(f"--set {override}: '{last}' is a section; name one of its keys, e.g. {last}.KEY=VALUE")
    target = raw
    for parent in parents:
        target = target.get(parent)  # type: ignore[assignment]
        if not isinstance(target, dict):
            raise UserError(f"--set {override}: unknown key '{key}'; {_nearest(key, _all_keys())}")
    target[last] = value


def _all_keys() -> list[str]:
    keys = list(_hints(ModelSettings))
    return keys + [f"{section}.{key}" for section, kind in SECTIONS.items() for key in _hints(kind)]


def _nearest(key: str, valid: Sequence[str]) -> str:
    tail = key.rpartition(".")[2]
    close = difflib.get_close_matches(key, valid, 1) or difflib.get_close_matches(
        tail, [v.rpartition(".")[2] for v in valid], 1
    )
    close = [v for v in valid if close and v.endswith(close[0])]
    return f"did you mean '{close[0]}'?" if close else f"the valid keys are {', '.join(valid)}"


def build_section(kind: type, raw: dict[str, Any], prefix: str, config: Path, extra: tuple[str, ...] = ()) -> Any:
    hints = _hints(kind)
    for key in raw:
        if key not in hints:
            nearest = _nearest(prefix + key, [prefix + name for name in hints] + list(extra) + _all_keys())
            raise UserError(f"{config}: unknown key '{prefix}{key}'; {nearest}")
    values = {}
    for spec in dataclasses.fields(kind):
        name = prefix + spec.name
        if spec.name not in raw:
            if spec.default is MISSING and spec.default_factory is MISSING:
                raise UserError(f"{config}: key '{name}' is missing; {DEFAULT_CONFIG.name} shows all of them")
            continue
        values[spec.name] = value = _typed(raw[spec.name], hints[spec.name], name, config)
        for number in value if isinstance(value, list) else [value]:
            _check_range(number, spec.metadata, name, config)
    return kind(**values)


def _typed(value: Any, hint: Any, name: str, config: Path) -> Any:
    """`value` as the annotation `hint` asks, or a UserError naming both."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # typing's own where a Literal takes part
        if value is None and type(None) in args:
            return None
        kinds = [kind for kind in args if kind is not type(None)]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # A choice of words or a number: judged, and refused, as what it looks like.
        words = [kind for kind in kinds if (typing.get_origin(kind) is Literal) != number]
        return _typed(value, (words or kinds)[0], name, config)
    if origin is Literal:
        if value in args:
            return value
        expected = "one of " + ", ".join(map(repr, args))
    elif origin is list:
        if isinstance(value, list):
            return [_typed(v, args[0], name, config) for v in value]
        expected = f'a list, e.g. ["{args[0].__name__}"]'
    elif origin is dict:
        if isinstance(value, dict):
            return value
        expected = "an object"
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        expected = "a number"
    elif hint is int and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)  # 1e9 reads better than its zeros
    else:
        if type(value) is hint:
            return value
        expected = {int: "a whole number", bool: "true or false", str: "a string"}[hint]
    raise UserError(f"{config}: '{name}' is {json.dumps(value)}, expected {expected}")


def _check_range(value: Any, limits: typing.Mapping[str, Any], name: str, config: Path) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low, high = limits.get("minimum"), limits.get("maximum")
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise UserError(f"{config}: '{name}' is {value}, must be {bounds}")


def _check_together(settings: Settings, config: Path) -> None:
    model, data, train = settings.model, settings.data, settings.train
    if model.head_dim is None and model.hidden_size % model.num_attention_heads:
        raise UserError(
            f"{config}: hidden_size {model.hidden_size} is not a multiple of num_attention_heads "
            f"{model.num_attention_heads}; change one of them"
        )
    if model.num_attention_heads % (model.num_key_value_heads or model.num_attention_heads):
        raise UserError(
            f"{config}: num_attention_heads {model.num_attention_heads} is not a multiple of num_key_value_heads "
            f"{model.num_key_value_heads}; change one of them"
        )
    if train.seq_len > model.max_position_embeddings:
        raise UserError(
            f"{config}: train.seq_len {train.seq_len} is more than max_position_embeddings "
            f"{model.max_position_embeddings}; lower the first or raise the second"
        )
    if train.run_name is not None and not re.fullmatch(r"\w[\w.-]*", train.run_name):
        raise UserError(
            f"{config}: train.run_name is {json.dumps(train.run_name)}; it names a folder: letters, digits, '_', '-', "
            "'.', and no '.' or '-' at the start"
        )
    if train.warmup_steps >= train.max_steps:
        raise UserError(
            f"{config}: train.warmup_steps {train.warmup_steps} leaves nothing of train.max_steps {train.max_steps}; "
            "lower the first or raise the second"
        )
    if data.min_chars > data.max_chars:
        raise UserError(f"{config}: data.min_chars {data.min_chars} is more than data.max_chars {data.max_chars}")
    if data.year_min is not None and data.year_max is not None and data.year_min > data.year_max:
        raise UserError(f"{config}: data.year_min {data.year_min} is after data.year_max {data.year_max}")
    special = {"bos_token_id": model.bos_token_id, "eos_token_id": model.eos_token_id}
    special |= {} if model.pad_token_id is None else {"pad_token_id": model.pad_token_id}
    for name, token in special.items():
        if token >= model.vocab_size:
            raise UserError(f"{config}: {name} {token} lies outside vocab_size {model.vocab_size}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Check a configuration and print it resolved.",
        epilog="example: python settings.py --config examples/quickstart/config.json --set train.seq_len=128",
    )
    add_config_arguments(parser)
    print(json.dumps(settings_from_args(parser.parse_args(argv)).to_dict(), indent=2))
    return 0


if __name__ == "__main__":
    run_command(main)
