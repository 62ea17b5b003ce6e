"""Typed settings: `config.json` plus `--set section.key=value`, with every unknown key refused by name.

`config.json` is a transformers config as it stands (model keys at the top level) with three more sections, `data`,
`tokenizer` and `train`. Each knob of the project lives here once, with its meaning, type and limits; what DeepSpeed
alone needs lives in `ds_config.json`. `python settings.py` prints what a command will use.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError
from common.paths import DEFAULT_CONFIG
from common.settings.data import DataSettings
from common.settings.model import ModelSettings
from common.settings.tokenizer import TokenizerSettings
from common.settings.train import TrainSettings


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
LARGEST = 2**63
ENDLESS = "a number has thousands of digits, or brackets stand in brackets a thousand deep"


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
    except (ValueError, RecursionError):
        raise UserError(f"{config}: cannot be read: {ENDLESS}") from None
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


def _is_finite(value: Any) -> bool:
    """Whether no number in nested containers is NaN or infinite."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


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
    except (ValueError, RecursionError):
        raise UserError(f"--set {key}: cannot be read: {ENDLESS}") from None
    *parents, last = key.split(".")
    if len(parents) > 1 and parents[0] in SECTIONS:
        raise UserError(f"--set {override}: no such key; {_nearest(key, _all_keys())}")
    if last in SECTIONS and not parents:
        raise UserError(f"--set {override}: '{last}' is a section; name one of its keys, e.g. {last}.KEY=VALUE")
    target: Any = raw
    for parent in parents:
        target = target.get(parent)
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
    if type(value) is int and abs(value) >= LARGEST:
        raise UserError(f"{config}: '{name}' is a number of {len(str(abs(value)))} digits, must be below 2^63")
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
            if _is_finite(value):
                return value
            raise UserError(f"{config}: '{name}' is {json.dumps(value)}; its numbers must be finite")
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
