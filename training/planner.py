"""Memory, FLOPs and hours of a run: pure arithmetic on the configuration, nothing measured, nothing imported."""

from __future__ import annotations

from dataclasses import dataclass

from settings import ModelSettings, TrainSettings

# Peak dense bf16 FLOP/s of a device by a part of its name (the makers' data sheets; the first match counts).
PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
}
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# CUDA context, NCCL buffers, allocator fragments: seen as two to three GiB, whatever the model.
RUNTIME_BYTES = 2 << 30
# What Python, torch and DeepSpeed occupy in a process on the CPU.
CPU_PROCESS_BYTES = 1 << 30
# Tokens whose logits exist at a time (see training.model.next_token_loss).
LOSS_CHUNK_TOKENS = 4096


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
    head_dim = model.head_dim or hidden // model.num_attention_heads
    queries = model.num_attention_heads * head_dim
    keys = (model.num_key_value_heads or model.num_attention_heads) * head_dim
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


def flops_per_token(model: ModelSettings, seq_len: int) -> int:
    """Training FLOPs of one token: 6 for each parameter that multiplies, and attention's 12 x layers x width x length.

    The formula of PaLM's appendix B (Chowdhery et al., 2022), without the input embedding, which is a look-up; the work
    that gradient checkpointing repeats does not count.
    """
    parameters = count_parameters(model)
    multiplying = parameters.total - (0 if model.tie_word_embeddings else parameters.embedding)
    head_dim = model.head_dim or model.hidden_size // model.num_attention_heads
    return 6 * multiplying + 12 * model.num_hidden_layers * model.num_attention_heads * head_dim * seq_len


def state_bytes(model: ModelSettings, processes: int) -> int:
    """Weights, gradients and optimizer states of one process under ZeRO-2 (ZeRO: Rajbhandari et al., 2020).

    The weights are whole; the fp32 master copy, both Adam moments and the gradients are split over the processes.
    """
    parameters = count_parameters(model).total
    width = BYTES[model.dtype]
    return parameters * width + parameters * (12 + (6 if width == 2 else 4)) // processes


def activation_bytes(model: ModelSettings, train: TrainSettings) -> int:
    """Activations of one micro-batch at their peak, an estimate.

    Korthikanti et al. (Reducing Activation Recomputation, 2022) count 34 bytes a token and hidden unit for one 16-bit
    layer without attention matrices; the gated MLP here keeps three wide tensors instead of two. With checkpointing
    each layer keeps its input alone and one layer at a time is whole.
    """
    width, tokens = BYTES[model.dtype], train.micro_batch_size * train.seq_len
    whole = tokens * width * (10 * model.hidden_size + 4 * model.intermediate_size)
    kept = tokens * width * model.hidden_size
    layers = model.num_hidden_layers
    stack = layers * kept + whole if train.gradient_checkpointing else layers * whole
    # Logits of a chunk: in the model's precision, in fp32, and their gradient.
    logits = min(tokens, LOSS_CHUNK_TOKENS) * model.vocab_size * (2 * width + 2 * 4)
    return stack + logits


def process_bytes(model: ModelSettings, train: TrainSettings, processes: int, cuda: bool) -> int:
    """Memory that one process needs to train."""
    runtime = RUNTIME_BYTES if cuda else CPU_PROCESS_BYTES
    return state_bytes(model, processes) + activation_bytes(model, train) + runtime


def checkpoint_bytes(model: ModelSettings) -> int:
    """One checkpoint on disk: the weights, and fp32 master copy and moments of all processes together."""
    return count_parameters(model).total * (BYTES[model.dtype] + 12)


def tokens_per_step(train: TrainSettings, processes: int) -> int:
    """Tokens that one optimizer step reads over all processes."""
    return train.micro_batch_size * train.gradient_accumulation_steps * train.seq_len * processes


def peak_flops(device_name: str) -> float | None:
    """Peak bf16 FLOP/s of a device, or None where its name is not in the table."""
    return next((peak for name, peak in PEAK_FLOPS.items() if name in device_name), None)
