r"""What a tokenizer does to texts, as sums that merge in any order: the one place where its measures are defined.

A token belongs to the place where it begins. `DEFINITIONS` says the same in words, for the pages that show the numbers.
Imported by the reports; not run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenizer.measure.segments import KIND_MEANINGS, KINDS, TextUnits

if TYPE_CHECKING:
    import numpy as np

    from tokenizer.measure.adapters import AnyTokenizer

# Commands of the text that are looked at by type: the most frequent ones.
TOP_COMMANDS = 1000
# Numbers of this many digits and more are one class.
MANY_DIGITS = 9
EXAMPLES = 20
# Points of the curve of uses by rank.
CURVE_POINTS = 120

DEFINITIONS = {
    "bytes per token": "bytes of the text in UTF-8 divided by its tokens, over all documents together. The mean over "
    "sources or categories counts each of them once, however much text it has.",
    "kinds of text": "each byte and each token belong to the kind of text at which they begin: "
    + "; ".join(f"{kind}: {meaning}" for kind, meaning in zip(KINDS, KIND_MEANINGS, strict=True))
    + ".",
    "fertility": "tokens per word: of how many tokens a word (a run of letters that is no command) has a part, on "
    "average. At least 1; a token that holds several words counts once for each.",
    "commands whole": r"share of the occurrences of commands (a backslash and letters, outside listings) of which all "
    "characters lie in one token.",
    "boundary-clean": "whole, and the token that holds the command does not end or begin within a word, a command or a "
    "number beside it.",
    "most frequent commands": f"the {TOP_COMMANDS:,} commands that occur most often in the text (all, where it has "
    "fewer), each counted once: whole or clean are those that are so in more than half of their occurrences. Alone: "
    "the command by itself is one token; after a space: the command with a space before it is one token. In brackets "
    "Wilson's 95 % interval, which takes the commands for a random draw.",
    "wrong prefix": r"share of the occurrences of commands that are cut so that the first part is another command of "
    r"the text (\inject cut into \in and ject). A tokenizer that cuts after every backslash has none.",
    "tokens per number": "of how many tokens a number (a run of digits 0-9) has a part, on average.",
    "single digits": "share of the digits that are a token of their own.",
    "entries used": "of the entries of the vocabulary, special ones included, how many the tokens of the text never "
    "use, use once, and use less than ten times (never included). On little text many are bound to be unused.",
}


@dataclass
class Tally:
    """Sums over texts for one tokenizer."""

    documents: int = 0
    kind_bytes: np.ndarray = field(default_factory=lambda: _zeros(len(KINDS)))
    kind_tokens: np.ndarray = field(default_factory=lambda: _zeros(len(KINDS)))
    kind_words: np.ndarray = field(default_factory=lambda: _zeros(len(KINDS)))
    kind_word_tokens: np.ndarray = field(default_factory=lambda: _zeros(len(KINDS)))
    # By number of digits, 1 to MANY_DIGITS.
    numbers: np.ndarray = field(default_factory=lambda: _zeros(MANY_DIGITS + 1))
    number_tokens: np.ndarray = field(default_factory=lambda: _zeros(MANY_DIGITS + 1))
    digits: int = 0
    single_digits: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    clean: Counter[str] = field(default_factory=Counter)
    # (command, its first part) of those that are cut.
    cuts: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Uses of each id, as far as ids occur.
    used: np.ndarray = field(default_factory=lambda: _zeros(0))
    # (bytes, tokens) of each document, in order.
    per_document: list[tuple[int, int]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return int(self.kind_bytes.sum())

    @property
    def tokens(self) -> int:
        return int(self.kind_tokens.sum())

    def add(self, units: TextUnits, ids: Sequence[int], begins: Sequence[int], unknown: int | None = None) -> None:
        """Count one text, cut into `ids` that begin at the characters `begins`; `unknown` stands for text not known."""
        import numpy as np

        starts = np.asarray(begins, np.int64)
        kinds = len(KINDS)
        size = int(units.sizes.sum())
        self.documents += 1
        self.per_document.append((size, len(ids)))
        self.kind_bytes += np.bincount(units.kinds, units.sizes, kinds).astype(np.int64)
        self.used = _sum(self.used, np.bincount(np.asarray(ids, np.int64)))
        if not units.text:
            return
        self.kind_tokens += np.bincount(units.kinds[np.minimum(starts, len(units.text) - 1)], minlength=kinds)

        word_kinds = units.kinds[units.words[0]]
        self.kind_words += np.bincount(word_kinds, minlength=kinds)
        self.kind_word_tokens += np.bincount(word_kinds, _tokens_of(starts, *units.words), kinds).astype(np.int64)

        first, last = units.numbers
        lengths = np.minimum(last - first, MANY_DIGITS)
        self.numbers += np.bincount(lengths, minlength=MANY_DIGITS + 1)
        self.number_tokens += np.bincount(lengths, _tokens_of(starts, first, last), MANY_DIGITS + 1).astype(np.int64)
        # A digit is single where one token begins at it and the next token begins right after it.
        end = len(units.text)
        begun = np.bincount(np.minimum(starts, end), minlength=end + 1)
        begun[-1] = 1
        borders = np.zeros(end + 1, np.int8)
        borders[first], borders[last] = 1, -1
        is_digit = np.cumsum(borders[:-1]) > 0
        self.digits += int(is_digit.sum())
        self.single_digits += int((is_digit & (begun[:-1] == 1) & (begun[1:] > 0)).sum())
        self._add_commands(units, np.asarray(ids, np.int64), starts, unknown)

    def _add_commands(self, units: TextUnits, ids: np.ndarray, starts: np.ndarray, unknown: int | None) -> None:
        import numpy as np

        first, last = units.commands
        following = np.searchsorted(starts, first, "right")  # the first token that begins after the backslash
        cut_at = np.append(starts, len(units.text))[following]
        # Text that became the unknown token, or none at all, is not kept whole.
        holder = following - 1
        held = holder >= 0
        if unknown is not None:
            held &= np.append(ids, unknown)[holder] != unknown
        whole = held & (cut_at >= last)
        held_from = np.append(starts, 0)[holder]
        clean = whole & ~units.inside[held_from] & ~units.inside[cut_at]
        for name, length, is_whole, is_clean in zip(
            units.names, (cut_at - first).tolist(), whole.tolist(), clean.tolist(), strict=True
        ):
            self.commands[name] += 1
            if is_whole:
                self.whole[name] += 1
                if is_clean:
                    self.clean[name] += 1
            elif length < len(name):
                self.cuts[name, name[:length]] += 1

    def merge(self, other: Tally) -> None:
        """Add the sums of texts that come after."""
        self.documents += other.documents
        for name in ("kind_bytes", "kind_tokens", "kind_words", "kind_word_tokens", "numbers", "number_tokens", "used"):
            setattr(self, name, _sum(getattr(self, name), getattr(other, name)))
        self.digits += other.digits
        self.single_digits += other.single_digits
        for name in ("commands", "whole", "clean", "cuts"):
            getattr(self, name).update(getattr(other, name))
        self.per_document += other.per_document

    def top_commands(self, limit: int = TOP_COMMANDS) -> list[str]:
        """The most frequent commands, the most frequent first."""
        return sorted(self.commands, key=lambda name: (-self.commands[name], name))[:limit]

    def results(self, size: int) -> dict[str, Any]:
        """The measures of a vocabulary of `size` entries, as they are reported; None where nothing was counted."""
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "tokens": self.tokens,
            "bytes_per_token": ratio(self.bytes, self.tokens),
            "tokens_per_word": ratio(int(self.kind_word_tokens.sum()), int(self.kind_words.sum())),
            "kinds": {
                kind: {
                    "bytes": int(self.kind_bytes[i]),
                    "tokens": int(self.kind_tokens[i]),
                    "bytes_per_token": ratio(int(self.kind_bytes[i]), int(self.kind_tokens[i])),
                    "tokens_per_word": ratio(int(self.kind_word_tokens[i]), int(self.kind_words[i])),
                }
                for i, kind in enumerate(KINDS)
                if self.kind_bytes[i]
            },
            "commands": self._command_results(),
            "numbers": {
                "count": int(self.numbers.sum()),
                "tokens_per_number": ratio(int(self.number_tokens.sum()), int(self.numbers.sum())),
                "by_digits": {
                    f"{n}" if n < MANY_DIGITS else f"{n}+": ratio(int(self.number_tokens[n]), int(self.numbers[n]))
                    for n in range(1, MANY_DIGITS + 1)
                    if self.numbers[n]
                },
                "digits": self.digits,
                "single_digits": ratio(self.single_digits, self.digits),
            },
            "entries": self._entry_results(size),
        }

    def _command_results(self) -> dict[str, Any]:
        occurrences = self.commands.total()
        top = self.top_commands()
        whole = sum(2 * self.whole[name] > self.commands[name] for name in top)
        clean = sum(2 * self.clean[name] > self.commands[name] for name in top)
        wrong = {pair: count for pair, count in self.cuts.items() if pair[1] in self.commands}
        broken = self.commands - self.whole
        return {
            "occurrences": occurrences,
            "types": len(self.commands),
            "whole": ratio(self.whole.total(), occurrences),
            "clean": ratio(self.clean.total(), occurrences),
            "most_frequent": len(top),
            "most_frequent_whole": share(whole, len(top)),
            "most_frequent_clean": share(clean, len(top)),
            "wrong_prefix": ratio(sum(wrong.values()), occurrences),
            "wrong_prefix_examples": [
                {"command": pair[0], "first_part": pair[1], "count": count} for pair, count in _most(wrong)
            ],
            "most_often_cut": dict(_most(broken)),
        }

    def _entry_results(self, size: int) -> dict[str, Any]:
        import numpy as np

        uses = np.sort(_sum(_zeros(size), self.used))[::-1]
        ranks = np.unique(np.geomspace(1, len(uses), CURVE_POINTS).round().astype(int))
        return {
            "size": size,
            "never_used": int((uses == 0).sum()),
            "used_once": int((uses == 1).sum()),
            "used_less_than_10_times": int((uses < 10).sum()),
            "uses_by_rank": [[int(rank), int(uses[rank - 1])] for rank in ranks],
        }


def bare_commands(tokenizer: AnyTokenizer, names: Sequence[str]) -> dict[str, Any]:
    """Shares of commands that are one token by themselves, and with a space before them."""
    return {
        "most_frequent_alone": share(sum(_is_one(tokenizer, name) for name in names), len(names)),
        "most_frequent_after_space": share(sum(_is_one(tokenizer, f" {name}") for name in names), len(names)),
    }


def ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def share(count: int, of: int) -> dict[str, float] | None:
    """A share with Wilson's interval of 95 % (Wilson, JASA 22, 1927)."""
    if not of:
        return None
    z = 1.959963984540054
    p, shrink = count / of, 1 + z * z / of
    centre = (p + z * z / (2 * of)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    # Exact at the ends, where rounding would leave a little.
    return {"share": p, "low": centre - half if count else 0.0, "high": centre + half if count < of else 1.0}


def mean_of_groups(per_document: Sequence[tuple[int, int]], groups: Sequence[str]) -> dict[str, Any]:
    """Bytes per token of each group of documents, most text first, and their mean over groups."""
    sums: dict[str, list[int]] = {}
    for (size, tokens), group in zip(per_document, groups, strict=True):
        row = sums.setdefault(group, [0, 0, 0])
        for i, value in enumerate((1, size, tokens)):
            row[i] += value
    rows = {
        group: {"documents": n, "bytes": size, "tokens": tokens, "bytes_per_token": ratio(size, tokens)}
        for group, (n, size, tokens) in sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    }
    values = [row["bytes_per_token"] for row in rows.values() if row["bytes_per_token"] is not None]
    return {"mean": sum(values) / len(values) if values else None, "groups": rows}


def _is_one(tokenizer: AnyTokenizer, text: str) -> bool:
    # A space that the tokenizer itself puts before the text may be a token more: it begins where the text does.
    ids, begins = tokenizer.cut(text)
    return len(set(begins)) == 1 and ids[-1] != tokenizer.unknown


def _tokens_of(starts: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """How many tokens have a part of each span: those that begin in it, and one that began before it."""
    import numpy as np

    left, right = np.searchsorted(starts, first), np.searchsorted(starts, last)
    begun_before = np.append(starts, -1)[left] != first
    return right - left + begun_before


def _sum(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Sum of two counts, of which one may be shorter."""
    if len(one) < len(other):
        one, other = other, one
    total = one.copy()
    total[: len(other)] += other
    return total


def _most(counts: dict[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES]


def _zeros(size: int) -> np.ndarray:
    import numpy as np

    return np.zeros(size, np.int64)
