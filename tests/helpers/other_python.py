"""Interpreters in which other packages have this project's names: a foreign `common`, another checkout installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from common.paths import ROOT

# Says at the end of each process where `common` came from.
REPORT = """\
import atexit, os, sys

def report():
    file = getattr(sys.modules.get("common"), "__file__", None)
    if file and os.environ.get("COMMON_FROM"):
        with open(os.environ["COMMON_FROM"], "a") as out:
            out.write(file + "\\n")

atexit.register(report)
"""
FOREIGN = "raise ImportError('this is another package of that name')\n"
NAMES = ("common", "reports", "data_prep", "tokenizer", "training", "evaluation", "latex", "papers", "settings")


def _python(folder: Path) -> tuple[Path, Path]:
    """A new interpreter with the packages of this one, and the folder of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    (own / "packages_of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (own / "sitecustomize.py").write_text(REPORT)
    return python, own


def with_foreign_packages(folder: Path) -> Path:
    """An interpreter whose site-packages hold packages of this project's names that cannot be imported."""
    python, own = _python(folder)
    for name in NAMES:
        (own / name).mkdir()
        (own / name / "__init__.py").write_text(FOREIGN)
    return python


def with_another_checkout(folder: Path) -> Path:
    """An interpreter in which another checkout of this project is installed by `pip install -e`."""
    python, _ = _python(folder / "python")
    other = folder / "other"
    for name in ("common", "reports", "data_prep", "tokenizer", "training", "evaluation"):
        # Importable, but of another time: what this checkout needs of it is not there.
        (other / name).mkdir(parents=True)
        (other / name / "__init__.py").write_text("")
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, other / name)
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--no-build-isolation", "--no-index", "--editable", str(other)], check=True)
    found = subprocess.run(
        [python, "-c", "import common; print(common.__file__)"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(other), found.stdout
    return python
