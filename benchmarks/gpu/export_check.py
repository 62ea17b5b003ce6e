"""The end of step c: an export loaded by transformers, generate.py and perplexity.py, on the device and on the CPU."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.launched import start
from benchmarks.gpu.notes import CPU, DATA, DEVICE, WORK, Notes, left

BITS_APART = 0.01  # relative: bf16 on the device against fp32 on the CPU
# What a stranger does with an export: nothing of this project is imported.
STRANGER = r"""
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, device = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer("\\begin{theorem} Let", return_tensors="pt", add_special_tokens=False).input_ids.to(device)
written = model.generate(prompt, max_new_tokens=40, do_sample=False)
start = prompt.shape[1]
whole = model(written, use_cache=False).logits[0, start - 1 : -1].argmax(-1)
same = int((whole == written[0, start:]).sum())
text = tokenizer.decode(written[0])[:80].replace("\n", " ")
print(model.dtype, model.device, text, "|", same, "of", written.shape[1] - start, "tokens as without the cache")
"""


def check_export(notes: Notes, export: Path, flags: list[str]) -> None:
    """Run all commands on the export; on a GPU side by side."""
    for key in ("device", "cpu"):  # of an earlier call
        shutil.rmtree(WORK / f"perplexity_{key}", ignore_errors=True)
    running = {}
    for what, command in _commands(export, flags).items():
        running[what] = start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if CPU:
            _judge(notes, what, running.pop(what))
    for what, process in running.items():
        _judge(notes, what, process)
    seen = {key: _bits_per_byte(WORK / f"perplexity_{key}" / "perplexity.json") for key in ("device", "cpu")}
    notes.keep("perplexity", seen)
    device, cpu = seen["device"], seen["cpu"]
    if device and cpu:
        gap = abs(device - cpu) / cpu
        said = f"{device:.5f} and {cpu:.5f} bits per byte, {gap:.1e} apart"
        notes.check("perplexity of the device (bf16) against the CPU's (fp32)", gap < BITS_APART, said)


def _commands(export: Path, flags: list[str]) -> dict[str, list[str]]:
    model = ["--model", str(export)]
    perplexity = [sys.executable, "evaluation/perplexity.py", *flags, *model]
    perplexity += ["--data", str(DATA / "small" / "dataset"), "--limit", "8"]
    generate = [sys.executable, "evaluation/generate.py", *flags, *model, "--prompt", r"\begin{theorem}"]
    generate += ["--seed", "1", "--max-new-tokens", "60", "--device", DEVICE]
    return {
        "transformers": [sys.executable, "-c", STRANGER, str(export), DEVICE],
        "generate.py": generate,
        "perplexity.py": [*perplexity, "--device", DEVICE, "--out", str(WORK / "perplexity_device")],
        "perplexity.py on the CPU": [*perplexity, "--device", "cpu", "--out", str(WORK / "perplexity_cpu")],
    }


def _judge(notes: Notes, what: str, process: subprocess.Popen[Any]) -> None:
    try:
        out = process.communicate(timeout=max(1, left() - 2))[0]
    except subprocess.TimeoutExpired:
        process.kill()
        out = "did not end in time"
    print(f"---- {what}\n{out[-3000:]}", flush=True)
    said = [line for line in out.strip().splitlines() if line.strip()] or [""]
    notes.check(f"{what} on the export", process.returncode == 0, said[-1][:240])


def _bits_per_byte(path: Path) -> float | None:
    """The figure over all documents in a perplexity.json, which comes first there."""
    try:
        found = re.search(r'"bits_per_byte": ([0-9.]+)', json.dumps(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        print(error, flush=True)
        return None
    return float(found[1]) if found else None
