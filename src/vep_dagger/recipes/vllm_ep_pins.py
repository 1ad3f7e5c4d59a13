"""The pins of the recipe ``vllm-ep``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from vep_dagger.dsl import Instant, Pins, Version
from vep_dagger.layers import flashinfer, torch, vllm

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
from vep_dagger.recipes.vllm_ep_defaults import followed, written_tables
from vep_dagger.recipes.vllm_ep_misfits import misfits


class VllmEpPins(Pins):
    """What a matrix file may pin. What it leaves out follows the vLLM release: of CUDA, NCCL, NVSHMEM and the kernels,
    the versions in :mod:`vep_dagger.recipes.vllm_ep_defaults`; of Python packages, what the wheel asks for.
    """

    vllm: str
    platform: Literal["linux/amd64", "linux/arm64"] = "linux/amd64"
    cuda: CudaPins = CudaPins()
    python: PythonPins = PythonPins()
    torch: TorchChoice = TorchChoice()
    flashinfer: Version | None = None
    before: Instant | None = None
    """Python packages uploaded later are not seen."""
    gdrcopy: GdrcopyPins = GdrcopyPins()
    efa: EfaPins = EfaPins()
    nccl: NcclPins = NcclPins()
    aws_ofi_nccl: AwsOfiNcclPins = AwsOfiNcclPins()
    nccl_tests: NcclTestsPins = NcclTestsPins()
    nvshmem: NvshmemPins = NvshmemPins()
    pplx: PplxPins | None = None
    deepgemm: DeepGemmPins | None = None
    deepep: DeepEpPins | None = None
    """None of the three for a release that cannot use them, or holds them itself."""
    flash_attn: FlashAttnPins | None = None
    """Left out unless pinned: vLLM has its own."""

    @field_validator("vllm")
    @classmethod
    def _plain(cls, value: str) -> str:
        return torch.release_of(value.removeprefix("v")).version

    @model_validator(mode="wrap")
    @classmethod
    def _follow_the_release(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, dict):
            return handler(value)
        made = handler(followed(value))
        # What was written, and not what follows from it: errors point there.
        made.model_fields_set.intersection_update(value)
        for name, table in written_tables(value).items():
            if component := getattr(made, name):
                component.model_fields_set.intersection_update(table)
        return made

    @model_validator(mode="after")
    def _fits_together(self) -> VllmEpPins:
        for pin, reason in misfits(self):
            # The place of a pin that nobody has written is that of the release, which it does not fit.
            place = pin if pin in self.model_fields_set else "vllm"
            detail = InitErrorDetails(
                type="value_error", loc=(place,), input=getattr(self, place), ctx={"error": ValueError(reason)}
            )
            raise ValidationError.from_exception_data(type(self).__name__, [detail])
        return self

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
