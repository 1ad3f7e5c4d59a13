"""nccl-tests: NCCL's benchmark programs, with MPI. Source: https://github.com/NVIDIA/nccl-tests (README)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vep_dagger.dsl import JOBS, Build, Commit, LayerPins, Version, git, layer
from vep_dagger.layers import cuda, efa, nccl, provenance
from vep_dagger.layers.architectures import Architectures, gencode

PREFIX = "/opt/nccl-tests"

SAYS = r'src/common.h:NCCL_TESTS_VERSION "([^"]+)"'

COMMITS: Mapping[str, str] = MappingProxyType(
    {
        "v2.16.4": "97ee0985165722717d340f1adb7c162bc8a7491d",
        "v2.16.7": "fae7cb47278473977f2b96fc816f81c6fb95ac65",
        "v2.16.8": "f2015cbe82f5c83359317bed3f4e6bdccd77a2cc",
        "v2.16.9": "c2cb96faac521510dfb40a0f264aa8c2d322349c",
        "v2.17.0": "e12dbb0a14f915c25d0bdaec631d98587b156d97",
        "v2.17.1": "9a5c15461abcef145b907c54d04aea4e8d1cb21f",
        "v2.17.2": "abc46770a98777a9fd1b072adcf8becb76bfe125",
        "v2.17.3": "00f52811b818e751245303378a97db59fae083c1",
    }
)
"""Commits of releases whose sources say no version: from 2.17.4 on they have one (:data:`SAYS`)."""


class Pins(LayerPins):
    """The release's tag (the lock knows its commit), or tag and commit, and the architectures of the device code."""

    version: Version = "v2.16.9"
    commit: Commit | None = None
    gencode: Architectures = ("80", "86", "89", "90", "100")


@layer(prefix=PREFIX, needs=[cuda.devel, efa.efa, nccl.nccl])
def nccl_tests(build: Build, pins: Pins) -> Build:
    """The programs alone: upstream has no install target, and its build directory holds objects too."""
    source = git("https://github.com/NVIDIA/nccl-tests.git", pins.commit, ref=pins.version)
    build = provenance.recorded(build.mount(source, "/src"), PREFIX, says=SAYS)
    built = (
        build.workdir("/src")
        .env(**efa.LINK)
        .run(
            "make",
            f"-j{JOBS}",
            "MPI=1",
            f"MPI_HOME={efa.OPENMPI}",
            f"CUDA_HOME={cuda.HOME}",
            f"NCCL_HOME={nccl.PREFIX}",
            f"NVCC_GENCODE={gencode(pins.gencode)}",
        )
        .run("mkdir", "-p", f"{PREFIX}/bin")
        .run("sh", "-c", f"cp build/*_perf {PREFIX}/bin/")
        .program(f"{PREFIX}/bin")
        .check("nccl-tests start", f"{PREFIX}/bin/all_reduce_perf", "-h", expect="USAGE")
    )
    commit = pins.commit or COMMITS.get(pins.version)
    version = "" if commit else pins.version.removeprefix("v")
    return provenance.proven(built, "nccl-tests", PREFIX, commit, version=version)
