"""Which build of torch an NVIDIA driver and its GPUs can use, and the command that installs it.

Facts only: nothing is looked up, and nothing but the standard library is imported, so that the set-up can ask before
anything is installed. The oldest driver of each CUDA is NVIDIA's ("CUDA Toolkit Release Notes", minor version
compatibility: all of one major share it); builds and their code are PyTorch's (RELEASE.md, CUDA support matrix).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

Capability = tuple[int, int]

TORCH = "2.13.0"  # what requirements.txt pins
MINIMUM_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
# Chips of boards (Jetson, Drive) run code that was made for them, and no other of their generation.
BOARDS: set[Capability] = {(5, 3), (6, 2), (7, 2), (8, 7), (10, 1)}


@dataclass(frozen=True)
class Build:
    """A wheel of TORCH. `code`: what torch.cuda.get_arch_list() says there, by platform.machine()."""

    cuda: str
    code: dict[str, str]

    @property
    def tag(self) -> str:
        return "cu" + self.cuda.replace(".", "")

    @property
    def arguments(self) -> str:
        """What pip and uv are given. The local version (+cu126) makes them replace another build of the same torch; an
        installed one satisfies requirements.txt ever after."""
        return f"torch=={TORCH}+{self.tag} --extra-index-url https://download.pytorch.org/whl/{self.tag}"


# PyPI serves the first. There is one for CUDA 13.2 too, experimental, with the driver and the code of 13.0.
BUILDS = (
    Build(
        "13.0",
        {
            "x86_64": "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120",
            "aarch64": "sm_80 sm_90 sm_100 sm_110 sm_120",
        },
    ),
    Build("12.6", {"x86_64": "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90", "aarch64": "sm_80 sm_90"}),
)


@dataclass(frozen=True)
class Verdict:
    """`problem` is empty where torch can use the GPUs. Where it cannot, `build` can; where none can, `remedy` says what
    to do instead."""

    problem: str = ""
    build: Build | None = None
    remedy: str = ""


def judge(
    driver: str | None,
    cuda: str | None,
    code: Sequence[str],
    gpus: Sequence[Capability] = (),
    machine: str = "x86_64",
) -> Verdict:
    """Whether a build of torch can use these GPUs with this driver.

    Args:
        driver: e.g. "535.104.05"; None where torch talks to the driver already.
        cuda: torch.version.cuda; None for a build without.
        code: torch.cuda.get_arch_list(); empty where it is not known.
        gpus: compute capabilities; empty where they are not known.
        machine: platform.machine().
    """
    problem = _problem(driver, cuda, code, gpus)
    if not problem:
        return Verdict()
    usable = [build for build in BUILDS if not _problem(None, build.cuda, build.code.get(machine, "").split(), gpus)]
    for build in usable:
        if not _problem(driver, build.cuda, (), ()):
            return Verdict(problem, build)
    if not usable:
        return Verdict(
            problem,
            remedy=f"no build of torch {TORCH} has code for {'all of them' if len(set(gpus)) > 1 else 'it'} (compute "
            f"capability {_listed(gpus)}); "
            + (
                "take those of one kind: CUDA_VISIBLE_DEVICES=0 python .., or deepspeed --include localhost:0 .."
                if len(set(gpus)) > 1
                else "another GPU is needed"
            ),
        )
    build = usable[-1]  # the one that is content with the oldest driver
    install = "" if build.cuda == cuda else f", then: pip install {build.arguments}"
    return Verdict(
        problem,
        remedy=f"update the NVIDIA driver to {MINIMUM_DRIVER[_major(build.cuda)]} or newer (on a data-center GPU "
        f"NVIDIA's package cuda-compat-{build.cuda.replace('.', '-')} can stand in for it){install}",
    )


def install_command(build: Build, python: str, pip: bool) -> str:
    """The command that puts `build` into the environment of the interpreter `python`; `pip`: it has that module."""
    start = f"{shlex.quote(python)} -m pip install" if pip else f"uv pip install --python {shlex.quote(python)}"
    return f"{start} {build.arguments}"


def _problem(driver: str | None, cuda: str | None, code: Sequence[str], gpus: Sequence[Capability]) -> str:
    """Why a build cannot use the GPUs, as the end of a sentence that begins with its name; empty where it can."""
    if cuda is None:
        return "is a build without CUDA"
    needed = MINIMUM_DRIVER.get(_major(cuda))
    if driver is not None and needed is not None and _numbers(driver) < _numbers(needed):
        return f"has CUDA {cuda}, which needs driver {needed} or newer"
    without = [gpu for gpu in gpus if not any(_runs(arch, gpu) for arch in code)] if code else []
    return f"has no code for compute capability {_listed(without)}" if without else ""


def _runs(arch: str, gpu: Capability) -> bool:
    """Whether a GPU runs code for `arch`, e.g. sm_86: that of its own generation and not newer; compute_120, which the
    driver compiles, on anything newer too; sm_90a on that chip alone."""
    parts = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", arch)
    if parts is None:
        return False
    made_for = (int(parts[2]), int(parts[3]))
    if parts[1] == "compute":
        return made_for <= gpu
    if parts[4] == "a" or made_for in BOARDS or gpu in BOARDS:
        return made_for == gpu
    return made_for[0] == gpu[0] and made_for <= gpu


def _major(cuda: str) -> int:
    return int(cuda.partition(".")[0])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _listed(gpus: Sequence[Capability]) -> str:
    return ", ".join(f"{major}.{minor}" for major, minor in sorted(set(gpus)))
