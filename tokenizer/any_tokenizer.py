"""Any tokenizer that SentencePiece or transformers loads from disk, asked alike: ids, and where each token begins.

Imported by `evaluate_tokenizer.py` and the benchmarks; not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from settings import UserError


class AnyTokenizer:
    """`ids(text)` and `cut(text)` of one tokenizer, with no token added and none read from the text.

    Attributes:
        name: of its folder, or of its file where that has a telling one.
        size: entries.
        end_of_text: id that closes a document, or None where the files name none.
    """

    name: str
    size: int
    end_of_text: int | None = None

    def ids(self, text: str) -> list[int]:
        raise NotImplementedError

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        """Ids, and for each the character of `text` at which it begins (bytes of one character share theirs)."""
        raise NotImplementedError

    def decode(self, ids: list[int]) -> str:
        raise NotImplementedError


class SentencePieceFile(AnyTokenizer):
    def __init__(self, path: Path) -> None:
        import sentencepiece

        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise UserError(f"{path}: not a SentencePiece model: {error}") from None
        self.name = _name(path)
        self.size = self.processor.get_piece_size()
        self.end_of_text = self.processor.eos_id() if self.processor.eos_id() >= 0 else None

    def ids(self, text: str) -> list[int]:
        return self.processor.encode(text)

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        pieces = self.processor.encode(text, out_type="immutable_proto").pieces
        return [piece.id for piece in pieces], [piece.begin for piece in pieces]

    def decode(self, ids: list[int]) -> str:
        return self.processor.decode(ids)


class TokenizersFile(AnyTokenizer):
    """A `tokenizer.json`: what transformers' fast tokenizers are."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library has no type of its own for this
            raise UserError(f"{path}: not a tokenizer.json: {error}") from None
        self.tokenizer.encode_special_tokens = True
        self.name = _name(path)
        self.size = self.tokenizer.get_vocab_size()
        self.end_of_text = self.tokenizer.token_to_id("</s>")

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)


def load_tokenizer(path: Path) -> AnyTokenizer:
    """The tokenizer of a folder (its tokenizer.json, else its tokenizer.model), of such a file, or of any `.model`.

    Raises:
        UserError: nothing there that SentencePiece or transformers reads.
    """
    if path.is_dir():
        for name in ("tokenizer.json", "tokenizer.model"):
            if (path / name).is_file():
                return load_tokenizer(path / name)
        raise UserError(f"{path}: neither tokenizer.json nor tokenizer.model in it")
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    loaders: dict[str, Any] = {".json": TokenizersFile, ".model": SentencePieceFile}
    if path.suffix not in loaders:
        raise UserError(f"{path}: expected a folder, a tokenizer.json or a SentencePiece .model")
    return loaders[path.suffix](path)


def _name(path: Path) -> str:
    return path.absolute().parent.name if path.stem == "tokenizer" else path.stem
