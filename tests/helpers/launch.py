"""`deepspeed train.py` as a user starts it, and what it left behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from common.paths import ROOT
from training.metrics import read_metrics


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch_command(config: Path, *arguments: str, processes: int = 2) -> list[str]:
    """`deepspeed train.py` from the project's folder."""
    command = ["deepspeed", "--num_accelerators", str(processes), "--master_port", str(free_port()), "train.py"]
    return [*command, "--config", str(config), *arguments]


def launch_environment() -> dict[str, str]:
    """This environment with the interpreter's own folder, where the launcher lies, first on PATH; one thread each."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}


def train(config: Path, *arguments: str, processes: int = 2, timeout: int = 200) -> subprocess.CompletedProcess:
    return subprocess.run(
        launch_command(config, *arguments, processes=processes),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=launch_environment(),
    )


def only_run(world: Path) -> Path:
    (run,) = (world / "runs").iterdir()
    return run


def losses(run: Path) -> dict[int, float]:
    """Step -> loss of a run's metrics.jsonl."""
    return {r["step"]: r["loss"] for r in read_metrics(run / "metrics.jsonl") if "loss" in r and "event" not in r}
