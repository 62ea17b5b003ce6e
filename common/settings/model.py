"""The model keys of `config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from common.settings.knob import knob


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model: the keys of transformers' LlamaConfig that `config.json` may hold at its top level."""

    vocab_size: int = knob(1)
    hidden_size: int = knob(1)
    intermediate_size: int = knob(1)
    num_hidden_layers: int = knob(1)
    num_attention_heads: int = knob(1)
    max_position_embeddings: int = knob(1)
    rope_parameters: dict[str, Any]
    # Precision of the weights and of training; exported models carry it.
    dtype: Literal["bfloat16", "float16", "float32"]
    num_key_value_heads: int | None = knob(1, default=None)
    head_dim: int | None = knob(1, default=None)
    hidden_act: str = "silu"
    initializer_range: float = knob(0, 100, default=0.02)
    rms_norm_eps: float = knob(0, default=1e-6)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_dropout: float = knob(0, 1, default=0.0)
    mlp_bias: bool = False
    pretraining_tp: int = knob(1, default=1)
    use_cache: bool = True
    bos_token_id: int = knob(0, default=1)
    eos_token_id: int = knob(0, default=2)
    pad_token_id: int | None = knob(0, default=None)
    model_type: Literal["llama"] = "llama"
    architectures: list[str] | None = None
