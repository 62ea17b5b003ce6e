"""The versions of Python, torch, transformers and DeepSpeed that the tests of tokenizer/ and training/ have passed on
together; README.md says where all tests have.

requirements.txt pins one set for each Python. Others may work; `train.py --check` says that nobody has looked.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Versions:
    """Releases: Python's without its last number, torch's without its build (+cu126)."""

    python: str
    torch: str
    transformers: str
    deepspeed: str

    def __str__(self) -> str:
        return ", ".join(f"{'Python' if name == 'python' else name} {value}" for name, value in asdict(self).items())


TESTED = (
    Versions("3.12", "2.13.0", "5.23.0", "0.19.8"),
    Versions("3.11", "2.13.0", "5.23.0", "0.19.8"),
    Versions("3.10", "2.13.0", "5.20.2", "0.19.8"),
)


def installed_versions() -> Versions:
    """Those of this interpreter."""
    found = (version(name).partition("+")[0] for name in ("torch", "transformers", "deepspeed"))
    return Versions(".".join(platform.python_version_tuple()[:2]), *found)


def untested_note(versions: Versions) -> str | None:
    """What to know of versions that no test has seen together; None of those in TESTED."""
    if versions in TESTED:
        return None
    tested = "; ".join(str(one) for one in TESTED)
    return f"{versions}: not tested together ({tested}); pip install -r requirements.txt installs what was"
