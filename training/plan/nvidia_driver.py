"""The NVIDIA driver and the GPUs of this machine, found without torch, and why torch cannot use them if it cannot.

A torch that cannot use the GPU says so in a warning and computes on the CPU; here it becomes a line with the command
that puts it right. Only the standard library is imported until a GPU is found.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from training.plan.torch_builds import BUILDS, Build, Capability, install_command, judge

KERNEL_MODULE, NODES = Path("/proc/driver/nvidia/version"), Path("/dev")
ASK_SECONDS = 30  # nvidia-smi takes a second or two; a GPU that has fallen off the bus can hold it for ever
CPU_INSTEAD = "to leave it alone on purpose: DS_ACCELERATOR=cpu"


@dataclass(frozen=True)
class Driver:
    """`source`: who told the version. `capabilities`: of the GPUs, empty where the source cannot tell them."""

    version: str
    source: str
    names: tuple[str, ...]
    capabilities: tuple[Capability, ...] = ()

    def __str__(self) -> str:
        kinds = " and ".join(dict.fromkeys(self.names))
        return f"{len(self.names)} x {kinds} (driver {self.version}, says {self.source})"


@dataclass(frozen=True)
class Trouble:
    """Why torch cannot use the GPUs of this machine, and what to do."""

    state: str
    todo: str


def cpu_wanted() -> bool:
    """Whether the user keeps the GPUs out on purpose. DeepSpeed's launcher writes CUDA_VISIBLE_DEVICES anew for its
    processes, so under it DS_ACCELERATOR alone says so."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return os.environ.get("DS_ACCELERATOR") == "cpu" or (visible is not None and visible.strip() in ("", "-1"))


def find_driver() -> Driver | None:
    """The driver and the GPUs that this process may use; None where there is no GPU.

    nvidia-smi is asked, then its library NVML; where neither is there or can talk to the driver, the kernel module's
    own file counts, if there are device files (containers without a GPU see the file of their host).
    """
    for ask in (_nvidia_smi, _nvml, _kernel_module):
        driver = ask()
        if driver is not None:
            return driver if driver.names else None
    return None


def build_to_install() -> Build | None:
    """The build of torch that this machine needs where PyPI's would not run on its GPUs; None where PyPI's will do."""
    driver = None if cpu_wanted() else find_driver()
    if driver is None:
        return None
    usual, machine = BUILDS[0], platform.machine()
    return judge(driver.version, usual.cuda, usual.code.get(machine, "").split(), driver.capabilities, machine).build


def gpu_trouble(local_rank: int | None = None) -> Trouble | None:
    """Why torch cannot use the GPUs of this machine, or the one that process `local_rank` takes; None where it can,
    where there are none, and where the CPU is wanted."""
    if cpu_wanted():
        return None
    import torch

    with warnings.catch_warnings():  # it is told below
        warnings.filterwarnings("ignore", message="CUDA initialization")
        available = torch.cuda.is_available()
    if available and torch.version.cuda is None:  # AMD's
        return None
    if available:
        count = torch.cuda.device_count()
        taken = list(range(count)) if local_rank is None else [local_rank % count]
        gpus = [torch.cuda.get_device_capability(index) for index in taken]
        if not judge(None, torch.version.cuda, torch.cuda.get_arch_list(), gpus).problem:
            return None
    driver = find_driver()
    if driver is None:
        return None
    if not available:
        gpus = list(driver.capabilities)
    verdict = judge(driver.version, torch.version.cuda, torch.cuda.get_arch_list(), gpus, platform.machine())
    which = f"GPU {taken[0]}" if available and local_rank is not None and count > 1 else "the GPU"
    name = f"{driver}: torch {torch.__version__} cannot use {which}"
    if not verdict.problem:
        return Trouble(f"{name}: {_torch_says()} ({CPU_INSTEAD})", "put that right, then the same command")
    todo = verdict.remedy
    if verdict.build is not None:
        todo = install_command(verdict.build, _interpreter(), find_spec("pip") is not None)
    return Trouble(f"{name}: it {verdict.problem} ({CPU_INSTEAD})", todo)


def _torch_says() -> str:
    """The first line of the error with which torch refuses the GPU."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0]
    else:
        said = "torch.cuda.is_available() is false"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return said if visible is None else f"{said} (CUDA_VISIBLE_DEVICES={visible})"


def _interpreter() -> str:
    """This interpreter's path, from here where it lies below."""
    try:
        return str(Path(sys.executable).relative_to(Path.cwd()))
    except ValueError:  # elsewhere: its whole path
        return sys.executable


def _nvidia_smi() -> Driver | None:
    for fields in ("driver_version,compute_cap,name", "driver_version,name"):  # drivers before 510 know no compute_cap
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS)
        except (OSError, subprocess.TimeoutExpired):  # not installed, or it hangs: NVML is asked
            return None
        if "No devices were found" in answer.stdout:
            return Driver("", "nvidia-smi", ())
        rows = [line.split(", ", fields.count(",")) for line in answer.stdout.splitlines() if line.strip()]
        if answer.returncode == 0 and rows and all(re.match(r"\d+\.\d+", row[0]) for row in rows):
            capabilities = [row[1] for row in rows if re.fullmatch(r"\d+\.\d+", row[1])]
            return Driver(
                rows[0][0],
                "nvidia-smi",
                tuple(row[-1] for row in rows),
                tuple((int(one[:-2]), int(one[-1])) for one in capabilities),
            )
    return None


def _nvml() -> Driver | None:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # not installed: the kernel module's file is looked at
        return None
    version, count = ctypes.create_string_buffer(96), ctypes.c_uint()
    if (
        nvml.nvmlInit_v2()
        or nvml.nvmlSystemGetDriverVersion(version, len(version))
        or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    ):
        return None
    names, capabilities = [], []
    for index in range(count.value):
        device, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        major, minor = ctypes.c_int(), ctypes.c_int()
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)):
            continue  # taken from this process
        known = nvml.nvmlDeviceGetName(device, name, len(name)) == 0
        names.append(name.value.decode() if known else "NVIDIA GPU")
        if nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor)) == 0:
            capabilities.append((major.value, minor.value))
    nvml.nvmlShutdown()
    return Driver(version.value.decode(), "NVML", tuple(names), tuple(capabilities))


def _kernel_module() -> Driver | None:
    try:
        version = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", KERNEL_MODULE.read_text(encoding="utf-8"))
    except OSError:  # no such module is loaded
        return None
    nodes = [node for node in NODES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", node.name)]
    return Driver(version[0], str(KERNEL_MODULE), ("NVIDIA GPU",) * len(nodes)) if version else None
