"""Memory of a run: pure arithmetic on the configuration, nothing measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from common.settings.load import Settings
from common.settings.model import ModelSettings
from common.settings.train import TrainSettings
from training.kernels import LIGER_ACTIVATIONS, resolve_kernels
from training.plan.parameters import count_parameters, widths

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
# The fp32 copy of a parameter and its two Adam moments.
OPTIMIZER_BYTES = 12
# CUDA context, NCCL buffers, workspaces of the matrix products: seen as one to two GiB, whatever the model.
RUNTIME_BYTES = 2 << 30
# What Python, torch and DeepSpeed occupy in a process on the CPU.
CPU_PROCESS_BYTES = 1 << 30
# Share of the memory that a choice of checkpointing leaves free: for fragments, and for what is not estimated.
MARGIN = 0.06
# Tokens whose logits exist at a time (see training.loss).
LOSS_CHUNK_TOKENS = 4096
# DeepSpeed's own size of a bucket, elements, where ds_config.json says nothing.
BUCKET_ELEMENTS = 500_000_000


# ---- Memory ----


@dataclass(frozen=True)
class Memory:
    """Bytes of one process by part, when it holds most; `total` is their sum."""

    weights: int
    # fp32 copy and moments: this process's share.
    optimizer: int
    # Of the micro-batches so far and of the running one: this process's share, and one parameter's whole.
    gradients: int
    # DeepSpeed's buckets for the exchange of gradients.
    buffers: int
    # What forward leaves for backward.
    activations: int
    # What the loss needs beside it.
    logits: int
    # What backward through a layer needs more than the loss does: the layer made again, gradients within it.
    layer: int
    # What the optimizer's step needs more than backward does; only where there are few activations.
    step: int
    runtime: int

    @property
    def total(self) -> int:
        return sum(getattr(self, part.name) for part in fields(self))

    @property
    def states(self) -> int:
        return self.weights + self.optimizer + self.gradients


def zero_stage(deepspeed_config: dict[str, Any]) -> int:
    """ZeRO's stage in a resolved configuration."""
    return deepspeed_config.get("zero_optimization", {}).get("stage", 0)


def process_memory(
    settings: Settings, deepspeed_config: dict[str, Any], processes: int, checkpointed: int, cuda: bool
) -> Memory:
    """Memory that one process needs to train with `checkpointed` layers made again in the backward pass.

    What ZeRO holds (Rajbhandari et al., 2020) is that of DeepSpeed 0.19's optimizers as they are written, counted on
    the CPU with two processes: gradients lie in the model's precision, those of former micro-batches beside those of
    the running one, and the step makes an fp32 copy and a flat one of this process's share. An offloaded optimizer
    and torch.compile are not counted: with them this is more than is needed.

    Args:
        deepspeed_config: resolved, see training.engine.resolve_deepspeed_config.
    """
    model, train = settings.model, settings.train
    parameters = count_parameters(model)
    total, width = parameters.total, BYTES[model.dtype]
    zero, stage = deepspeed_config.get("zero_optimization", {}), zero_stage(deepspeed_config)
    share = total / (processes if stage else 1)
    fp32_gradients = width == 2 and deepspeed_config.get("data_types", {}).get("grad_accum_dtype") == "fp32"
    rounds = 2 if train.gradient_accumulation_steps > 1 else 1

    held = share * width * rounds
    step = share * (8 if train.fused_adamw else 14)
    if stage == 2 and fp32_gradients:  # added up in place
        held, step = share * 4, share * 4
    elif stage == 1:  # whole until the last micro-batch, then this process's share
        held, step = total * width + share * width, share * 8
        if fp32_gradients:  # another optimizer of DeepSpeed's: an fp32 copy of all
            held, step = total * (4 + width), total * 8
    elif stage == 0:  # whole; the step flattens them for the exchange, or copies them to fp32
        held, step = total * width, total * (6 if width == 2 else 8)
    optimizer = share * OPTIMIZER_BYTES if stage or width == 2 else total * 8  # fp32 without ZeRO needs no copy
    whole = max(parameters.embedding, model.hidden_size * model.intermediate_size) * width
    gradients = math.ceil(held) + (whole if stage else 0)
    buckets = (2 if zero.get("overlap_comm") else 1) * zero.get("reduce_bucket_size", BUCKET_ELEMENTS) * width
    buffers = buckets if stage and zero.get("contiguous_gradients", True) else 0

    saved, logits, layer = _activations(settings, checkpointed, cuda)
    backward = gradients + buffers + saved + max(logits, layer)
    return Memory(
        weights=total * width,
        optimizer=math.ceil(optimizer),
        gradients=gradients,
        buffers=buffers,
        activations=saved,
        logits=logits,
        layer=max(0, layer - logits),
        step=max(0, math.ceil(step) - backward),
        runtime=RUNTIME_BYTES if cuda else CPU_PROCESS_BYTES,
    )


def _activations(settings: Settings, checkpointed: int, cuda: bool) -> tuple[int, int, int]:
    """Bytes that forward saves, that the loss needs beside it, and that backward through the layers needs beside it.

    Each product, norm and gate of transformers' Llama is counted by what autograd keeps for it: the input of every
    matrix product, queries, keys, values, output and logsumexp of attention (Dao et al., FlashAttention, 2022), the
    gate before and after SiLU. Its RMSNorm works in fp32 and keeps its input in it, and the normalized one in the
    model's precision. Liger's kernels keep the inputs alone and make the gate again.
    """
    model, train = settings.model, settings.train
    width, hidden, wide = BYTES[model.dtype], model.hidden_size, model.intermediate_size
    tokens = train.micro_batch_size * train.seq_len
    liger = resolve_kernels(settings, cuda).layers == "liger"
    rows = tokens * hidden * width  # one hidden state for each token
    norm = rows + 4 * tokens if liger else 4 * tokens * hidden + rows + 4 * tokens
    mlp = (3 if liger and model.hidden_act in LIGER_ACTIVATIONS else 4) * tokens * wide * width
    layer = 2 * (norm + rows) + _attention(settings) + mlp

    again = set(checkpointed_layers(checkpointed, model.num_hidden_layers))
    kept = [rows if index in again else layer for index in range(model.num_hidden_layers)]
    saved = sum(kept) + norm + rows + 8 * tokens + _shared(settings, checkpointed)

    # Backward through a norm works in fp32, beside all that was saved; through the gate, beside what the layers before
    # it saved; a checkpointed layer is whole by then.
    norm_backward = 3 * rows if liger else 16 * tokens * hidden + (0 if width == 4 else rows)
    mlp_backward = 2 * tokens * wide * width + 2 * rows
    softmax_backward = 0  # eager attention's gradients of the probabilities, as large as they are
    if train.attention == "eager":
        softmax_backward = tokens * model.num_attention_heads * train.seq_len * (4 + width)
    most, left = saved + norm_backward, saved - norm - rows
    for index in reversed(range(model.num_hidden_layers)):
        whole = left + (layer if index in again else 0)
        most = max(most, whole + mlp_backward, whole - mlp + max(norm_backward, softmax_backward))
        left -= kept[index]
    return saved, loss_bytes(settings, cuda), most - saved


def loss_bytes(settings: Settings, cuda: bool) -> int:
    """Bytes that the loss needs at its height: logits of as many tokens as its kernel takes at a time, and gradients.

    `full` holds three fp32 tables of all tokens in its backward pass. The others hold the gradients of the head, in
    fp32 while they are summed up, and of the hidden states; our own takes fp32 for all products of fp16. Liger and
    torch take a power of two of tokens whose logits are as many as the hidden states' numbers; torch on a GPU half of
    that, and sums the head's gradient in place (their sources say so; not counted).
    """
    model, train = settings.model, settings.train
    width, tokens = BYTES[model.dtype], train.micro_batch_size * train.seq_len
    row = model.vocab_size * (width + 4 if width < 4 else 4)  # a token's logits, in the model's precision and in fp32
    head, hidden = model.vocab_size * model.hidden_size, tokens * model.hidden_size
    kernel = resolve_kernels(settings, cuda).loss
    if kernel == "full":
        return 12 * tokens * model.vocab_size
    part = math.ceil(tokens / math.ceil(model.vocab_size / model.hidden_size))
    part = min(tokens, 1 << (part - 1).bit_length())
    if kernel == "torch":
        return part * row // 2 + (head + hidden) * width if cuda else part * row + head * (8 + width) + hidden * width
    if kernel == "liger":
        return part * row + head * (4 + width) + hidden * width
    product = 4 if model.dtype == "float16" else width
    return min(tokens, LOSS_CHUNK_TOKENS) * row + head * (4 + product) + hidden * product


def _attention(settings: Settings) -> int:
    """Bytes that attention of one layer keeps: for its kernel, and for the product after it."""
    model, train = settings.model, settings.train
    width, tokens = BYTES[model.dtype], train.micro_batch_size * train.seq_len
    queries, keys = widths(model)
    own = tokens * (queries + keys) * width  # half of all: output and values are as wide as queries and keys
    if train.attention == "eager" or train.document_masking:
        # Keys and values are repeated for each query, which takes no memory where all queries share them.
        if model.num_key_value_heads != 1:
            own = 2 * tokens * queries * width
    if train.attention == "eager":  # the probabilities in fp32 and, where that is another, in the model's precision
        table = train.micro_batch_size * model.num_attention_heads * train.seq_len**2
        return 2 * own + table * (4 if width == 4 else 4 + width)
    mask = tokens * train.seq_len * width if train.document_masking else 0  # each layer makes numbers of it
    return 2 * own + 4 * tokens * model.num_attention_heads + mask


def _shared(settings: Settings, checkpointed: int) -> int:
    """Bytes of what all layers share: sines and cosines of the positions, and where layers are made again the mask."""
    model, train = settings.model, settings.train
    width, head = BYTES[model.dtype], model.head_dim or model.hidden_size // model.num_attention_heads
    sequences = train.micro_batch_size if train.document_masking else 1
    table = 2 * sequences * train.seq_len * head * width
    eager = train.attention == "eager"  # its mask is numbers, SDPA's is of one byte each, and only for documents
    mask = train.micro_batch_size * train.seq_len**2 * (width if eager else 1)
    return table + (mask if checkpointed and (eager or train.document_masking) else 0)


def checkpointed_layers(count: int, layers: int) -> list[int]:
    """`count` of `layers` indices, spread evenly, the first among them and the last only where all are."""
    return [index * layers // count for index in range(count)]


def choose_checkpointing(
    settings: Settings, deepspeed_config: dict[str, Any], processes: int, memory_bytes: int, cuda: bool
) -> int:
    """Layers to make again in the backward pass: as configured, or for "auto" the fewest with which a process fits
    into `memory_bytes` and leaves MARGIN of them free; all where even that does not fit."""
    layers, wanted = settings.model.num_hidden_layers, settings.train.gradient_checkpointing
    if wanted == "none":
        return 0
    if wanted == "all":
        return layers
    if wanted != "auto":
        return min(int(wanted), layers)
    for count in range(layers):
        if fits(process_memory(settings, deepspeed_config, processes, count, cuda), memory_bytes):
            return count
    return layers


def fits(memory: Memory, memory_bytes: int) -> bool:
    """Whether a process of `memory` leaves MARGIN of `memory_bytes` free."""
    return memory.total <= memory_bytes * (1 - MARGIN)


# ---- Disk, and copies on the host ----


def checkpoint_bytes(model: ModelSettings) -> int:
    """One checkpoint on disk: the weights, and fp32 master copy and moments of all processes together."""
    return count_parameters(model).total * (BYTES[model.dtype] + OPTIMIZER_BYTES)


def export_bytes(model: ModelSettings) -> int:
    """An exported model on disk: its weights."""
    return count_parameters(model).total * BYTES[model.dtype]


def checkpoints_kept(train: TrainSettings) -> int:
    """Most checkpoints that lie on disk at a time in a run: the last ones, those for good, the best, and a new one."""
    saves = math.ceil(train.max_steps / train.save_every)
    for_good = train.max_steps // math.lcm(train.save_every, train.keep_every) if train.keep_every else 0
    return min(saves + train.keep_best, train.keep_last + for_good + train.keep_best + 1)


def snapshot_bytes(settings: Settings, processes: int) -> int:
    """Host memory of one process's copy of what it saves: the weights, and its share of the optimizer's states."""
    parameters = count_parameters(settings.model).total
    return parameters * BYTES[settings.model.dtype] + math.ceil(parameters * OPTIMIZER_BYTES / processes)
