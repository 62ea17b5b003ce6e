"""The files of a finished tokenizer: those of transformers, made from SentencePiece's, and the check of both.

Imported by `train_tokenizer.py`; not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_json

SPECIAL: dict[str, Any] = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
CHUNK_CHARS = 2000
# Text that tokenizers are known to damage; each must come back as it went in.
HARD_TEXTS = (
    "",
    " ",
    "  two  spaces \n\n\tand a tab\n",
    "\n\n\n",
    r"\begin{align*} x_{1} &= \frac{1}{2} \\ \end{align*}",
    "∀x∈ℝ: ∑ᵢ αᵢ ≤ 𝔸 — “Erdős–Rényi” 日本語 😀",
    "<s> </s> <pad> <unk> <0x41>",
    "don't , stop . ! [ 1 ] 3.14159",
    "a\r\nb\x0c",
)


def write_transformers_files(folder: Path) -> None:
    """From `tokenizer.model` to the files of AutoTokenizer: the same ids, no token added before or after a text."""
    from transformers import LlamaTokenizer

    # Without these two arguments spaces are treated as in Llama's first tokenizer, which is not SentencePiece's way.
    tokenizer = LlamaTokenizer.from_pretrained(folder, legacy=False, add_prefix_space=False, **SPECIAL)
    tokenizer.save_pretrained(folder)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer",
            "add_prefix_space": False,
            "legacy": False,
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 10**30,
            **SPECIAL,
        },
    )
    write_json(folder / "special_tokens_map.json", SPECIAL)


def check_tokenizer(folder: Path, vocab_size: int, texts: Sequence[str], chunks: int = 1000) -> int:
    """Compare AutoTokenizer with SentencePiece, and text with what comes back; gives the number of pieces compared.

    Raises:
        RuntimeError: they differ, or sizes and special tokens are not what the configuration says.
    """
    import sentencepiece
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    sizes = {"AutoTokenizer": len(tokenizer), "SentencePiece": processor.get_piece_size()}
    if set(sizes.values()) != {vocab_size}:
        raise RuntimeError(f"{folder}: expected {vocab_size} entries, found {sizes}")
    special = [tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    if special != [0, 1, 2, 3]:
        raise RuntimeError(f"{folder}: <unk>, <s>, </s>, <pad> have the ids {special}, expected 0, 1, 2, 3")
    cases = list(HARD_TEXTS)
    # Spread over all of the text: short pieces where there is little of it, gaps between them where there is much.
    step = max(200, sum(map(len, texts)) // chunks + 1)
    length = min(step, CHUNK_CHARS)
    cases += [text[start : start + length] for text in texts for start in range(0, len(text), step)]
    # SentencePiece's own sign for a space is the one character that it loses; the cleaner maps it away.
    cases = [text for text in cases if "\u2581" not in text and "\x00" not in text]
    for text in cases:
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if ids != processor.encode(text):
            raise RuntimeError(f"{folder}: AutoTokenizer and SentencePiece disagree on {text[:80]!r}")
        if tokenizer.encode(text, split_special_tokens=True) != ids:
            raise RuntimeError(f"{folder}: AutoTokenizer adds tokens to {text[:80]!r}")
        if tokenizer.decode(ids) != text or processor.decode(ids) != text:
            raise RuntimeError(f"{folder}: text does not come back: {text[:80]!r} -> {tokenizer.decode(ids)[:80]!r}")
    return len(cases)
