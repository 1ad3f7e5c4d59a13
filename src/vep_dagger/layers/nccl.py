"""NCCL, built from source for chosen architectures. Source: https://github.com/NVIDIA/nccl (README, makefiles)."""

from __future__ import annotations

import re

from vep_dagger.dsl import JOBS, Build, Commit, LayerPins, Version, git, layer
from vep_dagger.layers import cuda
from vep_dagger.layers.architectures import Architectures, gencode

PREFIX = "/opt/nccl"

ASK = "version = ctypes.c_int(); library.ncclGetVersion(ctypes.byref(version)); "

CHECK = f"""
import ctypes, re
header = int(re.search(r"#define NCCL_VERSION_CODE\\s+(\\d+)", open("{PREFIX}/include/nccl.h").read())[1])
library = ctypes.CDLL("{PREFIX}/lib/libnccl.so")
{ASK}
print("library", version.value, "header", header)
raise SystemExit(version.value != header)
"""


class Pins(LayerPins):
    """The release's tag (the lock knows its commit), or tag and commit, and the architectures of the device code."""

    version: Version = "v2.27.7-1"
    commit: Commit | None = None
    gencode: Architectures = ("80", "86", "89", "90", "100")

    @property
    def code(self) -> int | None:
        """``NCCL_VERSION_CODE`` of the release (22707 for v2.27.7-1), or None if its name does not say."""
        found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", self.version)
        return int(found[1]) * 10000 + int(found[2]) * 100 + int(found[3]) if found else None


@layer(prefix=PREFIX, needs=[cuda.devel])
def nccl(build: Build, pins: Pins) -> Build:
    """Library and headers. torch brings an NCCL of its own: the recipe preloads this one."""
    source = git("https://github.com/NVIDIA/nccl.git", pins.commit, ref=pins.version)
    # Installing evaluates the same variables again: with others it would compile again.
    variables = (
        f"CUDA_HOME={cuda.HOME}",
        f"NVCC_GENCODE={gencode(pins.gencode)}",
        "BUILDDIR=/build",
        f"PREFIX={PREFIX}",
    )
    expect = f"library {pins.code} " if pins.code else None
    return (
        build.mount(source, "/src")
        .run("make", "-C", "/src", f"-j{JOBS}", "src.build", *variables)
        .run("make", "-C", "/src", "src.install", *variables)
        # Three fifths of what is installed, and nothing links it: torch, MPI programs and NVSHMEM load the shared one.
        .run("rm", f"{PREFIX}/lib/libnccl_static.a")
        .library(f"{PREFIX}/lib")
        .check("NCCL's library agrees with its header", "python3", "-c", CHECK, expect=expect)
    )
