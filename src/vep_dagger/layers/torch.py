"""torch: which release, and the environment that kernels are compiled against.

Sources: each vLLM release pins its torch in its wheel's metadata (:mod:`vep_dagger.compat` has the table); PyTorch's
indexes by CUDA release (https://pytorch.org/get-started/locally/).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from vep_dagger.compat import Compat
from vep_dagger.compat.rules import Release
from vep_dagger.dsl import JOBS, Alternative, Build, LayerPins, Version, layer
from vep_dagger.errors import CompatError
from vep_dagger.layers import cuda

Minor = Annotated[str, StringConstraints(pattern=r"^3\.[0-9]+$")]
"""A Python such as ``3.12``: the minor release is part of the paths and of the compiled modules' names."""

PREFIX = "/venv"

COMPANIONS = ("torchaudio", "torchvision")
"""What vLLM needs beside torch, built for the same torch and CUDA."""

TOOLS = ("cmake", "ninja", "numpy", "packaging", "pip", "setuptools", "wheel")
TOOLS_BEFORE = "2025-09-01T00:00:00Z"
"""The kernels' build tools are those of this moment, whenever a layer is built."""


def release_of(vllm: str) -> Release:
    """What this vLLM release is made of. Raises ValueError for a release that is not known."""
    try:
        return Compat.load().release(vllm)
    except CompatError as error:
        raise ValueError(error.what + (f"; {error.hint}" if error.hint else "")) from None


def wheel(version: str, minor: str, *others: str) -> Alternative:
    """torch built for a CUDA of this minor release (PyPI's build of the same torch may be made for another one), its
    companions, and what is to be resolved with them.
    """
    tag = f"cu{minor.replace('.', '')}"
    pages = tuple(f"https://download.pytorch.org/whl/{tag}/{name}/" for name in ("torch", *COMPANIONS))
    return Alternative((f"torch=={version}+{tag}", *COMPANIONS, *others), indexes=pages)


def site(prefix: str, python: str) -> str:
    """Where the environment at ``prefix`` keeps its packages."""
    return f"{prefix}/lib/python{python}/site-packages"


def install_kernels(build: Build, source: str, prefix: str) -> Build:
    """Build the Python project at ``source`` against the environment's torch, and leave it, unpacked, in ``prefix``.

    A recipe names the prefix in a ``.pth`` file of the image's environment: it is found without being installed there.
    """
    jobs = {"MAX_JOBS": JOBS, "CMAKE_BUILD_PARALLEL_LEVEL": JOBS}
    return build.env(jobs, PATH=f"{PREFIX}/bin:{cuda.PATH}").run(
        f"{PREFIX}/bin/python", "-m", "pip", "install",
        "--no-deps", "--no-build-isolation", "--no-compile", "--target", prefix, source,
    )  # fmt: skip


class Pins(LayerPins):
    """torch, the CUDA minor release of its build, and the Python that it is for."""

    version: Version = "2.7.1"
    cuda: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+$")] = "12.8"
    python: Minor = "3.12"


@layer(prefix=PREFIX, needs=[cuda.devel])
def torch_build(build: Build, pins: Pins) -> Build:
    """torch and build tools, at the path of the image's own environment, since libraries keep absolute paths.

    It is for building alone and never merged into an image. vLLM is not in it: two vLLM releases with the same torch
    share the kernels.
    """
    return (
        build.python(pins.python, PREFIX)
        .install(wheel(pins.version, pins.cuda), prefix=PREFIX)
        .install(*TOOLS, before=TOOLS_BEFORE, prefix=PREFIX)
    )
