"""The table of versions that were tested together is what requirements.txt pins and README shows."""

import re

import pytest

from common.paths import ROOT
from tests.helpers import tiny_world
from train import main
from training.run_folder import tested_versions
from training.run_folder.tested_versions import TESTED, Versions, installed_versions, untested_note

requirements = pytest.importorskip("packaging.requirements")


def pinned(python: str) -> Versions:
    """What `pip install -r requirements.txt` installs on this Python."""
    found = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            wanted = requirements.Requirement(line)
            environment = {"python_version": python, "python_full_version": f"{python}.0"}
            if wanted.marker is None or wanted.marker.evaluate(environment):
                found[wanted.name] = str(wanted.specifier).removeprefix("==")
    return Versions(python, found["torch"], found["transformers"], found["deepspeed"])


@pytest.mark.parametrize("tested", TESTED, ids=lambda tested: tested.python)
def test_each_set_is_what_is_pinned(tested):
    assert pinned(tested.python) == tested


def test_the_readme_shows_the_table():
    rows = re.findall(
        r"^\| (3\.\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert [Versions(*row) for row in rows] == list(TESTED)


def test_a_set_outside_the_table_is_named_with_those_in_it():
    assert untested_note(TESTED[0]) is None
    note = untested_note(Versions("3.9", "2.11.0", "5.23.0", "0.19.8"))
    assert note is not None and note.startswith("Python 3.9, torch 2.11.0, transformers 5.23.0, deepspeed 0.19.8: not")
    assert f"{TESTED[0]}" in note and "pip install -r requirements.txt" in note


def test_the_build_of_torch_does_not_count(monkeypatch):
    real = tested_versions.version
    monkeypatch.setattr(tested_versions, "version", lambda name: real(name).partition("+")[0] + "+cu126")
    assert "+" not in str(installed_versions())


def test_the_checklist_notes_it_and_fails_nothing(tmp_path, monkeypatch, capsys):
    config = tiny_world.make_world(tmp_path)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    for note in (None, "Python 3.9, torch 2.11.0: not tested together"):
        monkeypatch.setattr("train.untested_note", lambda versions, note=note: note)
        assert main(["--check", "--config", str(config)]) == 0
        assert (f"note: {note}\n" in capsys.readouterr().out) == (note is not None)
