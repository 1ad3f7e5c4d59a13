"""GPU architectures: how nvcc and torch write them, and what can be compiled for which.

Source: NVIDIA's CUDA C++ Programming Guide, "Compute Capabilities" (architecture-specific targets, the suffixes ``a``
and ``f``), and the release notes of the toolkits that first took each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import StringConstraints

Architecture = Annotated[str, StringConstraints(pattern=r"^[0-9]{2,3}[af]?$")]
"""A compute capability as nvcc writes it: ``90``, ``90a``, ``100``."""


def gencode(architectures: Iterable[str]) -> str:
    """``NVCC_GENCODE`` for these architectures.

    >>> gencode(["90"])
    '-gencode=arch=compute_90,code=sm_90'
    """
    return " ".join(f"-gencode=arch=compute_{name},code=sm_{name}" for name in architectures)
