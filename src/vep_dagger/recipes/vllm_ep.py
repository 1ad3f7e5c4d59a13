"""vLLM with expert parallel on NVIDIA GPUs: the whole stack, from CUDA to the kernels.

Which all-to-all backend a server uses, and whether it uses DeepGEMM, is a matter of variables and flags, not of the
image: cells that differ only in these share one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from vep_dagger.dsl import Build, Image, LayerDef, Stack, recipe
from vep_dagger.layers import (
    aws_ofi_nccl,
    cuda,
    deepep,
    deepgemm,
    efa,
    flash_attn,
    flashinfer,
    gdrcopy,
    kernels,
    nccl,
    nccl_tests,
    nvshmem,
    pplx,
    python,
    torch,
    vllm,
)
from vep_dagger.recipes.vllm_ep_checks import proven
from vep_dagger.recipes.vllm_ep_effect import without_effect
from vep_dagger.recipes.vllm_ep_hazards import backends_that_fail, refuse_known_failures
from vep_dagger.recipes.vllm_ep_pins import VllmEpPins

COMMON: tuple[LayerDef[Any], ...] = (
    gdrcopy.gdrcopy,
    efa.efa,
    nccl.nccl,
    aws_ofi_nccl.aws_ofi_nccl,
    nccl_tests.nccl_tests,
    nvshmem.nvshmem,
)
"""What every image holds."""

KERNELS: tuple[LayerDef[Any], ...] = (pplx.pplx, deepgemm.deepgemm, deepep.deepep)
"""Kernels; an image holds those that its release can use and does not bring itself."""

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {**torch.PARTS, "FlashInfer and kernels": flashinfer.PARTS, "vLLM and the rest": ("*",)}
)
"""The layers of the Python environment: NVIDIA's libraries, torch, kernels that go with a torch, and last vLLM with all
else. Two releases with one torch share the first."""

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Open MPI is for bootstrapping only; it must take plain TCP, and not the interfaces that lead nowhere.
        "OMPI_MCA_pml": "^ucx",
        "OMPI_MCA_btl": "tcp,self",
        "OMPI_MCA_btl_tcp_if_exclude": "lo,docker0,veth_def_agent",
        "NCCL_SOCKET_IFNAME": "^docker,lo,veth",
        # https://github.com/open-mpi/ompi/issues/7516
        "PMIX_MCA_gds": "hash",
        # torch finds the NCCL that it brings by its RPATH, whatever the loader's directories say: only preloading wins.
        "LD_PRELOAD": f"{nccl.PREFIX}/lib/libnccl.so",
        # NCCL opens its plugins by the names of files, and the loader's cache knows libraries by their sonames alone.
        # The other two are NVIDIA's images' own, where some hosts mount the driver.
        "LD_LIBRARY_PATH": f"{aws_ofi_nccl.PREFIX}/lib:/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
    }
)
"""How the stack behaves at run time; a matrix file's ``env`` overrules it."""


@recipe("vllm-ep")
def vllm_ep(pins: VllmEpPins) -> Image:
    """vLLM's wheel in a Python environment on CUDA's run-time base, with NCCL, EFA, NVSHMEM and kernels merged in."""
    refuse_known_failures(pins)
    stack = Stack(pins, pins.platform)
    used = kernels.used_by(pins.vllm)
    chosen = [kernel for kernel in KERNELS if kernel.name in used]
    if pins.flash_attn:
        chosen.append(flash_attn.flash_attn)
    layers = tuple(stack(kernel) for kernel in chosen)
    return Image(
        recipe="vllm-ep",
        tag=pins.tag,
        release=pins.vllm,
        base=stack(cuda.runtime),
        build=_environment(pins, tuple(layer.prefix for layer in layers)),
        layers=(*(stack(part) for part in COMMON), *layers),
        platform=pins.platform,
        notes=without_effect(pins),
        pins=pins,
        failing=backends_that_fail(pins),
    )


def _environment(pins: VllmEpPins, kernel_prefixes: tuple[str, ...]) -> Build:
    """The Python environment; variables come last, so that a change of theirs costs no installation."""
    wanted = pins.torch_build
    found = f"{python.site(pins.python.minor)}/vep_kernels.pth"
    build = python.unpack(Build(platform=pins.platform).program(f"{python.ENVIRONMENT}/bin"), pins.python)
    build = (
        python.environment(build, pins.python.version)
        # One resolution for all: one of its own for vLLM could replace the torch of the step before.
        .install(
            torch.requirements(wanted.version, wanted.build, *pins.requirements),
            before=pins.before or vllm.before(pins.vllm),
            prefix=python.ENVIRONMENT,
            parts=PARTS,
        )
        .write(found, "".join(f"{prefix}\n" for prefix in kernel_prefixes))
        .export(ENVIRONMENT)
    )
    return proven(build, pins)
