"""A random Llama of a few thousand parameters with the character tokenizer of `tiny_world`, as an exported folder."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.tiny_world import write_tokenizer


def tiny_llama(folder: Path, context: int = 1024) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    entries = write_tokenizer(folder)
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special}))
    (folder / "tokenizer.model").unlink()  # not SentencePiece's: AutoTokenizer would try to read it
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=entries + 8,  # rows without an entry, as in padded embeddings
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=context,
            initializer_range=0.3,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
        )
    )
    model.save_pretrained(folder)
    return folder
