"""Driver, CUDA and GPU on one side, the build of torch to install on the other."""

import re

import pytest

from common.paths import ROOT
from training.plan.torch_builds import BUILDS, MINIMUM_DRIVER, TORCH, install_command, judge

CODE = {build.tag: build.code["x86_64"].split() for build in BUILDS} | {
    "cpu": [],
    "cu128": ["sm_75", "sm_80", "sm_120"],
}
CUDA = {build.tag: build.cuda for build in BUILDS} | {"cpu": None, "cu128": "12.8", "cu118": "11.8"}

P100, V100, T4, A100, A40 = (6, 0), (7, 0), (7, 5), (8, 0), (8, 6)
H100, B200, RTX5090, K80, ORIN = (9, 0), (10, 0), (12, 0), (3, 7), (8, 7)

# installed build, driver, GPUs -> the build to install; "" where the installed one will do, else a part of the remedy.
CASES = [
    # The oldest driver of CUDA 13, and the ones before it: what many A100 machines have.
    ("cu130", "580.65.06", [A100], ""),
    ("cu130", "590.44.01", [A100, A100], ""),
    ("cu130", "580.65.05", [A100], "cu126"),
    ("cu130", "575.57.08", [A100], "cu126"),
    ("cu130", "550.54.15", [H100], "cu126"),
    ("cu130", "535.104.05", [A100] * 8, "cu126"),
    ("cu130", "525.60.13", [A100], "cu126"),
    # One older than CUDA 12 has no build.
    ("cu130", "525.60.12", [A100], "driver to 525.60.13 or newer"),
    ("cu130", "470.57.02", [A100], "cuda-compat-12-6"),
    ("cu126", "470.57.02", [A100], "driver to 525.60.13 or newer"),
    ("cu118", "470.57.02", [A100], ""),
    ("cu118", "450.80.02", [A100], ""),
    # Numbers are compared as numbers.
    ("cu130", "1000.1", [A100], ""),
    ("cu126", "525.105.17", [A100], ""),
    # Minor versions of one major share the driver.
    ("cu126", "525.60.13", [A100], ""),
    ("cu128", "525.60.13", [A100], ""),
    ("cu126", "580.65.06", [A100], ""),
    # The GPU: CUDA 13 has dropped what came before Turing, CUDA 12.6 knows nothing of Blackwell.
    ("cu130", "580.65.06", [V100], "cu126"),
    ("cu130", "535.104.05", [V100], "cu126"),
    ("cu128", "570.26", [V100], "cu126"),
    ("cu130", "580.65.06", [P100], "cu126"),
    ("cu126", "580.65.06", [V100], ""),
    ("cu130", "580.65.06", [T4, A40, H100, B200, RTX5090], ""),
    ("cu126", "580.65.06", [RTX5090], "cu130"),
    ("cu126", "580.65.06", [B200], "cu130"),
    ("cu126", "570.26", [B200], "driver to 580.65.06 or newer"),
    ("cu130", "570.26", [RTX5090], "driver to 580.65.06 or newer"),
    ("cu130", "580.65.06", [(8, 9), (10, 3), (12, 1)], ""),
    ("cu130", "580.65.06", [A100, V100], "cu126"),
    ("cu130", "580.65.06", [V100, RTX5090], "CUDA_VISIBLE_DEVICES"),
    ("cu126", "470.57.02", [K80], "no build of torch"),
    ("cu130", "580.65.06", [ORIN], "no build of torch"),
    # A build without CUDA on a machine with a GPU.
    ("cpu", "580.65.06", [A100], "cu130"),
    ("cpu", "535.104.05", [A100], "cu126"),
    ("cpu", "580.65.06", [V100], "cu126"),
    ("cpu", "470.57.02", [A100], "then: pip install torch"),
    # What the driver could not tell, or what torch shows by working (NVIDIA's forward compatibility, for one).
    ("cu130", "535.104.05", [], "cu126"),
    ("cu130", "580.65.06", [], ""),
    ("cu130", None, [A100], ""),
    ("cu130", None, [V100], "cu126"),
]


@pytest.mark.parametrize(("installed", "driver", "gpus", "expected"), CASES)
def test_cases(installed, driver, gpus, expected):
    verdict = judge(driver, CUDA[installed], CODE.get(installed, []), gpus)
    assert bool(verdict.problem) == bool(expected)
    if expected.startswith("cu1"):
        assert verdict.build is not None and verdict.build.tag == expected and not verdict.remedy
    else:
        assert verdict.build is None and expected in verdict.remedy


@pytest.mark.parametrize(("installed", "driver", "gpus"), [case[:3] for case in CASES])
def test_the_build_to_install_is_one_that_fits(installed, driver, gpus):
    build = judge(driver, CUDA[installed], CODE.get(installed, []), gpus).build
    if build is not None:
        assert not judge(driver, build.cuda, build.code["x86_64"].split(), gpus).problem


def test_the_problem_has_value_and_limit():
    problem = judge("535.104.05", "13.0", CODE["cu130"], [A100]).problem
    assert problem == "has CUDA 13.0, which needs driver 580.65.06 or newer"
    assert judge(None, "13.0", CODE["cu130"], [V100, V100, A100]).problem == "has no code for compute capability 7.0"


def test_another_machine_has_other_builds():
    assert judge("580.65.06", None, [], [(11, 0)], "aarch64").build == BUILDS[0]
    assert judge("580.65.06", None, [], [(7, 0)], "aarch64").build is None
    assert judge("580.65.06", None, [], [(7, 0)], "ppc64le").build == BUILDS[0]  # nothing is known of its code


@pytest.mark.parametrize(
    ("arch", "gpu", "runs"),
    [
        ("sm_80", A40, True),
        ("sm_86", A100, False),
        ("sm_90", A100, False),
        ("sm_90a", H100, True),
        ("sm_100a", (10, 3), False),
        ("sm_100f", (10, 3), True),
        ("sm_87", ORIN, True),
        ("compute_90", B200, True),
        ("compute_90", A100, False),
        ("gfx942", H100, False),
    ],
)
def test_code_runs_on_its_own_generation(arch, gpu, runs):
    assert bool(judge(None, "13.0", [arch], [gpu]).problem) != runs


def test_the_command_replaces_another_build_and_satisfies_the_requirement_afterwards():
    """pip leaves torch 2.13.0 alone when asked for torch==2.13.0: the build must be named."""
    specifiers = pytest.importorskip("packaging.specifiers")
    command = install_command(BUILDS[1], ".venv/bin/python", pip=True)
    assert command == (
        f".venv/bin/python -m pip install torch=={TORCH}+cu126 --extra-index-url https://download.pytorch.org/whl/cu126"
    )
    (wanted,) = re.findall(r"torch(==\S+)", command)
    (pinned,) = re.findall(r"^torch(==\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    for other in (TORCH, f"{TORCH}+cpu", f"{TORCH}+cu130"):
        assert not specifiers.SpecifierSet(wanted).contains(other)
    assert specifiers.SpecifierSet(pinned).contains(wanted.removeprefix("=="))


def test_an_environment_without_pip_gets_uvs_command():
    command = install_command(BUILDS[0], "/a b/bin/python", pip=False)
    assert command.startswith("uv pip install --python '/a b/bin/python' torch==")


def test_the_table_is_of_the_torch_that_is_pinned():
    assert f"torch=={TORCH}\n" in (ROOT / "requirements.txt").read_text()
    assert all(int(build.cuda.split(".")[0]) in MINIMUM_DRIVER for build in BUILDS)


def test_the_table_is_torchs_own():
    """torch carries the architectures of its own release's builds; before 2.13 not by machine."""
    torch = pytest.importorskip("torch")
    if torch.__version__.partition("+")[0] != TORCH:
        pytest.skip(f"torch {torch.__version__} has the table of its own builds, ours is that of {TORCH}")
    for build in BUILDS:
        ours = {
            machine: {int(arch.removeprefix("sm_")) for arch in code.split()} for machine, code in build.code.items()
        }
        assert ours == torch.cuda.PYTORCH_RELEASES_CODE_CC[build.cuda]
