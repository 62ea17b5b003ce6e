"""Numbers as people write them: sizes, shares, amounts."""

from __future__ import annotations


def percent(share: float) -> str:
    if 0 < share < 0.00001:
        return "< 0.001%"
    return f"{share:.1%}" if share >= 0.001 or share == 0 else f"{share:.3%}"


def size_text(size: int) -> str:
    """Bytes for people: 512 B, 3.1 kB, 27.0 MB, 1.4 GB (powers of 1000)."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.2f} TB"


def amount(number: float) -> str:
    """12.3k, 4.56M, 52.2B: a count as people say it."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"
