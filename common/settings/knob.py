"""A field of a section of the configuration, with its limits."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def knob(minimum: float | None = None, maximum: float | None = None, default: Any = MISSING) -> Any:
    """A dataclass field whose numbers must lie in [minimum, maximum] (elements, for a list)."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})
