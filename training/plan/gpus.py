"""GPUs by name: peak speed and memory, as their makers state them."""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """`peak`: dense bf16 matrix FLOP/s accumulated in fp32. `memory_gib`: whole GiB that a process finds free."""

    name: str
    peak: float
    memory_gib: int

    @property
    def memory(self) -> int:
        return self.memory_gib * GIB


# Peaks are of the makers' data sheets, half of the figure "with sparsity" where they print that one alone: NVIDIA's for
# A100, H100, H200, HGX B200, L4, L40S and so on, the GA102, Ada and RTX Blackwell white papers, AMD's for MI200 and
# MI300. Memory is what the driver leaves: a percent under the sheet's, a sixteenth less where GDDR corrects errors.
# The first whose words all stand in a device's name counts, so variants come before the plain name.
GPUS = [
    Gpu("GB200", 2500e12, 184),
    Gpu("B200", 2250e12, 178),
    Gpu("GH200", 989e12, 94),
    Gpu("H200 NVL", 835e12, 139),
    Gpu("H200", 989e12, 139),
    Gpu("H100 PCIe", 756e12, 79),
    Gpu("H100 NVL", 835e12, 93),
    Gpu("H100", 989e12, 79),
    Gpu("H800 PCIe", 756e12, 79),
    Gpu("H800", 989e12, 79),
    Gpu("H20", 148e12, 94),
    Gpu("A100 40GB", 312e12, 39),
    Gpu("A100", 312e12, 79),
    Gpu("A800 40GB", 312e12, 39),
    Gpu("A800", 312e12, 79),
    Gpu("A40", 149.7e12, 44),
    Gpu("A30", 165e12, 23),
    Gpu("A10G", 70e12, 22),
    Gpu("A10", 125e12, 22),
    Gpu("L40S", 362e12, 44),
    Gpu("L40", 181e12, 44),
    Gpu("L4", 121e12, 22),
    Gpu("RTX PRO 6000", 503.8e12, 94),
    Gpu("RTX 6000 Ada", 364.2e12, 47),
    Gpu("RTX A6000", 154.8e12, 47),
    Gpu("RTX 5090", 209.5e12, 31),
    Gpu("RTX 4090", 165.2e12, 23),
    Gpu("RTX 3090", 71e12, 23),
    Gpu("MI355X", 2500e12, 287),
    Gpu("MI350X", 2300e12, 287),
    Gpu("MI325X", 1307e12, 255),
    Gpu("MI300X", 1307e12, 191),
    Gpu("MI250X", 191.5e12, 63),  # one of the card's two halves, which is one device
]


def find_gpu(name: str) -> Gpu | None:
    """The entry whose words all stand in `name`, as a driver or a person writes it; None where none do, and for a MIG
    slice ("NVIDIA A100-SXM4-80GB MIG 1g.10gb"), which has a part of the card's peak and memory."""
    words = _words(name)
    return None if "mig" in words else next((gpu for gpu in GPUS if _words(gpu.name) <= words), None)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", re.sub(r"(\d) +gb\b", r"\1gb", name.lower())))
