"""What identifies a tokenizer: the bytes of the files that decide its ids.

Token files, checkpoints and runs carry the fingerprint; a mismatch refuses (see design of each reader).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from settings import UserError

# Everything that a folder with a tokenizer must hold for AutoTokenizer and SentencePiece.
ARTEFACTS = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
IDENTITY = ("tokenizer.model", "tokenizer.json")


def tokenizer_fingerprint(folder: Path) -> str:
    """sha256 over the names and bytes of tokenizer.model and tokenizer.json, 64 hexadecimal digits.

    Raises:
        UserError: a file is missing.
    """
    sha = hashlib.sha256()
    for name in IDENTITY:
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            raise UserError(
                f"{folder / name}: no such file; train a tokenizer first: python tokenizer/train_tokenizer.py"
            ) from None
        sha.update(f"{name} {len(content)}\n".encode())
        sha.update(content)
    return sha.hexdigest()
