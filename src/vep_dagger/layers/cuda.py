"""CUDA: the base that layers are built in, and the smaller one that images run on.

Sources: NVIDIA's images (https://hub.docker.com/r/nvidia/cuda) and its apt packages, named after the minor release
(``cuda-nvcc-12-8``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator

from vep_dagger.dsl import Build, ImageSource, LayerPins, SpellingError, image, layer, spelled

CORRECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "11.8": "11.8.0", "12.0": "12.0.1", "12.1": "12.1.1", "12.2": "12.2.2", "12.3": "12.3.2", "12.4": "12.4.1",
        "12.5": "12.5.1", "12.6": "12.6.3", "12.8": "12.8.1", "12.9": "12.9.1", "13.0": "13.0.3",
    }
)  # fmt: skip
"""The last known release of each minor one, for people who write that alone."""


def _release(value: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", value):
        meant = re.fullmatch(r"(?:v|cu|cuda)?[-_ ]?([0-9]{2})\.?([0-9])", value.lower())
        full = CORRECTIONS.get(f"{meant[1]}.{meant[2]}") if meant else None
        raise SpellingError(
            f"{value!r} is no release of CUDA as NVIDIA's images have it: write a full one, such as {full or '12.8.1'}"
        )
    return value


Release = Annotated[str, AfterValidator(_release)]
Digest = Annotated[
    str,
    spelled(
        r"sha256:[0-9a-f]{64}",
        "is no digest: write sha256: and its 64 characters, which `docker buildx imagetools inspect IMAGE` says",
    ),
]
Reference = Annotated[str, spelled(r"\S+", "is no name of an image or of its distribution, such as ubuntu22.04")]

HOME = "/usr/local/cuda"
PATH = f"{HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STUBS = f"{HOME}/lib64/stubs"
"""Where the toolkit has a ``libcuda.so`` to link with, since the driver's own belongs to the host."""

OWN_CCCL = 13
"""The first CUDA with CCCL's headers (``cuda/std``, ``thrust``) in a directory of their own, where nvcc alone looks:
C++ files of kernels include them too (vLLM's tools/ep_kernels mends DeepEP's setup.py for it)."""

TOOLKIT = (
    "cuda-cccl", "cuda-cudart-dev", "cuda-cuobjdump", "cuda-driver-dev", "cuda-nvcc", "cuda-nvrtc-dev",
    "libcublas-dev", "libcurand-dev",
)  # fmt: skip
"""What compiles kernels at run time, by NVIDIA's names without the release: DeepGEMM calls nvcc and cuobjdump,
FlashInfer nvcc through ninja. nvcc brings the host's compiler with it."""

RUN_TIME = ("ca-certificates", "libhwloc15", "libnl-route-3-200", "ninja-build")
"""Libraries that the layers' own link, and what FlashInfer compiles with."""

IN_THE_WAY = (
    "cuda-compat-[0-9-]+", "ibverbs-providers", "ibverbs-utils", "libibverbs-dev", "libibverbs1", "libmlx5-1",
    "libnccl-dev", "libnccl2",
)  # fmt: skip
"""Packages (patterns of whole names) that bring a second NCCL, a driver's library, or an rdma-core older than the one
of the EFA installer."""

LEFT_BEHIND = (
    "/opt/hpcx", "/usr/local/mpi", "/etc/ld.so.conf.d/hpcx.conf", "/etc/libibverbs.d", "/var/lib/apt/lists",
)  # fmt: skip
"""A second MPI that some images hold, the providers of an rdma-core that is gone, and apt's lists, which are of the
day."""

BUILD_TOOLS = (
    "autoconf", "automake", "ca-certificates", "cmake", "git", "libhwloc-dev", "libnuma-dev", "libtool",
    "ninja-build", "pkg-config", "python3",
)  # fmt: skip

# Only what is there can be removed: apt refuses a name that it has never heard of, and bases differ in what they hold.
# Whether it is gone is looked at, since an image with a second NCCL works until it does not.
PREPARE = """
set -eu
in_the_way() {
  packages=$(dpkg-query -W -f '${db:Status-Status} ${Package}\\n')
  echo "$packages" | sed -n 's/^installed //p' | grep -xE '%s' || true
}
apt-get update
unwanted=$(in_the_way)
if [ -n "$unwanted" ]; then apt-get purge -y --allow-change-held-packages $unwanted; fi
apt-get install -y --no-install-recommends --no-upgrade "$@"
left=$(in_the_way)
if [ -n "$left" ]; then echo "still in the way:" $left >&2; exit 1; fi
rm -rf %s
mkdir -p /etc/libibverbs.d
ldconfig
"""


class Pins(LayerPins):
    """The CUDA release and the images that have it: NVIDIA's own for a distribution, or others of the same shape."""

    version: Release = "12.8.1"
    distribution: Reference = "ubuntu22.04"
    devel: Reference | None = None
    """The image that layers are built in; ``nvidia/cuda:<version>-devel-<distribution>`` by default."""
    runtime: Reference | None = None
    """The image that images stand on; ``nvidia/cuda:<version>-runtime-<distribution>`` by default."""
    devel_digest: Digest | None = None
    runtime_digest: Digest | None = None
    toolkit: tuple[str, ...] | None = None
    """Packages that the run-time image lacks of a compiler; :data:`TOOLKIT` of the release by default, none for an
    image that has one."""

    @property
    def minor(self) -> str:
        """``12.8`` of ``12.8.1``."""
        return self.version.rpartition(".")[0]

    @property
    def compiler(self) -> tuple[str, ...]:
        """The packages of the toolkit, as NVIDIA names them: ``cuda-nvcc-12-8``."""
        if self.toolkit is not None:
            return self.toolkit
        return tuple(f"{name}-{self.minor.replace('.', '-')}" for name in TOOLKIT)


def preparation() -> str:
    """The script that removes what is in the way and installs the packages that are its arguments.

    It leaves an empty ``/etc/libibverbs.d``: libibverbs warns in every process where that is missing, and what the EFA
    layer has for it is named in a variable.
    """
    return PREPARE % ("|".join(IN_THE_WAY), " ".join(LEFT_BEHIND))


def without_driver(*argv: str) -> tuple[str, ...]:
    """A command that finds the toolkit's stub where the driver's ``libcuda.so.1`` would be, for a check without a GPU.

    The stub must never be found by a server, so it is linked aside and for this command only.
    """
    script = (
        "set -eu; stub=$(mktemp -d); trap 'rm -rf \"$stub\"' EXIT; "
        f'ln -s {STUBS}/libcuda.so "$stub/libcuda.so.1"; '
        'LD_LIBRARY_PATH="$stub${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$@"'
    )
    return ("sh", "-c", script, "without-driver", *argv)


def _devel_image(pins: Pins) -> ImageSource:
    return image(pins.devel or f"nvidia/cuda:{pins.version}-devel-{pins.distribution}", pins.devel_digest)


def _runtime_image(pins: Pins) -> ImageSource:
    return image(pins.runtime or f"nvidia/cuda:{pins.version}-runtime-{pins.distribution}", pins.runtime_digest)


def _prepared(build: Build, packages: tuple[str, ...]) -> Build:
    """Remove what is in the way, add ``packages``; never an upgrade, which would change the image behind its digest."""
    return (
        build.env(DEBIAN_FRONTEND="noninteractive")
        .run("sh", "-c", preparation(), "prepare", *packages)
        .export(CUDA_HOME=HOME)
        .program(f"{HOME}/bin")
    )


@layer(prefix="/", source=_devel_image, name="cuda")
def devel(build: Build, pins: Pins) -> Build:
    """The whole toolkit, and the tools that the components' builds ask for."""
    built = _prepared(build, BUILD_TOOLS)
    if int(pins.version.partition(".")[0]) >= OWN_CCCL:
        built = built.export(CPLUS_INCLUDE_PATH=f"{HOME}/include/cccl")
    return built


@layer(prefix="/", source=_runtime_image, name="cuda_runtime")
def runtime(build: Build, pins: Pins) -> Build:
    """CUDA's libraries, and as much of the toolkit as compiles kernels at run time."""
    built = _prepared(build, (*pins.compiler, *RUN_TIME))
    return built.check(
        "kernels can be compiled at run time", f"{HOME}/bin/nvcc", "--version", expect=f"release {pins.minor}"
    )
