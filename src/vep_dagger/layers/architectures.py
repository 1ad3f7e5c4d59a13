"""GPU architectures: how nvcc and torch write them, and what can be compiled for which.

Source: NVIDIA's CUDA C++ Programming Guide, "Compute Capabilities" (architecture-specific targets, the suffixes ``a``
and ``f``), and the release notes of the toolkits that first took each.

Who needs the suffix: code of ``sm_90a`` alone may use Hopper's own instructions (``wgmma``, ``setmaxnreg``).
pplx-kernels' CMakeLists.txt sets 90a, and vLLM's ``tools/ep_kernels`` and docker/Dockerfile build pplx-kernels and
DeepEP for 9.0a; NVSHMEM's device library is linked into them. NCCL uses none of these: its makefile says 90.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

OLDEST_CUDA = {"89": "11.8", "90": "11.8", "100": "12.8", "101": "12.8", "120": "12.8", "103": "12.9", "121": "12.9"}
"""The first CUDA release whose nvcc compiles for an architecture, where it is not older than all that matter here."""

FAMILY_CUDA = "12.9"
"""The first CUDA release that knows the suffix ``f``."""

WHY = "only sm_90a has the instructions that kernels for Hopper use, wgmma and setmaxnreg, and upstream builds for it"


def _as_nvcc(value: str) -> str:
    if not re.fullmatch(r"[0-9]{2,3}[af]?", value):
        plain = re.sub(r"^(sm_|compute_)|\+PTX$|\.", "", value)
        known = re.fullmatch(r"[0-9]{2,3}[af]?", plain)
        raise ValueError(
            f"{value!r} is no architecture as nvcc writes it (90, 90a, 100)" + (f": write {plain!r}" if known else "")
        )
    return value


def _as_nvcc_with_suffix(value: str) -> str:
    if _as_nvcc(value) == "90":
        raise ValueError(f"write '90a' and not '90': {WHY}")
    return value


def _as_torch(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9][af]?(\+PTX)?", value):
        found = re.fullmatch(r"(?:sm_)?([0-9]{1,2})([0-9][af]?)", value)
        raise ValueError(
            f"{value!r} is no architecture as torch writes it (9.0a, 10.0, 9.0a+PTX)"
            + (f": write '{found[1]}.{found[2]}'" if found else "")
        )
    if value.removesuffix("+PTX") == "9.0":
        raise ValueError(f"write {value.replace('9.0', '9.0a')!r} and not {value!r}: {WHY}")
    return value


Architecture = Annotated[str, AfterValidator(_as_nvcc)]
"""A compute capability as nvcc writes it: ``90``, ``90a``, ``100``."""

DeviceArchitecture = Annotated[str, AfterValidator(_as_nvcc_with_suffix)]
"""The same for libraries that kernels are linked with: Hopper is ``90a``."""

TorchArchitecture = Annotated[str, AfterValidator(_as_torch)]
"""A compute capability as torch writes it, for kernels: ``9.0a``, ``10.0``, ``9.0a+PTX``."""


def gencode(architectures: Iterable[str]) -> str:
    """``NVCC_GENCODE`` for these architectures.

    >>> gencode(["90"])
    '-gencode=arch=compute_90,code=sm_90'
    """
    return " ".join(f"-gencode=arch=compute_{name},code=sm_{name}" for name in architectures)


def oldest_cuda(architecture: str) -> str:
    """The first CUDA release (``12.8``) that compiles for an architecture, in nvcc's writing or torch's.

    >>> oldest_cuda("100"), oldest_cuda("10.0"), oldest_cuda("9.0a+PTX")
    ('12.8', '12.8', '11.8')
    """
    name = architecture.removesuffix("+PTX").replace(".", "")
    if name.endswith("f"):
        return FAMILY_CUDA
    return OLDEST_CUDA.get(name.rstrip("a"), "11.0")
