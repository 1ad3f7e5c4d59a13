"""GPU architectures: how nvcc and torch write them, and what can be compiled for which.

Sources: NVIDIA's CUDA C++ Programming Guide, "Compute Capabilities" (architecture-specific targets, the suffixes ``a``
and ``f``); the PTX ISA's table of targets by CUDA release (``sm_90a`` since 12.0, ``sm_101`` called ``sm_110`` since
13.0); the release notes of CUDA 12.0 and 13.0 for what was dropped; torch's ``utils/cpp_extension.py``
(``supported_arches``), which takes no suffix ``f``.

Who needs the suffix: code of ``sm_90a`` alone may use Hopper's own instructions (``wgmma``, ``setmaxnreg``).
pplx-kernels' CMakeLists.txt sets 90a, and vLLM's ``tools/ep_kernels`` and docker/Dockerfile build pplx-kernels and
DeepEP for 9.0a; NVSHMEM's device library is linked into them. NCCL uses none of these: its makefile says 90.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, TypeVar

from packaging.version import Version
from pydantic import AfterValidator

from vep_dagger.dsl import SpellingError

KNOWN: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "35": ("5.0", "11.8"), "37": ("6.5", "11.8"), "50": ("6.0", "12.9"), "52": ("6.5", "12.9"),
        "53": ("7.0", "12.9"), "60": ("8.0", "12.9"), "61": ("8.0", "12.9"), "62": ("8.0", "12.9"),
        "70": ("9.0", "12.9"), "72": ("9.2", "12.9"), "75": ("10.0", None), "80": ("11.0", None),
        "86": ("11.1", None), "87": ("11.4", None), "88": ("13.0", None), "89": ("11.8", None),
        "90": ("11.8", None), "100": ("12.8", None), "101": ("12.8", "12.9"), "103": ("12.9", None),
        "110": ("13.0", None), "120": ("12.8", None), "121": ("12.9", None),
    }
)  # fmt: skip
"""The compute capabilities, as nvcc writes them, with the first CUDA release that compiles for each and the last one
where there is one."""

SPECIFIC = 90
"""The first capability with instructions of its own (the suffix ``a``)."""

SPECIFIC_CUDA = "12.0"
"""The first CUDA release that knows ``90a``; later capabilities had their suffix from the start."""

FAMILY = 100
"""The first capability with a family (the suffix ``f``)."""

FAMILY_CUDA = "12.9"
"""The first CUDA release that knows the suffix ``f``."""

WHY = "only sm_90a has the instructions that kernels for Hopper use, wgmma and setmaxnreg, and upstream builds for it"


Written = TypeVar("Written", bound="tuple[str, ...]")


def _as_nvcc(value: str) -> str:
    if not re.fullmatch(r"[0-9]{2,3}[af]?", value):
        plain = re.sub(r"^(sm_|compute_)|\+PTX$|\.", "", value)
        known = re.fullmatch(r"[0-9]{2,3}[af]?", plain)
        raise SpellingError(
            f"{value!r} is no architecture as nvcc writes it (90, 90a, 100)"
            + (f": write {_nearest(plain)!r}" if known else "")
        )
    if value != _nearest(value):
        raise SpellingError(f"there is no architecture {value!r}: write {_nearest(value)!r}, the nearest that there is")
    return value


def _as_nvcc_with_suffix(value: str) -> str:
    if re.fullmatch(r"[0-9]{2,3}[af]?", value) and _nearest(value) == "90":
        raise SpellingError(f"write '90a' and not {value!r}: {WHY}")
    return _as_nvcc(value)


def _as_torch(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9][af]?(\+PTX)?", value):
        found = re.fullmatch(r"(?:sm_)?([0-9]{1,2})([0-9][af]?)", value)
        raise SpellingError(
            f"{value!r} is no architecture as torch writes it (9.0a, 10.0, 9.0a+PTX)"
            + (f": write {_dotted(_nearest(found[1] + found[2]))!r}" if found else "")
        )
    name, suffix = _bare(value), "+PTX" if value.endswith("+PTX") else ""
    if name.endswith("f"):
        raise SpellingError(f"torch knows no suffix 'f': write {_dotted(_nearest(name[:-1] + 'a')) + suffix!r}")
    if name != _nearest(name):
        near = _dotted(_nearest(name)) + suffix
        raise SpellingError(f"there is no architecture {value!r}: write {near!r}, the nearest that there is")
    if name == "90":
        raise SpellingError(f"write {value.replace('9.0', '9.0a')!r} and not {value!r}: {WHY}")
    return value


def _some(value: Written) -> Written:
    if not value:
        raise SpellingError(
            "an empty list makes a library without code for any GPU: name an architecture, or leave the key out, and "
            "the usual ones are taken"
        )
    return value


def _bare(architecture: str) -> str:
    """An architecture as nvcc writes it, of nvcc's writing or torch's."""
    return architecture.removesuffix("+PTX").replace(".", "")


def _dotted(name: str) -> str:
    """An architecture as torch writes it; Hopper with its suffix."""
    number = name.rstrip("af")
    dotted = f"{number[:-1]}.{number[-1]}{name[len(number) :]}"
    return "9.0a" if dotted == "9.0" else dotted


def _nearest(name: str) -> str:
    """The architecture nearest to a name in nvcc's writing that there is: itself, if there is such a one."""
    number = name.rstrip("af")
    suffix = name[len(number) :]
    if number not in KNOWN:
        return min(KNOWN, key=lambda each: abs(int(each) - int(number)))
    if suffix == "f" and int(number) < FAMILY:
        suffix = "a"
    return number if suffix == "a" and int(number) < SPECIFIC else number + suffix


Architectures = Annotated[tuple[Annotated[str, AfterValidator(_as_nvcc)], ...], AfterValidator(_some)]
"""Compute capabilities as nvcc writes them: ``90``, ``90a``, ``100``. At least one."""

DeviceArchitectures = Annotated[tuple[Annotated[str, AfterValidator(_as_nvcc_with_suffix)], ...], AfterValidator(_some)]
"""The same for libraries that kernels are linked with: Hopper is ``90a``."""

TorchArchitectures = Annotated[tuple[Annotated[str, AfterValidator(_as_torch)], ...], AfterValidator(_some)]
"""Compute capabilities as torch writes them, for kernels: ``9.0a``, ``10.0``, ``9.0a+PTX``. At least one."""


def gencode(architectures: Iterable[str]) -> str:
    """``NVCC_GENCODE`` for these architectures.

    >>> gencode(["90"])
    '-gencode=arch=compute_90,code=sm_90'
    """
    return " ".join(f"-gencode=arch=compute_{name},code=sm_{name}" for name in architectures)


def unknown_to(cuda: str, architecture: str) -> str | None:
    """Why the nvcc of a CUDA release such as ``12.8`` does not compile for an architecture, in nvcc's writing or
    torch's; None where it does.

    >>> unknown_to("12.6", "10.0"), unknown_to("13.0", "60"), unknown_to("12.8", "9.0a+PTX")
    ('12.8 is the first that does', '12.9 was the last that did', None)
    """
    name = _bare(architecture)
    number = name.rstrip("af")
    first, last = KNOWN[number]
    if name.endswith("f"):
        first = max(first, FAMILY_CUDA, key=Version)
    elif name.endswith("a"):
        first = max(first, SPECIFIC_CUDA, key=Version)
    if Version(cuda) < Version(first):
        return f"{first} is the first that does"
    if last and Version(cuda) > Version(last):
        return f"{last} was the last that did"
    return None


def nearest_for(cuda: str, architectures: tuple[str, ...], *, device: bool = False) -> tuple[str, ...]:
    """Those of a list that a CUDA release compiles for, and for each other one the same without its suffix ``f`` if
    that will do; if nothing is left, the nearest architecture that will. Of a library that kernels are linked with
    (``device``), Hopper has its suffix.

    >>> nearest_for("12.6", ("9.0a+PTX", "10.0")), nearest_for("12.8", ("120f",)), nearest_for("13.0", ("60",))
    (('9.0a+PTX',), ('120',), ('75',))
    """
    plain = (each if unknown_to(cuda, each) is None else each.replace("f", "") for each in architectures)
    left = tuple(dict.fromkeys(each for each in plain if unknown_to(cuda, each) is None))
    if left:
        return left
    wanted = int(_bare(architectures[0]).rstrip("af"))
    as_torch = "." in architectures[0]
    hopper = "90a" if device else "90"
    names = ((each, _dotted(each) if as_torch else hopper if each == "90" else each) for each in KNOWN)
    known = [(abs(int(each) - wanted), name) for each, name in names if unknown_to(cuda, name) is None]
    return (min(known)[1],)
