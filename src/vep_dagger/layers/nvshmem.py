"""NVSHMEM, built from source with GDRCopy, NCCL, libfabric, MPI and PMIx.

Sources: NVIDIA's installation guide (https://docs.nvidia.com/nvshmem/release-notes-install-guide/install-guide/) and
its archives, here those for CUDA 12; from 3.4.5 on, tags of https://github.com/NVIDIA/nvshmem, for any CUDA.
"""

from __future__ import annotations

from vep_dagger.dsl import JOBS, Build, Commit, GitSource, HttpSource, LayerPins, Version, git, http, layer
from vep_dagger.layers import cuda, efa, gdrcopy, nccl

PREFIX = "/opt/nvshmem"
REPOSITORY = "https://github.com/NVIDIA/nvshmem.git"
ARCHIVES = "https://developer.download.nvidia.com/compute/redist/nvshmem"

KNOWN = {"v3.4.5-0": "131da55f643ac87c810ba0bc51d359258bf433a1"}


class Pins(LayerPins):
    """An archive's release (``3.3.9``) with its sha256, or a tag (``v3.4.5-0``) with its commit; and the architectures
    of the device code.
    """

    version: Version = "3.3.9"
    sha256: efa.Sha256 | None = None
    commit: Commit | None = None
    architectures: tuple[cuda.Architecture, ...] = ("90a", "100")

    @property
    def release(self) -> str:
        """``3.4.5`` of the tag ``v3.4.5-0``."""
        return self.version.removeprefix("v").partition("-")[0]

    @property
    def source(self) -> GitSource | HttpSource:
        """Where this release is to be had."""
        if self.version.startswith("v") or self.commit:
            return git(REPOSITORY, self.commit or KNOWN.get(self.version), ref=self.version)
        name = f"nvshmem_src_cuda12-all-all-{self.version}.tar.gz"
        return http(f"{ARCHIVES}/{self.version}/source/{name}", self.sha256, unpack=True)


@layer(prefix=PREFIX, needs=[cuda.devel, gdrcopy.gdrcopy, efa.efa, nccl.nccl])
def nvshmem(build: Build, pins: Pins) -> Build:
    """Libraries, headers, CMake package and ``nvshmem-info``; without tests, examples and the Hydra launcher."""
    root = "/src" if isinstance(pins.source, GitSource) else "/src/nvshmem_src"
    options = {
        "CMAKE_INSTALL_PREFIX": PREFIX,
        "CMAKE_CUDA_ARCHITECTURES": ";".join(pins.architectures),
        "CUDA_HOME": cuda.HOME,
        "NVSHMEM_PREFIX": PREFIX,
        "NVSHMEM_USE_GDRCOPY": "1", "GDRCOPY_HOME": gdrcopy.PREFIX,
        "NVSHMEM_USE_NCCL": "1", "NCCL_HOME": nccl.PREFIX, "NCCL_INCLUDE": f"{nccl.PREFIX}/include",
        "NVSHMEM_LIBFABRIC_SUPPORT": "1", "LIBFABRIC_HOME": efa.LIBFABRIC,
        "NVSHMEM_MPI_SUPPORT": "1", "MPI_HOME": efa.OPENMPI,
        "NVSHMEM_PMIX_SUPPORT": "1", "PMIX_HOME": efa.PMIX, "NVSHMEM_DEFAULT_PMIX": "1",
        "NVSHMEM_IBRC_SUPPORT": "1", "NVSHMEM_IBGDA_SUPPORT": "1",
        "NVSHMEM_TIMEOUT_DEVICE_POLLING": "0",
        "NVSHMEM_BUILD_TESTS": "0", "NVSHMEM_BUILD_EXAMPLES": "0",
        "NVSHMEM_BUILD_HYDRA_LAUNCHER": "0", "NVSHMEM_BUILD_TXZ_PACKAGE": "0",
    }  # fmt: skip
    return (
        build.mount(pins.source, "/src")
        .env(**efa.LINK)
        .run(
            "cmake",
            "-G",
            "Ninja",
            "-S",
            root,
            "-B",
            "/build",
            *(f"-D{name}={value}" for name, value in options.items()),
        )
        .run("cmake", "--build", "/build", "--target", "install", "--parallel", JOBS)
        .export(NVSHMEM_DIR=PREFIX, NVSHMEM_HOME=PREFIX)
        .library(f"{PREFIX}/lib")
        .check("NVSHMEM is the pinned release", f"{PREFIX}/bin/nvshmem-info", "-a", expect=f"NVSHMEM v{pins.release}")
    )
