"""What is known of a published model: its run's record, its dataset's manifest, what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.paths import project_path
from common.settings.model import ModelSettings
from evaluation.run_data.results import read_results
from reports.model_card import Known
from training.metrics import read_metrics
from training.plan.parameters import count_parameters

if TYPE_CHECKING:
    from training.run_folder.init_from import Initial


def known_of(initial: Initial) -> Known:
    """Everything that the folder of the model's run, and the dataset of that run, say.

    Raises:
        UserError: a file of the run is damaged.
    """
    run = initial.run
    if run is None:
        return Known()
    details, config = _read(run / "run.json"), _read(run / "config.json")
    records = read_metrics(run / "metrics.jsonl")
    steps = [record for record in records if "loss" in record and "event" not in record]
    validations = [record for record in records if record.get("val_loss") is not None and "event" not in record]
    return Known(
        run=details,
        config=config,
        manifest=_manifest(config, details),
        results=read_results(run / "results.json"),
        validation=validations[-1] if validations else {},
        steps=steps[-1]["step"] if steps else None,
        tokens=steps[-1].get("tokens") if steps else None,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it") from None


def _manifest(config: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the dataset that the run read; empty where that lies there no longer, or is another by now."""
    out = config.get("data", {}).get("out")
    manifest = _read(project_path(out) / "manifest.json") if out else {}
    same = manifest.get("splits", {}).get("train", {}).get("sha256") == details.get("train_sha256")
    return manifest if same else {}


def parameters_of(model: dict[str, Any]) -> int:
    """Parameters of the model that a transformers configuration describes."""
    names = set(ModelSettings.__dataclass_fields__)
    return count_parameters(ModelSettings(**{key: value for key, value in model.items() if key in names})).total
