"""Run folders as train.py leaves them, made with numpy instead of a model: for the reports' tests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from common.paths import ROOT
from common.settings.load import load_settings
from training.run_folder.folder import identity

OLD_KEYS = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu", "memory_bytes", "tokens")


def make_run(
    folder: Path,
    *overrides: str,
    steps: int = 200,
    planned: int | None = None,
    seed: int = 0,
    quality: float = 0.0,
    val_every: int = 50,
    old: bool = False,
    cuda: bool = True,
    events: tuple[dict[str, Any], ...] = (),
    finished: bool | None = None,
    forgetting: float | None = None,
    categories: bool = True,
    **details: Any,
) -> Path:
    """A run of `steps` steps of the `planned` ones; returns its folder.

    Args:
        overrides: `key=value` settings, on top of those of the quickstart.
        quality: nats a token below a run of quality 0, at the end.
        val_every: steps between validations; 0 makes none.
        old: only the keys that metrics.jsonl and run.json have always had.
        forgetting: pretraining's validation is noted too, and its loss rises by so many nats a token.
        details: further keys of run.json.
    """
    planned = planned or max(steps, 2)
    warmup = max(1, planned // 20)
    shape = (f"train.max_steps={planned}", f"train.warmup_steps={warmup}", f"train.seed={seed}")
    settings = load_settings(ROOT / "examples/quickstart/config.json", [*shape, *overrides])
    train, processes = settings.train, details.get("processes", 2)
    config: dict[str, Any] = json.loads(json.dumps(identity(settings, {"zero_optimization": {"stage": 2}})))
    if old:
        for key in ("spike_sigmas", "on_spike", "loss_kernel", "layer_kernels", "val_every"):
            del config["train"][key]
    record = {
        "command": ["train.py"],
        "git_commit": "0123456789abcdef",
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "processes": processes,
        "device": "NVIDIA A100" if cuda else "a CPU",
        "tokenizer": "aaaa1111" * 8,
        "train_sha256": "bbbb2222" * 8,
        **({} if old else {"val_sha256": "cccc3333" * 8, "starts": [_start(0)]}),
        **details,
        "identity": config,
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(settings.to_dict()), encoding="utf-8")
    tokens = train.micro_batch_size * train.gradient_accumulation_steps * train.seq_len * processes
    lines = _metrics(settings, steps, tokens, seed, quality, val_every, cuda)
    if old:
        keep = {"step", *OLD_KEYS}
        lines = [line if "val_loss" in line else {k: line[k] for k in keep} for line in lines]
    for line in lines:
        if forgetting is not None and "val_loss" in line:
            figures = _figures(2.0 + forgetting * line["step"] / planned)
            line |= {f"pretraining_val_{key}": figure for key, figure in figures.items()}
    lines = sorted([*lines, *events], key=lambda line: line["step"])
    done = steps >= planned if finished is None else finished
    if done and categories and not old:
        by = {"math.AG": _figures(2.0), "hep-th": _figures(2.2)}
        lines.append({"step": steps, "val_by_category": by})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if done:
        (folder / "export").mkdir()
        if not old:
            early = any(event["event"] == "early_stop" for event in events)
            (folder / "finished.json").write_text(json.dumps({"step": steps, "early": early}))
    return folder


def _start(step: int) -> dict[str, Any]:
    return {
        "time": "2026-01-02T03:04:05Z",
        "step": step,
        "processes": 2,
        "device": "NVIDIA A100",
        "git_commit": "0123456789abcdef",
        "command": ["train.py"],
        "changed": {},
    }


def _figures(loss: float) -> dict[str, Any]:
    return {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": loss / math.log(2) / 3.5, "tokens": 4096}


def _metrics(
    settings: Any, steps: int, tokens: int, seed: int, quality: float, val_every: int, cuda: bool
) -> list[dict[str, Any]]:
    train, random = settings.train, np.random.default_rng(seed)
    step = np.arange(1, steps + 1)
    share = step / train.max_steps
    curve = _curve(step, train.max_steps, settings.model.vocab_size, quality)
    loss = curve + random.normal(0, 0.03, steps)
    norm = (0.3 + 4 * np.exp(-step / max(1, train.warmup_steps))) * np.exp(random.normal(0, 0.15, steps))
    rate = train.learning_rate * np.minimum(step / train.warmup_steps, 0.55 + 0.45 * np.cos(np.pi * share))
    speed = (90_000 if cuda else 3_000) * np.exp(random.normal(0, 0.02, steps))
    wait = np.abs(random.normal(0.001, 0.0005, steps))
    lines: list[dict[str, Any]] = []
    for i in range(steps):
        lines.append(
            {
                "step": int(step[i]),
                "loss": float(loss[i]),
                "learning_rate": float(rate[i]),
                "grad_norm": float(norm[i]),
                "tokens_per_second": float(speed[i]),
                "tokens_per_second_per_device": float(speed[i]) / 2,
                "mfu": float(speed[i]) / 180_000 if cuda else None,
                "memory_bytes": 5 * 2**30,
                "gpu_utilization": 0.97 if cuda else None,
                "data_wait": float(wait[i]),
                "step_seconds": tokens / float(speed[i]),
                "seconds_left": (train.max_steps - i - 1) * tokens / float(speed[i]),
                "tokens": tokens * (i + 1),
            }
        )
    if val_every:
        places = sorted({0, *range(val_every, steps + 1, val_every), steps})
        for at in places:
            value = float(_curve(np.array([at]), train.max_steps, settings.model.vocab_size, quality)[0]) + 0.05
            figures = _figures(value) | {"tokens": 65_536}
            lines.append({"step": at} | {f"val_{key}": figure for key, figure in figures.items()})
    return lines


def _curve(step: np.ndarray, planned: int, entries: int, quality: float) -> np.ndarray:
    """The loss of a model that knows nothing, falling to about 1.8 nats."""
    fallen = 1.0 / (1.0 + 40.0 * step / planned) ** 0.6
    return 1.6 - quality + (math.log(entries) - 1.6) * fallen + quality * fallen
