"""How two configurations of a run differ, as people read it."""

from __future__ import annotations

import json
from typing import Any

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


def changes_text(found: Changes) -> str:
    """The list as people read it."""
    width = max(map(len, found))
    return "\n".join(f"  {key:<{width}}  {value_text(old)} -> {value_text(new)}" for key, (old, new) in found.items())


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def value_text(value: Any) -> str:
    return json.dumps(value)
