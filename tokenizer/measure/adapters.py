"""Any tokenizer that SentencePiece or transformers loads from disk, asked alike: ids, where each token begins, text.

Nothing is ever fetched from a network, and no code that a folder brings along is run. Imported by
`evaluate_tokenizer.py`, the reports and the benchmarks; not run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError

# A character is at most four bytes; a tokenizer without offsets that needs more tokens than this for one is not laid
# over its text.
MAX_TOKENS_A_CHARACTER = 16


class AnyTokenizer:
    """One tokenizer, with no token added to a text and none read from it (`<s>` in a text is three characters).

    Attributes:
        name: of its folder, or of its file where that has a telling one; `load_tokenizers` makes names unique.
        source: the file or folder that it was loaded from.
        given: the path that `load_tokenizers` was asked for.
        library: what reads it.
        size: entries.
        end_of_text: id that closes a document, or None where the files name none.
        unknown: id that stands for text that the vocabulary cannot spell, or None.
    """

    name: str
    source: Path
    given: Path
    library: str
    size: int
    end_of_text: int | None = None
    unknown: int | None = None

    def ids(self, text: str) -> list[int]:
        raise NotImplementedError

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        """Ids, and for each the character of `text` at which it begins.

        The tokens of one character share its position. A space that the tokenizer itself puts before the text begins
        with the first character.
        """
        raise NotImplementedError

    def decode(self, ids: list[int]) -> str:
        """The text, as the tokenizer's own library gives it: a space that it put before the text it takes away."""
        raise NotImplementedError

    def pieces(self) -> list[str]:
        """Every entry in the order of its id, as the files spell it (U+2581 or GPT-2's letters for a space)."""
        raise NotImplementedError


class SentencePieceFile(AnyTokenizer):
    """A `.model` file of SentencePiece."""

    library = "SentencePiece"

    def __init__(self, path: Path) -> None:
        import sentencepiece

        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError):
            raise UserError(f"{path}: not a SentencePiece model; give a folder, a tokenizer.json or a .model") from None
        self.name, self.source = _shown(path)[-1], path
        self.size = self.processor.get_piece_size()
        self.end_of_text = self.processor.eos_id() if self.processor.eos_id() >= 0 else None
        self.unknown = self.processor.unk_id()

    def ids(self, text: str) -> list[int]:
        return self.processor.encode(text)

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        # "proto" has the same in bytes.
        laid = self.processor.encode(text, return_type="offset_mapping")
        return laid["ids"], [start for start, _ in laid["offsets"]]

    def decode(self, ids: list[int]) -> str:
        return self.processor.decode(ids)

    def pieces(self) -> list[str]:
        return [self.processor.id_to_piece(index) for index in range(self.size)]


class TokenizersFile(AnyTokenizer):
    """A `tokenizer.json`: what transformers' fast tokenizers are."""

    library = "tokenizers"

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library has no type of its own for this
            raise UserError(f"{path}: not a tokenizer.json: {_first_line(error)}") from None
        _plain(self.tokenizer)
        self.name, self.source = _shown(path)[-1], path
        self.size = self.tokenizer.get_vocab_size()
        self.end_of_text = self.tokenizer.token_to_id("</s>")
        unknown = getattr(self.tokenizer.model, "unk_token", None)
        self.unknown = self.tokenizer.token_to_id(unknown) if unknown else None

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def pieces(self) -> list[str]:
        return [self.tokenizer.id_to_token(index) or "" for index in range(self.size)]


class TransformersFolder(AnyTokenizer):
    """A folder that `AutoTokenizer` loads, whatever files it holds; ids are those of `AutoTokenizer` itself."""

    library = "transformers"

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # as many types as there are tokenizers
            raise UserError(f"{folder}: no tokenizer that transformers loads: {_first_line(error)}") from None
        # Where the file of the vocabulary is missing, transformers makes one of the special tokens alone.
        if len(self.tokenizer) <= len(self.tokenizer.all_special_tokens):
            raise UserError(f"{folder}: no tokenizer that transformers loads: its vocabulary is missing")
        self.name, self.source = _shown(folder)[-1], folder
        self.size = len(self.tokenizer)
        self.end_of_text, self.unknown = self.tokenizer.eos_token_id, self.tokenizer.unk_token_id
        self.layout: Any = None
        if self.tokenizer.is_fast:
            from tokenizers import Tokenizer

            self.layout = _plain(Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str()))

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)

    def cut(self, text: str) -> tuple[list[int], list[int]]:
        if self.layout is None:
            ids = self.ids(text)
            return ids, self._laid(ids, text)
        encoding = self.layout.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids)

    def pieces(self) -> list[str]:
        return [piece or "" for piece in self.tokenizer.convert_ids_to_tokens(list(range(self.size)))]

    def _laid(self, ids: Sequence[int], text: str) -> list[int]:
        """Begins of tokens that come without offsets: as many tokens as it takes until they spell what comes next."""
        begins: list[int] = []
        position = 0
        waiting: list[int] = []
        for index in ids:
            waiting.append(index)
            begins.append(position)
            spelt = self.tokenizer.decode(waiting, clean_up_tokenization_spaces=False)
            blank = len(text) - position - len(text[position:].lstrip()) if spelt[:1].strip() else 0
            if spelt and text.startswith(spelt, position + blank):
                position += blank + len(spelt)
                waiting = []
            elif len(waiting) >= MAX_TOKENS_A_CHARACTER:
                break
        if waiting:
            raise UserError(
                f"{self.source}: its tokens cannot be laid over the text ({text[position : position + 20]!r} does not "
                "come back from them); leave this tokenizer out, or give it as a tokenizer.json"
            )
        return begins


def load_tokenizer(path: Path) -> AnyTokenizer:
    """The tokenizer of a folder, of a tokenizer.json, or of a `.model` of SentencePiece.

    Of a folder its tokenizer.json, else its tokenizer.model, else whatever AutoTokenizer makes of it.

    Raises:
        UserError: nothing there that SentencePiece or transformers reads.
    """
    if path.is_dir():
        if (path / "tokenizer.json").is_file():
            return TokenizersFile(path / "tokenizer.json")
        # Some models' tokenizer.model is not SentencePiece's; transformers knows them by their configuration.
        configured = (path / "tokenizer_config.json").is_file()
        if (path / "tokenizer.model").is_file():
            try:
                return SentencePieceFile(path / "tokenizer.model")
            except UserError:
                if not configured:
                    raise
        return TransformersFolder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; give the folder of a tokenizer, a tokenizer.json or a .model")
    if path.suffix == ".json":
        return TokenizersFile(path)
    if path.suffix == ".model":
        return SentencePieceFile(path)
    raise UserError(f"{path}: expected a folder, a tokenizer.json or a SentencePiece .model")


def load_tokenizers(paths: Iterable[Path]) -> list[AnyTokenizer]:
    """Each tokenizer once, in the order given, under names that differ."""
    loaded: dict[str, AnyTokenizer] = {}
    for path in paths:
        tokenizer = load_tokenizer(path)
        tokenizer.given = path
        loaded.setdefault(os.path.realpath(tokenizer.source), tokenizer)
    found = list(loaded.values())
    shown = [_shown(tokenizer.source) for tokenizer in found]
    # The tokenizer.json and the tokenizer.model of one folder, given apart, differ in the file's name alone.
    places = [
        (*parts[:-1], f"{parts[-1]}/{tokenizer.source.name}") if shown.count(parts) > 1 else parts
        for tokenizer, parts in zip(found, shown, strict=True)
    ]
    for tokenizer, name in zip(found, shortest_endings(places), strict=True):
        tokenizer.name = name
    return found


def shortest_endings(places: Sequence[tuple[str, ...]]) -> list[str]:
    """The last part of each path, and as many before it as tell it from the others."""
    names = []
    for place in places:
        depth, others = 1, [other for other in places if other != place]
        while any(other[-depth:] == place[-depth:] for other in others):
            depth += 1
        names.append("/".join(place[-depth:]))
    return names


def _shown(source: Path) -> tuple[str, ...]:
    """The parts of a path that name a tokenizer: of its folder, or of a file that is not just called tokenizer."""
    path = Path(os.path.abspath(source))
    if path.is_dir():
        return path.parts
    return path.parent.parts if path.stem == "tokenizer" else (*path.parent.parts, path.stem)


def _plain(tokenizer: Any) -> Any:
    """Special tokens are read as text; offsets of tokens count their spaces, which some post-processors cut off."""
    tokenizer.encode_special_tokens = True
    tokenizer.post_processor = None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":. ")
