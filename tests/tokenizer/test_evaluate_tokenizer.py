"""The evaluation of tokenizers: every measure on a tokenizer with known answers, round trips, samples, the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from common.errors import UserError
from common.files import atomic_write
from reports.tokenizer_tables import Column, Table, interval, text_table, three
from tokenizer.evaluate_tokenizer import main
from tokenizer.measure.adapters import AnyTokenizer
from tokenizer.measure.jobs import measure_all
from tokenizer.measure.metrics import Tally, bare_commands, mean_of_groups, share
from tokenizer.measure.passages import find_formulas, find_passages, slices
from tokenizer.measure.round_trips import MAX_CHARS, Chunks, Readers
from tokenizer.measure.segments import DISPLAYED, INLINE, MARKUP, PROSE, VERBATIM, take_apart
from tokenizer.measure.text_sample import UNNAMED, read_sources, read_texts

THEOREM = (
    "\\begin{theorem} Let $f \\colon X \\to Y$ be a finite map of varieties over a field of 12 elements. Then the "
    "fibres of $f$ are finite, and each of them has at most $\\deg f$ points of degree one. \\end{theorem}"
)
PROSE_TEXT = (
    "We show that every map $f$ with $f(x) = x^2$ is injective on the positive numbers. The proof uses nothing but the "
    "order of the real numbers, and holds for $\\alpha > 1$ as well; we leave the other cases to the reader."
)
ALIGNED = (
    "\\begin{align*} \\alpha_1 &= \\frac{1}{2} \\sum_{i=1}^{n} x_i^2 \\\\ \\beta_2 &= \\int_0^1 \\exp(-t) dt \\\\ "
    "\\gamma_3 &= \\inject(\\alpha_1) + \\inject(\\beta_2) - 2024 \\end{align*}"
)
PAPER = f"A title 1999\n\n{PROSE_TEXT}\n\n{THEOREM}\n\n{ALIGNED}\n"


class Longest(AnyTokenizer):
    """Cuts text into the longest entries that fit, else into the bytes of a character; `?` for what `unknown` lists."""

    def __init__(self, *entries: str, unknown: str = "") -> None:
        self.entries, self.unknown_characters = list(entries), unknown
        self.name, self.library, self.unknown = "longest", "tests", 0
        self.size = 300 + len(entries)

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        begins: list[int] = []
        position = 0
        while position < len(text):
            fitting = [entry for entry in self.entries if text.startswith(entry, position)]
            if text[position] in self.unknown_characters:
                entry, found = text[position], [0]
            elif fitting:
                entry = max(fitting, key=len)
                found = [300 + self.entries.index(entry)]
            else:
                entry, found = text[position], [1 + byte for byte in text[position].encode()]
            ids += found
            begins += [position] * len(found)
            position += len(entry)
        return ids, begins


def tallied(tokenizer: AnyTokenizer, *texts: str) -> Tally:
    tally = Tally()
    for text in texts:
        tally.add(take_apart(text), *tokenizer.cut(text), tokenizer.unknown)
    return tally


def results(tokenizer: AnyTokenizer, *texts: str) -> dict[str, Any]:
    return tallied(tokenizer, *texts).results(tokenizer.size)


# ---- what a text is made of


def kinds(text: str) -> str:
    letters = {PROSE: "p", MARKUP: "m", INLINE: "i", DISPLAYED: "d", VERBATIM: "v"}
    return "".join(letters[kind] for kind in take_apart(text).kinds.tolist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a $x$ b", "ppiiipp"),
        (r"a \(x\) b", "ppiiiiipp"),
        (r"\emph{a} b", "mmmmmmpmpp"),
        (r"a\\b~c", "pmmpmp"),
        (r"\begin{proof}a", "mmmmmmmmmmmmmp"),
        (r"\cite[2]{a1} b", "mmmmmmmmmmmmpp"),
        ("$$x$$ a", "dddddpp"),
        (r"\[x\] a", "dddddpp"),
        (r"\begin{align*}x\end{align*}a", "d" * 27 + "p"),
        (r"\begin{math}x\end{math}a", "i" * 23 + "p"),
        (r"a \verb|\b $| c", "pp" + "v" * 11 + "pp"),
        (r"\begin{thebibliography}{9} a $x$ \end{thebibliography}b", "v" * 54 + "p"),
        ("", ""),
    ],
)
def test_every_character_is_of_one_kind(text: str, expected: str) -> None:
    assert kinds(text) == expected


def test_units() -> None:
    units = take_apart(r"ab\\c \alpha12 é x\verb|\n|")
    assert units.names == [r"\alpha"]  # what stands in a listing is no command
    assert [units.text[a:b] for a, b in zip(*units.words, strict=True)] == ["ab", "c", "é", "x"]
    assert [units.text[a:b] for a, b in zip(*units.numbers, strict=True)] == ["12"]
    assert units.sizes.sum() == len(units.text.encode())
    assert "".join(".|"[not inside] for inside in units.inside[:16]) == "|.|.|||.....|.||"


# ---- measures


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


# ---- round trips


def peer(folder: Path, *changes: Any) -> Path:
    """A byte-level tokenizer in `folder`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("\\", "a"), ("\\a", "l"), ("t", "h"), ("th", "e"), ("Ġ", "the")]
    vocab = {entry: index for index, entry in enumerate([*alphabet, *(left + right for left, right in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for change in changes:
        change(tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def lower_case(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Lowercase()


def test_text_that_does_not_come_back_is_counted_and_shown(tmp_path: Path) -> None:
    good, bad = Readers(peer(tmp_path / "good")), Readers(peer(tmp_path / "bad", lower_case))
    texts = ["a", "A\r\n<s>\t", "日é\u0301 \x00", "a\u2581b", ""]
    trips = good.try_all(texts)
    assert (trips.texts, trips.skipped, trips.lossy, trips.compared, trips.losses) == (4, 1, 0, 0, [])
    trips = bad.try_all(texts)
    assert (trips.texts, trips.lossy) == (4, 1)
    assert trips.losses == [{"library": "tokenizers", "text": "A\r\n<s>\t", "back": "a\r\n<s>\t"}]
    assert good.not_compared and "no folder" in good.not_compared


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that SentencePiece and transformers read."""
    import sentencepiece

    from tokenizer.learn.hf_files import write_transformers_files

    folder = tmp_path_factory.mktemp("pair")
    (folder / "text").write_text(PAPER * 5)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        pad_id=3,
        minloglevel=2,
    )
    write_transformers_files(folder)
    return folder


def test_ids_of_sentencepiece_and_transformers_are_compared(pair: Path, tmp_path: Path) -> None:
    texts = [*Chunks([PAPER], 0).block(0, 200), PAPER]
    trips = Readers(pair).try_all(texts)
    assert trips.compared == trips.texts > 190 and trips.unequal == trips.lossy == 0

    damaged = tmp_path / "damaged"
    shutil.copytree(pair, damaged)
    spec = json.loads((damaged / "tokenizer.json").read_text())
    spec["model"]["merges"] = spec["model"]["merges"][:20]
    (damaged / "tokenizer.json").write_text(json.dumps(spec))
    trips = Readers(damaged).try_all([PAPER, "q"])
    assert (trips.compared, trips.unequal, trips.lossy) == (2, 1, 0)
    assert trips.differences[0]["text"] == PAPER
    assert len(trips.differences[0]["transformers"]) > len(trips.differences[0]["SentencePiece"])


def test_chunks_depend_on_seed_and_number_alone() -> None:
    texts = ["short", PAPER, PAPER[::-1]]
    chunks, again = Chunks(texts, 7), Chunks(texts, 7)
    second = chunks.block(1)
    assert again.block(1) == second != again.block(0) and Chunks(texts, 8).block(1) != second
    plain = [chunk for chunk in second if any(chunk in text for text in texts)]
    assert 0.7 < len(plain) / len(second) < 0.8
    lengths = [len(chunk) for chunk in plain]
    assert 0 < min(lengths) and max(lengths) <= MAX_CHARS and len(set(second)) > 900
    joined = "".join(chunk for number in range(5) for chunk in chunks.block(number))
    assert all(sign in joined for sign in ("<s>", "<0x41>", "\r", "\t", "\u0308", "\U0001f600", "\x00"))
    assert "\u2581" not in joined and joined.encode()


def test_results_do_not_depend_on_workers(tmp_path: Path) -> None:
    paths = [peer(tmp_path / "one"), peer(tmp_path / "two", lower_case)]
    sets = [[PAPER * 700, "x", PAPER], [PAPER[::-1]]]
    one, two = (measure_all(paths, sets, 2500, 3, workers) for workers in (1, 2))
    assert one.documents == two.documents and one.chunks == two.chunks and one.not_compared == two.not_compared
    for ours, theirs in zip(one.tallies, two.tallies, strict=True):
        assert [tally.results(300) for tally in ours] == [tally.results(300) for tally in theirs]
        assert [tally.per_document for tally in ours] == [tally.per_document for tally in theirs]
    assert [len(tally.per_document) for tally in one.tallies[0]] == [3, 1]
    assert one.chunks[0].lossy == 0 and one.chunks[0].texts == 2500 and 1500 < one.chunks[1].lossy < 2500
    assert [trips.lossy for trips in one.documents] == [0, 3] and one.documents[0].texts == 4


# ---- texts, passages, tables


def write_jsonl(path: Path, texts: list[str], **more: Any) -> Path:
    with atomic_write(path) as file:
        for number, text in enumerate(texts):
            file.write((json.dumps({"id": f"{number}", "text": text, **more}) + "\n").encode())
    return path


def test_documents_are_spread_evenly_and_capped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "val.jsonl", [f"{number:02d}" * 500 for number in range(40)], categories=["math.AG"])
    (texts,) = read_texts([path], 10_500, 10**6, {}, "")
    assert texts.documents_in_all == 40 and texts.name == "val.jsonl"
    assert [document.text[:2] for document in texts.documents] == [
        f"{n:02d}" for n in (0, 4, 8, 12, 16, 20, 24, 28, 32, 36)
    ]
    (capped,) = read_texts([path], 10**6, 100, {"3": "book"}, "")
    assert len(capped.documents) == 40 and {len(document.text) for document in capped.documents} == {100}
    assert [capped.documents[i].source for i in (2, 3)] == [UNNAMED, "book"]
    assert capped.documents[0].category == "math.AG" and capped.sha256 != texts.sha256
    (one,) = read_texts([path], 7, 10**6, {}, "")
    assert [document.text for document in one.documents] == ["0000000"]


def test_a_split_in_any_form(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "val-00001-of-00002.jsonl.zst", ["a", "b"])
    write_jsonl(tmp_path / "val-00002-of-00002.jsonl.zst", ["c\ud800"], categories="hep-th math.AG")
    (texts,) = read_texts([tmp_path / "val.jsonl"], 100, 100, {}, "")
    assert [document.text for document in texts.documents] == ["a", "b", "c?"]
    assert [document.category for document in texts.documents] == [UNNAMED, UNNAMED, "hep-th"]


def test_passages_of_each_kind() -> None:
    found = find_passages(["nothing here", PAPER])
    assert [passage for _, passage in found] == [PROSE_TEXT, THEOREM, ALIGNED]
    other = ALIGNED.replace("align*", "equation")
    assert find_passages([other]) == [("A displayed formula", other)]


def test_formulas_of_some_length() -> None:
    formula = r"$\alpha_1 + \beta_2 = \gamma_3$"
    assert find_formulas([f"$x$ is {formula} or {formula}", "$x$", formula, formula], 2) == [formula, formula]


def test_slices_are_the_text_with_the_tokens_of_each_character() -> None:
    assert slices(Longest("ab"), "ab日 ab") == [("ab", 1), ("日", 3), (" ", 1), ("ab", 1)]


def test_tables_line_up() -> None:
    columns = [Column("x", three, 1), Column("share", interval)]
    table = Table("title", "name", columns, [("a", [1.0, share(8, 10)]), ("longer", [None, None])])
    assert text_table(table).splitlines() == [
        "title",
        "name        x               share",
        "a       1.000  80.0% [49.0, 94.3]",
        "longer      –                   –",
    ]


# ---- the command


@pytest.fixture(scope="module")
def evaluated(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    peer(folder / "a" / "tokenizer")
    peer(folder / "b" / "tokenizer", lower_case)
    write_jsonl(folder / "val.jsonl", [PAPER, PAPER.replace("map", "set")], categories=["math.AG"])
    write_jsonl(folder / "other.jsonl", ["plain words, <b>no</b> formulas"], categories=["cs.LG"])
    (folder / "sources.json").write_text('{"0": "book", "1": "paper"}')
    arguments = [pair, folder / "a" / "tokenizer", folder / "b" / "tokenizer", "--out", folder / "out"]
    arguments += ["--texts", folder / "val.jsonl", folder / "other.jsonl", "--sources", folder / "sources.json"]
    assert main([*map(str, arguments), "--chunks", "300", "--rounds", "2", "--workers", "1"]) == 0
    return folder


def test_the_report_holds_every_measure(evaluated: Path, pair: Path) -> None:
    report = json.loads((evaluated / "out" / "report.json").read_text())
    names = [pair.name, "a/tokenizer", "b/tokenizer"]
    assert [tokenizer["name"] for tokenizer in report["tokenizers"]] == names
    assert [tokenizer["entries"] for tokenizer in report["tokenizers"]] == [400, 261, 261]
    val, other = report["texts"]
    assert val["documents"] == 2 and val["bytes"] == 2 * len(PAPER.encode()) and val["commands"][r"\alpha"] == 6
    assert other["commands"] == {}
    for name in names:
        found = report["results"]["val.jsonl"][name]
        assert found["by_source"]["groups"].keys() == {"book", "paper"} and found["bytes_per_token"] > 1
        assert found["by_category"]["groups"].keys() == {"math.AG"}
        assert found["commands"]["most_frequent_alone"] and found["entries"]["never_used"] > 0
        assert report["results"]["other.jsonl"][name]["commands"]["whole"] is None
        assert report["speed"][name]["mb_per_s"] > 0 and report["speed"][name]["rounds"] == 2
    trips = report["round_trips"]
    assert trips[names[0]]["chunks"]["compared"] == 300 and trips[names[0]]["not_compared"] is None
    assert trips[names[0]]["chunks"]["unequal"] == trips[names[0]]["chunks"]["lossy"] == 0
    assert trips[names[1]]["chunks"]["lossy"] == 0 and trips[names[2]]["documents"]["lossy"] == 2
    assert set(report["versions"]) == {"sentencepiece", "transformers", "tokenizers"}


def test_the_page_shows_text_cut_into_tokens(evaluated: Path, pair: Path) -> None:
    page = (evaluated / "out" / "report.html").read_text()
    for title in ("Prose with formulas", "A theorem", "A displayed formula", "Definitions", "Wilson", "lossy"):
        assert title in page
    assert page.count("<figure>") == 9 and page.count("data:image/png;base64,") == 4
    assert '<span class="c0">' in page and "<i>\u00b7</i>" in page and "does not come back" in page
    # Text of documents is text, not HTML.
    assert "<b>no</b>" not in page and "http" not in page.replace("http-equiv", "")
    for name in ("compression", "commands", "groups", "entries"):
        assert (evaluated / "out" / f"{name}.png").stat().st_size > 5_000


def test_the_tables_fit_a_terminal(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    out = evaluated / "again"
    arguments = ["--texts", str(evaluated / "val.jsonl"), "--out", str(out), "--chunks", "0", "--workers", "1"]
    assert main([str(evaluated / "a" / "tokenizer"), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "Bytes per token: val.jsonl (2 documents" in printed and "wrong prefix" in printed
    assert "boundary-clean" in printed and str(out / "report.html") in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 120


def test_the_configured_tokenizer_and_split_are_the_default(
    tmp_path: Path, evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, tokenizer = tmp_path / "data", peer(tmp_path / "ours")
    write_jsonl(data / "val-00001-of-00001.jsonl.zst", [PAPER])
    sets = [f"tokenizer.out={tokenizer}", f"data.out={data}"]
    arguments = [flag for value in sets for flag in ("--set", value)]
    assert main([*arguments, "--chunks", "10", "--rounds", "1", "--workers", "1"]) == 0
    assert "val.jsonl (1 documents" in capsys.readouterr().out
    assert (tokenizer / "report" / "evaluation" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{t}", "--texts", "{d}/none.jsonl"],
            "none.jsonl: no such file; give JSONL with --texts, or make it: python data",
        ),
        (["{t}", "--texts", "{d}/empty.jsonl"], "empty.jsonl: no text in it"),
        (["{t}", "--texts", "{d}/no_text.jsonl"], "no_text.jsonl:1: the record has no 'text'"),
        (["{t}", "--texts", "{d}/broken.jsonl"], "broken.jsonl:1:.*not valid JSON"),
        (["{d}/none", "--texts", "{d}/empty.jsonl"], "none: no such file or folder"),
        (
            ["--set", "tokenizer.out={d}/none", "--texts", "{d}/x"],
            "train one first: python tokenizer/train_tokenizer.py --set",
        ),
        (["{t}", "--texts", "{d}/empty.jsonl", "--sources", "{d}/broken.jsonl"], "cannot be read as JSON"),
        (["{t}", "--texts", "{d}/empty.jsonl", "--sources", "{d}/list.json"], "expected an object of names by id"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    tokenizer = peer(tmp_path / "tokenizer")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "no_text.jsonl").write_text('{"id": "1"}\n')
    (tmp_path / "broken.jsonl").write_text("{no\n")
    (tmp_path / "list.json").write_text('["a"]')
    with pytest.raises(UserError, match=message) as error:
        main([argument.format(t=tokenizer, d=tmp_path) for argument in arguments])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [["--max-bytes", "0"], ["--chunks", "-1"], ["--chunks", "x"], ["--rounds", "0"]])
def test_numbers_out_of_range_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_sources_of_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"1": "book"}')
    assert read_sources(tmp_path / "s.json") == {"1": "book"}
