"""The tokenizer: pre-tokens, sampling, exact size, ids equal to SentencePiece's, text that comes back, reruns."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from common.errors import UserError
from tokenizer.cache.plan import file_split
from tokenizer.cache.source_lines import read_source
from tokenizer.learn.fingerprint import ARTEFACTS, tokenizer_fingerprint
from tokenizer.learn.hf_files import HARD_TEXTS, check_tokenizer
from tokenizer.learn.pretokenizer import PRETOKEN, Sample, boosted, count_pretokens, cut, pretokens, required_characters
from tokenizer.learn.sample import Catalogue, catalogue, choose
from tokenizer.learn.standard_commands import standard_commands
from tokenizer.learn.trained_report import kind_of
from tokenizer.train_tokenizer import main
from tools.sample.grammar import write_paper

VOCAB = 2048


def write_split(path: Path, numbers: range) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for number in numbers:
            paper = write_paper(random.Random(f"tokens {number}"))
            text = f"{paper.title}\n\n{paper.abstract}\n\n" + "\n\n".join(paper.sections)
            file.write(json.dumps({"id": f"2401.{number:05d}", "text": text}) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_split(folder / "train.jsonl", range(60))
    write_split(folder / "val.jsonl", range(60, 64))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    out = data / "tokenizer"
    assert main(arguments(data, out)) == 0
    return out


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    return [
        "--input", str(data / "train.jsonl"), "--out", str(out),
        "--set", f"vocab_size={VOCAB}", "--set", "tokenizer.command_min_count=20",
        "--set", "tokenizer.superword_share=0.2", *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (r"\frac{1}{2}", ["\\frac{", "1", "}{", "2", "}"]),
        (r"a \alpha_{i}", ["a", " \\alpha", "_{", "i", "}"]),
        (r"\begin{align*}x", ["\\begin{align*}", "x"]),
        (r"x\in\mathbb{R}^2", ["x", "\\in", "\\mathbb{R}", "^", "2"]),
        (r"\mathbb{RP}", ["\\mathbb{", "RP", "}"]),
        ("two  spaces", ["two", " ", " spaces"]),
        ("a\n\n  b", ["a", "\n\n  ", "b"]),
        ("in 2024.", ["in", " ", "2", "0", "2", "4", "."]),
        (r"\\ \, \{", ["\\\\", " \\,", " \\{"]),
        ("Erd\u0151s", ["Erd\u0151s"]),
        ("end \\", ["end", " \\"]),
    ],
)
def test_pretokens_follow_latex(text: str, pieces: list[str]) -> None:
    assert pretokens(text) == pieces


def test_pretokens_joined_are_the_text() -> None:
    rng = random.Random(1)
    alphabet = "aZ1_ \t\n\\{}$%&^é∀😀\u0301-.,@*"
    for _ in range(2000):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(30)))
        assert "".join(PRETOKEN.findall(text)) == text


def test_frequent_commands_are_counted_more_often() -> None:
    counts = Counter({"\\alpha": 5, " \\alpha": 7, "\\frac{": 6, "\\rare": 1, "alpha": 9})
    assert boosted(counts, min_count=5, boost=2) == Counter(
        {"\\alpha": 15, " \\alpha": 21, "\\frac{": 6, "\\frac": 12, "\\rare": 1, "alpha": 9}
    )


def test_required_characters_leave_room_in_a_small_vocabulary() -> None:
    assert len(required_characters(512)) == 2 + 94 + 4
    large = required_characters(102400)
    assert {"α", "ℝ", "∑", "≤", "\\"} <= set(large) and len(large) == len(set(large))


def noted(path: Path, max_document_bytes: int = 10**6) -> Catalogue:
    split = file_split(path)
    return catalogue(read_source(split.paths, split.notes), max_document_bytes, seed=0, progress=False)


def counted(path: Path, sample_bytes: int, workers: int = 1, max_document_bytes: int = 10**6) -> Sample:
    documents = noted(path, max_document_bytes)
    return count_pretokens(documents, choose(documents, sample_bytes), max_document_bytes, workers, progress=False)


def test_counts_do_not_depend_on_workers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = counted(data / "train.jsonl", 10**9)
    monkeypatch.setattr("tokenizer.learn.pretokenizer.SERIAL_BYTES", 0)
    monkeypatch.setattr("tokenizer.learn.pretokenizer.BATCH_BYTES", 50_000)
    assert counted(data / "train.jsonl", 10**9, workers=2) == one and one.documents == 60


def test_rare_pretokens_are_left_out_where_there_are_too_many(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = counted(data / "train.jsonl", 10**9)
    monkeypatch.setattr("tokenizer.learn.pretokenizer.MAX_PRETOKENS", len(whole.counts) - 1)
    less = counted(data / "train.jsonl", 10**9)
    assert less.counts == Counter({piece: n for piece, n in whole.counts.items() if piece in less.counts})
    assert less.forgotten == len(whole.counts) - len(less.counts) > 0
    assert min(less.counts.values()) > max(n for piece, n in whole.counts.items() if piece not in less.counts)


def test_the_sample_keeps_to_its_size(data: Path) -> None:
    size = (data / "train.jsonl").stat().st_size
    assert 0.3 * size < counted(data / "train.jsonl", size // 2).text_bytes < 0.6 * size
    assert counted(data / "train.jsonl", 10**9, max_document_bytes=1000).text_bytes <= 60_000


def test_documents_are_cut_between_characters() -> None:
    assert cut("aé", 2) == "a" and cut("aé", 3) == "aé"


def test_autotokenizer_loads_exactly_the_size(trained: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert len(tokenizer) == VOCAB
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<s>", "</s>", "<pad>"]) == [0, 1, 2, 3]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 3)
    assert 1 not in tokenizer.encode("x") and 2 not in tokenizer.encode("x")
    for text in HARD_TEXTS:
        assert tokenizer.decode(tokenizer.encode(text, split_special_tokens=True)) == text


def test_ids_are_those_of_sentencepiece(trained: Path, data: Path) -> None:
    texts = [json.loads(line)["text"] for line in (data / "val.jsonl").read_text().splitlines()]
    assert check_tokenizer(trained, VOCAB, texts, chunks=100) >= 90


def test_commands_become_single_entries(trained: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained)
    for command in (r"\alpha", r"\frac{", r"\begin{theorem}", r" \emph{", r"\leq", "\n\n"):
        assert len(tokenizer.encode(command)) == 1, command
    assert [tokenizer.decode([i]) for i in tokenizer.encode("2024")] == list("2024")


def test_superwords_join_entries_and_never_digits_or_lines(trained: Path) -> None:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(trained / "tokenizer.model"))
    superwords = [processor.id_to_piece(i) for i in range(VOCAB - VOCAB // 5 + 1, VOCAB)]
    assert len(set(superwords)) == len(superwords)
    assert not any(re.search(r"[0-9\n]", piece) for piece in superwords)
    assert sum(" " in piece.replace("\u2581", " ").strip() for piece in superwords) > 50
    report = json.loads((trained / "report" / "report.json").read_text())
    assert report["trained_on"]["superwords"] == VOCAB // 5


def test_superwords_leave_the_cuts_of_the_first_stage(data: Path, trained: Path, tmp_path: Path) -> None:
    """Joined, never cut anew: every border of the tokens is one without superwords."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((trained / "tokenizer.model").read_bytes())
    both = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    del proto.pieces[VOCAB - VOCAB // 5 :]
    first = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    text = json.loads((data / "val.jsonl").read_text().splitlines()[0])["text"]
    ends = [{piece.end for piece in model.encode(text, return_type="proto").pieces} for model in (both, first)]
    assert ends[0] < ends[1]


def test_text_that_repeats_too_little_gets_fewer_superwords(tmp_path: Path) -> None:
    """Words that stand alone on their lines, each of them once: hardly two of their parts stand side by side twice."""
    words = sorted({"".join(random.Random(i).choices("abcdefgh", k=9)) for i in range(700)})
    (tmp_path / "train.jsonl").write_text(json.dumps({"id": "1", "text": "\n".join(words)}) + "\n")
    out = tmp_path / "tokenizer"
    sizes = ("--set", "vocab_size=1024", "--set", "tokenizer.superword_share=0.3")
    assert main([*arguments(tmp_path, out), *sizes]) == 0
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["vocabulary"] == 1024 and report["trained_on"]["superwords"] < 300


def test_superwords_are_no_parts_of_special_tokens(tmp_path: Path, data: Path) -> None:
    """transformers would join `<s` and `>` into the control token; training ended with a failed check."""
    lines = []
    for line in (data / "train.jsonl").read_text().splitlines():
        record = json.loads(line)
        record["text"] += " $t<s$ a<pad b</s> word<s>word<unk>word k>x" * 20
        lines.append(json.dumps(record))
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    assert main(arguments(tmp_path, tmp_path / "out")) == 0
    assert check_tokenizer(tmp_path / "out", VOCAB, ["word<s>word</s>t<s> <pad><unk>"]) > len(HARD_TEXTS)


def test_a_boost_of_nothing(data: Path, tmp_path: Path) -> None:
    assert boosted(Counter({"\\frac{": 6}), min_count=1, boost=0) == Counter({"\\frac{": 6})
    assert main([*arguments(data, tmp_path), "--set", "tokenizer.command_boost=0"]) == 0


def test_an_exchanged_file_is_found(trained: Path, tmp_path: Path) -> None:
    for path in trained.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert tokenizer_fingerprint(tmp_path) == tokenizer_fingerprint(trained)
    (tmp_path / "tokenizer.model").write_bytes((trained / "tokenizer.model").read_bytes()[:-100])
    with pytest.raises(UserError, match="not the file that tokenizer_manifest"):
        tokenizer_fingerprint(tmp_path)


def test_the_check_finds_a_damaged_tokenizer(trained: Path, tmp_path: Path) -> None:
    for name in ARTEFACTS:
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["model"]["merges"] = spec["model"]["merges"][:100]
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(RuntimeError, match="disagree"):
        check_tokenizer(tmp_path, VOCAB, ["Let $G$ be a group with the following property."])
    with pytest.raises(RuntimeError, match="expected 77 entries"):
        check_tokenizer(trained, 77, [])


def test_the_report_measures_held_out_text(trained: Path) -> None:
    report = json.loads((trained / "report" / "report.json").read_text())
    assert report["measured_on"]["origin"] == "val.jsonl" and report["measured_on"]["documents"] == 4
    assert report["vocabulary"] == sum(report["entries_by_kind"].values()) == VOCAB
    assert report["bytes_per_token"] > 2 and report["commands_whole"] > 0.9 and 1 <= report["tokens_per_word"] < 2
    assert report["examples"] and (trained / "report" / "report.png").stat().st_size > 10_000
    assert "Formulas as tokens" in (trained / "report" / "report.html").read_text()


def test_a_rerun_does_nothing_and_a_changed_input_trains_again(
    data: Path, trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = (trained / "tokenizer.json").stat().st_mtime_ns
    assert main(arguments(data, trained)) == 0
    assert "nothing to do" in capsys.readouterr().out and (trained / "tokenizer.json").stat().st_mtime_ns == before
    (tmp_path / "tokenizer").mkdir()
    for path in trained.glob("*.*"):
        (tmp_path / "tokenizer" / path.name).write_bytes(path.read_bytes())
    write_split(tmp_path / "train.jsonl", range(61))
    assert main(arguments(tmp_path, tmp_path / "tokenizer")) == 0
    assert "nothing to do" not in capsys.readouterr().out


def test_a_tokenizer_of_other_code_is_kept_by_the_command_that_it_prints(
    data: Path, trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for path in trained.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "report").mkdir()
    manifest = json.loads((tmp_path / "tokenizer_manifest.json").read_text())
    (tmp_path / "tokenizer_manifest.json").write_text(json.dumps(manifest | {"modules": {"tokenizer/old.py": "0"}}))
    kept = (tmp_path / "tokenizer_manifest.json").read_bytes()
    assert main(arguments(data, tmp_path, "--accept-stale")) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (tmp_path / "tokenizer_manifest.json").read_bytes() == kept
    assert main(arguments(data, tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "made by other code or packages than today's" in shown and "nothing to do" not in shown
    command = next(line.strip() for line in shown.splitlines() if line.endswith("--accept-stale"))
    assert "tokenizer/train_tokenizer.py --input" in command and str(tmp_path) in command


def test_the_same_input_gives_the_same_bytes_and_leaves_other_files_alone(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "code_and_files"
    out.mkdir()
    (out / "code.py").write_text("x = 1\n")
    assert main(arguments(data, out, "--set", "tokenizer.threads=1")) == 0
    assert all((out / name).read_bytes() == (trained / name).read_bytes() for name in ARTEFACTS)
    assert tokenizer_fingerprint(out) == tokenizer_fingerprint(trained)
    assert {path.name for path in out.iterdir()} == {*ARTEFACTS, "code.py", "report", "tokenizer_manifest.json"}


def test_what_a_kill_left_is_removed_and_two_at_once_are_told(data: Path, tmp_path: Path) -> None:
    import fcntl
    import os

    out = tmp_path / "out"
    (out / ".build-killed").mkdir(parents=True)
    descriptor = os.open(out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process trains a tokenizer there"):
        main(arguments(data, out))
    assert (out / ".build-killed").exists()
    os.close(descriptor)
    assert main(arguments(data, out)) == 0
    assert not list(out.glob(".build-*"))


def test_too_little_text_names_the_size_that_it_supports(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        main(["--input", str(data / "train.jsonl"), "--out", str(tmp_path / "t"), "--set", "vocab_size=32000"])
    message = str(error.value)
    possible = int(message.rsplit("vocab_size=", 1)[1])
    assert possible % 128 == 0 and 1000 < possible < 32000
    assert f"deepspeed train.py --set vocab_size={possible}" in message and "--input" in message
    assert not (tmp_path / "t" / "tokenizer.model").exists()
    assert (
        main(["--input", str(data / "train.jsonl"), "--out", str(tmp_path / "t"), "--set", f"vocab_size={possible}"])
        == 0
    )


def test_standard_commands_are_entries_though_the_text_lacks_them(data: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    text = (data / "train.jsonl").read_text()
    absent = [command for command in ("\\bigl", "\\coloneqq", "\\lvert") if command not in text.replace("\\\\", "\\")]
    counts = boosted(Counter({"x": 1000}), min_count=10, boost=2, standard=absent)
    assert absent and all(counts[command] == 30 for command in absent)
    assert standard_commands(640) == [
        "\\" + name for name in "frac begin end left right mathbb mathcal mathrm text alpha".split()
    ]
    out = tmp_path / "tokenizer"
    assert main([*arguments(data, out), "--set", "vocab_size=3072", "--set", "tokenizer.superword_share=0"]) == 0
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert all(len(tokenizer.encode(command)) == 1 for command in standard_commands(3072))


def test_a_vocabulary_smaller_than_the_alphabet_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too small"):
        main(["--input", str(data / "train.jsonl"), "--out", str(tmp_path), "--set", "vocab_size=300"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "no text"),
        ("{not json}\n", "not valid JSON"),
        ('{"id": "1", "title": "x"}\n', "no 'text'"),
        ('{"id": "1", "text": "x"}\n{"id": 5, "text": "x"}\n', "train.jsonl at byte 25: the record has no 'id'"),
        ('{"text": "x"}\n', "no 'text'|no 'id'"),
    ],
)
def test_wrong_input_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        main(arguments(tmp_path, tmp_path / "out"))


def test_kinds_of_entries() -> None:
    pieces = ["\\alpha", "\u2581the", "ing", "7", "}_{", "\n\n", "<0x41>", "x_1", "\u2581"]
    expected = "LaTeX command|word after a space|letters|digit|punctuation|white space|byte|mixed|white space".split(
        "|"
    )
    assert [kind_of(piece, 9) for piece in pieces] == expected and kind_of("<s>", 1) == "special"
