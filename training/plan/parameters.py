"""Parameters of a LLaMA-style model by place."""

from __future__ import annotations

from dataclasses import dataclass

from common.settings.model import ModelSettings


@dataclass(frozen=True)
class Parameters:
    """Parameters of a LLaMA-style model by place."""

    embedding: int
    head: int
    per_layer: int
    layers: int
    final_norm: int

    @property
    def total(self) -> int:
        return self.embedding + self.head + self.per_layer * self.layers + self.final_norm


def count_parameters(model: ModelSettings) -> Parameters:
    """Parameters of `model`, equal to what transformers builds (a tied head counts 0)."""
    hidden = model.hidden_size
    queries, keys = widths(model)
    attention = 2 * hidden * queries + 2 * hidden * keys
    if model.attention_bias:
        attention += queries + 2 * keys + hidden
    mlp = 3 * hidden * model.intermediate_size
    if model.mlp_bias:
        mlp += 2 * model.intermediate_size + hidden
    table = model.vocab_size * hidden
    return Parameters(
        embedding=table,
        head=0 if model.tie_word_embeddings else table,
        per_layer=attention + mlp + 2 * hidden,
        layers=model.num_hidden_layers,
        final_norm=hidden,
    )


def widths(model: ModelSettings) -> tuple[int, int]:
    """Numbers a token in all heads of the queries, and of the keys (the values have as many)."""
    head = model.head_dim or model.hidden_size // model.num_attention_heads
    return model.num_attention_heads * head, (model.num_key_value_heads or model.num_attention_heads) * head
