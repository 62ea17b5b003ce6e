"""Every measure on a tokenizer with known answers."""

from __future__ import annotations

from typing import Any

from tests.helpers.tokenizer.known_tokenizers import PAPER, Longest
from tokenizer.measure.adapters import AnyTokenizer
from tokenizer.measure.metrics import Tally, bare_commands, mean_of_groups, share
from tokenizer.measure.segments import take_apart


def tallied(tokenizer: AnyTokenizer, *texts: str) -> Tally:
    tally = Tally()
    for text in texts:
        tally.add(take_apart(text), *tokenizer.cut(text), tokenizer.unknown)
    return tally


def results(tokenizer: AnyTokenizer, *texts: str) -> dict[str, Any]:
    return tallied(tokenizer, *texts).results(tokenizer.size)


def test_bytes_per_token_by_kind_of_text() -> None:
    found = results(Longest("word", " and", "$x", r"\emph{"), r"word and $x$ \emph{é}")
    # word| and| |$x|$| |\emph{|é: two bytes|}
    assert found["bytes"] == 22 and found["tokens"] == 10 and found["bytes_per_token"] == 2.2
    assert found["kinds"]["prose"] == {"bytes": 12, "tokens": 6, "bytes_per_token": 2.0, "tokens_per_word": 4 / 3}
    assert found["kinds"]["inline mathematics"]["bytes_per_token"] == 1.5
    assert found["kinds"]["markup"] == {"bytes": 7, "tokens": 2, "bytes_per_token": 3.5, "tokens_per_word": None}
    assert list(found["kinds"]) == ["prose", "markup", "inline mathematics"]


def test_a_token_belongs_to_the_kind_in_which_it_begins() -> None:
    found = results(Longest("a $x"), "a $x$")
    assert found["kinds"]["prose"] == {"bytes": 2, "tokens": 1, "bytes_per_token": 2.0, "tokens_per_word": 1.0}
    assert found["kinds"]["inline mathematics"]["tokens"] == 1


def test_tokens_per_word() -> None:
    # such that: one token for two words; inject|ive; a letter of three bytes.
    assert results(Longest("such that"), "such that")["tokens_per_word"] == 1.0
    assert results(Longest("inject", "ive"), "injective")["tokens_per_word"] == 2.0
    assert results(Longest(), "日")["tokens_per_word"] == 3.0
    # The second word is in the token that begins in the first one, and in one of its own.
    assert results(Longest("one tw", "o"), "one two")["tokens_per_word"] == 1.5
    assert results(Longest(), "$+$")["tokens_per_word"] is None


def test_commands_whole_and_boundary_clean() -> None:
    text = r"\alpha x \alpha12 \alpha, \in \injective"
    tokenizer = Longest(r"\alpha", r"\alpha1", r" \in", "jective", "(")
    commands = results(tokenizer, text)["commands"]
    # \alpha1|2 cuts into the number; \in|jective is cut, and \in is a command of the text.
    assert commands["occurrences"] == 5 and commands["types"] == 3
    assert commands["whole"] == 4 / 5 and commands["clean"] == 3 / 5
    assert commands["wrong_prefix"] == 1 / 5
    assert commands["wrong_prefix_examples"] == [{"command": r"\injective", "first_part": r"\in", "count": 1}]
    assert commands["most_often_cut"] == {r"\injective": 1}
    assert commands["most_frequent"] == 3
    assert commands["most_frequent_whole"] == share(2, 3) and commands["most_frequent_clean"] == share(2, 3)


def test_half_of_the_occurrences_are_no_majority() -> None:
    commands = results(Longest(r"\a ", r"\a"), r"\a \ab \ab")["commands"]
    assert commands["most_frequent_whole"] == share(1, 2)
    half = results(Longest(r"x\b"), r"x\b \b")["commands"]
    assert half["whole"] == 0.5 and half["most_frequent_whole"]["share"] == 0.0


def test_a_token_that_cuts_into_a_neighbour_is_not_clean() -> None:
    for entries, text, clean in (
        (["x \\to"], r"max \to y", False),  # begins within a word
        (["\\to a"], r"\to ab", False),  # ends within one
        (["\\to\\i"], r"\to\in", False),  # ends within a command
        (["\\to ab"], r"\to ab", True),
        (["$\\to$"], r"$\to$", True),
    ):
        commands = results(Longest(*entries), text)["commands"]
        assert commands["clean"] == float(clean) * commands["whole"] and commands["whole"] > 0, (entries, text)


def test_unknown_text_is_not_kept_whole() -> None:
    tokenizer = Longest(unknown="\\")
    assert results(tokenizer, r"\a b")["commands"]["whole"] == 0.0
    everything = Tally()
    everything.add(take_apart(r"\alpha"), [0], [0], 0)
    assert everything.results(1)["commands"]["whole"] == 0.0


def test_a_first_part_that_is_no_command_is_no_wrong_prefix() -> None:
    commands = results(Longest(r"\in", "ject"), r"\inject")["commands"]
    assert commands["whole"] == 0.0 and commands["wrong_prefix"] == 0.0


def test_commands_by_themselves_and_after_a_space() -> None:
    tokenizer = Longest(r"\alpha", r" \in", r"\in")
    found = bare_commands(tokenizer, [r"\alpha", r"\in", r"\to"])
    assert found == {"most_frequent_alone": share(2, 3), "most_frequent_after_space": share(1, 3)}


def test_numbers() -> None:
    numbers = results(Longest("202", "19", " 7"), "2024 19 19, 7 7a 1234567890")["numbers"]
    assert numbers["count"] == 6
    # 202|4, " "|19, " "|19, " 7", " 7", ten digits.
    assert numbers["by_digits"] == {"1": 1.0, "2": 1.0, "4": 2.0, "9+": 10.0}
    assert numbers["tokens_per_number"] == (2 + 1 + 1 + 1 + 1 + 10) / 6
    assert numbers["digits"] == 20 and numbers["single_digits"] == 11 / 20


def test_entries_used() -> None:
    tokenizer = Longest("a", "b", "c")
    entries = results(tokenizer, "a" * 10 + "bb" + "c")["entries"]
    assert entries["size"] == 303 and entries["never_used"] == 300
    assert entries["used_once"] == 1 and entries["used_less_than_10_times"] == 302
    assert entries["uses_by_rank"][:3] == [[1, 10], [2, 2], [3, 1]] and entries["uses_by_rank"][-1] == [303, 0]


def test_nothing_to_count_is_none() -> None:
    found = results(Longest(), "")
    assert found["documents"] == 1 and found["bytes_per_token"] is None and found["tokens_per_word"] is None
    assert found["commands"]["whole"] is None and found["commands"]["most_frequent_whole"] is None
    assert found["numbers"]["tokens_per_number"] is None and found["numbers"]["single_digits"] is None


def test_sums_of_parts_are_the_sums_of_all() -> None:
    tokenizer, texts = Longest(r"\alpha", "the", r"\in", "19"), [PAPER, r"\alpha 19 \inject é", "", "日 12"]
    whole = tallied(tokenizer, *texts)
    parts = Tally()
    for text in texts:
        parts.merge(tallied(tokenizer, text))
    assert parts.results(tokenizer.size) == whole.results(tokenizer.size)
    assert parts.per_document == whole.per_document and parts.cuts == whole.cuts


def test_wilson_intervals() -> None:
    eight = share(8, 10)
    assert eight is not None and eight["share"] == 0.8
    assert (round(eight["low"], 4), round(eight["high"], 4)) == (0.4902, 0.9433)
    none, all_ = share(0, 10), share(10, 10)
    assert none is not None and none["low"] == 0.0 and round(none["high"], 4) == 0.2775
    assert all_ is not None and all_["high"] == 1.0 and round(all_["low"], 4) == 0.7225
    assert share(0, 0) is None


def test_the_mean_counts_every_group_once() -> None:
    found = mean_of_groups([(900, 100), (10, 10), (30, 10)], ["book", "paper", "paper"])
    assert list(found["groups"]) == ["book", "paper"]
    assert found["groups"]["paper"] == {"documents": 2, "bytes": 40, "tokens": 20, "bytes_per_token": 2.0}
    assert found["mean"] == (9.0 + 2.0) / 2
