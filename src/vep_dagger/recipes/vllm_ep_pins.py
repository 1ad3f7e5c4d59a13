"""The pins of the recipe ``vllm-ep``, and what does not fit together among them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from packaging.specifiers import SpecifierSet
from packaging.version import Version as Parsed
from pydantic import ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from vep_dagger.dsl import Impossible, Pins, Version
from vep_dagger.layers import flashinfer, kernels, pplx, torch, vllm
from vep_dagger.layers.architectures import oldest_cuda

# A class body sees its own fields first, and these are called like the modules: so the types have names of their own.
from vep_dagger.layers.aws_ofi_nccl import Pins as AwsOfiNcclPins
from vep_dagger.layers.cuda import Pins as CudaPins
from vep_dagger.layers.deepep import Pins as DeepEpPins
from vep_dagger.layers.deepgemm import Pins as DeepGemmPins
from vep_dagger.layers.efa import Pins as EfaPins
from vep_dagger.layers.flash_attn import Pins as FlashAttnPins
from vep_dagger.layers.gdrcopy import Pins as GdrcopyPins
from vep_dagger.layers.nccl import Pins as NcclPins
from vep_dagger.layers.nccl_tests import Pins as NcclTestsPins
from vep_dagger.layers.nvshmem import Pins as NvshmemPins
from vep_dagger.layers.pplx import Pins as PplxPins
from vep_dagger.layers.python import Pins as PythonPins
from vep_dagger.layers.torch import Choice as TorchChoice
from vep_dagger.layers.torch import Pins as TorchPins

NVSHMEM_TOO_NEW = "3.5.19"
"""From this NVSHMEM on, DeepEP as it was before its second interface can fault (vllm#58159, DeepEP#764)."""

DEEPEP_V2 = "0.24.0"
"""The first vLLM release with DeepEP's second interface."""

DEEPGEMM_FOR_ONE_PYTHON = {"0.20.2": "3.12"}
"""Releases whose vendored DeepGEMM is compiled for one Python alone."""


class VllmEpPins(Pins):
    """What a matrix file may pin. None stands for what the vLLM release itself asks for."""

    vllm: Version
    platform: Literal["linux/amd64", "linux/arm64"] = "linux/amd64"
    cuda: CudaPins = CudaPins()
    python: PythonPins = PythonPins()
    torch: TorchChoice = TorchChoice()
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
    flash_attn: FlashAttnPins | None = None
    """Left out unless pinned: vLLM has its own."""

    @field_validator("vllm")
    @classmethod
    def _plain(cls, value: str) -> str:
        release = value.removeprefix("v")
        torch.release_of(release)
        return release

    @field_validator("before")
    @classmethod
    def _instant(cls, value: str | None) -> str | None:
        # A day alone would end at another moment in another time zone.
        if value is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", value):
            raise ValueError(f"{value!r} is no instant in UTC, such as 2025-09-01T00:00:00Z")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> VllmEpPins:
        for pin, reason in self._misfits():
            # The place of a pin that nobody has written is that of the release, which it does not fit.
            place = pin if pin in self.model_fields_set else "vllm"
            detail = InitErrorDetails(
                type="value_error", loc=(place,), input=getattr(self, place), ctx={"error": ValueError(reason)}
            )
            raise ValidationError.from_exception_data(type(self).__name__, [detail])
        return self

    def _misfits(self) -> Iterator[tuple[str, str]]:
        """Pins that cannot be, the pin to change first, with the reason."""
        release = torch.release_of(self.vllm)
        if not SpecifierSet(release.python).contains(self.python.minor):
            yield "python", f"vLLM {self.vllm} runs on Python {release.python}, and the pin is {self.python.version}"
        if not vllm.has_wheel(self.vllm, self.platform):
            yield (
                "platform",
                f"vLLM {self.vllm} has no wheel for arm64 on PyPI; {vllm.ON_ARM} is the first release that has one",
            )
        yield from self._torch_misfits(release.torch, release.cuda)
        try:
            flashinfer.version_for(self.vllm, release.flashinfer, self.flashinfer)
        except ValueError as error:
            yield "flashinfer", str(error)
        machine = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[self.platform]
        if self.nvshmem.wheel and machine not in self.nvshmem.wheel:
            yield "nvshmem", f"the wheel is not for {self.platform}: its name must have {machine}"
        yield from self._architecture_misfits()

    def _torch_misfits(self, wanted: str, made_for: str) -> Iterator[tuple[str, str]]:
        major = self.cuda.version.partition(".")[0]
        if made_for.partition(".")[0] != major:
            yield (
                "cuda",
                f"vLLM {self.vllm} is made for CUDA {made_for}, and the pin cuda is {self.cuda.version}; choices of a "
                "named axis can pin both",
            )
        if self.torch.version not in (None, wanted):
            yield (
                "torch",
                f"vLLM {self.vllm}'s wheel is built for torch {wanted}, and the pin is {self.torch.version}: leave the "
                "version out, and that one is taken",
            )
        if self.torch.build is None:
            try:
                torch.build_for(wanted, self.cuda.minor)
            except ValueError as error:
                yield "cuda", str(error)
            return
        built_for = torch.cuda_of(wanted, self.torch.build)
        if built_for and built_for.partition(".")[0] != major:
            yield (
                "torch",
                f"the build {self.torch.build} is for CUDA {built_for}, and the pin cuda is {self.cuda.version}",
            )
        if self.platform == "linux/arm64" and self.torch.build == torch.PYPI and not torch.on_arm(wanted):
            yield (
                "torch",
                f"torch {wanted} on PyPI has no CUDA on arm64: leave the build out, and that of PyTorch's index is "
                "taken",
            )

    def _architecture_misfits(self) -> Iterator[tuple[str, str]]:
        lists: dict[str, tuple[str, tuple[str, ...]]] = {
            "nccl": ("gencode", self.nccl.gencode),
            "nccl_tests": ("gencode", self.nccl_tests.gencode),
            "nvshmem": ("architectures", () if self.nvshmem.wheel else self.nvshmem.architectures),
            "pplx": ("architectures", self.pplx.architectures),
            "deepep": ("architectures", self.deepep.architectures),
        }
        for pin, (key, architectures) in lists.items():
            for each in architectures:
                oldest = oldest_cuda(each)
                if Parsed(oldest) <= Parsed(self.cuda.minor):
                    continue
                # Nobody wrote the default's list: what was written is the CUDA that is too old for it.
                listed = key in getattr(self, pin).model_fields_set
                yield (
                    pin if listed else "cuda",
                    f"{pin} is built for {each}, which CUDA {self.cuda.minor} does not know ({oldest} is the first): "
                    f"pin a newer CUDA, or leave {each} out: {pin} = {{ {key} = [{_others(architectures, each)}] }}",
                )

    def refuse_known_failures(self) -> None:
        """Raise Impossible for pins that are right each by itself, and known to fail together."""
        used = kernels.used_by(self.vllm)
        if "pplx" in used and self.pplx.commit.startswith(pplx.WITHOUT_UID):
            raise Impossible(
                f"pplx-kernels {pplx.WITHOUT_UID} dropped nvshmem_alloc_empty_unique_id, which vLLM imports: pin "
                f"{PplxPins().commit}"
            )
        if Parsed(self.vllm) < Parsed(DEEPEP_V2) and Parsed(self.nvshmem.release) >= Parsed(NVSHMEM_TOO_NEW):
            raise Impossible(
                f"DeepEP as vLLM {self.vllm} uses it can fault on NVSHMEM {self.nvshmem.release} (vllm#58159, "
                f"DeepEP#764): pin one below {NVSHMEM_TOO_NEW}"
            )
        if self.nvshmem.for_one_cuda and self.cuda.version.partition(".")[0] != "12":
            raise Impossible(
                f"NVSHMEM {self.nvshmem.version} is an archive for CUDA 12, and cuda is {self.cuda.version}: pin a "
                'tag, such as nvshmem = "v3.4.5-0", which any CUDA compiles'
            )
        only = DEEPGEMM_FOR_ONE_PYTHON.get(self.vllm)
        if only and self.python.minor != only:
            raise Impossible(
                f"the DeepGEMM in vLLM {self.vllm}'s wheel is compiled for Python {only} alone, and python is "
                f"{self.python.version}"
            )

    # Layers whose pins follow from several of these.

    @property
    def cuda_runtime(self) -> CudaPins:
        """The run-time base has the CUDA of the one that layers are built in."""
        return self.cuda

    @property
    def torch_build(self) -> TorchPins:
        """The environment that kernels are compiled against."""
        version = torch.release_of(self.vllm).torch
        build = self.torch.build or torch.build_for(version, self.cuda.minor)
        return TorchPins(version=version, build=build, python=self.python.version)

    @property
    def requirements(self) -> tuple[str, ...]:
        """vLLM, and what must be asked for beside it."""
        required = torch.release_of(self.vllm).flashinfer
        return vllm.requirements(self.vllm, flashinfer.version_for(self.vllm, required, self.flashinfer))

    @property
    def tag(self) -> str:
        """The versions that people look for; what else decides the image is in its key."""
        return (
            f"vllm{self.vllm}-efa{self.efa.version}-ofi{self.aws_ofi_nccl.version}"
            f"-nccl{self.nccl.version}-tests{self.nccl_tests.version}-nvshmem{self.nvshmem.version}"
        )


def _others(architectures: tuple[str, ...], left_out: str) -> str:
    return ", ".join(f'"{each}"' for each in architectures if each != left_out)
