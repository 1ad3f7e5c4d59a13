"""nccl-tests: NCCL's benchmark programs, with MPI. Source: https://github.com/NVIDIA/nccl-tests (README)."""

from __future__ import annotations

from vep_dagger.dsl import JOBS, Build, Commit, LayerPins, Version, git, layer
from vep_dagger.layers import cuda, efa, nccl
from vep_dagger.layers.architectures import Architectures, gencode

PREFIX = "/opt/nccl-tests"


class Pins(LayerPins):
    """The release's tag (the lock knows its commit), or tag and commit, and the architectures of the device code."""

    version: Version = "v2.16.9"
    commit: Commit | None = None
    gencode: Architectures = ("80", "86", "89", "90", "100")


@layer(prefix=PREFIX, needs=[cuda.devel, efa.efa, nccl.nccl])
def nccl_tests(build: Build, pins: Pins) -> Build:
    """The programs alone: upstream has no install target, and its build directory holds objects too."""
    source = git("https://github.com/NVIDIA/nccl-tests.git", pins.commit, ref=pins.version)
    return (
        build.mount(source, "/src")
        .workdir("/src")
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
