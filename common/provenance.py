"""Provenance of a stage: its own modules and knobs. Tells what a rerun must do again; imported, not run."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.paths import ROOT

# Of these packages a module counts for what it is imported by; knobs are in the fingerprints by their values already.
PACKAGES = ("common", "reports", "data_prep")
NEUTRAL = ("common.settings", "common.errors", "common.cli", "common.paths")


def module_hashes(roots: Iterable[str]) -> dict[str, str]:
    """sha256 of the named modules ("data_prep.pipeline.shards") and of all that they import, by path in the project.

    The imports are read from the code, lazy ones included, so that a module added later is not forgotten.
    """
    hashes: dict[str, str] = {}
    todo = list(roots)
    for root in todo:
        (ROOT / f"{root.replace('.', '/')}.py").stat()  # a name that has moved is an error, not an empty fingerprint
    while todo:
        name = todo.pop()
        file = f"{name.replace('.', '/')}.py"
        path = ROOT / file
        if file in hashes or not path.is_file():
            continue
        code = path.read_bytes()
        hashes[file] = hashlib.sha256(code).hexdigest()
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
        found += [name for name in names if name.startswith(tuple(f"{package}." for package in PACKAGES))]
    return [name for name in found if not name.startswith(NEUTRAL)]


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
