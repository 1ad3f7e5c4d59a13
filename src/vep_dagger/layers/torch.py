"""torch: which release, which build of it, and the environment that kernels are compiled against.

Sources: each vLLM release requires one torch (:mod:`vep_dagger.compat` has the table); the names of the wheels on
PyTorch's indexes (https://download.pytorch.org/whl/), as public lock files and images name them, for the CUDA releases
that torch is built for; the metadata of the wheels on PyPI for what those are built for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from packaging.version import Version as Parsed
from pydantic import AfterValidator

from vep_dagger.compat import Compat
from vep_dagger.compat.rules import Release
from vep_dagger.dsl import JOBS, Alternative, Build, LayerPins, SpellingError, Version, layer
from vep_dagger.errors import CompatError
from vep_dagger.layers import cuda, python

PREFIX = python.ENVIRONMENT

COMPANIONS = ("torchaudio", "torchvision")
"""What vLLM needs beside torch, built for the same torch and CUDA."""

TOOLS = ("cmake", "ninja", "numpy", "packaging", "pip", "setuptools", "wheel")
"""What the kernels' builds ask for."""

PYPI = "pypi"


def _build(value: str) -> str:
    if not re.fullmatch(r"cu[0-9]{3}|pypi", value):
        found = re.fullmatch(r"(?:cu|cuda)?[-_ ]?([0-9]{2})\.?([0-9])(?:\.[0-9]+)?", value.lower())
        raise SpellingError(
            f"{value!r} is no build of torch: "
            + (f"write 'cu{found[1]}{found[2]}'" if found else "write 'cu128' for CUDA 12.8 and so on, or 'pypi'")
        )
    return value


Build_ = Annotated[str, AfterValidator(_build)]

LIBRARIES = (
    "cuda-bindings", "cuda-pathfinder", "cuda-toolkit", "nvidia-*-cu12", "nvidia-*-cu13", "nvidia-cublas",
    "nvidia-cuda-*", "nvidia-cufft", "nvidia-cufile", "nvidia-curand", "nvidia-cusolver", "nvidia-cusparse",
    "nvidia-nvjitlink", "nvidia-nvtx",
)  # fmt: skip
"""The packages with NVIDIA's libraries that torch requires, by the names of CUDA 12's and CUDA 13's."""

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"NVIDIA's libraries": LIBRARIES, "torch": ("torch", "triton", *COMPANIONS)}
)
"""What an installation is cut into, so that vLLM releases with one torch share the larger part of their images."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a torch release."""

    builds: tuple[str, ...]
    """The CUDA builds that PyTorch's indexes are known to have, oldest first."""
    pypi: str
    """The build on PyPI."""
    before: str
    """A moment after its release, to find build tools and dependencies as of then."""


KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "2.7.0": Known(("cu118", "cu126", "cu128"), "cu126", "2025-09-01T00:00:00Z"),
        "2.7.1": Known(("cu118", "cu126", "cu128"), "cu126", "2025-09-01T00:00:00Z"),
        "2.8.0": Known(("cu126", "cu128", "cu129"), "cu128", "2025-10-01T00:00:00Z"),
        "2.9.0": Known(("cu126", "cu128", "cu129", "cu130"), "cu128", "2025-12-01T00:00:00Z"),
        "2.9.1": Known(("cu126", "cu128", "cu129", "cu130"), "cu128", "2026-01-01T00:00:00Z"),
        "2.10.0": Known(("cu126", "cu128", "cu129", "cu130"), "cu128", "2026-03-01T00:00:00Z"),
        "2.11.0": Known(("cu126", "cu128", "cu129", "cu130"), "cu130", "2026-05-01T00:00:00Z"),
        "2.13.0": Known(("cu126", "cu129", "cu130", "cu132"), "cu130", "2026-09-01T00:00:00Z"),
        "2.14.0": Known(("cu126", "cu130", "cu132"), "cu130", "2026-10-15T00:00:00Z"),
    }
)
"""The torch releases that vLLM's releases require."""

PYPI_ON_ARM = "2.11.0"
"""The first release whose build on PyPI has CUDA on arm64 too (its metadata requires CUDA's libraries there)."""


def release_of(vllm: str) -> Release:
    """What this vLLM release is made of. Raises ValueError for a release that is not known."""
    try:
        return Compat.shipped().release(vllm)
    except CompatError as error:
        raise ValueError(error.what + (f"; {error.hint}" if error.hint else "")) from None


def build_for(version: str, minor: str) -> str:
    """The build of a torch release for a CUDA such as ``12.8``, on PyTorch's index. Raises ValueError where that
    release has none, with those that it has.
    """
    build = f"cu{minor.replace('.', '')}"
    known = KNOWN.get(version)
    if known and build not in known.builds:
        releases = ", ".join(_minor(each) for each in known.builds)
        raise ValueError(
            f"torch {version} has no build for CUDA {minor} that is known here, but for CUDA {releases}: pin one of "
            f'those, or choose a build by name, such as torch = {{ build = "{known.builds[-1]}" }}'
        )
    return build


def refused_build(version: str, build: str, minor: str) -> str | None:
    """Why a build that is named cannot be taken for a torch release and a CUDA such as ``12.8``, and what can: one that
    nobody has seen, or one for another CUDA release than its minor. None where nothing is known against it.
    """
    known = KNOWN.get(version)
    if known and build not in (PYPI, *known.builds):
        reason = f"torch {version} has no build {build} that is known here, but {', '.join(known.builds)}"
    elif (made_for := cuda_of(version, build)) and _major(made_for) != _major(minor):
        reason = f"the build {build} is for CUDA {made_for}, and the pin cuda is of {minor}"
    else:
        return None
    wanted = Parsed(minor)
    near = [each for each in known.builds if _major(_minor(each)) == _major(minor)] if known else []
    if not near:
        return f"{reason}: pin another CUDA"
    best = min(near, key=lambda each: abs(Parsed(_minor(each)).minor - wanted.minor))
    return f'{reason}: write build = "{best}"' + ("" if _minor(best) != minor else ", or leave it out")


def cuda_of(version: str, build: str) -> str | None:
    """The CUDA that a build is made for; None for PyPI's of a release that is not known."""
    if build != PYPI:
        return _minor(build)
    known = KNOWN.get(version)
    return _minor(known.pypi) if known else None


def on_arm(version: str) -> bool:
    """Whether PyPI's build of a torch release has CUDA on arm64."""
    return Parsed(version) >= Parsed(PYPI_ON_ARM)


def _major(release: str) -> str:
    return release.partition(".")[0]


def _minor(build: str) -> str:
    """``12.8`` of ``cu128``."""
    return f"{build[2:-1]}.{build[-1]}"


def requirements(version: str, build: str, *others: str) -> Alternative:
    """torch in this build, its companions, and what is to be resolved with them: one resolution for all, since a
    second one could replace the torch of the first.
    """
    if build == PYPI:
        return Alternative((f"torch=={version}", *COMPANIONS, *others))
    pages = tuple(f"https://download.pytorch.org/whl/{build}/{name}/" for name in ("torch", *COMPANIONS))
    return Alternative((f"torch=={version}+{build}", *COMPANIONS, *others), indexes=pages)


def install_kernels(build: Build, source: str, prefix: str) -> Build:
    """Build the Python project at ``source`` against the environment's torch, and leave it, unpacked, in ``prefix``.

    A recipe names the prefix in a ``.pth`` file of the image's environment: it is found without being installed there.
    """
    return build.env(
        {"MAX_JOBS": JOBS, "CMAKE_BUILD_PARALLEL_LEVEL": JOBS},
        PATH=f"{PREFIX}/bin:{python.PATH}",
        # CMake looks for Python in the environment only if it is told of one.
        VIRTUAL_ENV=PREFIX,
        # The pinned interpreter was compiled by clang and would have extensions linked by it.
        CC="gcc",
        CXX="g++",
        LDSHARED="gcc -shared",
        LDCXXSHARED="g++ -shared",
    ).run(
        f"{PREFIX}/bin/python", "-m", "pip", "install",
        "--no-deps", "--no-build-isolation", "--no-compile", "--target", prefix, source,
    )  # fmt: skip


class Choice(LayerPins):
    """What a matrix file may pin of torch. None stands for what follows: the release from vLLM's, the build from CUDA's
    release (on PyTorch's index).
    """

    version: Version | None = None
    build: Build_ | None = None
    """``cu126`` and its like, or ``pypi`` for the build that PyPI has."""


class Pins(LayerPins):
    """torch and its build, and the Python that it is for."""

    version: Version = "2.7.1"
    build: Build_ = "cu128"
    python: str = "3.12.11"


@layer(prefix=PREFIX, needs=[cuda.devel, python.python])
def torch_build(build: Build, pins: Pins) -> Build:
    """torch and build tools, at the path of the image's own environment, since libraries keep absolute paths.

    It is for building alone and never merged into an image. vLLM is not in it: two vLLM releases with the same torch
    share the kernels.
    """
    known = KNOWN.get(pins.version)
    return python.environment(build, pins.python).install(
        requirements(pins.version, pins.build, *TOOLS),
        before=known.before if known else None,
        prefix=PREFIX,
        parts=PARTS,
    )
