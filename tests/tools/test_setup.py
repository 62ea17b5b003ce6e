"""tools/setup.sh: what it installs where, with a python that only takes notes."""

import os
import subprocess
import sys

import pytest

from common.paths import ROOT
from training.plan.torch_builds import BUILDS, TORCH

FAKE_PYTHON = """#!/bin/bash
echo "$@" >> {log}
case "$1 $2" in
    "-m venv")
        mkdir -p .venv/bin
        cp {python} .venv/bin/python
        echo 'PATH=$PWD/.venv/bin:$PATH' > .venv/bin/activate
        ;;
    "-m pip") if [[ "$*" = *+cu* ]]; then exit {refuses}; fi ;;
    "tools/check_gpu.py "*) exec {real} "$@" ;;
esac
"""


@pytest.fixture
def set_up(tmp_path, monkeypatch):
    """Run set_up in a project of its own, on a machine with this driver; the commands and what it said."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "tools").symlink_to(ROOT / "tools")
    (project / "requirements.txt").write_text(f"torch=={TORCH}\n")
    (project / "more.txt").write_text("ray\n")
    bin = tmp_path / "bin"
    bin.mkdir()
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHON", str(tmp_path / "python"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")  # torch finds no GPU, also where this machine has one
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)

    def run(driver: str, *files: str, refuses: int = 0) -> tuple[list[str], subprocess.CompletedProcess]:
        rows = f"echo '{driver}, 8.0, NVIDIA A100-SXM4-80GB'" if driver else "echo 'No devices were found'; exit 6"
        log, python = tmp_path / "log", tmp_path / "python"
        text = FAKE_PYTHON.format(log=log, python=python, real=sys.executable, refuses=refuses)
        for path, content in ((bin / "nvidia-smi", f"#!/bin/sh\n{rows}\n"), (python, text)):
            path.write_text(content)
            path.chmod(0o755)
        log.write_text("")
        script = f"set -euo pipefail; source tools/setup.sh; set_up {' '.join(files)}"
        done = subprocess.run(["bash", "-c", script, "x.sh"], cwd=project, capture_output=True, text=True, timeout=60)
        return [line for line in log.read_text().splitlines() if " pip " in line], done

    return run


def test_without_a_gpu_the_requirements_are_all(set_up):
    commands, done = set_up("")
    assert done.returncode == 0 and "note:" not in done.stderr
    assert commands == ["-m pip install --quiet -rrequirements.txt"]
    assert set_up("")[0] == []


@pytest.mark.slow
def test_the_build_for_an_old_driver_comes_first_and_once(set_up):
    commands, done = set_up("535.104.05", "more.txt")
    assert done.returncode == 0, done.stderr
    assert commands == [
        f"-m pip install --quiet {BUILDS[1].arguments}",
        "-m pip install --quiet -rrequirements.txt -rmore.txt",
    ]
    assert f"$ python -m pip install --quiet {BUILDS[1].arguments}\n" in done.stderr
    assert set_up("535.104.05", "more.txt")[0] == [] and set_up("535.104.05")[0] == []


def test_a_gpu_that_torch_cannot_use_is_told_at_every_call(set_up):
    """The torch of these tests, whatever its CUDA, on a driver for none."""
    for _ in range(2):
        commands, done = set_up("450.80.02")
        assert done.returncode == 0
        assert "note: 1 x NVIDIA A100-SXM4-80GB (driver 450.80.02, says nvidia-smi): torch " in done.stderr
        assert "-> update the NVIDIA driver to 525.60.13 or newer" in done.stderr
    assert commands == []


def test_an_index_out_of_reach_is_told_with_the_way_round_it(set_up, tmp_path, monkeypatch):
    commands, done = set_up("535.104.05", refuses=1)
    assert done.returncode == 2 and len(commands) == 1
    assert "make its index reachable, or leave the GPU alone: DS_ACCELERATOR=cpu bash x.sh" in done.stderr
    assert not (tmp_path / "project/.venv/installed.txt").exists()
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    commands, done = set_up("535.104.05", refuses=1)
    assert done.returncode == 0 and commands == ["-m pip install --quiet -rrequirements.txt"]
