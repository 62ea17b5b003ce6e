"""Samples of rejected papers: for each reason those whose ids have the smallest hashes, whoever found them and when.

Imported by `prepare_dataset.py`; not run.
"""

from __future__ import annotations

import hashlib
import heapq
from typing import Any


class Samples:
    """Keeps, for each reason, the `limit` entries with the smallest hashes of reason and name."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heaps: dict[str, list[tuple[int, str, int, dict[str, Any]]]] = {}
        self._added = 0

    def add(self, reason: str, name: str, **entry: Any) -> None:
        """Offer a rejected paper; `entry` is what the sample will tell beside its id."""
        if not self.limit:
            return
        heap = self._heaps.setdefault(reason, [])
        value = int.from_bytes(
            hashlib.blake2b(f"{reason}:{name}".encode("utf-8", "replace"), digest_size=8).digest(), "big"
        )
        # The largest hash on top (heapq has the smallest there); the number keeps entries from being compared.
        self._added += 1
        item = (-value, name, self._added, {"id": name, **entry})
        if len(heap) < self.limit:
            heapq.heappush(heap, item)
        elif item[:2] > heap[0][:2]:
            heapq.heapreplace(heap, item)

    def of(self, reason: str) -> list[dict[str, Any]]:
        """The samples of a reason, by hash."""
        return [entry for *_, entry in sorted(self._heaps.get(reason, []), key=lambda item: (-item[0], item[1]))]

    def reasons(self) -> list[str]:
        return list(self._heaps)
