"""The model: transformers' LlamaForCausalLM from our settings, with the pieces that training/kernels.py chose."""

from __future__ import annotations

import math
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from common.errors import UserError
from common.settings.load import Settings
from training.kernels import LIGER_ACTIVATIONS, Kernels, resolve_kernels
from training.loss import mean_loss, token_losses
from training.plan.memory import checkpointed_layers

# Rows of the loss on answers are filled up to a multiple of this.
ROWS_TOGETHER = 256
# SDPA without the mask that transformers would make: for each it asks the GPU whether positions start anew, and waits.
CAUSAL_SDPA = "causal_sdpa"
# The function of transformers' module that turns queries and keys by their positions.
ROTARY = "apply_rotary_pos_emb"
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def build_model(settings: Settings, kernels: Kernels | None = None, checkpointed: int = 0) -> torch.nn.Module:
    """LlamaForCausalLM with fresh weights, drawn in fp32 from `train.seed` and then cast to the model's dtype.

    Args:
        kernels: the pieces; None: those for a model on the CPU.
        checkpointed: layers that make their activations again in the backward pass.

    Raises:
        UserError: transformers refuses the model keys, or Liger does not fit it.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    kernels = kernels or resolve_kernels(settings, cuda=False)
    torch.manual_seed(settings.train.seed)
    try:
        config = LlamaConfig(**settings.model_dict())
        config._attn_implementation = kernels.attention
        model: Any = LlamaForCausalLM(config)
    except (KeyError, TypeError, ValueError, StrictDataclassError) as error:  # whatever transformers makes of them
        reason = " ".join(str(error).split())
        raise UserError(
            f"the model keys of the configuration make no model: {type(error).__name__}: {reason}; see hidden_act, "
            "rope_parameters, head_dim and hidden_size"
        ) from error
    model = model.to(DTYPES[settings.model.dtype])
    model.config.use_cache = False
    if kernels.attention == "sdpa":
        AttentionInterface.register(CAUSAL_SDPA, sdpa_attention_forward)
        model.config._attn_implementation = CAUSAL_SDPA
    without_cudnn_attention()
    if kernels.layers == "liger":
        use_liger(model)
    layers = model.model.layers
    for index in checkpointed_layers(checkpointed, len(layers)):
        layers[index].gradient_checkpointing = True
        layers[index]._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    if kernels.compile:
        for layer in layers:
            layer.compile()
    return model


def use_liger(model: Any) -> None:
    """Give this model, and no other, Liger's norms, rotary positions and, where it computes the activation, MLP.

    Liger's function binds its norms and MLP to the model's modules. It also replaces names in transformers' own module,
    and so every model that is built later: those are put back, and this model's attention alone finds Liger's.

    Raises:
        UserError: attention of this transformers does not look for rotary positions where Liger puts its own.
    """
    from liger_kernel.transformers import apply_liger_kernel_to_llama
    from transformers.models.llama import modeling_llama

    before = dict(vars(modeling_llama))
    try:
        apply_liger_kernel_to_llama(
            cross_entropy=False,  # the loss is ours
            fused_linear_cross_entropy=False,
            swiglu=model.config.hidden_act in LIGER_ACTIVATIONS,
            model=model,
        )
        ligers = {name: value for name, value in vars(modeling_llama).items() if value is not before.get(name)}
    finally:
        for name, value in before.items():
            setattr(modeling_llama, name, value)
    forward = modeling_llama.LlamaAttention.forward
    if ROTARY not in ligers or ROTARY not in forward.__code__.co_names:
        raise UserError(
            f"Liger's rotary positions do not fit this transformers: its attention does not call {ROTARY}; go on with "
            "--set train.layer_kernels=torch, or install the versions of requirements.txt"
        )
    own = FunctionType(forward.__code__, {**forward.__globals__, **ligers}, forward.__name__, forward.__defaults__)
    own.__kwdefaults__ = forward.__kwdefaults__
    for layer in model.model.layers:
        layer.self_attn.forward = MethodType(own, layer.self_attn)


def without_cudnn_attention() -> None:
    """Leave attention on GPUs to torch's flash and memory-efficient kernels, in all of this process.

    torch 2.11 to 2.13 prefers cuDNN's on Hopper and Blackwell. Its gradients are NaN with a mask and windows of 64 more
    than a multiple of 128 (pytorch #196678), and its output is wrong with few key heads (pytorch #193893).
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


class NextTokenLoss(torch.nn.Module):
    """The module that DeepSpeed trains: windows of tokens in, the mean loss of their next tokens out.

    Args:
        eos_token_id: attention stays within a document, whose positions start at 0; it ends with this token. None: a
            window is one text.

    Nothing in it reads a value back from the GPU, which would wait until the GPU has caught up.
    """

    def __init__(self, model: Any, kernels: Kernels | None = None, eos_token_id: int | None = None):
        super().__init__()
        self.model = model
        self.kernel = (kernels or Kernels()).loss
        self.eos_token_id = eos_token_id

    def forward(
        self, tokens: torch.Tensor, learnt: torch.Tensor | None = None, weight: float = 1.0, apart: bool = True
    ) -> torch.Tensor:
        """Mean cross-entropy in nats of tokens[:, 1:] given what stands before; arguments as in MicroBatch.

        Args:
            tokens: int64 [batch, length + 1]; a complement (`~id`) is read and not learnt.
            learnt: int64 [learnt], places in tokens[:, 1:].flatten() of what is; None: all, there are no complements.
            weight: by which the mean over `learnt` is multiplied.
            apart: look for ends of documents, where they are to be kept apart at all.
        """
        head, targets = self.model.lm_head.weight, tokens[:, 1:].flatten()
        if learnt is None:
            return mean_loss(self.kernel, self._hidden(tokens, apart), head, targets)
        hidden = self._hidden(torch.where(tokens < 0, ~tokens, tokens), apart)
        if not len(learnt):  # the engine wants gradients all the same
            return hidden[:0].sum().float() + head[:0].sum().float()
        return self._mean_over(hidden.index_select(0, learnt), targets.index_select(0, learnt)) * weight

    def _mean_over(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of these rows, from one of a few shapes: every new one takes memory that is kept.

        A row of zeros has equal logits: it costs the logarithm of the vocabulary, and gives no gradient.
        """
        head, rows = self.model.lm_head.weight, len(targets)
        more = -rows % ROWS_TOGETHER
        hidden = torch.cat([hidden, hidden.new_zeros(more, hidden.shape[1])])
        targets = torch.cat([targets, targets.new_zeros(more)])
        mean = mean_loss(self.kernel, hidden, head, targets)
        return (mean * (rows + more) - more * math.log(len(head))) / rows

    def token_losses(self, tokens: torch.Tensor) -> torch.Tensor:
        """Cross-entropy in nats of each next token, fp32 [batch, length]; no gradients, no complements."""
        targets = tokens[:, 1:]
        with torch.no_grad():
            hidden = self._hidden(tokens)
        return token_losses(hidden, self.model.lm_head.weight, targets.flatten()).view(targets.shape)

    def _hidden(self, tokens: torch.Tensor, apart: bool = True) -> torch.Tensor:
        inputs, positions, mask = tokens[:, :-1], None, None
        if self.eos_token_id is not None and apart:
            positions = document_positions(inputs, self.eos_token_id)
            mask = document_mask(positions)
            if self.model.config._attn_implementation == "eager":  # it adds numbers to the scores
                least = torch.finfo(self.model.dtype).min
                mask = torch.zeros_like(mask, dtype=self.model.dtype).masked_fill_(~mask, least)
        hidden = self.model.model(inputs, attention_mask=mask, position_ids=positions, use_cache=False)
        return hidden.last_hidden_state.flatten(0, 1)


def document_positions(tokens: torch.Tensor, eos_token_id: int) -> torch.Tensor:
    """Place of each token in its document, from 0, or from the start of the window; int64 [batch, length]."""
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    begins = torch.zeros_like(tokens)
    begins[:, 1:] = torch.where(tokens[:, :-1] == eos_token_id, places[:, 1:], 0)
    return places - begins.cummax(dim=1).values


def document_mask(positions: torch.Tensor) -> torch.Tensor:
    """Which earlier tokens, and itself, each may attend to: those of its document; bool [batch, 1, length, length]."""
    documents = (positions == 0).cumsum(dim=1)
    alike = documents[:, :, None] == documents[:, None, :]
    return alike.tril()[:, None]
