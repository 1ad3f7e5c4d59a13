"""FlashInfer: attention and sampling kernels, compiled where they run, and (from 0.6.6 on) a package of cubins.

Source: the metadata of vLLM's wheels: an extra that names one release to 0.11.0, a requirement from 0.11.1 on; and
https://pypi.org/project/flashinfer-python/. Releases below 0.5 are source archives of Python alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from packaging.specifiers import SpecifierSet
from packaging.version import Version as Parsed

PARTS = ("apache-tvm-ffi", "flashinfer-*", "nvidia-cudnn-frontend", "nvidia-cutlass-dsl*", "xformers")
"""Packages of kernels that go with a torch rather than with a vLLM, and change less often than that."""

EXTRA: Mapping[str, str] = MappingProxyType(
    {"0.10.1": "0.2.11", "0.10.1.1": "0.2.11", "0.10.2": "0.3.0", "0.11.0": "0.3.1"}
)
"""What vLLM's extra ``flashinfer`` names in the releases that have one."""


def version_for(vllm: str, required: str | None, pinned: str | None) -> str | None:
    """The FlashInfer to ask for: the pinned one, or that of vLLM's extra; None where vLLM's wheel requires one by
    itself, or (before 0.10.1) says nothing. Raises ValueError for a pin that the wheel's requirement excludes.
    """
    if pinned is None:
        return EXTRA.get(vllm)
    if required and Parsed(pinned) not in SpecifierSet(required, prereleases=True):
        raise ValueError(
            f"vLLM {vllm} requires flashinfer-python{required}, and the pin is {pinned}: leave the pin out, and that "
            "one is taken"
        )
    return pinned
