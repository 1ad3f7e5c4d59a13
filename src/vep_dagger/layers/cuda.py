"""CUDA: the base that layers are built in, and the smaller one that images run on.

Sources: NVIDIA's images (https://hub.docker.com/r/nvidia/cuda) and its apt packages, named after the minor release
(``cuda-nvcc-12-8``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import StringConstraints

from vep_dagger.dsl import Build, ImageSource, LayerPins, image, layer

Release = Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Architecture = Annotated[str, StringConstraints(pattern=r"^[0-9]{2,3}[af]?$")]
"""A compute capability as nvcc writes it: ``90``, ``90a``, ``100``."""

HOME = "/usr/local/cuda"
PATH = f"{HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DEVEL_DIGESTS = {"12.8.1": "sha256:a99a1860ba8e2916e5c3e73b72ec4c4301653a84586e05bfc9a2aa2d58027e97"}
"""Index digests of ``nvidia/cuda:<release>-devel-ubuntu22.04``."""

TOOLKIT = (
    "cuda-cccl", "cuda-cudart-dev", "cuda-cuobjdump", "cuda-driver-dev", "cuda-nvcc", "cuda-nvrtc-dev",
    "libcublas-dev", "libcurand-dev",
)  # fmt: skip
"""What compiles kernels at run time: DeepGEMM calls nvcc and cuobjdump, FlashInfer nvcc through ninja."""

RUN_TIME = ("ca-certificates", "g++", "libhwloc15", "libnl-route-3-200", "ninja-build")
"""nvcc's host compiler, and libraries that the layers' own link."""

IN_THE_WAY = ("ibverbs-utils", "libibverbs-dev", "libibverbs1", "libmlx5-1", "libnccl-dev", "libnccl2")
"""Packages that bring a second NCCL, or an rdma-core older than the one of the EFA installer."""

BUILD_TOOLS = (
    "autoconf", "automake", "build-essential", "ca-certificates", "cmake", "git", "libhwloc-dev", "libtool",
    "ninja-build", "pkg-config",
)  # fmt: skip


class Pins(LayerPins):
    """The CUDA release, and the digests of its images where they are known."""

    version: Release = "12.8.1"
    devel_digest: Digest | None = None
    runtime_digest: Digest | None = None

    @property
    def minor(self) -> str:
        """``12.8`` of ``12.8.1``."""
        return self.version.rpartition(".")[0]

    @property
    def dashed(self) -> str:
        """``12-8``, as in the names of NVIDIA's packages."""
        return self.minor.replace(".", "-")


def gencode(architectures: Iterable[str]) -> str:
    """``NVCC_GENCODE`` for these architectures."""
    return " ".join(f"-gencode=arch=compute_{name},code=sm_{name}" for name in architectures)


def without_driver(*argv: str) -> tuple[str, ...]:
    """A command that finds the toolkit's stub where the driver's ``libcuda.so.1`` would be, for a check without a GPU.

    The stub must never be found by a server, so it is linked aside and for this command only.
    """
    script = (
        "set -eu; stub=$(mktemp -d); "
        f'ln -s {HOME}/lib64/stubs/libcuda.so "$stub/libcuda.so.1"; '
        'LD_LIBRARY_PATH="$stub${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$@"'
    )
    return ("sh", "-c", script, "without-driver", *argv)


def _devel_image(pins: Pins) -> ImageSource:
    return image(f"nvidia/cuda:{pins.version}-devel-ubuntu22.04", pins.devel_digest or DEVEL_DIGESTS.get(pins.version))


def _runtime_image(pins: Pins) -> ImageSource:
    return image(f"nvidia/cuda:{pins.version}-runtime-ubuntu22.04", pins.runtime_digest)


def _apt(build: Build, pins: Pins, packages: tuple[str, ...]) -> Build:
    """Remove what is in the way, add ``packages``; never an upgrade, which would change the image behind its digest."""
    unwanted = (*IN_THE_WAY, f"cuda-compat-{pins.dashed}")
    return (
        build.env(DEBIAN_FRONTEND="noninteractive")
        .run("apt-get", "update")
        .run("apt-get", "purge", "-y", "--allow-change-held-packages", *unwanted)
        .run("apt-get", "install", "-y", "--no-install-recommends", *packages)
        .run("rm", "-rf", "/opt/hpcx", "/usr/local/mpi", "/etc/ld.so.conf.d/hpcx.conf", "/var/lib/apt/lists")
        .run("ldconfig")
    )


@layer(prefix="/", source=_devel_image, name="cuda")
def devel(build: Build, pins: Pins) -> Build:
    """The whole toolkit, and the tools that the components' builds ask for."""
    return _apt(build, pins, BUILD_TOOLS).export(CUDA_HOME=HOME)


@layer(prefix="/", source=_runtime_image, name="cuda_runtime")
def runtime(build: Build, pins: Pins) -> Build:
    """CUDA's libraries, and as much of the toolkit as compiles kernels at run time."""
    return _apt(build, pins, (*(f"{name}-{pins.dashed}" for name in TOOLKIT), *RUN_TIME)).export(CUDA_HOME=HOME)
