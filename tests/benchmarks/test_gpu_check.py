"""benchmarks/gpu: what it imports exists, its scripts refuse what they do not know, and a step runs on the CPU."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.gpu import step
from common.paths import ROOT

FOLDER = ROOT / "benchmarks" / "gpu"
MODULES = sorted(FOLDER.glob("*.py"))
SCRIPTS = sorted(FOLDER.glob("*.sh"))
# The top of the project and its packages: what a move or a renaming changes.
OURS = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}


def shell(*words, **environment):
    environment = {**os.environ, "GPU_CHECK_PYTHON": sys.executable, **environment}
    return subprocess.run(["bash", *map(str, words)], capture_output=True, text=True, env=environment, cwd=ROOT)


def bound_modules(tree):
    """Local name -> module of the project, after checking that each imported name exists."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in OURS:
                    importlib.import_module(alias.name)
                    bound[alias.asname or alias.name] = alias.asname and sys.modules[alias.name]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                found = getattr(module, alias.name)
                if isinstance(found, type(ast)):
                    bound[alias.asname or alias.name] = found
    return {name: module for name, module in bound.items() if module}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_what_it_uses_of_the_project_exists(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = bound_modules(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{path.name}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("module, function, _", step.STEPS.values())
def test_every_step_is_there(module, function, _):
    assert callable(getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function))


def test_the_paths_in_the_scripts_exist():
    text = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    for name in ("tests/training/test_loss.py", "tests/training/test_kernels.py", "tokenizer/token_cache.py"):
        assert name in text and (ROOT / name).is_file()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_parse(path):
    assert shell("-n", path).returncode == 0


@pytest.mark.parametrize(
    "words, environment, said",
    [
        (["g"], {}, "unknown step 'g'; the steps are a to f"),
        (["--gpu"], {}, "unknown step '--gpu'"),
        (["--cpu", "b"], {"GPU_CHECK_SECONDS": "soon"}, "GPU_CHECK_SECONDS is 'soon'"),
        (["b"], {"GPU_CHECK_DEVICE": "tpu"}, "GPU_CHECK_DEVICE is 'tpu'; set it to cuda or cpu"),
        (["--cpu", "b"], {"GPU_CHECK_PYTHON": "no/python"}, "GPU_CHECK_PYTHON is 'no/python'"),
    ],
)
def test_what_it_cannot_do_is_said_before_it_begins(words, environment, said, tmp_path):
    ended = shell(FOLDER / "gpu_check.sh", *words, OUT=str(tmp_path / "out"), **environment)
    assert ended.returncode == 2 and said in ended.stderr
    assert not (tmp_path / "out").exists()


def test_prepare_refuses_words_that_it_does_not_know():
    ended = shell(FOLDER / "prepare.sh", "wheels")
    assert ended.returncode == 2 and "usage: bash benchmarks/gpu/prepare.sh [data]" in ended.stderr


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not here")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kernels_on_the_cpu_beside_a_step_that_fails(tmp_path):
    """b1 is broken on purpose, so that one run shows how both ends look."""
    out, work = tmp_path / "out", tmp_path / "work"
    ended = shell(
        *(FOLDER / "gpu_check.sh", "--cpu", "b"),
        **{"OUT": str(out), "GPU_CHECK_WORK": str(work), "GPU_CHECK_BROKEN": "b1", "GPU_CHECK_SECONDS": "800"},
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("not ok: b1;")
    summary = (out / "summary.md").read_text()
    assert "| a | card, versions, wheels | ok |" in summary and "| FAILED, exit 3 |" in summary
    found = json.loads((out / "results.json").read_text())
    assert found["card"].startswith("CPU") and all(row["good"] for row in found["b2"]["kernels"])
    assert {row["dtype"] for row in found["b2"]["kernels"]} == {"bfloat16", "float32"}
