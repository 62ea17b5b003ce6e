"""Weights to begin with instead of fresh ones, and the validation split that those were pretrained with.

`train.init_from` names a run, one of its checkpoints, or a folder that transformers loads; the shape of the model and
the tokenizer must be the same, context and RoPE may differ.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.jsonl import find_split
from common.paths import project_path
from common.settings.load import Settings
from common.settings.model import ModelSettings
from tokenizer.cache.plan import Split, file_split
from tokenizer.learn.fingerprint import tokenizer_fingerprint
from training.checkpoints import manager as checkpoint
from training.checkpoints.reshard import MODEL_FILE

# What a tensor's shape, or its use, depends on.
SHAPE = (
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "tie_word_embeddings", "attention_bias", "mlp_bias", "hidden_act"),
    "rms_norm_eps",
)
# Under which name the module that DeepSpeed trains (training/model.py) holds the model.
MODULE_PREFIX = "model."
# The second validation split among the caches of a run, and what its figures in metrics.jsonl begin with.
PRETRAINING = "pretraining_val"


@dataclass(frozen=True)
class Initial:
    """Where weights come from: `folder` is a checkpoint of a run, or a folder that transformers loads."""

    folder: Path
    is_checkpoint: bool
    # Model keys and tokenizer that the weights belong to.
    model: dict[str, Any]
    tokenizer: str
    # The run that made them, where that is known.
    run: Path | None

    def notes(self, settings: Settings) -> list[str]:
        """What differs and may: told, since both change what the weights mean."""
        here = settings.model_dict()
        return [
            f"{key} is {json.dumps(here[key])} here, {json.dumps(self.model[key])} in {self.folder}"
            for key in ("max_position_embeddings", "rope_parameters")
            if key in self.model and self.model[key] != here[key]
        ]


def find_initial(settings: Settings) -> Initial | None:
    """What `train.init_from` names; None where it names nothing.

    Raises:
        UserError: nothing usable is there, or it does not fit the configuration's model or tokenizer.
    """
    if settings.train.init_from is None:
        return None
    found = initial_at(project_path(settings.train.init_from), "train.init_from")
    _check_model(found, settings)
    here = tokenizer_fingerprint(project_path(settings.tokenizer.out))
    if found.tokenizer != here:
        raise UserError(
            f"train.init_from: {found.folder} was trained with another tokenizer (fingerprint {found.tokenizer[:12]}) "
            f"than {settings.tokenizer.out} ({here[:12]}); set tokenizer.out to the former"
        )
    return found


def initial_at(path: Path, option: str) -> Initial:
    """The weights that lie at `path`; `option` is what errors call it.

    Raises:
        UserError: none do.
    """
    return _checkpoint(path) if (path / "state.json").is_file() else _folder(path, option)


def _checkpoint(path: Path) -> Initial:
    state = checkpoint.read_state(path)
    run = path.parents[1]
    return Initial(path, True, state.configuration, state.tokenizer, run if (run / "run.json").is_file() else None)


def _folder(path: Path, option: str) -> Initial:
    if (path / "run.json").is_file():
        if not (path / "export" / "config.json").is_file():
            return _checkpoint(_last_checkpoint(path, option))
        path = path / "export"
    try:
        model = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if not isinstance(model, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{option}: {path}: no model there (config.json: {error}); name a run's folder, one of its "
            "checkpoints, or a folder that transformers loads"
        ) from None
    if model.get("model_type") != "llama":
        raise UserError(
            f"{option}: {path}: a model of type {model.get('model_type')}; only Llama models are taken here"
        )
    run = path.parent if (path.parent / "run.json").is_file() else None
    return Initial(path, False, model, tokenizer_fingerprint(path), run)


def _last_checkpoint(run: Path, option: str) -> Path:
    """The newest checkpoint whose files are what was written; nothing is set aside in a run that may be going on."""
    for path in reversed(checkpoint.finished(run / "checkpoints")):
        if checkpoint.damage(path) is None:
            return path
    raise UserError(f"{option}: {run}: a run with neither an export nor a checkpoint that can be used")


def _check_model(found: Initial, settings: Settings) -> None:
    here, there = _shape(settings.model_dict()), _shape(found.model)
    wrong = [
        f"{key} {json.dumps(there[key])} there, {json.dumps(here[key])} here"
        for key in SHAPE
        if there[key] != here[key]
    ]
    if wrong:
        raise UserError(
            f"train.init_from: {found.folder} is another model than the configuration's: {'; '.join(wrong)}; give the "
            "configuration its values (a run's own config.json can be used with --config)"
        )


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    shape = {key: config.get(key, getattr(ModelSettings, key, None)) for key in SHAPE}
    heads = shape["num_attention_heads"]
    shape["num_key_value_heads"] = shape["num_key_value_heads"] or heads
    if shape["head_dim"] is None and heads and shape["hidden_size"]:
        shape["head_dim"] = shape["hidden_size"] // heads
    return shape


def load_initial(model: Any, initial: Initial) -> None:
    """Put the weights into `model`, a LlamaForCausalLM, in its own dtype.

    Raises:
        UserError: files that are missing or damaged, tensors that do not fit, or weights that are not finite.
    """
    import torch

    state = _weights_of_checkpoint(initial.folder) if initial.is_checkpoint else _weights_of_folder(initial.folder)
    if model.config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{initial.folder}: {' '.join(str(error).split())[:300]}") from None
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise UserError(f"{initial.folder}: weights that are not finite; take another checkpoint")


def _weights_of_checkpoint(folder: Path) -> dict[str, Any]:
    import torch

    if wrong := checkpoint.damage(folder):
        raise UserError(f"{folder}: {wrong}; take another checkpoint")
    module = torch.load(folder / MODEL_FILE, map_location="cpu", mmap=True, weights_only=False)["module"]
    return {name.removeprefix(MODULE_PREFIX): tensor for name, tensor in module.items()}


def _weights_of_folder(folder: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files, state = sorted(folder.glob("*.safetensors")), dict[str, Any]()
    if not files:
        raise UserError(f"{folder}: no weights there (*.safetensors)")
    for file in files:
        try:
            state |= load_file(file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: damaged: {error}; export the model again") from None
    return state


def pretraining_split(settings: Settings) -> tuple[Split | None, str | None]:
    """The split of `train.pretraining_val`, and a note where none is found that "auto" was to find.

    Raises:
        UserError: a split that is named is not there.
    """
    wanted = settings.train.pretraining_val
    if wanted is None or (wanted == "auto" and settings.train.init_from is None):
        return None, None
    if wanted != "auto":
        path = project_path(wanted)
        if not path.is_dir():
            return file_split(path), None
        if paths := find_split(path, "val"):
            return Split("val", tuple(paths)), None
        raise UserError(f"train.pretraining_val: {path}: no validation split there (val.jsonl)")
    remedy = "it is not measured; name one with train.pretraining_val (null: none)"
    try:
        initial = find_initial(settings)
    except UserError as error:  # a run that goes on does without the weights that it began with
        return None, f"the pretraining validation split is not known ({error}): {remedy}"
    assert initial is not None
    if initial.run is None:
        return None, f"the pretraining validation split of {initial.folder} is not known: {remedy}"
    try:
        out = json.loads((initial.run / "config.json").read_text(encoding="utf-8"))["data"]["out"]
        paths = find_split(project_path(out), "val")
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        return None, f"the pretraining validation split of {initial.run} cannot be found ({error!r}): {remedy}"
    if not paths:
        return None, f"{project_path(out)}: the pretraining validation split is no longer there: {remedy}"
    if paths == find_split(project_path(settings.data.out), "val"):
        return None, None  # measured anyway
    return Split("val", tuple(paths)), None
