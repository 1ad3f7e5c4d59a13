"""pplx-kernels: the ``pplx`` all-to-all backend.

Sources: https://github.com/ppl-ai/pplx-kernels (README, CMakeLists.txt) and vLLM's ``tools/ep_kernels``. vLLM imports
``nvshmem_alloc_empty_unique_id``, which later commits dropped, so the pin stays where vLLM's own tools have it.
"""

from __future__ import annotations

from vep_dagger.dsl import Build, Commit, LayerPins, git, layer
from vep_dagger.layers import cuda, nvshmem, torch

PREFIX = "/opt/pplx"

CHECK = "import torch; from pplx_kernels.nvshmem import nvshmem_get_unique_id as uid; print(uid().nbytes, 'bytes')"


class Pins(LayerPins):
    """The commit, and the architectures as torch writes them."""

    commit: Commit = "12cecfda252e4e646417ac263d96e994d476ee5d"
    architectures: tuple[str, ...] = ("9.0a+PTX", "10.0")


@layer(prefix=PREFIX, needs=[cuda.devel, nvshmem.nvshmem, torch.torch_build])
def pplx(build: Build, pins: Pins) -> Build:
    """The Python package. NVSHMEM's CMake package links the static library into it: with DeepEP a process has two."""
    build = build.mount(git("https://github.com/ppl-ai/pplx-kernels.git", pins.commit), "/src").env(
        TORCH_CUDA_ARCH_LIST=";".join(pins.architectures), CMAKE_PREFIX_PATH=nvshmem.PREFIX
    )
    return torch.install_kernels(build, "/src", PREFIX).check(
        "pplx-kernels reach NVSHMEM's bootstrap", *cuda.without_driver("python3", "-c", CHECK), expect="128 bytes"
    )
