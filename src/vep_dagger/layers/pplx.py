"""pplx-kernels: the ``pplx`` all-to-all backend.

Sources: https://github.com/ppl-ai/pplx-kernels (README, CMakeLists.txt, setup.py) and vLLM's ``tools/ep_kernels``. vLLM
imports ``nvshmem_alloc_empty_unique_id``, which upstream's 2bd6e30 dropped: the default is the last commit that vLLM's
own tools had.
"""

from __future__ import annotations

from vep_dagger.dsl import Build, Commit, LayerPins, git, layer
from vep_dagger.layers import cuda, kernels, nvshmem, provenance, torch
from vep_dagger.layers.architectures import TorchArchitectures

PREFIX = "/opt/pplx"

WITHOUT_UID = "2bd6e30"
"""The commit that dropped what vLLM imports."""

CHECK = """
import torch
from pplx_kernels.nvshmem import nvshmem_alloc_empty_unique_id, nvshmem_get_unique_id
print(nvshmem_get_unique_id().nbytes, "bytes of", nvshmem_alloc_empty_unique_id().nbytes)
"""


class Pins(LayerPins):
    """The commit, and the architectures as torch writes them."""

    commit: Commit = "12cecfda252e4e646417ac263d96e994d476ee5d"
    architectures: TorchArchitectures = ("9.0a+PTX", "10.0")


@layer(prefix=PREFIX, needs=[cuda.devel, nvshmem.nvshmem, torch.torch_build])
def pplx(build: Build, pins: Pins) -> Build:
    """The Python package. NVSHMEM's CMake package links the static library into it: with DeepEP a process has two."""
    build = build.mount(git("https://github.com/ppl-ai/pplx-kernels.git", pins.commit), "/src").env(
        TORCH_CUDA_ARCH_LIST=";".join(pins.architectures), CMAKE_PREFIX_PATH=nvshmem.PREFIX
    )
    built = torch.install_kernels(provenance.recorded(build, PREFIX), "/src", PREFIX)
    return kernels.proven(built, "pplx-kernels", PREFIX, pins.commit).check(
        "pplx-kernels reach NVSHMEM's bootstrap", *cuda.without_driver("python3", "-c", CHECK), expect="128 bytes"
    )
