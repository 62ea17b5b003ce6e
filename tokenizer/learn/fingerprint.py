"""What identifies a tokenizer: the bytes of the files that decide its ids.

Token files, checkpoints and runs carry the fingerprint; a mismatch refuses (see design of each reader).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from common.errors import UserError

# Everything that a folder with a tokenizer must hold for AutoTokenizer and SentencePiece.
ARTEFACTS = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MANIFEST = "tokenizer_manifest.json"
IDENTITY = ("tokenizer.model", "tokenizer.json")


def tokenizer_fingerprint(folder: Path) -> str:
    """sha256 over the names and bytes of tokenizer.model and tokenizer.json, 64 hexadecimal digits.

    Raises:
        UserError: a file is missing, or is not the one that was made with the other.
    """
    sha, made = hashlib.sha256(), _recorded(folder)
    for name in IDENTITY:
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            raise UserError(
                f"{folder / name}: no such file; train a tokenizer first: python tokenizer/train_tokenizer.py"
            ) from None
        if made.get(name, found := hashlib.sha256(content).hexdigest()) != found:
            raise UserError(
                f"{folder / name}: not the file that {MANIFEST} beside it names (sha256 {found[:12]} here, "
                f"{str(made[name])[:12]} there); put it back, or train again: python tokenizer/train_tokenizer.py"
            )
        sha.update(f"{name} {len(content)}\n".encode())
        sha.update(content)
    return sha.hexdigest()


def _recorded(folder: Path) -> dict[str, Any]:
    """sha256 of the files as `train_tokenizer.py` made them; empty for a tokenizer from elsewhere."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}
