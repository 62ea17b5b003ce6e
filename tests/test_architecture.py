"""docs/architecture.md names what there is: every package, every folder, and no file that is not there."""

from __future__ import annotations

import itertools
import re

from common.paths import ROOT
from tests.test_layering import LAYERS, tracked

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NOW = [line.split("|")[2] for line in TEXT.splitlines() if line.startswith("| `") and line.count("|") == 3]


def paths(cell: str) -> list[str]:
    """Files named in a cell; `a/{b,c}.py` are two."""
    found = re.findall(r"(?:[\w/]+/)?\{[\w,]+\}\.py|[\w]+/[\w/]+\.py", cell)
    expanded = (
        [path.replace(group[0], name) for name in group[1].split(",")]
        if (group := re.search(r"\{([\w,]+)\}", path))
        else [path]
        for path in found
    )
    return list(itertools.chain.from_iterable(expanded))


def test_the_table_of_moved_modules_names_files_that_are_there():
    named = [path for cell in NOW for path in paths(cell)]
    assert len(named) > 100 and [path for path in named if not (ROOT / path).is_file()] == [
        "benchmarks/tokenizer/NAME.py"
    ]


def test_every_package_and_subfolder_is_described():
    folders = {path.parent.parts[:2] for path in tracked() if path.parts[0] in LAYERS}
    assert [parts for parts in folders if f"{parts[-1]}/" not in TEXT] == []
