"""DeepEP: the ``deepep_…`` all-to-all backends. Source: https://github.com/deepseek-ai/DeepEP (README, setup.py)."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from vep_dagger.dsl import Build, Commit, LayerPins, git, layer
from vep_dagger.layers import cuda, kernels, nccl, nvshmem, provenance, torch
from vep_dagger.layers.architectures import TorchArchitectures
from vep_dagger.layers.known import commit_of, with_submodules

PREFIX = "/opt/deepep"
FMT = "third-party/fmt"

CHECK = "import torch, deep_ep; print(deep_ep.Buffer.get_dispatch_config(16).get_rdma_buffer_size_hint(14336, 16))"

# setup.py puts the directory of NVSHMEM into the module, and the loader must take NVSHMEM from there, not from a wheel.
# The address, which differs each time, is left out: what checks print is in the manifest, and so in the image.
WHICH_NVSHMEM = f"""
set -eu
library=$(find {PREFIX} -name 'deep_ep_cpp*.so' -o -path '*/deep_ep/_C.*.so')
ldd "$library" | sed -n '/libnvshmem_host/s/ (0x.*//p'
"""


class Pins(LayerPins):
    """The commit, with that of its submodule where it has one, and the architectures as torch writes them."""

    commit: Commit = "c18eabdebf1381978ff884d278f6083a6153be3f"
    fmt: Commit | None = None
    """Of a commit with the second interface; those that vLLM builds are known. None for an older one, and for one whose
    submodules are to be fetched with it."""
    architectures: TorchArchitectures = ("9.0a+PTX", "10.0")

    @model_validator(mode="before")
    @classmethod
    def _submodule_of_the_commit(cls, value: Any) -> Any:
        return with_submodules("deepep", value, cls.model_fields["commit"].default)

    @property
    def interface(self) -> str | None:
        """``legacy``, or ``v2`` for a commit with ``ElasticBuffer``; None for one that nobody has looked into."""
        found = commit_of("deepep", self.commit)
        return found.interface if found else None


@layer(prefix=PREFIX, needs=[cuda.devel, nvshmem.nvshmem, torch.torch_build])
def deepep(build: Build, pins: Pins) -> Build:
    """The Python package. Without NVSHMEM it builds too, and then does not load, or lacks what the check asks for."""
    source = git("https://github.com/deepseek-ai/DeepEP.git", pins.commit, submodules=pins.fmt is None)
    build = build.mount(source, "/src").env(
        NVSHMEM_DIR=nvshmem.PREFIX, TORCH_CUDA_ARCH_LIST=";".join(pins.architectures)
    )
    if pins.fmt:
        build = build.mount(git("https://github.com/fmtlib/fmt.git", pins.fmt, submodules=False), f"/src/{FMT}")
    if pins.interface != "legacy":
        # The second interface links NCCL and compiles with its headers at run time. Its look for a second NCCL takes
        # the plugin's libnccl-net.so for one, and which one torch calls is a check of the image.
        build = build.export(EP_NCCL_ROOT_DIR=nccl.PREFIX, EP_SUPPRESS_NCCL_CHECK="1")
    build = provenance.recorded(build, PREFIX)
    built = torch.install_kernels(build, "/src", PREFIX)
    return (
        kernels.proven(built, "DeepEP", PREFIX, pins.commit)
        .check("DeepEP has its kernels over NVSHMEM", *cuda.without_driver("python3", "-c", CHECK), expect="91887744")
        .check("DeepEP loads the image's NVSHMEM", "sh", "-c", WHICH_NVSHMEM, expect=f"=> {nvshmem.PREFIX}/lib/")
    )
