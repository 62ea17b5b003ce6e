"""What a step of gpu_check.sh finds: lines for summary.md as they come, and figures for results.json."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from common.paths import ROOT

HERE = ROOT / "benchmarks" / "gpu"
PREPARED = ROOT / ".gpu"
DATA = PREPARED / "data"
WORK = Path(os.environ.get("GPU_CHECK_WORK") or f"{tempfile.gettempdir()}/gpu_check-{os.getuid()}")
PARTS, RUNS, LOGS = WORK / "parts", WORK / "runs", WORK / "logs"
DEVICE = os.environ.get("GPU_CHECK_DEVICE", "cuda")
CPU = DEVICE == "cpu"
_BEGAN = time.monotonic()
_LIMIT = float(os.environ.get("GPU_STEP_SECONDS", 600))


def left() -> float:
    """Seconds that this step has left."""
    return _LIMIT - (time.monotonic() - _BEGAN)


class Notes:
    """The section of one step in the summary, and its figures. Both are on disk at once, whatever ends the step."""

    def __init__(self, part: str):
        PARTS.mkdir(parents=True, exist_ok=True)
        self.text, self.json = PARTS / f"{part}.md", PARTS / f"{part}.json"
        self.text.write_text("", encoding="utf-8")
        self.figures: dict[str, Any] = {}
        self.bad = 0

    def line(self, text: str) -> None:
        with self.text.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        print(text, flush=True)

    def check(self, name: str, good: bool, detail: str) -> None:
        """Add a line that is right or wrong."""
        self.bad += not good
        self.line(f"- {'ok' if good else 'WRONG'}: {name}: {detail}")

    def keep(self, key: str, value: Any) -> None:
        self.figures[key] = value
        self.json.write_text(json.dumps(self.figures, indent=1, default=str), encoding="utf-8")


def collect(out: str) -> int:
    """Write the figures of all steps to one JSON file."""
    parts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(PARTS.glob("*.json"))}
    card = PARTS / "card"
    found = {"card": card.read_text(encoding="utf-8").strip() if card.exists() else None, **parts}
    Path(out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0
