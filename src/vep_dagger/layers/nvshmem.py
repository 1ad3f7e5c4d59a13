"""NVSHMEM: built from source with GDRCopy, NCCL, libfabric, MPI and PMIx, or taken from NVIDIA's wheel.

Sources: NVIDIA's installation guide (https://docs.nvidia.com/nvshmem/release-notes-install-guide/install-guide/) and
its archives, here those for CUDA 12; from 3.4.5 on, tags of https://github.com/NVIDIA/nvshmem, for any CUDA
(``CMakeLists.txt`` and ``cmake_config/NVSHMEMEnv.cmake`` have the options); the wheels are on
https://pypi.org/project/nvidia-nvshmem-cu12/.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from vep_dagger.dsl import (
    JOBS,
    Build,
    Commit,
    GitSource,
    HttpSource,
    LayerPins,
    Sha256,
    SpellingError,
    Version,
    git,
    http,
    layer,
)
from vep_dagger.layers import cuda, efa, gdrcopy, nccl
from vep_dagger.layers.architectures import DeviceArchitectures

PREFIX = "/opt/nvshmem"
REPOSITORY = "https://github.com/NVIDIA/nvshmem.git"
FIRST_TAG = "3.4.5"
"""The first release with a tag (``v3.4.5-0``)."""
ARCHIVES = "https://developer.download.nvidia.com/compute/redist/nvshmem"

# Archives have a directory of their own, whose name has changed between releases; a git tree has none.
CONFIGURE = """
set -eu
root=$(find /src -maxdepth 2 -name CMakeLists.txt -printf '%d %h\\n' | sort -n | sed -n '1s/^[0-9]* //p')
exec cmake -G Ninja -S "$root" -B /build "$@"
"""

# The wheel has no unversioned library and no CMake package: DeepEP links the one, pplx-kernels look for the other. Its
# transports lie where its host library looks for them, beside it.
UNPACK_WHEEL = f"""
set -eu
mkdir -p {PREFIX}
cp -a /src/nvidia/nvshmem/. {PREFIX}/
rm -f {PREFIX}/__init__.py
cd {PREFIX}/lib
for versioned in *.so.*; do ln -sf "$versioned" "${{versioned%%.so.*}}.so"; done
chmod 755 *.so.*
"""

CMAKE_PACKAGE = f"""\
# NVSHMEM of NVIDIA's wheel, for projects that look for its CMake package.
set(NVSHMEM_INCLUDE_DIR "{PREFIX}/include")
set(NVSHMEM_LIB_DIR "{PREFIX}/lib")
foreach(part nvshmem_host nvshmem_bootstrap_uid)
  if(NOT TARGET nvshmem::${{part}})
    add_library(nvshmem::${{part}} SHARED IMPORTED)
    set_target_properties(nvshmem::${{part}} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${{NVSHMEM_INCLUDE_DIR}}")
  endif()
endforeach()
set_target_properties(nvshmem::nvshmem_host PROPERTIES IMPORTED_LOCATION "${{NVSHMEM_LIB_DIR}}/libnvshmem_host.so")
set_target_properties(nvshmem::nvshmem_bootstrap_uid PROPERTIES
  IMPORTED_LOCATION "${{NVSHMEM_LIB_DIR}}/nvshmem_bootstrap_uid.so")
if(NOT TARGET nvshmem::nvshmem_device)
  add_library(nvshmem::nvshmem_device STATIC IMPORTED)
  set_target_properties(nvshmem::nvshmem_device PROPERTIES
    IMPORTED_LOCATION "${{NVSHMEM_LIB_DIR}}/libnvshmem_device.a"
    INTERFACE_INCLUDE_DIRECTORIES "${{NVSHMEM_INCLUDE_DIR}}")
endif()
if(NOT TARGET nvshmem::nvshmem)
  add_library(nvshmem::nvshmem INTERFACE IMPORTED)
  target_link_libraries(nvshmem::nvshmem INTERFACE nvshmem::nvshmem_host nvshmem::nvshmem_device)
endif()
set(NVSHMEM_FOUND TRUE)
"""

ASK = """
numbers = [ctypes.c_int() for _ in range(3)]
library.nvshmemx_vendor_get_version_info(*(ctypes.byref(number) for number in numbers))
version = ".".join(str(number.value) for number in numbers)
"""

CHECK_WHEEL = f"""
import ctypes
library = ctypes.CDLL("{PREFIX}/lib/libnvshmem_host.so")
{ASK}
print(f"NVSHMEM v{{version}}")
"""

WHEEL = re.compile(r"\S+://\S+/nvidia_nvshmem_cu(?P<cuda>[0-9]+)-(?P<version>[0-9.]+)-\S+\.whl")


def _wheel_address(value: str) -> str:
    if not WHEEL.fullmatch(value):
        raise SpellingError(
            f"{value!r} is no address of NVIDIA's wheel: write all of it, from https:// to .whl, as "
            "https://pypi.org/project/nvidia-nvshmem-cu12/#files has it (.../nvidia_nvshmem_cu12-3.3.9-py3-none-….whl)"
        )
    return value


WheelAddress = Annotated[str, AfterValidator(_wheel_address)]


class Pins(LayerPins):
    """An archive's release (``3.3.9``) or a tag (``v3.4.5-0``), whose sha256 or commit the lock knows, or these; or a
    wheel; and the architectures of the device code.
    """

    version: Version = "3.3.9"
    sha256: Sha256 | None = None
    """Of the archive, or of the wheel."""
    commit: Commit | None = None
    wheel: WheelAddress | None = None
    """The address of NVIDIA's wheel for this platform, instead of building: no ``nvshmem-info``, and NVIDIA's choice of
    architectures, transports and bootstraps."""
    architectures: DeviceArchitectures = ("90a", "100")

    @model_validator(mode="before")
    @classmethod
    def _version_of_the_wheel(cls, value: Any) -> Any:
        if isinstance(value, dict) and "version" not in value and (found := WHEEL.fullmatch(str(value.get("wheel")))):
            return {**value, "version": found["version"]}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Pins:
        found = WHEEL.fullmatch(self.wheel or "")
        if found and found["version"] != self.release:
            raise ValueError(
                f"the wheel is of NVSHMEM {found['version']}, and version says {self.version}: leave the version out, "
                "and the wheel's is taken"
            )
        if self.commit and self.wheel:
            raise ValueError("a commit is built, and a wheel is not: write one of the two")
        if self.sha256 and not isinstance(self.source, HttpSource):
            raise ValueError(
                "sha256 is that of an archive or a wheel, and a tag or a commit has none: leave sha256 out"
                + ("" if self.version.startswith("v") else f", or the commit, and the archive {self.version} is taken")
            )
        return self

    @property
    def cuda_of_wheel(self) -> str | None:
        """The major CUDA release that the wheel is made for: ``12``."""
        found = WHEEL.fullmatch(self.wheel or "")
        return found["cuda"] if found else None

    @property
    def release(self) -> str:
        """``3.4.5`` of the tag ``v3.4.5-0``."""
        return self.version.removeprefix("v").partition("-")[0]

    @property
    def for_one_cuda(self) -> bool:
        """Whether it is an archive, which is made for CUDA 12, and not a tag or a wheel."""
        return isinstance(self.source, HttpSource) and self.wheel is None

    @property
    def source(self) -> GitSource | HttpSource:
        """Where this release is to be had."""
        if self.wheel:
            return http(self.wheel, self.sha256, unpack=True)
        if self.version.startswith("v") or self.commit:
            return git(REPOSITORY, self.commit, ref=self.version)
        name = f"nvshmem_src_cuda12-all-all-{self.version}.tar.gz"
        return http(f"{ARCHIVES}/{self.version}/source/{name}", self.sha256, unpack=True)


@layer(prefix=PREFIX, needs=[cuda.devel, gdrcopy.gdrcopy, efa.efa, nccl.nccl])
def nvshmem(build: Build, pins: Pins) -> Build:
    """Libraries, headers and CMake package; from source also ``nvshmem-info``. Without tests, examples, the Hydra
    launcher and the Python package.
    """
    build = _from_wheel(build, pins) if pins.wheel else _from_source(build, pins)
    return build.export(NVSHMEM_DIR=PREFIX, NVSHMEM_HOME=PREFIX).library(f"{PREFIX}/lib")


def _from_wheel(build: Build, pins: Pins) -> Build:
    return (
        build.mount(pins.source, "/src")
        .run("sh", "-c", UNPACK_WHEEL)
        .write(f"{PREFIX}/lib/cmake/nvshmem/NVSHMEMConfig.cmake", CMAKE_PACKAGE)
        .check(
            "NVSHMEM is the pinned release",
            *cuda.without_driver("python3", "-c", CHECK_WHEEL),
            expect=f"NVSHMEM v{pins.release}",
        )
    )


def _from_source(build: Build, pins: Pins) -> Build:
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
        # OpenSHMEM and UCX are looked for in MPI's prefix and the system; nobody asked for them.
        "NVSHMEM_SHMEM_SUPPORT": "0", "NVSHMEM_UCX_SUPPORT": "0",
        "NVSHMEM_TIMEOUT_DEVICE_POLLING": "0",
        "NVSHMEM_BUILD_TESTS": "0", "NVSHMEM_BUILD_EXAMPLES": "0", "NVSHMEM_BUILD_PYTHON_LIB": "0",
        "NVSHMEM_BUILD_HYDRA_LAUNCHER": "0", "NVSHMEM_BUILD_TXZ_PACKAGE": "0",
    }  # fmt: skip
    return (
        build.mount(pins.source, "/src")
        .env(**efa.LINK)
        .run("sh", "-c", CONFIGURE, "configure", *(f"-D{name}={value}" for name, value in options.items()))
        .run("cmake", "--build", "/build", "--target", "install", "--parallel", JOBS)
        .program(f"{PREFIX}/bin")
        .check("NVSHMEM is the pinned release", f"{PREFIX}/bin/nvshmem-info", "-a", expect=f"NVSHMEM v{pins.release}")
    )
