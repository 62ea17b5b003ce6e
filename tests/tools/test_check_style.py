"""The check of style sees every tracked file, or says that it did not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.check_style import TOOLS, check, tracked

for module in ("mypy", "ruff"):
    pytest.importorskip(module, reason="pip install -r tests/requirements.txt")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "runs").mkdir()
    for name in ("a.py", "runs/b.py", "not_git's.py"):
        (tmp_path / name).write_text("NUMBER = 1\n")
    for command in (["init", "--quiet"], ["add", "a.py", "runs"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tracked_file_is_seen_and_no_other(checkout: Path, tool: str, capsys: pytest.CaptureFixture) -> None:
    assert tracked(checkout) == ["a.py", "runs/b.py"]
    assert check(tool, checkout, tracked(checkout))
    assert capsys.readouterr().out == f"{tool}: saw 2 files, clean\n"


@pytest.mark.parametrize("tool", TOOLS[:2])
def test_an_exclude_that_swallows_a_file_is_a_complaint(
    checkout: Path, tool: str, capsys: pytest.CaptureFixture
) -> None:
    (checkout / "pyproject.toml").write_text("[tool.ruff]\nforce-exclude = true\nextend-exclude = ['runs']\n")
    assert not check(tool, checkout, tracked(checkout))
    assert "saw 1 of 2 files" in capsys.readouterr().err


@pytest.mark.parametrize("tool", TOOLS)
def test_a_complaint_fails_and_its_file_counts_as_seen(
    checkout: Path, tool: str, capsys: pytest.CaptureFixture
) -> None:
    (checkout / "runs/b.py").write_text("import  os\nNUMBER: int = ''\n")
    assert not check(tool, checkout, tracked(checkout))
    out, err = capsys.readouterr()
    assert "runs/b.py" in out and out.endswith(f"{tool}: saw 2 files, not clean\n") and not err
