"""FLOPs, MFU and tokens a second: pure arithmetic on the configuration."""

from __future__ import annotations

from common.settings.model import ModelSettings
from common.settings.train import TrainSettings
from training.plan.gpus import find_gpu
from training.plan.parameters import count_parameters, widths

# ---- Speed ----


def flops_per_token(model: ModelSettings, seq_len: int) -> int:
    """Training FLOPs of one token: 6 for each parameter that multiplies, and attention's 12 x layers x width x length.

    The formula of PaLM's appendix B (Chowdhery et al., 2022), without the input embedding, which is a look-up; the work
    that gradient checkpointing repeats does not count.
    """
    parameters = count_parameters(model)
    multiplying = parameters.total - (0 if model.tie_word_embeddings else parameters.embedding)
    return 6 * multiplying + 12 * model.num_hidden_layers * widths(model)[0] * seq_len


def peak_flops(device_name: str) -> float | None:
    """Peak dense bf16 FLOP/s of a device by the name that its driver gives it, or None where it is not known."""
    gpu = find_gpu(device_name)
    return gpu.peak if gpu else None


def mfu(
    model: ModelSettings, seq_len: int, tokens_per_second: float, device_name: str, devices: int = 1
) -> float | None:
    """Model FLOPs utilization, 0 to 1: FLOP/s that the model needs over the peak of all devices (PaLM, appendix B).

    None for fp32, which the peaks are not of, and where the device's peak is not known (any CPU).
    """
    peak = peak_flops(device_name)
    if peak is None or model.dtype == "float32":
        return None
    return tokens_per_second * flops_per_token(model, seq_len) / (peak * devices)


def tokens_per_second(model: ModelSettings, seq_len: int, peak: float, utilization: float) -> float:
    """Tokens a second of a device of `peak` FLOP/s at an MFU of `utilization`."""
    return peak * utilization / flops_per_token(model, seq_len)


def tokens_per_step(train: TrainSettings, processes: int) -> int:
    """Tokens that one optimizer step reads over all processes."""
    return train.micro_batch_size * train.gradient_accumulation_steps * train.seq_len * processes
