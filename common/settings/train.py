"""The `train` section of `config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.settings.knob import knob


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Training (`train.py`). Batch sizes and clipping live here; `ds_config.json` takes them as "auto"."""

    # Folder of runs; the name is a short hash of the resolved configuration where null.
    runs: str
    run_name: str | None
    # The weights to begin with: those of a run (its folder, or one of its checkpoints), or of a folder that
    # export_model.py or transformers wrote; null: fresh ones.
    init_from: str | None = None
    # A second validation split, measured beside the first: a dataset's folder or a JSONL file; "auto": that of the run
    # that init_from names, so that forgetting is seen; null: none.
    pretraining_val: str | None = "auto"
    # The tokens that the loss counts: "all", or those of "answers" alone, where the split marks them
    # (data_prep/mix_datasets.py).
    learn_from: Literal["all", "answers"] = "all"
    seq_len: int = knob(1)
    # Attention stays within a document, whose positions start at 0; otherwise a window is one text (GPT-3's way).
    document_masking: bool
    micro_batch_size: int = knob(1, 1_000_000)
    gradient_accumulation_steps: int = knob(1)
    max_steps: int = knob(1)
    learning_rate: float = knob(0)
    # The cosine ends at this share of `learning_rate`.
    min_lr_ratio: float = knob(0, 1)
    warmup_steps: int = knob(0)
    adam_beta1: float = knob(0, 0.999999)
    adam_beta2: float = knob(0, 0.99999999)
    adam_eps: float = knob(1e-20)
    weight_decay: float = knob(0)
    max_grad_norm: float = knob(0)
    # Layers whose activations are made again in the backward pass, spread evenly over the model: "none", a number of
    # them, "all"; "auto" takes the fewest that fit into memory. Results do not depend on it.
    gradient_checkpointing: Literal["auto", "none", "all"] | int = knob(0)
    # Who computes the loss over the vocabulary, the norms and the gated MLP, and attention (training/kernels.py says
    # what "auto" takes here and falls back, saying so, where a package is missing).
    loss_kernel: Literal["auto", "chunked", "torch", "liger", "full"]
    layer_kernels: Literal["auto", "torch", "liger"]
    attention: Literal["sdpa", "eager"]
    fused_adamw: bool
    # torch.compile of each layer; needs a C++ compiler on the CPU.
    compile: bool
    seed: int = knob(0, 2**63 - 1)
    # Steps between validations, and sequences read at each (the same ones every time; null reads the whole split).
    val_every: int = knob(1)
    val_sequences: int | None = knob(1)
    # Stop after this many validations in a row that were not better than the best by `early_stop_gain` bits per byte
    # (null: never), and whether the checkpoint of the best validation is kept and exported at the end.
    early_stop_patience: int | None = knob(1)
    early_stop_gain: float = knob(0)
    keep_best: bool
    # Steps between checkpoints; the last `keep_last` are kept, and those of every `keep_every`-th step for good (null:
    # none). In the background: training goes on while a copy in memory is written.
    save_every: int = knob(1)
    keep_last: int = knob(1)
    keep_every: int | None = knob(1)
    background_checkpoints: bool
    # A loss that lies this many standard deviations above the mean of the last 100 steps is a spike (null: not looked
    # for). It is logged with the ids of its documents; "rewind" also goes back to the last checkpoint and skips the
    # windows read since, for losses that are not finite too, which otherwise end the run.
    spike_sigmas: float | None = knob(1)
    on_spike: Literal["log", "rewind"]
    # A process that makes no progress for this long ends the run with a message.
    hang_seconds: float = knob(5)
    log_every: int = knob(1)
    wandb: Literal["online", "offline", "disabled"]
    wandb_project: str
    deepspeed_config: str
