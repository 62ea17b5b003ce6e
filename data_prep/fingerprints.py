"""Provenance of a stage: its own modules and knobs. Tells what a rerun must do again; imported, not run."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from settings import ROOT, DataSettings

PACKAGE = "data_prep"
# Knobs of data.* by stage. Where files lie and how many processes work changes no output; every knob not named here
# belongs to the papers, so that a new one is safe without being listed.
METADATA_KNOBS = (
    *("categories", "primary_category_only", "year_min", "year_max", "licenses", "drop_withdrawn"),
    "abstract_min_chars",
)
COLLECTION_KNOBS = (
    *("near_duplicates", "near_duplicate_similarity", "val_fraction", "split_seed"),
    *("max_val_overlap", "benchmarks", "max_benchmark_overlap", "contaminated"),
    *("output_file_bytes", "compress", "limit", "months", "reject_samples", "shard_papers"),
)
NEUTRAL_KNOBS = ("metadata", "source", "out", "workers")


def knobs(settings: DataSettings, stage: str) -> dict[str, Any]:
    """The knobs of one stage: "metadata", "papers" or "collection"."""
    values = dataclasses.asdict(settings)
    if stage == "papers":
        named = METADATA_KNOBS + COLLECTION_KNOBS + NEUTRAL_KNOBS
        return {key: value for key, value in values.items() if key not in named}
    return {key: values[key] for key in {"metadata": METADATA_KNOBS, "collection": COLLECTION_KNOBS}[stage]}


def module_hashes(roots: Iterable[str]) -> dict[str, str]:
    """sha256 of the named modules of data_prep and of all modules of it that they import, by file name.

    The imports are read from the code, lazy ones included, so that a module added later is not forgotten.
    """
    hashes: dict[str, str] = {}
    todo = list(roots)
    while todo:
        name = todo.pop()
        path = ROOT / PACKAGE / f"{name}.py"
        if f"{name}.py" in hashes or not path.is_file():
            continue
        code = path.read_bytes()
        hashes[f"{name}.py"] = hashlib.sha256(code).hexdigest()
        todo += _imported(code)
    return dict(sorted(hashes.items()))


def _imported(code: bytes) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")]
    return found


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of the installed packages that decide about a paper."""
    return {name: importlib.metadata.version(name) for name in names}


def fingerprint(value: Any) -> str:
    """sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_state(path: Path) -> list[int]:
    """Size and time of modification (ns): equal ones pass for an unchanged file."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]
