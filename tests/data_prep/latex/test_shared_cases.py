"""The shared collection of tricky LaTeX: what a careful reader expects of each archive."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import tarfile
from typing import Any

import pytest

from common.paths import ROOT
from common.settings.load import load_settings
from data_prep.pipeline.process_paper import process_paper

PATH = ROOT.parent / "shared" / "cases" / "latex_cases.json"
CASES: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else []
SETTINGS = dataclasses.replace(load_settings().data, min_chars=50)

pytestmark = pytest.mark.skipif(not CASES, reason="no ../shared/cases beside this checkout")


def failures(case: dict[str, Any]) -> list[str]:
    """What the produced text lacks or should not have, white space collapsed on both sides."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in case["files"].items():
            data = text.encode(case.get("encodings", {}).get(path, "utf-8"))
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    outcome = process_paper(gzip.compress(buffer.getvalue()), "case.tar.gz", None, SETTINGS)
    if outcome.text is None:
        return [f"rejected: {outcome.reason}: {outcome.detail}"]
    text = " ".join(outcome.text.split())
    wanted = [[entry] if isinstance(entry, str) else entry for entry in case["must_contain"]]
    lacking = [f"lacks {options}" for options in wanted if not any(" ".join(o.split()) in text for o in options)]
    return lacking + [f"has {entry}" for entry in case["must_not_contain"] if " ".join(entry.split()) in text]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['group']}-{case['name']}")
def test_case(case):
    assert failures(case) == []
