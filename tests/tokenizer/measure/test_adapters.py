"""Tokenizers from disk: what is loaded, ids and begins of tokens as characters, names, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from common.errors import UserError
from tokenizer.measure.adapters import (
    SentencePieceFile,
    TokenizersFile,
    TransformersFolder,
    load_tokenizer,
    load_tokenizers,
    shortest_endings,
)

SPECIALS = ["<unk>", "<s>", "</s>"]


def byte_level(merges: list[tuple[str, str]]) -> Tokenizer:
    """GPT-2's kind: 256 letters for bytes, and what `merges` make of them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *(left + right for left, right in merges)]
    vocab = {entry: index for index, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def llama_like() -> Tokenizer:
    """Llama-2's kind: a space is put before the text, bytes stand for what is no entry."""
    entries = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "\\", "▁a", "▁\\"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={entry: index for index, entry in enumerate(entries)},
            merges=[("▁", "a"), ("▁", "\\")],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def sentencepiece_model(folder: Path, name: str = "tokenizer", **options: Any) -> Path:
    """A model of some Greek and LaTeX with byte fallback, without a space put before the text."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    text.write_text("\n".join([r"the map \alpha is injective", r"the set \alpha is é", "injective maps"] * 20))
    wanted = {"vocab_size": 320, "byte_fallback": True, "add_dummy_prefix": False, "remove_extra_whitespaces": False}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / name),
        model_type="bpe",
        normalization_rule_name="identity",
        minloglevel=2,
        **wanted | options,
    )
    text.unlink()
    return folder / f"{name}.model"


def spelt(tokenizer: Any, text: str) -> list[str]:
    """What stands between the begins of the tokens."""
    _, begins = tokenizer.cut(text)
    assert begins == sorted(begins)
    return [text[start:end] for start, end in zip(begins, [*begins[1:], len(text)], strict=True)]


def test_byte_level_tokens_of_one_character_share_its_place(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save(byte_level([("a", "b"), ("Ġ", "a")]), tmp_path / "peer"))
    assert tokenizer.name == "peer" and tokenizer.size == 258 and tokenizer.library == "tokenizers"
    ids, begins = tokenizer.cut("ab é日 a")
    assert begins == [0, 2, 3, 3, 4, 4, 4, 5] and ids == tokenizer.ids("ab é日 a")
    assert tokenizer.decode(ids) == "ab é日 a"


def test_offsets_count_spaces_whatever_the_post_processor(tmp_path: Path) -> None:
    peer = byte_level([("Ġ", "a")])
    peer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert load_tokenizer(save(peer, tmp_path)).cut("b a")[1] == [0, 1]


def test_a_space_put_before_the_text_begins_with_it_and_goes_again(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save(llama_like(), tmp_path))
    assert tokenizer.cut("a")[1] == [0] and tokenizer.cut("b")[1] == [0, 0]
    assert tokenizer.cut("\\b a")[1] == [0, 1, 2] and tokenizer.cut("é a")[1] == [0, 0, 0, 1]
    for text in ("a", "b", " a", "  b ", "é a", "日\n"):
        assert tokenizer.decode(tokenizer.ids(text)) == text
    assert tokenizer.unknown == 0


def test_special_tokens_are_read_as_text(tmp_path: Path) -> None:
    peer = byte_level([])
    peer.add_special_tokens(["<s>"])
    tokenizer = load_tokenizer(save(peer, tmp_path))
    assert len(tokenizer.ids("<s>")) == 3 and tokenizer.decode(tokenizer.ids("a<s>")) == "a<s>"


def test_sentencepiece_begins_are_characters_not_bytes(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(sentencepiece_model(tmp_path / "ours"))
    assert tokenizer.name == "ours" and tokenizer.library == "SentencePiece" and tokenizer.size == 320
    text = r"日 the é \alpha 😀x"
    ids, begins = tokenizer.cut(text)
    assert begins[:3] == [0, 0, 0] and ids == tokenizer.ids(text) and tokenizer.decode(ids) == text
    assert begins[-5:] == [15, 15, 15, 15, 16]
    assert "".join(spelt(tokenizer, text)) == text and " é" in spelt(tokenizer, text)


def test_both_files_of_one_tokenizer_agree(tmp_path: Path) -> None:
    from tokenizer.learn.hf_files import write_transformers_files

    sentencepiece_model(tmp_path, pad_id=3)
    write_transformers_files(tmp_path)
    readers = [
        TokenizersFile(tmp_path / "tokenizer.json"),
        SentencePieceFile(tmp_path / "tokenizer.model"),
        TransformersFolder(tmp_path),
    ]
    assert {reader.name for reader in readers} == {tmp_path.name}
    for text in (r"the map \alpha is", "日é\u0301 \n\t<s>  </s>", " injective"):
        assert readers[0].cut(text) == readers[1].cut(text) == readers[2].cut(text)
        assert {reader.decode(reader.ids(text)) for reader in readers} == {text}
    assert readers[0].pieces() == readers[1].pieces() == readers[2].pieces()
    assert {reader.end_of_text for reader in readers} == {2}


def test_a_folder_of_vocab_and_merges(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {entry: index for index, entry in enumerate([*alphabet, "Ġa", "<|endoftext|>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nĠ a\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.library == "transformers" and tokenizer.size == 258 and tokenizer.source == tmp_path
    text = "b a日<|endoftext|>"
    ids, begins = tokenizer.cut(text)
    assert begins == [0, 1, 3, 3, 3, *range(4, 17)] and ids == tokenizer.ids(text) and tokenizer.decode(ids) == text


def test_a_tokenizer_in_python_without_files_or_offsets(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists() and tokenizer.library == "transformers"
    ids, begins = tokenizer.cut("aé日 <s>")
    assert begins == [0, 1, 1, 2, 2, 2, 3, 4, 5, 6] and tokenizer.decode(ids) == "aé日 <s>"


def test_text_that_tokens_do_not_spell_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    tokenizer = TransformersFolder(tmp_path)
    monkeypatch.setattr(tokenizer.tokenizer, "decode", lambda *_, **__: "?")
    with pytest.raises(UserError, match="cannot be laid over the text"):
        tokenizer.cut("abc")


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "none", "no such file or folder"),
        ({"x/readme.txt": "x"}, "x", "no tokenizer that transformers loads"),
        ({"x/tokenizer.json": "{}"}, "x", "not a tokenizer.json"),
        ({"x/tokenizer.json": "no JSON"}, "x/tokenizer.json", "not a tokenizer.json"),
        ({"x/tokenizer.model": "no model"}, "x", "not a SentencePiece model"),
        ({"x/plain.txt": "x"}, "x/plain.txt", "expected a folder"),
        # transformers makes three special tokens of this.
        ({"x/tokenizer_config.json": '{"tokenizer_class": "LlamaTokenizer"}'}, "x", "vocabulary is missing"),
        (
            {
                "x/tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["code.T", null]}}',
                "x/code.py": "raise SystemExit('the code of a folder was run')",
            },
            "x",
            "contains custom code",
        ),
    ],
)
def test_what_is_no_tokenizer_is_named_in_one_line(
    tmp_path: Path, files: dict[str, str], path: str, message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        load_tokenizer(tmp_path / path)
    assert str(tmp_path / path) in str(error.value) and "\n" not in str(error.value)


def test_names_differ_and_the_same_file_is_loaded_once(tmp_path: Path) -> None:
    for folder in ("a/tokenizer", "b/tokenizer", "c"):
        save(byte_level([]), tmp_path / folder)
    sentencepiece_model(tmp_path / "c")
    sentencepiece_model(tmp_path / "d", "plain")
    given = [
        "a/tokenizer",
        "b/tokenizer",
        "c/tokenizer.json",
        "c/tokenizer.model",
        "c",
        "d/plain.model",
        "a/tokenizer/",
    ]
    names = [tokenizer.name for tokenizer in load_tokenizers([tmp_path / path for path in given])]
    assert names == ["a/tokenizer", "b/tokenizer", "c/tokenizer.json", "c/tokenizer.model", "plain"]


def test_shortest_endings() -> None:
    places = [("x", "a", "t"), ("x", "b", "t"), ("x", "b", "u"), ("t",)]
    assert shortest_endings(places) == ["a/t", "b/t", "u", "t"]
