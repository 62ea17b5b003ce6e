"""Whether a text's braces, environments and mathematics delimiters balance, by counting: a check of the cleaner."""

from __future__ import annotations


def imbalances(text: str) -> tuple[str, ...]:
    """Which of "braces", "environments", "math" do not balance in `text`.

    Counts alone, hence blind to order, but cheap enough for every paper. `\\\\` before a brace is a line break.
    """

    def unescaped(mark: str) -> int:
        count = text.count(mark)
        escaped = text.count("\\" + mark) if count else 0
        return count - escaped + (text.count("\\\\" + mark) if escaped else 0)

    found = []
    if unescaped("{") != unescaped("}"):
        found.append("braces")
    if text.count("\\begin{") != text.count("\\end{"):
        found.append("environments")
    if unescaped("$") % 2 or any(
        text.count("\\" + left) - text.count("\\\\" + left) != text.count("\\" + right) - text.count("\\\\" + right)
        for left, right in ("[]", "()")
    ):
        found.append("math")
    return tuple(found)
