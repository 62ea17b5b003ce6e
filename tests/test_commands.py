"""Every script answers --help from anywhere, and imports nothing heavy to do so."""

import os
import subprocess
import sys

import pytest

from common.paths import ROOT

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.py", "data_prep/*.py", "tokenizer/*.py", "evaluation/*.py", "tools/*.py", "benchmarks/**/*.py")
    for path in ROOT.glob(pattern)
    if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
)
# Nothing that they do is a knob: they read what others have written.
TAKE_NO_CONFIGURATION = {
    "data_prep/report.py",
    "benchmarks/data/mixture.py",
    "tools/make_problem_set.py",
    "benchmarks/tokenizer/token_cache.py",
    "benchmarks/tokenizer/bits_per_byte.py",
    "benchmarks/tokenizer/peers.py",
    "benchmarks/tokenizer/splits.py",
}
HEAVY = ("torch", "transformers", "deepspeed", "sentencepiece", "matplotlib", "langdetect", "wandb", "datasets")


def test_the_scripts_are_found():
    assert {"train.py", "settings.py", "data_prep/prepare_dataset.py", "evaluation/generate.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_from_another_folder_with_an_example(script, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-X", "importtime", str(ROOT / script), "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout and "example" in result.stdout
    imported = {
        line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert not imported & set(HEAVY)


@pytest.mark.parametrize("script", sorted({*SCRIPTS} - TAKE_NO_CONFIGURATION))
def test_every_script_takes_config_and_set(script):
    result = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, timeout=60)
    assert "--config" in result.stdout and "--set" in result.stdout


@pytest.mark.parametrize("script", ["quickstart.sh"])
def test_shell_help(script):
    result = subprocess.run(["bash", str(ROOT / script), "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "usage:" in result.stdout and "example" in result.stdout
