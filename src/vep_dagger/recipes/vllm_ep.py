"""vLLM with expert parallel on NVIDIA GPUs: the whole stack, from CUDA to the kernels.

The layers are planned and have not been built by this project yet (:mod:`vep_dagger.layers`).

Which all-to-all backend a server uses, and whether it uses DeepGEMM, is a matter of variables and flags, not of the
image: cells that differ only in these share one image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version as Parsed
from pydantic import field_validator, model_validator

from vep_dagger.dsl import Build, Image, LayerDef, Pins, Stack, Version, recipe
from vep_dagger.layers import aws_ofi_nccl, cuda, deepep, deepgemm, efa, gdrcopy, nccl, nccl_tests, nvshmem, pplx, torch

# A class body sees its own fields first, and these are called like the modules: so the types have names of their own.
from vep_dagger.layers.aws_ofi_nccl import Pins as AwsOfiNcclPins
from vep_dagger.layers.cuda import Pins as CudaPins
from vep_dagger.layers.deepep import Pins as DeepEpPins
from vep_dagger.layers.deepgemm import Pins as DeepGemmPins
from vep_dagger.layers.efa import Pins as EfaPins
from vep_dagger.layers.gdrcopy import Pins as GdrcopyPins
from vep_dagger.layers.nccl import Pins as NcclPins
from vep_dagger.layers.nccl_tests import Pins as NcclTestsPins
from vep_dagger.layers.nvshmem import Pins as NvshmemPins
from vep_dagger.layers.pplx import Pins as PplxPins
from vep_dagger.layers.torch import Minor
from vep_dagger.layers.torch import Pins as TorchPins

COMMON: tuple[LayerDef[Any], ...] = (
    gdrcopy.gdrcopy,
    efa.efa,
    nccl.nccl,
    aws_ofi_nccl.aws_ofi_nccl,
    nccl_tests.nccl_tests,
    nvshmem.nvshmem,
)
"""What every image holds."""

KERNELS: tuple[tuple[LayerDef[Any], str | None], ...] = (
    (pplx.pplx, "0.17"),
    (deepgemm.deepgemm, "0.20"),
    (deepep.deepep, None),
)
"""Kernels, with the first release that has no use for them: 0.17 has no pplx backend, 0.20 holds DeepGEMM itself."""

FLASHINFER_REQUIRED = "0.11.1"
"""The first release whose wheel requires FlashInfer; before that its extra ``flashinfer`` does, at one version."""

BEFORE: Mapping[str, str] = MappingProxyType({"0.10.1.1": "2025-09-01T00:00:00Z", "0.11.0": "2025-10-15T00:00:00Z"})
"""A moment soon after a release, to resolve its dependencies as of then: these releases set no upper bound on
transformers, and their tokenizers do not work with transformers 5.
"""

PROGRAMS = (torch.PREFIX, efa.OPENMPI, efa.LIBFABRIC, nvshmem.PREFIX, nccl_tests.PREFIX)
"""Prefixes whose programs are found by name."""

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
        "CUDA_HOME": cuda.HOME,
        "PATH": ":".join((*(f"{prefix}/bin" for prefix in PROGRAMS), cuda.PATH)),
    }
)
"""How the stack behaves at run time; a matrix file's ``env`` overrules it."""

LOAD_VLLM = "import vllm, vllm._C, vllm._moe_C; print('vllm', vllm.__version__)"

WHICH_NCCL = f"""
import ctypes, pathlib, torch
library = ctypes.CDLL(str(pathlib.Path(torch.__file__).parent / "lib" / "libtorch_cuda.so"))
{nccl.ASK}
print("torch calls NCCL", version.value)
"""


class VllmEpPins(Pins):
    """What a matrix file may pin. None stands for what the vLLM release itself asks for."""

    vllm: Version
    cuda: CudaPins = CudaPins()
    python: Minor = "3.12"
    torch: Version | None = None
    flashinfer: Version | None = None
    before: str | None = None
    """Python packages uploaded later are not seen: an instant in UTC (RFC 3339)."""
    gdrcopy: GdrcopyPins = GdrcopyPins()
    efa: EfaPins = EfaPins()
    nccl: NcclPins = NcclPins()
    aws_ofi_nccl: AwsOfiNcclPins = AwsOfiNcclPins()
    nccl_tests: NcclTestsPins = NcclTestsPins()
    nvshmem: NvshmemPins = NvshmemPins()
    pplx: PplxPins = PplxPins()
    deepgemm: DeepGemmPins = DeepGemmPins()
    deepep: DeepEpPins = DeepEpPins()

    @field_validator("vllm")
    @classmethod
    def _plain(cls, value: str) -> str:
        return value.removeprefix("v")

    @field_validator("before")
    @classmethod
    def _instant(cls, value: str | None) -> str | None:
        # A day alone would end at another moment in another time zone.
        if value is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", value):
            raise ValueError(f"{value!r} is no instant in UTC, such as 2025-09-01T00:00:00Z")
        return value

    @model_validator(mode="after")
    def _fits_the_release(self) -> VllmEpPins:
        release = torch.release_of(self.vllm)
        if not SpecifierSet(release.python).contains(self.python):
            raise ValueError(f"vLLM {self.vllm} runs on Python {release.python}, and the pin python is {self.python}")
        if release.cuda.partition(".")[0] != self.cuda.version.partition(".")[0]:
            raise ValueError(
                f"vLLM {self.vllm} is made for CUDA {release.cuda}, and the pin cuda is {self.cuda.version}; "
                "choices of a named axis can pin both"
            )
        return self

    # Layers whose pins follow from several of these.

    @property
    def cuda_runtime(self) -> CudaPins:
        """The run-time base has the CUDA of the one that layers are built in."""
        return self.cuda

    @property
    def torch_build(self) -> TorchPins:
        """The environment that kernels are compiled against."""
        version = self.torch or torch.release_of(self.vllm).torch
        return TorchPins(version=version, cuda=self.cuda.minor, python=self.python)

    @property
    def requirements(self) -> tuple[str, ...]:
        """vLLM and FlashInfer, each at one version."""
        if self.flashinfer:
            return (f"vllm=={self.vllm}", f"flashinfer-python=={self.flashinfer}")
        extra = "" if Parsed(self.vllm) >= Parsed(FLASHINFER_REQUIRED) else "[flashinfer]"
        return (f"vllm{extra}=={self.vllm}",)

    @property
    def tag(self) -> str:
        """The versions that people look for; what else decides the image is in its key."""
        return (
            f"vllm{self.vllm}-efa{self.efa.version}-ofi{self.aws_ofi_nccl.version}"
            f"-nccl{self.nccl.version}-tests{self.nccl_tests.version}-nvshmem{self.nvshmem.version}"
        )


@recipe("vllm-ep")
def vllm_ep(pins: VllmEpPins) -> Image:
    """vLLM's wheel in a Python environment on CUDA's run-time base, with NCCL, EFA, NVSHMEM and kernels merged in."""
    stack = Stack(pins)
    kernels = tuple(stack(kernel) for kernel, end in KERNELS if end is None or Parsed(pins.vllm) < Parsed(end))
    return Image(
        recipe="vllm-ep",
        tag=pins.tag,
        release=pins.vllm,
        base=stack(cuda.runtime),
        build=_environment(pins, tuple(kernel.prefix for kernel in kernels)),
        layers=(*(stack(part) for part in COMMON), *kernels),
        pins=pins,
    )


def _environment(pins: VllmEpPins, kernels: tuple[str, ...]) -> Build:
    """The Python environment; variables come last, so that a change of theirs costs no installation."""
    wanted = pins.torch_build
    found = f"{torch.site(torch.PREFIX, pins.python)}/vep_kernels.pth"
    load_vllm = cuda.without_driver("python3", "-c", LOAD_VLLM)
    which_nccl = cuda.without_driver("python3", "-c", WHICH_NCCL)
    expected = f"torch calls NCCL {pins.nccl.code}" if pins.nccl.code else None
    nvcc = (f"{cuda.HOME}/bin/nvcc", "--version")
    return (
        Build()
        .python(pins.python, torch.PREFIX)
        # One resolution for all: a step of its own for vLLM could replace the torch of the step before.
        .install(
            torch.wheel(wanted.version, wanted.cuda, *pins.requirements),
            before=pins.before or BEFORE.get(pins.vllm),
            prefix=torch.PREFIX,
        )
        .write(found, "".join(f"{prefix}\n" for prefix in kernels))
        .export(ENVIRONMENT)
        .check("kernels can be compiled at run time", *nvcc, expect=f"release {pins.cuda.minor}")
        .check("vLLM's own kernels load", *load_vllm, expect=f"vllm {pins.vllm}")
        .check("torch calls the NCCL that is pinned", *which_nccl, expect=expected)
    )
