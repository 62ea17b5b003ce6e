"""Step b2: loss and gradients of every kernel on the device, against the same weights in fp32 on the CPU.

The reference uses the plain kernels. Compared beside them: documents kept apart in a window against the same documents
alone, the loss on answers, gradient checkpointing, eager attention, torch.compile, and what validation reads.
"""

from __future__ import annotations

import gc
import time
import traceback
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.gpu.notes import CPU, DEVICE, Notes, left
from common.settings.load import Settings, load_settings
from training.kernels import Kernels, resolve_kernels
from training.model import NextTokenLoss, build_model

SIZES = dict(vocab_size=8192, hidden_size=512, intermediate_size=1376, num_hidden_layers=4, num_attention_heads=4)
SIZES |= dict(num_key_value_heads=4, max_position_embeddings=1024)
ROWS, LENGTH = 8, 768  # 6,144 tokens: a whole chunk of the loss, and a part of one
if CPU:
    SIZES |= dict(vocab_size=512, hidden_size=64, intermediate_size=176, num_hidden_layers=2)
    ROWS, LENGTH = 2, 96
# ‖difference‖ / ‖reference‖ of all gradients together. bf16 rounds to 2^-9 at every product; fp32 leaves 1e-6.
LIMITS = {"bfloat16": 0.04, "float32": 1e-3}
LOSS_LIMITS = {"bfloat16": 5e-3, "float32": 1e-4}
VALIDATION_LIMITS = {"bfloat16": 0.2, "float32": 1e-3}  # of the loss of one token
CASE_SECONDS = 8  # no case begins with less time left
PLAIN = Kernels(loss="full", layers="torch")

Gradients = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One row of the table. `checkpointed`: layers computed again in the backward pass."""

    dtype: str
    loss: str
    layers: str
    knobs: dict[str, Any] = field(default_factory=dict)
    checkpointed: int = 0

    @property
    def extra(self) -> str:
        parts = [f"{key}={value}" for key, value in self.knobs.items()] + ["checkpointed"] * bool(self.checkpointed)
        return ", ".join(parts) or "-"

    @property
    def head(self) -> str:
        return f"| {self.dtype} | {self.loss} | {self.layers} | {self.extra} |"


def cases() -> list[Case]:
    """All combinations of loss and layers in both precisions; then each further knob, the slow ones last."""
    made, every = [], SIZES["num_hidden_layers"]
    for dtype in LIMITS:
        for layers in ("torch", "liger"):
            made += [Case(dtype, loss, layers) for loss in ("full", "chunked", "torch", "liger")]
        for layers in ("torch", "liger"):
            made.append(Case(dtype, "chunked", layers, {"document_masking": True}))
            made.append(Case(dtype, "chunked", layers, {"document_masking": True}, every))
            made.append(Case(dtype, "chunked", layers, {"learn_from": "answers"}))
        made.append(Case(dtype, "liger", "liger", {"learn_from": "answers"}))
        made.append(Case(dtype, "chunked", "liger", {}, every))
        made.append(Case(dtype, "chunked", "torch", {"attention": "eager"}))
    made += [Case("bfloat16", "chunked", layers, {"compile": True}) for layers in ("torch", "liger")]
    made.append(Case("bfloat16", "chunked", "liger", {"compile": True, "document_masking": True}))
    made.append(Case("bfloat16", "chunked", "liger", {"compile": True}, every))
    return made


def settings_of(dtype: str, **knobs: Any) -> Settings:
    made = load_settings(overrides=[f"{key}={value}" for key, value in SIZES.items()] + [f"dtype={dtype}"])
    return replace(made, train=replace(made.train, seq_len=LENGTH, micro_batch_size=ROWS, **knobs))


def module_of(settings: Settings, kernels: Kernels, device: str, state: dict[str, Any], checkpointed: int = 0) -> Any:
    model = build_model(settings, kernels, checkpointed)
    model.load_state_dict(state)
    eos = settings.model.eos_token_id if settings.train.document_masking else None
    return NextTokenLoss(model, kernels, eos).to(device).train()


def loss_and_gradients(
    module: Any, parts: list[tuple[torch.Tensor, float]], weight: float | None = None
) -> tuple[float, Gradients]:
    """The weighted sum of the losses of `parts`, and its gradients in fp32 on the CPU."""
    module.zero_grad(set_to_none=True)
    total = 0.0
    for tokens, share in parts:
        learnt = None if weight is None else torch.nonzero(tokens[:, 1:].flatten() >= 0)[:, 0]
        loss = module(tokens, learnt, weight or 1.0)
        (loss * share).backward()
        total += float(loss.detach()) * share
    gradients = {name: p.grad.detach().float().cpu() for name, p in module.named_parameters() if p.grad is not None}
    return total, gradients


def distance(found: Gradients, wanted: Gradients) -> tuple[float, float, str]:
    """Relative error of all gradients together, and of the worst parameter with its name."""
    if found.keys() != wanted.keys():
        return float("nan"), float("nan"), "other parameters have gradients"
    squares = {name: float((found[name] - wanted[name]).double().square().sum()) for name in wanted}
    norms = {name: float(wanted[name].double().square().sum()) for name in wanted}
    each = {name: (squares[name] / max(norms[name], 1e-60)) ** 0.5 for name in wanted}
    worst = max(each, key=each.__getitem__)
    return (sum(squares.values()) / sum(norms.values())) ** 0.5, each[worst], worst


def documents(tokens: torch.Tensor, eos: int) -> list[tuple[torch.Tensor, float]]:
    """Each document of each window by itself, with its share of the window's targets."""
    parts, count = [], tokens.shape[0] * (tokens.shape[1] - 1)
    for row in tokens:
        start = 0
        for offset in range(len(row) - 1):
            if row[offset] == eos or offset == len(row) - 2:
                parts.append((row[None, start : offset + 2], (offset + 1 - start) / count))
                start = offset + 1
    return parts


class Reference:
    """Weights and windows of all cases, and what the plain kernels in fp32 on the CPU make of them."""

    def __init__(self, notes: Notes):
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(4, SIZES["vocab_size"], (ROWS, LENGTH + 1), generator=generator)
        self.apart = self._with_documents(load_settings().model.eos_token_id, generator)
        chosen = torch.rand(self.tokens.shape, generator=generator) < 0.6
        self.answers = torch.where(chosen, ~self.tokens, self.tokens)
        self.share = float((self.answers[:, 1:] >= 0).float().mean()) * 1.25
        began = time.perf_counter()
        state = build_model(settings_of("bfloat16"), PLAIN).state_dict()  # rounded: both precisions have these weights
        self.states = {"bfloat16": state, "float32": {name: tensor.float() for name, tensor in state.items()}}
        module = module_of(settings_of("float32"), PLAIN, "cpu", self.states["float32"])
        alone = documents(self.apart, load_settings().model.eos_token_id)
        self.wanted = {
            "": loss_and_gradients(module, [(self.tokens, 1.0)]),
            "documents": loss_and_gradients(module, alone),
            "answers": loss_and_gradients(module, [(self.answers, 1.0)], self.share),
        }
        self.validated = module.token_losses(self.tokens)
        one_text = loss_and_gradients(module, [(self.apart, 1.0)])
        parameters = sum(parameter.numel() for parameter in module.parameters())
        notes.line(
            f"reference in fp32 on the CPU: loss {self.wanted[''][0]:.6f}, {time.perf_counter() - began:.1f} s; "
            f"{ROWS} x {LENGTH} tokens, {parameters:,} parameters; limits on gradients: {LIMITS}"
        )
        far = distance(one_text[1], self.wanted["documents"][1])[0]
        notes.line(f"documents not kept apart would show as {far:.3f} in the gradients")

    def _with_documents(self, eos: int, generator: torch.Generator) -> torch.Tensor:
        """Documents of many lengths, one of a single token, and one that ends with the window."""
        apart = self.tokens.clone()
        for row in range(ROWS):
            apart[row, torch.randint(5, LENGTH - 5, (LENGTH // 90 + 2,), generator=generator)] = eos
        apart[0, 40] = apart[0, 41] = apart[1, LENGTH - 1] = eos
        return apart

    def question(self, settings: Settings) -> tuple[str, torch.Tensor, float | None]:
        """Key of `wanted`, window and weight that a case is about."""
        if settings.train.document_masking:
            return "documents", self.apart, None
        if settings.train.learn_from == "answers":
            return "answers", self.answers, self.share
        return "", self.tokens, None


def run_case(case: Case, reference: Reference, settings: Settings, kernels: Kernels) -> tuple[dict[str, Any], str]:
    """Figures of one case, and the rest of its line in the table."""
    module = module_of(settings, kernels, DEVICE, reference.states[case.dtype], case.checkpointed)
    kind, window, weight = reference.question(settings)
    parts = [(window.to(DEVICE), 1.0)]
    value, gradients = loss_and_gradients(module, parts, weight)
    second_value, second = loss_and_gradients(module, parts, weight)
    total, worst, where = distance(gradients, reference.wanted[kind][1])
    differs = value - reference.wanted[kind][0]
    same = value == second_value and all(torch.equal(gradients[name], second[name]) for name in gradients)
    good = abs(differs) < LOSS_LIMITS[case.dtype] and total < LIMITS[case.dtype]
    figures: dict[str, Any] = {"loss_differs": differs, "gradients": total, "worst": worst, "worst_name": where}
    if case.loss == "chunked" and case.extra == "-":
        module.eval()
        found = module.token_losses(reference.tokens.to(DEVICE)).float().cpu()
        figures["validation"] = float((found - reference.validated).abs().max())
        good = good and figures["validation"] < VALIDATION_LIMITS[case.dtype]
    verdict = ("ok" if good else "WRONG") + ("" if same else ", twice not the same bits")
    if "validation" in figures:
        verdict += f"; a token in validation differs by {figures['validation']:.1e} at most"
    name = where.removeprefix("model.model.").removeprefix("model.")
    line = f" {differs:+.1e} | {total:.1e} | {worst:.1e} {name} | {verdict} |"
    return figures | {"good": good, "same_twice": same}, line


def main() -> int:
    notes = Notes("b2")
    reference = Reference(notes)
    rows: list[dict[str, Any]] = []
    notes.line("\n| dtype | loss | layers | else | loss differs | gradients | worst parameter | |")
    notes.line("|" + " --- |" * 8)
    for case in cases():
        if left() < CASE_SECONDS:
            notes.line(f"{case.head} | | | not reached |")
            continue
        settings = settings_of(case.dtype, loss_kernel=case.loss, layer_kernels=case.layers, **case.knobs)
        kernels = resolve_kernels(settings, not CPU)
        if kernels.notes or (kernels.loss, kernels.layers) != (case.loss, case.layers):
            notes.line(f"{case.head} | | | not here: {'; '.join(kernels.notes)} |")
            continue
        try:
            figures, line = run_case(case, reference, settings, kernels)
        except Exception as error:  # the next case may do better
            traceback.print_exc()
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            figures = {"failed": repr(error)[:500], "good": False}
            line = f" | | | FAILED {type(error).__name__}: {reason} |"
        notes.line(case.head + line)
        notes.bad += not figures["good"]
        rows.append({"dtype": case.dtype, "loss": case.loss, "layers": case.layers, "else": case.extra, **figures})
        notes.keep("kernels", rows)
        gc.collect()
        if not CPU:
            torch.cuda.empty_cache()
    notes.line(f"\n{sum(row['good'] for row in rows)} of {len(rows)} right")
    return 1 if notes.bad or not rows else 0
