"""Whole papers, one for each way in which papers are written: what the cleaner makes of them, to read side by side.

`papers/NAME.tex` beside this file becomes `papers/NAME.clean`. After a change that is meant, read the difference, then

    python -m tests.data_prep.latex.test_whole_papers        # writes the .clean files anew
"""

from __future__ import annotations

from pathlib import Path

import pytest

from common.settings.load import load_settings
from data_prep.latex.balance import imbalances
from data_prep.pipeline.process_paper import process_paper

PAPERS = sorted((Path(__file__).parent / "papers").glob("*.tex"))


def cleaned(path: Path) -> str:
    settings = load_settings(overrides=["data.min_chars=0", "data.languages=null"]).data
    outcome = process_paper(path.read_bytes(), path.name, None, settings)
    assert outcome.text is not None, outcome.detail
    return outcome.text


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_paper(path):
    assert cleaned(path) == path.with_suffix(".clean").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_the_result_balances(path):
    assert imbalances(cleaned(path)) == ()


if __name__ == "__main__":
    for paper in PAPERS:
        paper.with_suffix(".clean").write_text(cleaned(paper), encoding="utf-8")
