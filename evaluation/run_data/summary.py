"""What came of a run in figures, how each is told, and what in them is worth a warning. Imported, not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from evaluation.run_data.data import Record, RunData
from reports.curves import running_mean, window
from reports.figures import finite
from reports.numbers import amount

# Rules of the warnings.
WORSE_THAN_BEST = 0.01  # validation loss, as a share of the best
MAX_DATA_WAIT = 0.01
NORM_GROWTH = 1.5  # median of the last quarter after warm-up, by that of the first
NORM_JUMPS = 3.0  # 95th percentile of the second half after warm-up, by its median
FORGOTTEN = 0.02  # bits per byte of pretraining's validation, as a share of what they were at the start
LEAST_STEPS = 40  # logged steps after warm-up, for a word on gradient norms

# How figures are named and told, in tables' order.
TOLD: dict[str, tuple[str, Callable[[Any], str]]] = {
    "state": ("state", str),
    "steps": ("steps", "{:,}".format),
    "planned_steps": ("of planned", "{:,}".format),
    "tokens": ("tokens", amount),
    "best_bits_per_byte": ("bits per byte, best", "{:.4f}".format),
    "best_step": ("at step", "{:,}".format),
    "final_bits_per_byte": ("bits per byte, last", "{:.4f}".format),
    "best_perplexity": ("perplexity, best", "{:.2f}".format),
    "final_perplexity": ("perplexity, last", "{:.2f}".format),
    "final_pretraining_bits_per_byte": ("bits per byte, pretraining's, last", "{:.4f}".format),
    "final_loss": ("training loss, last", "{:.4f}".format),
    "tokens_per_second": ("tokens/s", "{:,.0f}".format),
    "mfu": ("MFU", "{:.1%}".format),
    "hours": ("hours", lambda hours: f"{hours:,.1f}" if hours >= 10 else f"{hours:.3g}"),
}


def told(key: str, value: Any) -> str:
    """A figure as people read it; a dash where there is none."""
    return "–" if value is None else TOLD[key][1](value)


def summarize(run: RunData) -> Record:
    """The figures of TOLD and those below; None where the run has none.

    `final_loss` is the smoothed training loss (nats a token). `hours` is the time of the logged steps, without
    validations, checkpoints and steps that were gone back over; `tokens_per_second` and `mfu` are means over it, as are
    `data_wait` and `gpu_utilization` (shares).
    """
    steps, validations = run.steps, run.validations
    seconds = interval_seconds(run)
    timed = np.isfinite(seconds)
    tokens = np.diff(steps["tokens"], prepend=0.0)
    total = float(seconds[timed].sum())
    limit = run.train.get("max_grad_norm")
    norms = after_warmup(run)
    smooth = running_mean(steps["loss"], window(len(steps["loss"])))
    return {
        "state": run.state,
        "steps": _last_int(steps["step"]) or 0,
        "planned_steps": run.train.get("max_steps"),
        "tokens": _last_int(steps["tokens"]),
        **_validation_figures(validations),
        "first_pretraining_bits_per_byte": _first(validations["pretraining_val_bits_per_byte"]),
        "final_pretraining_bits_per_byte": _last(validations["pretraining_val_bits_per_byte"]),
        "final_loss": _last(smooth),
        "tokens_per_second": _number(np.nansum(tokens[timed]) / total) if total else None,
        "mfu": _weighted(steps["mfu"], seconds),
        "hours": total / 3600 if total else None,
        "data_wait": _weighted(steps["data_wait"], seconds),
        "gpu_utilization": _weighted(steps["gpu_utilization"], seconds),
        "memory_bytes": _last_int(np.array([_largest(steps["memory_bytes"])])),
        "clipped_share": float((norms > limit).mean()) if limit and len(norms) else None,
        "starts": max(1, len(run.details.get("starts", [])), 1 + len(run.happened("resumed"))),
        # Runs of earlier days did not look for them.
        "spikes": len(run.happened("spike")) if run.train.get("spike_sigmas") else None,
        "rewinds": len(run.happened("rewind")),
        "not_finite": len(run.happened("not_finite")),
        "failed_checkpoints": len(run.happened("checkpoint_failed")),
    }


def interval_seconds(run: RunData) -> np.ndarray:
    """Seconds of the steps since the previous logged one, [logged steps]; from tokens/s where they were not noted."""
    steps = run.steps
    noted = steps["step_seconds"] * np.diff(steps["step"], prepend=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        reckoned = np.diff(steps["tokens"], prepend=0.0) / steps["tokens_per_second"]
    seconds = np.where(np.isfinite(noted), noted, reckoned)
    return np.where(np.isfinite(seconds) & (seconds > 0), seconds, np.nan)


def after_warmup(run: RunData) -> np.ndarray:
    """Gradient norms, before clipping, of the logged steps after warm-up."""
    norms = run.steps["grad_norm"][run.steps["step"] > run.train.get("warmup_steps", 0)]
    return norms[np.isfinite(norms)]


def warnings(run: RunData) -> list[str]:
    """What somebody should look at, each with the rule that it breaks."""
    return [*_diverging(run), *_forgetting(run), *_unsettled(run), *_waiting(run), *_events(run)]


def _diverging(run: RunData) -> list[str]:
    """Validation worse than it was, while the training loss fell on."""
    steps, loss = run.validations["step"], run.validations["val_loss"]
    steps, loss = steps[np.isfinite(loss)], loss[np.isfinite(loss)]
    training = finite(run.steps["step"], running_mean(run.steps["loss"], window(len(run.steps["loss"]))))
    if len(loss) < 2 or not len(training[0]):
        return []
    best = int(loss.argmin())
    then, now = (float(np.interp(steps[place], *training)) for place in (best, -1))
    if loss[-1] <= loss[best] * (1 + WORSE_THAN_BEST) or now >= then:
        return []
    return [
        f"Validation leaves training: its loss is {loss[-1]:.4f}, {loss[-1] / loss[best] - 1:.1%} above the best, "
        f"{loss[best]:.4f} at step {steps[best]:.0f}, while the training loss went from {then:.4f} to {now:.4f} (rule: "
        f"more than {WORSE_THAN_BEST:.0%} above the best, and training below what it was then)."
    ]


def _forgetting(run: RunData) -> list[str]:
    """What was pretrained with is predicted worse than before."""
    bits = run.validations["pretraining_val_bits_per_byte"]
    first, last = _first(bits), _last(bits)
    if first is None or last is None or last <= first * (1 + FORGOTTEN):
        return []
    return [
        f"Forgetting: pretraining's validation went from {first:.4f} to {last:.4f} bits per byte, "
        f"{last / first - 1:.1%} up (rule: more than {FORGOTTEN:.0%}). A part of its text in the mixture (replay), or "
        "a lower learning rate, keeps more of it."
    ]


def _unsettled(run: RunData) -> list[str]:
    norms = after_warmup(run)
    if len(norms) < LEAST_STEPS:
        return []
    quarter = len(norms) // 4
    first, last = (float(np.median(part)) for part in (norms[:quarter], norms[-quarter:]))
    half = norms[len(norms) // 2 :]
    middle, high = float(np.median(half)), float(np.percentile(half, 95))
    found = []
    if last > NORM_GROWTH * first:
        found.append(
            f"The gradient norm grows: its median went from {first:.3g} in the first quarter after warm-up to "
            f"{last:.3g} in the last (rule: more than {NORM_GROWTH:g} times)."
        )
    if high > NORM_JUMPS * middle:
        found.append(
            f"The gradient norm does not settle: in the second half after warm-up one step in twenty is above "
            f"{high:.3g}, the median is {middle:.3g} (rule: more than {NORM_JUMPS:g} times)."
        )
    return found


def _waiting(run: RunData) -> list[str]:
    wait = _weighted(run.steps["data_wait"], interval_seconds(run))
    if wait is None or wait <= MAX_DATA_WAIT:
        return []
    return [f"Steps wait for data {wait:.1%} of their time (rule: more than {MAX_DATA_WAIT:.0%})."]


def _events(run: RunData) -> list[str]:
    found = []
    for kind, text in (
        ("spike", "Loss spikes"),
        ("not_finite", "Losses that are not finite"),
        ("rewind", "Rewinds to a checkpoint"),
        ("checkpoint_failed", "Checkpoints that failed"),
    ):
        if events := run.happened(kind):
            places = ", ".join(str(event["step"]) for event in events[:10]) + (", …" if len(events) > 10 else "")
            found.append(f"{text}: {len(events)}, at step {places} (rule: any).")
    return found


def _validation_figures(validations: dict[str, np.ndarray]) -> Record:
    """First, best and last; the best by bits per byte, or by loss where those were not noted."""
    bits, loss = validations["val_bits_per_byte"], validations["val_loss"]
    judged = bits if np.isfinite(bits).any() else loss
    found: Record = {}
    for name in ("first", "best", "final"):
        known = np.flatnonzero(np.isfinite(judged))
        place = None
        if len(known):
            place = {"first": known[0], "best": known[judged[known].argmin()], "final": known[-1]}[name]
        for key in ("bits_per_byte", "perplexity"):
            found[f"{name}_{key}"] = None if place is None else _number(validations[f"val_{key}"][place])
        found[f"{name}_step"] = None if place is None else int(validations["step"][place])
    return found


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _first(values: np.ndarray) -> float | None:
    return _last(values[::-1])


def _last(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def _last_int(values: np.ndarray) -> int | None:
    value = _last(values)
    return None if value is None else int(value)


def _largest(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else np.nan


def _weighted(values: np.ndarray, weights: np.ndarray) -> float | None:
    known = np.isfinite(values) & np.isfinite(weights)
    return float(np.average(values[known], weights=weights[known])) if known.any() else None
