"""What may change when a run goes on: the differences between its configuration and this command's, and which of them
leave it the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.errors import UserError

# Everything else makes another model, another order of the data or another optimizer out of the run.
CHANGEABLE = {
    f"train.{key}"
    for key in (
        *("learning_rate", "min_lr_ratio", "warmup_steps", "max_steps"),
        *("micro_batch_size", "gradient_accumulation_steps"),  # their product over the processes must stay
        *("gradient_checkpointing", "loss_kernel", "layer_kernels", "attention", "fused_adamw", "compile"),
        *("val_every", "early_stop_patience", "early_stop_gain", "keep_best"),
        *("save_every", "keep_last", "keep_every", "background_checkpoints", "hang_seconds", "log_every"),
        *("spike_sigmas", "on_spike"),
    )
} | {"deepspeed.zero_optimization." + key for key in ("overlap_comm", "reduce_bucket_size", "allgather_bucket_size")}
# In ds_config.json as config.json makes them: told once, under their own names.
DERIVED = {f"deepspeed.{key}" for key in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps")}

Changes = dict[str, tuple[Any, Any]]


def changes(there: dict[str, Any], here: dict[str, Any]) -> Changes:
    """Keys, dotted, whose values differ: (the run's, this command's)."""
    old, new = _flat(there), _flat(json.loads(json.dumps(here)))
    return {
        key: (old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and key not in DERIVED
    }


def check_changes(run: Path, found: Changes) -> None:
    """Raises UserError where a change would make another run of it, naming each with both values."""
    refused = {key: values for key, values in found.items() if key not in CHANGEABLE}
    if not refused:
        return
    listed = "; ".join(f"{key}: {_text(old)} there, {_text(new)} here" for key, (old, new) in refused.items())
    raise UserError(
        f"{run}: cannot go on with {listed}. A run may change {', '.join(sorted(CHANGEABLE))}; put the others back "
        f"(--config {run / 'config.json'} has them), or start another run without --resume"
    )


def changes_text(found: Changes) -> str:
    """The list as people read it."""
    width = max(map(len, found))
    return "\n".join(f"  {key:<{width}}  {_text(old)} -> {_text(new)}" for key, (old, new) in found.items())


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def _text(value: Any) -> str:
    return json.dumps(value)
