"""The driver is found without torch, and a torch that cannot use the GPU is told, with the command."""

import os
import subprocess
import sys

import pytest
import torch

from common.errors import UserError
from common.paths import ROOT
from evaluation.models.load import find_device
from tests.helpers import tiny_world
from training.plan import nvidia_driver
from training.plan.nvidia_driver import Driver, build_to_install, cpu_wanted, find_driver, gpu_trouble
from training.plan.torch_builds import BUILDS
from training.run_folder import preflight

A100 = "NVIDIA A100-SXM4-80GB"
INSTALL = f"-m pip install {BUILDS[1].arguments}"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without a GPU, whatever this one has; a function gives it an nvidia-smi."""
    bin = tmp_path / "bin"
    bin.mkdir()
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setattr(nvidia_driver, "KERNEL_MODULE", tmp_path / "version")
    monkeypatch.setattr(nvidia_driver, "NODES", tmp_path)
    monkeypatch.setattr(nvidia_driver, "_nvml", lambda: None)

    def nvidia_smi(*rows: str, status: int = 0, known: str = "*compute_cap*|*driver_version,name*") -> None:
        told = "\n".join(rows)
        (bin / "nvidia-smi").write_text(
            f'#!/bin/sh\ncase "$*" in {known}) cat <<END\n{told}\nEND\nexit {status};; esac\n'
            'echo "Field \\"compute_cap\\" is not a valid field to query."\nexit 2\n'
        )
        (bin / "nvidia-smi").chmod(0o755)

    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", status=9)
    return nvidia_smi


def pretend(
    monkeypatch, version: str, cuda: str | None, gpus: tuple = (), code: str = BUILDS[0].code["x86_64"]
) -> None:
    """A torch of this build that can use `gpus`."""
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: gpus[index])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: code.split())


def test_nvidia_smi_tells_driver_and_gpus(machine):
    machine(f"535.104.05, 8.0, {A100}", f"535.104.05, 8.0, {A100}")
    assert find_driver() == Driver("535.104.05", "nvidia-smi", (A100, A100), ((8, 0), (8, 0)))
    assert str(find_driver()) == f"2 x {A100} (driver 535.104.05, says nvidia-smi)"
    machine("580.82.07, 12.0, NVIDIA RTX PRO 6000, Max-Q")
    assert find_driver() == Driver("580.82.07", "nvidia-smi", ("NVIDIA RTX PRO 6000, Max-Q",), ((12, 0),))


def test_an_old_nvidia_smi_knows_no_compute_capability(machine):
    machine("470.57.02, Tesla V100-SXM2-16GB", known="*driver_version,name*")
    assert find_driver() == Driver("470.57.02", "nvidia-smi", ("Tesla V100-SXM2-16GB",))


def test_a_machine_without_a_gpu_is_one(machine):
    assert find_driver() is None and gpu_trouble() is None and build_to_install() is None


def test_a_job_without_a_gpu_on_a_machine_with_some_has_none(machine, tmp_path):
    """A scheduler that gives it no device: NVIDIA's tool says so, and the device files of the others do not count."""
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n")
    (tmp_path / "nvidia0").touch()
    machine("No devices were found", status=6)
    assert find_driver() is None


def test_without_nvidia_smi_the_kernel_module_counts_where_there_are_device_files(machine, tmp_path):
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.26  Release Build  (dvs-builder)\n"
    (tmp_path / "version").write_text(line)
    (tmp_path / "nvidiactl").touch()
    assert find_driver() is None  # a container without a GPU on a machine with one
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidia1").touch()
    found = find_driver()
    assert found == Driver("570.26", str(tmp_path / "version"), ("NVIDIA GPU", "NVIDIA GPU"))


def test_nvml_is_asked_where_there_is_no_nvidia_smi(monkeypatch):
    class Library:
        """Answers as libnvidia-ml does: 0 for done, results by pointer."""

        def nvmlInit_v2(self):
            return 0

        def nvmlSystemGetDriverVersion(self, text, size):
            text.value = b"550.54.15"
            return 0

        def nvmlDeviceGetCount_v2(self, count):
            count._obj.value = 3
            return 0

        def nvmlDeviceGetHandleByIndex_v2(self, index, device):
            return 4 if index == 1 else 0  # no permission for the second

        def nvmlDeviceGetName(self, device, text, size):
            text.value = b"NVIDIA H100 PCIe"
            return 0

        def nvmlDeviceGetCudaComputeCapability(self, device, major, minor):
            major._obj.value, minor._obj.value = 9, 0
            return 0

        def nvmlShutdown(self):
            return 0

    monkeypatch.setattr(nvidia_driver, "_nvidia_smi", lambda: None)
    monkeypatch.setattr(nvidia_driver.ctypes, "CDLL", lambda name: Library())
    assert find_driver() == Driver("550.54.15", "NVML", ("NVIDIA H100 PCIe",) * 2, ((9, 0),) * 2)


def test_a_driver_too_old_for_the_pinned_torch(machine, monkeypatch):
    machine(f"535.104.05, 8.0, {A100}", f"535.104.05, 8.0, {A100}")
    pretend(monkeypatch, "2.13.0+cu130", "13.0")
    trouble = gpu_trouble()
    assert trouble is not None and trouble.todo.endswith(INSTALL)
    assert trouble.state == (
        f"2 x {A100} (driver 535.104.05, says nvidia-smi): torch 2.13.0+cu130 cannot use the GPU: it has CUDA 13.0, "
        "which needs driver 580.65.06 or newer (to leave it alone on purpose: DS_ACCELERATOR=cpu)"
    )


def test_a_build_without_cuda(machine, monkeypatch):
    machine(f"580.65.06, 8.0, {A100}")
    pretend(monkeypatch, "2.13.0+cpu", None, code="")
    trouble = gpu_trouble()
    assert trouble is not None and "2.13.0+cpu cannot use the GPU: it is a build without CUDA" in trouble.state
    assert trouble.todo.endswith(BUILDS[0].arguments)


def test_a_gpu_that_the_build_has_no_code_for(machine, monkeypatch):
    """torch calls it available, and the first kernel fails."""
    machine("580.65.06, 7.0, Tesla V100-SXM2-16GB")
    pretend(monkeypatch, "2.13.0+cu130", "13.0", gpus=((7, 0),))
    trouble = gpu_trouble()
    assert trouble is not None and "it has no code for compute capability 7.0" in trouble.state
    assert trouble.todo.endswith(INSTALL)


def test_a_process_asks_about_the_gpu_that_it_takes(machine, monkeypatch):
    machine(f"580.95.05, 8.0, {A100}", "580.95.05, 6.1, Quadro P400")
    pretend(monkeypatch, "2.13.0+cu130", "13.0", gpus=((8, 0), (6, 1)))
    assert gpu_trouble(0) is None
    trouble = gpu_trouble(1)
    assert trouble is not None and "cannot use GPU 1: it has no code for compute capability 6.1" in trouble.state
    assert gpu_trouble() is not None


def test_a_single_gpu_that_no_build_has_code_for(machine, monkeypatch):
    machine("470.57.02, 3.5, Tesla K40c")
    pretend(monkeypatch, "2.13.0+cu130", "13.0", gpus=((3, 5),))
    trouble = gpu_trouble()
    assert trouble is not None and "has code for it (compute capability 3.5); another GPU is needed" in trouble.todo
    assert "DS_ACCELERATOR=cpu" in trouble.state


def test_another_reason_is_told_in_torchs_words(machine, monkeypatch):
    def refuse():
        raise RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized\nmore")

    machine(f"580.65.06, 8.0, {A100}")
    pretend(monkeypatch, "2.13.0+cu130", "13.0")
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    trouble = gpu_trouble()
    assert trouble is not None and trouble.todo == "put that right, then the same command"
    assert "Error 802: system not yet initialized (CUDA_VISIBLE_DEVICES=7) (to leave" in trouble.state


def test_what_works_is_left_alone(machine, monkeypatch):
    """By NVIDIA's forward compatibility a driver can do more than its version says."""
    machine(f"535.104.05, 8.0, {A100}")
    pretend(monkeypatch, "2.13.0+cu130", "13.0", gpus=((8, 0),))
    assert gpu_trouble() is None
    pretend(monkeypatch, "2.13.0+rocm7.2", None, gpus=((9, 4),), code="gfx942")
    assert gpu_trouble() is None


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("CUDA_VISIBLE_DEVICES", "", True),
        ("CUDA_VISIBLE_DEVICES", "-1", True),
        ("CUDA_VISIBLE_DEVICES", "0", False),
        ("DS_ACCELERATOR", "cpu", True),
        ("DS_ACCELERATOR", "cuda", False),
    ],
)
def test_the_cpu_on_purpose_is_no_trouble(machine, monkeypatch, name, value, wanted):
    machine(f"535.104.05, 8.0, {A100}")
    pretend(monkeypatch, "2.13.0+cu130", "13.0")
    monkeypatch.setenv(name, value)
    assert cpu_wanted() == wanted
    assert (gpu_trouble() is None) == wanted and (build_to_install() is None) == wanted


def test_a_gpu_that_works_is_not_used_where_the_cpu_is_wanted(machine, monkeypatch):
    """DeepSpeed's launcher overwrites an empty CUDA_VISIBLE_DEVICES for its processes; DS_ACCELERATOR goes through."""
    pretend(monkeypatch, "2.13.0+cu130", "13.0", gpus=((8, 0),))
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    assert preflight.find_device(1, 0).kind == "cpu" and find_device(None).type == "cpu"


def test_the_set_up_asks_before_torch_is_there(machine):
    machine(f"535.104.05, 8.0, {A100}")
    assert build_to_install() == BUILDS[1]
    machine(f"580.65.06, 8.0, {A100}")
    assert build_to_install() is None


def test_an_evaluation_does_not_go_to_the_cpu_in_silence(machine, monkeypatch):
    machine(f"535.104.05, 8.0, {A100}")
    pretend(monkeypatch, "2.13.0+cu130", "13.0")
    with pytest.raises(UserError, match=r"needs driver 580\.65\.06 or newer.*whl/cu126, or take --device cpu"):
        find_device(None)
    assert find_device("cpu").type == "cpu"


@pytest.mark.parametrize("arguments", [["--check"], []])
def test_train_py_does_not_go_to_the_cpu_in_silence(machine, tmp_path, monkeypatch, arguments):
    machine(f"450.80.02, 8.0, {A100}")  # for no build of torch
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")  # where this machine has a GPU
    config = tiny_world.make_world(tmp_path / "world", max_steps=2)
    command = [sys.executable, "train.py", "--config", str(config), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if " device " in line]
    assert f"[!!] device       1 x {A100} (driver 450.80.02, says nvidia-smi): torch " in line
    assert "-> update the NVIDIA driver to 525.60.13 or newer" in done.stdout
    assert "1 of 5 checks failed" in done.stderr and not (tmp_path / "world/runs").exists()
