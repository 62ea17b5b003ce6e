"""What the evaluations share: finding and loading a model folder, and what stands before a document's first token.

A document is fed to a model as in training: its text encoded without special tokens, after one context token. That is
the tokenizer's own BOS where it adds one by itself (Llama-2 and its kin), else the end-of-text token, which is what
precedes every document in this project's packed training data. Imported, not run.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import project_path
from common.settings.load import Settings
from training.plan.nvidia_driver import cpu_wanted, gpu_trouble

NEXT = "train one first: deepspeed train.py"
# In a published folder: how its model was trained.
TRAINING = "training.json"
# Embeddings for each entry of a tokenizer, beyond which they are no padding.
PADDED = 1.1


@dataclass
class LoadedModel:
    """A causal language model in evaluation mode with its tokenizer."""

    folder: Path
    model: Any
    tokenizer: Any
    device: Any
    # The id in front of every document.
    context_token: int
    # Most tokens, the context token among them, that the model takes at once.
    max_context: int
    # As tables and plots call it.
    name: str

    def encode(self, text: str) -> list[int]:
        """Token ids of raw text without lone surrogates; a literal `<s>` in it stays text."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)

    def tokenizer_name(self) -> str:
        """How results name the tokenizer that a perplexity belongs to."""
        return f"{self.folder.parent.name}/{self.folder.name} ({len(self.tokenizer):,} entries)"


def newest_export(settings: Settings) -> Path:
    """The most recently exported model among the runs.

    Raises:
        UserError: there is none.
    """
    runs = project_path(settings.train.runs)
    exports = [path.parent for path in runs.glob("*/export/config.json")]
    if not exports:
        raise UserError(f"{runs}: no exported model in it; {NEXT}, or name a folder with --model FOLDER")
    return max(exports, key=lambda folder: (folder / "config.json").stat().st_mtime_ns)


def chosen_model(given: Path | None, settings: Settings) -> Path:
    """The folder of the model that is asked for: of a run its export; without a name the most recent one.

    Raises:
        UserError: none was named, and there is none.
    """
    if given is None:
        return newest_export(settings)
    folder = given.absolute()
    export = folder / "export"
    return export if (folder / "run.json").is_file() and export.is_dir() else folder


def context_token_of(tokenizer: Any) -> int:
    """The id that stands before a document: the BOS that the tokenizer adds by itself, else EOS.

    Raises:
        UserError: the tokenizer has neither.
    """
    empty = tokenizer.encode("")
    if tokenizer.bos_token_id is not None and empty[:1] == [tokenizer.bos_token_id]:
        return tokenizer.bos_token_id
    token = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
    if token is None:
        raise UserError(
            "the tokenizer has neither an EOS nor a BOS token to put before a document; give it one of them"
        )
    return token


def find_device(name: str | None) -> Any:
    """The device that was asked for, else the GPU, else the CPU.

    Raises:
        UserError: it is not a device of this machine, or torch cannot use the GPU that is there and none was asked for.
    """
    import torch

    if name is None:
        trouble = gpu_trouble(0)
        if trouble is not None:
            raise UserError(f"{trouble.state}; {trouble.todo}, or take --device cpu")
        return torch.device("cuda" if torch.cuda.is_available() and not cpu_wanted() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name}: cannot be used here ({reason}); take --device cpu") from None
    return device


def trained_length(folder: Path) -> int | None:
    """Tokens of the sequences that a model was trained on, as its run or its published folder notes; None for any
    other."""
    try:
        if (folder / TRAINING).is_file():
            return int(json.loads((folder / TRAINING).read_text(encoding="utf-8"))["sequence_length"])
        config = json.loads((folder.parent / "config.json").read_text(encoding="utf-8"))
        return int(config["train"]["seq_len"]) if (folder.parent / "run.json").is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_model(folder: Path, device: str | None = None, name: str | None = None) -> LoadedModel:
    """Load a folder that AutoModelForCausalLM and AutoTokenizer read; nothing is fetched from elsewhere.

    Raises:
        UserError: the folder is absent or not a model with its tokenizer, or the two do not belong together; weights
            that are damaged, missing or not finite.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {NEXT} (it exports to runs/<name>/export)")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not a JSON object")
    except FileNotFoundError:
        raise UserError(
            f"{folder}: not a model folder, it has no config.json; {NEXT} (it exports to runs/<name>/export)"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: cannot be read: {error}") from None
    # A checkout of this project has a config.json too, and no weights.
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise UserError(
            f"{folder}: has a config.json and no weights (*.safetensors); {NEXT} (it exports to runs/<name>/export)"
        )

    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from training.model import without_cudnn_attention

    without_cudnn_attention()
    logging.set_verbosity_error()  # what it warns of is told below, in one line
    logging.disable_progress_bar()  # of reading weights: seconds, and in the way of the text that follows
    place = find_device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder}: no tokenizer that AutoTokenizer loads ({_first_line(error)}); copy its files there"
        ) from error
    try:
        # Half precision is slow on CPUs, and its rounding shows in a perplexity.
        dtype = "auto" if place.type != "cpu" else "float32"
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
        model, info = loaded
    except SafetensorError as error:
        raise UserError(f"{folder}: its weights are damaged ({_first_line(error)}); export the model again") from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{folder}: not a model that AutoModelForCausalLM loads: {_first_line(error)}") from error
    for key, what in (
        ("missing_keys", "lack {} tensor(s) that config.json asks for"),
        ("unexpected_keys", "have {} tensor(s) that config.json does not know"),
        ("mismatched_keys", "have {} tensor(s) of another shape than config.json says"),
    ):
        if wrong := sorted(map(str, info[key])):
            raise UserError(
                f"{folder}: its weights {what.format(len(wrong))} ({wrong[0]}{', ..' if wrong[1:] else ''}); the two "
                "do not belong together"
            )
    for tensor, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(f"{folder}: its weights are not finite ({tensor}); export an earlier checkpoint")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer):,} entries and the model {rows:,} "
            f"embeddings; they do not belong together"
        )
    if rows > PADDED * len(tokenizer):  # some more are padding
        print(
            f"note: {folder}: the tokenizer has {len(tokenizer):,} entries and the model {rows:,} embeddings; do they "
            "belong together?",
            file=sys.stderr,
        )
    limit = (
        config.get("max_position_embeddings")
        or config.get("n_positions")
        or getattr(model.config, "max_position_embeddings", None)
    )
    return LoadedModel(
        folder=folder,
        model=model.to(place).eval(),
        tokenizer=tokenizer,
        device=place,
        context_token=context_token_of(tokenizer),
        max_context=int(limit or 1 << 20),
        name=name or (folder.parent.name if folder.name == "export" else folder.name),
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
