"""The README's own commands, as written, in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.paths import ROOT

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "quickstart_out", "raw", "runs", "dataset_train_val", "wandb", "__pycache__", ".*_cache"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project whose .venv is the environment of these tests."""
    copy = tmp_path_factory.mktemp("quickstart") / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    (copy / ".venv").symlink_to(Path(sys.prefix))
    stamp = copy / ".venv/installed.txt"
    if not stamp.exists():
        pytest.skip("these tests do not run in the .venv that test.sh makes")
    return copy


def run(project: Path, *command: str, timeout: int = 1500) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=timeout, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_quickstart_runs_the_whole_path_and_a_second_run_reuses_it(project):
    first = run(project, "bash", "quickstart.sh")
    assert first.returncode == 0, first.stdout[-5000:] + first.stderr[-5000:]
    out = project / "quickstart_out"
    for path in (
        "dataset_train_val/report/funnel.png",
        "dataset_train_val/report/report.html",
        "tokenizer/report/report.html",
        "runs/quickstart/loss.png",
        "runs/quickstart/export/model.safetensors",
    ):
        assert (out / path).stat().st_size > 1000, path
    records = [json.loads(line) for line in (out / "runs/quickstart/metrics.jsonl").open()]
    bits = [record["val_bits_per_byte"] for record in records if "val_bits_per_byte" in record]
    assert bits == sorted(bits, reverse=True) and bits[-1] < 0.25 * bits[0]
    perplexity = json.loads((out / "runs/quickstart/perplexity/perplexity.json").read_text())["models"][0]
    assert perplexity["bits_per_byte"] == pytest.approx(bits[-1], rel=0.15)
    sample = (out / "sample.tex").read_text()
    assert sample.startswith("\\begin{theorem}") and len(sample) > 200
    assert list((out / "runs/quickstart/wandb").glob("offline-run-*"))
    assert "Where to look:" in first.stdout

    exported = (out / "runs/quickstart/export/model.safetensors").stat().st_mtime_ns
    second = run(project, "bash", "quickstart.sh")
    assert second.returncode == 0, second.stderr[-5000:]
    assert "run quickstart is finished" in second.stdout
    assert (out / "runs/quickstart/export/model.safetensors").stat().st_mtime_ns == exported
    use_the_model(project, out)


def use_the_model(project, out):
    """The README's chapter of that name, command by command as it stands there."""
    readme = (project / "README.md").read_text()
    chapter = readme[readme.index("\n## Using the model\n") : readme.index("\n## What is where\n")]
    commands = "".join(re.findall(r"```bash\n(.*?)```", chapter, re.DOTALL))
    for script in ("perplexity", "evaluate_generations", "generate", "export_model", "mix_datasets", "train"):
        assert f"{script}.py" in commands
    done = run(project, "bash", "-c", f". .venv/bin/activate; set -e\n{commands}")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    for path in (
        *("runs/quickstart/perplexity/positions.png", "runs/quickstart/generations/report.html", "theorems.html"),
        *("published/README.md", "longer/model.safetensors", "context/report.html", "post_training/report/mixture.png"),
        *("runs/post/report/report.html", "runs/comparison/comparison.html"),
    ):
        assert (out / path).stat().st_size > 1000, path
    validations = [json.loads(line) for line in (out / "runs/post/metrics.jsonl").open()]
    validations = [record for record in validations if "val_bits_per_byte" in record]
    first, last = validations[0], validations[-1]
    # The problems are learnt, and some of the papers forgotten.
    assert last["val_bits_per_byte"] < 0.2 * first["val_bits_per_byte"]
    before, after = (record["pretraining_val_bits_per_byte"] for record in (first, last))
    assert before < after < 2 * before
    results = json.loads((out / "runs/quickstart/results.json").read_text())
    assert results["perplexity"]["bits_per_byte"] < 1 and set(results["generations"]) == {"continued", "human"}


@pytest.mark.slow
def test_commands_of_the_readme_exist():
    """Each `python X` and `deepspeed X` of the README names a script, and each of its flags is one of the script's."""
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"(?:python|deepspeed) ((?:\w+/)?\w+\.py)((?: +--?[\w-]+(?: [^\s`-]\S*)?)*)", readme)
    named = {name for name, _ in commands}
    assert {"data_prep/prepare_dataset.py", "tokenizer/train_tokenizer.py", "train.py"} <= named
    for name, flags in commands:
        shown = run(ROOT, sys.executable, name, "--help").stdout
        for flag in re.findall(r"--[\w-]+", flags):
            assert flag in shown, f"{name} {flag}"


def test_the_quickstart_takes_as_many_processes_as_a_run_can_use(tmp_path):
    """A card in slices, and one that is hidden: nvidia-smi lists more than CUDA gives."""
    commands = {
        "nvidia-smi": "printf 'GPU 0: A100\\n  MIG 1g.10gb Device 0\\n  MIG 1g.10gb Device 1\\nGPU 1: A100\\n'",
        "python": 'echo "${FAKE_DEVICES}"',
        "nproc": "echo 8",
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    text = (ROOT / "quickstart.sh").read_text()
    found = re.search(r"^processes\(\) \{\n.*?^\}\n", text, re.M | re.S)
    assert found
    for devices, wanted in (("1", "1"), ("4", "2"), ("0", "2")):
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKE_DEVICES": devices}
        done = subprocess.run(
            ["bash", "-c", found[0] + "processes"], capture_output=True, text=True, env=environment, check=True
        )
        assert (devices, done.stdout.strip()) == (devices, wanted)
