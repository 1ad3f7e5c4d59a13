"""DeepEP: the ``deepep_…`` all-to-all backends. Source: https://github.com/deepseek-ai/DeepEP (README, setup.py)."""

from __future__ import annotations

from vep_dagger.dsl import Build, Commit, LayerPins, git, layer
from vep_dagger.layers import cuda, kernels, nvshmem, provenance, torch
from vep_dagger.layers.architectures import TorchArchitectures

PREFIX = "/opt/deepep"

CHECK = "import torch, deep_ep; print(deep_ep.Buffer.get_dispatch_config(16).get_rdma_buffer_size_hint(14336, 16))"

# setup.py puts the directory of NVSHMEM into the module, and the loader must take NVSHMEM from there, not from a wheel.
# The address, which differs each time, is left out: what checks print is in the manifest, and so in the image.
WHICH_NVSHMEM = f"""
set -eu
library=$(find {PREFIX} -name 'deep_ep_cpp*.so')
ldd "$library" | sed -n '/libnvshmem_host/s/ (0x.*//p'
"""


class Pins(LayerPins):
    """The commit, and the architectures as torch writes them."""

    commit: Commit = "c18eabdebf1381978ff884d278f6083a6153be3f"
    architectures: TorchArchitectures = ("9.0a+PTX", "10.0")


@layer(prefix=PREFIX, needs=[cuda.devel, nvshmem.nvshmem, torch.torch_build])
def deepep(build: Build, pins: Pins) -> Build:
    """The Python package. Without NVSHMEM it builds too, and then does not load, or lacks what the check asks for."""
    build = build.mount(git("https://github.com/deepseek-ai/DeepEP.git", pins.commit), "/src").env(
        NVSHMEM_DIR=nvshmem.PREFIX, TORCH_CUDA_ARCH_LIST=";".join(pins.architectures)
    )
    built = torch.install_kernels(provenance.recorded(build, PREFIX), "/src", PREFIX)
    return (
        kernels.proven(built, "DeepEP", PREFIX, pins.commit)
        .check("DeepEP has its kernels over NVSHMEM", *cuda.without_driver("python3", "-c", CHECK), expect="91887744")
        .check("DeepEP loads the image's NVSHMEM", "sh", "-c", WHICH_NVSHMEM, expect=f"=> {nvshmem.PREFIX}/lib/")
    )
