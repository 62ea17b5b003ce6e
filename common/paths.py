"""Where this checkout is, and where the paths of its configuration start."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_CONFIG = ROOT / "config.json"


def project_path(path: str | Path) -> Path:
    """A path of the configuration: relative ones start at the project's own folder, wherever the command runs."""
    return ROOT / Path(path).expanduser()
