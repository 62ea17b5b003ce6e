"""The results file of a model: what each evaluation measured, one place for all of them. Imported, not run.

A model that train.py exported belongs to its run: the file is `results.json` in the run's folder, where `report_run.py`
and `compare_runs.py` read it. Any other model has it in its own folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_json

RESULTS = "results.json"


def results_file(model: Path) -> Path:
    """Where the results of the model in this folder lie."""
    model = model.absolute()
    of_run = model.name == "export" and (model.parent / "run.json").is_file()
    return (model.parent if of_run else model) / RESULTS


def record_results(model: Path, evaluation: str, values: dict[str, Any]) -> Path:
    """Put `values` (numbers and words, nested as one likes) under the name of the evaluation, in place of what an
    earlier one left there; other evaluations stay. Nothing goes into a folder that may not be written, which is told:
    the evaluation has its own report.

    Raises:
        UserError: the file is there and damaged.
    """
    path = results_file(model)
    if not os.access(path.parent, os.W_OK):
        print(f"note: {path}: cannot be written; these figures are in the report alone")
        return path
    found = read_results(path)
    found[evaluation] = values
    write_json(path, dict(sorted(found.items())))
    return path


def read_results(path: Path) -> dict[str, Any]:
    """All evaluations in the file; none where it does not exist.

    Raises:
        UserError: it cannot be read, or is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it, and evaluate again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}; delete it, and evaluate again")
    return value


def output_folder(given: Path | None, models: Sequence[Path], name: str) -> Path:
    """`--out`, else the folder `name` in the run that the first model belongs to, else here.

    Raises:
        UserError: it cannot be written.
    """
    run = models[0].parent
    out = (given or (run if (run / "run.json").is_file() else Path.cwd()) / name).absolute()
    place = next(path for path in (out, *out.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UserError(f"--out {out}: no folder can be made there; name another one with --out FOLDER")
    return out
