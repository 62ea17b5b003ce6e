"""A world small enough for a test: a character tokenizer, two splits of random sentences, a configuration."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

from common.paths import ROOT

WORDS = "let every finite group act on a compact space then the map is open and $x_1 \\in \\mathbb{R}$ holds".split()
CHARACTERS = string.printable + "éα∈"


def write_tokenizer(folder: Path, marker: str = "") -> int:
    """A SentencePiece-style tokenizer of single characters and bytes, made without training; returns its size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    special = ["<unk>", "<s>", "</s>", "<pad>"]
    pieces = special + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [c for c in CHARACTERS.replace(" ", "\u2581") if c not in pieces]
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer.model").write_bytes(b"stands in for SentencePiece's own file" + marker.encode())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<pad>"})
    )
    return len(pieces)


def document(index: int, words: int = 60) -> dict[str, object]:
    """A record of train.jsonl: deterministic in `index`."""
    choose = random.Random(index)
    text = " ".join(choose.choice(WORDS) for _ in range(words))
    return {
        "id": f"2401.{index:05d}",
        "text": text,
        "title": "A title",
        "categories": ["math.GR"],
        "year": 2024,
        "license": None,
        "cluster": f"{index:016x}",
    }


def write_jsonl(path: Path, records: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def make_world(folder: Path, **train: object) -> Path:
    """Splits, tokenizer and a configuration of a model of 60,000 parameters under `folder`; returns its config.json."""
    write_jsonl(folder / "data/train.jsonl", [document(i) for i in range(60)])
    write_jsonl(folder / "data/val.jsonl", [document(i) for i in range(100, 106)])
    config = json.loads((ROOT / "examples/quickstart/config.json").read_text())
    config |= {
        "vocab_size": write_tokenizer(folder / "tokenizer"),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    config["data"] |= {"out": str(folder / "data"), "workers": 1}
    config["tokenizer"] |= {"out": str(folder / "tokenizer")}
    config["train"] |= {
        "runs": str(folder / "runs"),
        "run_name": None,
        "seq_len": 32,
        "micro_batch_size": 2,
        "max_steps": 4,
        "warmup_steps": 1,
        "val_every": 2,
        "val_sequences": 8,
        "save_every": 2,
        "log_every": 1,
        "wandb": "disabled",
        **train,
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config, indent=2))
    return path
