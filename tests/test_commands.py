"""Every command prints its --help from anywhere, imports nothing heavy to do so, and belongs to its own checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.paths import ROOT
from tests.helpers import tiny_world
from tests.helpers.launch import free_port
from tests.helpers.other_python import with_another_checkout, with_foreign_packages
from tests.helpers.tiny_corpus import make_corpus
from tests.helpers.tiny_pipeline import arguments

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.py", "data_prep/*.py", "tokenizer/*.py", "evaluation/*.py", "tools/*.py", "benchmarks/**/*.py")
    for path in ROOT.glob(pattern)
    if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
)
# Nothing that they do is a knob: they read what others have written.
TAKE_NO_CONFIGURATION = {
    "data_prep/report.py",
    "benchmarks/gpu/step.py",
    "benchmarks/data/mixture.py",
    "tools/check_gpu.py",
    "tools/check_style.py",
    "tools/make_problem_set.py",
    "benchmarks/tokenizer/token_cache.py",
    "benchmarks/tokenizer/bits_per_byte.py",
    "benchmarks/tokenizer/peers.py",
    "benchmarks/tokenizer/splits.py",
}
HEAVY = ("torch", "transformers", "deepspeed", "sentencepiece", "matplotlib", "langdetect", "wandb", "datasets")


def test_the_scripts_are_found():
    assert {"train.py", "settings.py", "data_prep/prepare_dataset.py", "evaluation/generate.py"} <= set(SCRIPTS)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """An interpreter in which other packages have this project's names."""
    return with_foreign_packages(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def editable(tmp_path_factory):
    """An interpreter in which another checkout is installed."""
    return with_another_checkout(tmp_path_factory.mktemp("editable"))


def run_by(python, arguments, folder, **more):
    """Run a command in `folder`, where nothing helps it to find its checkout; (what it said, files of `common`)."""
    noted = folder / "common_from"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"COMMON_FROM": str(noted), "OMP_NUM_THREADS": "1", **more}
    command = [str(python), *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=280)
    assert result.returncode == 0, result.stderr[-3000:]
    return result, set(noted.read_text().split()) if noted.exists() else set()


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_from_another_folder_with_an_example(script, foreign, tmp_path):
    result, common = run_by(foreign, ["-X", "importtime", ROOT / script, "--help"], tmp_path)
    assert "usage:" in result.stdout and "example" in result.stdout
    imported = {
        line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert not imported & set(HEAVY)
    assert common <= {str(ROOT / "common/__init__.py")}  # none: its imports are lazy
    if script.split("/")[0] in ("data_prep", "tokenizer", "evaluation", "train.py", "settings.py"):
        assert common


@pytest.mark.slow
def test_help_where_another_checkout_is_installed(editable, tmp_path):
    for script in SCRIPTS:
        _, common = run_by(editable, [ROOT / script, "--help"], tmp_path)
        assert common <= {str(ROOT / "common/__init__.py")}, script
    assert common


@pytest.mark.parametrize("other", ["foreign", "editable"])
def test_worker_processes_are_of_this_checkout(other, request, tmp_path):
    corpus = make_corpus(tmp_path / "raw", plain=12)
    python, out = request.getfixturevalue(other), tmp_path / "out"
    command = [ROOT / "data_prep/prepare_dataset.py", *arguments(corpus, out, workers=2, shard_papers=4)]
    result, common = run_by(python, command, tmp_path)
    assert "by 2 worker processes" in result.stdout and common == {str(ROOT / "common/__init__.py")}
    assert json.loads((out / "manifest.json").read_text())["counts"]["written"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("other", ["foreign", "editable"])
def test_ray_workers_are_of_this_checkout(other, request, tmp_path):
    pytest.importorskip("ray")
    corpus = make_corpus(tmp_path / "raw", plain=12)
    python, out = request.getfixturevalue(other), tmp_path / "out"
    sizes = arguments(corpus, out, "--engine", "ray", workers=2, shard_papers=4)
    _, common = run_by(python, [ROOT / "data_prep/prepare_dataset.py", *sizes], tmp_path)
    assert common == {str(ROOT / "common/__init__.py")}
    assert json.loads((out / "manifest.json").read_text())["counts"]["written"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("other", ["foreign", "editable"])
def test_trainers_of_the_launcher_are_of_this_checkout(other, request, tmp_path):
    config = tiny_world.make_world(tmp_path, run_name="here")
    python = request.getfixturevalue(other)
    launcher = Path(sys.executable).with_name("deepspeed")
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    launch = [launcher, "--num_accelerators", "2", "--master_port", str(free_port())]
    _, common = run_by(python, [*launch, ROOT / "train.py", "--config", config], tmp_path, PATH=path)
    assert common == {str(ROOT / "common/__init__.py")}
    assert (tmp_path / "runs/here/finished.json").exists()


@pytest.mark.parametrize("script", sorted({*SCRIPTS} - TAKE_NO_CONFIGURATION))
def test_every_script_takes_config_and_set(script):
    result = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, timeout=60)
    assert "--config" in result.stdout and "--set" in result.stdout


@pytest.mark.parametrize("script", ["quickstart.sh"])
def test_shell_help(script):
    result = subprocess.run(["bash", str(ROOT / script), "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "usage:" in result.stdout and "example" in result.stdout
