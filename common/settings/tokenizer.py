"""The `tokenizer` section of `config.json`."""

from __future__ import annotations

from dataclasses import dataclass

from common.settings.knob import knob


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """Training of the tokenizer (`tokenizer/`); its size is the model key `vocab_size`."""

    # Folder of tokenizer.model, tokenizer.json and their companions.
    out: str
    # Text read, about: the share of documents that gives this many bytes is chosen by hash of the id.
    sample_bytes: int = knob(1)
    # Bytes taken from one document at the most, so that no book outweighs a hundred papers.
    max_document_bytes: int = knob(1)
    character_coverage: float = knob(0.9, 1.0)
    max_piece_chars: int = knob(8, 64)
    # A command seen this often is counted `command_boost` times more, so that it becomes a token.
    command_min_count: int = knob(1, 1_000_000_000)
    command_boost: int = knob(0, 1000)
    # Share of the entries that run over several words or symbols (superwords), and how many entries of the first stage
    # one of them joins at the most. They save a fifth of the tokens and more, and cost small models bits per byte at
    # equal FLOPs (benchmarks/RESULTS.md), so none are made unless asked for. They are learnt from about
    # `superword_sample_bytes` of text: memory follows it.
    superword_share: float = knob(0, 0.8)
    superword_entries: int = knob(2, 32)
    superword_sample_bytes: int = knob(1)
    # Worker processes that count, and SentencePiece's threads; 0 means one per core. The result does not depend on it.
    threads: int = knob(0, 1024)
    seed: int = knob(0)
