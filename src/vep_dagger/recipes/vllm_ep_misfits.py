"""What does not fit together among the pins of ``vllm-ep``: what is refused, and what is known to fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version as Parsed

from vep_dagger.dsl import Impossible
from vep_dagger.layers import flashinfer, kernels, pplx, torch, vllm
from vep_dagger.layers.architectures import oldest_cuda

if TYPE_CHECKING:
    from vep_dagger.recipes.vllm_ep_pins import VllmEpPins

NVSHMEM_TOO_NEW = "3.5.19"
"""From this NVSHMEM on, DeepEP as it was before its second interface can fault (vllm#58159, DeepEP#764)."""

DEEPEP_V2 = "0.24.0"
"""The first vLLM release with DeepEP's second interface."""

DEEPGEMM_FOR_ONE_PYTHON = {"0.20.2": "3.12"}
"""Releases whose vendored DeepGEMM is compiled for one Python alone."""


def misfits(pins: VllmEpPins) -> Iterator[tuple[str, str]]:
    """Pins that cannot be, the pin to change first, with the reason."""
    release = torch.release_of(pins.vllm)
    if not SpecifierSet(release.python).contains(pins.python.minor):
        yield "python", f"vLLM {pins.vllm} runs on Python {release.python}, and the pin is {pins.python.version}"
    if not vllm.has_wheel(pins.vllm, pins.platform):
        yield (
            "platform",
            f"vLLM {pins.vllm} has no wheel for arm64 on PyPI; {vllm.ON_ARM} is the first release that has one",
        )
    yield from _torch_misfits(pins, release.torch, release.cuda)
    try:
        flashinfer.version_for(pins.vllm, release.flashinfer, pins.flashinfer)
    except ValueError as error:
        yield "flashinfer", str(error)
    machine = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[pins.platform]
    if pins.nvshmem.wheel and machine not in pins.nvshmem.wheel:
        yield "nvshmem", f"the wheel is not for {pins.platform}: its name must have {machine}"
    yield from _architecture_misfits(pins)


def _torch_misfits(pins: VllmEpPins, wanted: str, made_for: str) -> Iterator[tuple[str, str]]:
    major = pins.cuda.version.partition(".")[0]
    if made_for.partition(".")[0] != major:
        yield (
            "cuda",
            f"vLLM {pins.vllm} is made for CUDA {made_for}, and the pin cuda is {pins.cuda.version}; choices of a "
            "named axis can pin both",
        )
    if pins.torch.version not in (None, wanted):
        yield (
            "torch",
            f"vLLM {pins.vllm}'s wheel is built for torch {wanted}, and the pin is {pins.torch.version}: leave the "
            "version out, and that one is taken",
        )
    if pins.torch.build is None:
        try:
            torch.build_for(wanted, pins.cuda.minor)
        except ValueError as error:
            yield "cuda", str(error)
        return
    built_for = torch.cuda_of(wanted, pins.torch.build)
    if built_for and built_for.partition(".")[0] != major:
        yield (
            "torch",
            f"the build {pins.torch.build} is for CUDA {built_for}, and the pin cuda is {pins.cuda.version}",
        )
    if pins.platform == "linux/arm64" and pins.torch.build == torch.PYPI and not torch.on_arm(wanted):
        yield (
            "torch",
            f"torch {wanted} on PyPI has no CUDA on arm64: leave the build out, and that of PyTorch's index is taken",
        )


def _architecture_misfits(pins: VllmEpPins) -> Iterator[tuple[str, str]]:
    lists: dict[str, tuple[str, tuple[str, ...]]] = {
        "nccl": ("gencode", pins.nccl.gencode),
        "nccl_tests": ("gencode", pins.nccl_tests.gencode),
        "nvshmem": ("architectures", () if pins.nvshmem.wheel else pins.nvshmem.architectures),
        "pplx": ("architectures", pins.pplx.architectures),
        "deepep": ("architectures", pins.deepep.architectures),
    }
    for name, (key, architectures) in lists.items():
        for each in architectures:
            oldest = oldest_cuda(each)
            if Parsed(oldest) <= Parsed(pins.cuda.minor):
                continue
            # Nobody wrote the default's list: what was written is the CUDA that is too old for it.
            listed = key in getattr(pins, name).model_fields_set
            yield (
                name if listed else "cuda",
                f"{name} is built for {each}, which CUDA {pins.cuda.minor} does not know ({oldest} is the first): "
                f"pin a newer CUDA, or leave {each} out: {name} = {{ {key} = [{_others(architectures, each)}] }}",
            )


def refuse_known_failures(pins: VllmEpPins) -> None:
    """Raise Impossible for pins that are right each by itself, and known to fail together."""
    used = kernels.used_by(pins.vllm)
    if "pplx" in used and pins.pplx.commit.startswith(pplx.WITHOUT_UID):
        raise Impossible(
            f"pplx-kernels {pplx.WITHOUT_UID} dropped nvshmem_alloc_empty_unique_id, which vLLM imports: pin "
            f"{pplx.Pins().commit}"
        )
    if Parsed(pins.vllm) < Parsed(DEEPEP_V2) and Parsed(pins.nvshmem.release) >= Parsed(NVSHMEM_TOO_NEW):
        raise Impossible(
            f"DeepEP as vLLM {pins.vllm} uses it can fault on NVSHMEM {pins.nvshmem.release} (vllm#58159, "
            f"DeepEP#764): pin one below {NVSHMEM_TOO_NEW}"
        )
    if pins.nvshmem.for_one_cuda and pins.cuda.version.partition(".")[0] != "12":
        raise Impossible(
            f"NVSHMEM {pins.nvshmem.version} is an archive for CUDA 12, and cuda is {pins.cuda.version}: pin a "
            'tag, such as nvshmem = "v3.4.5-0", which any CUDA compiles'
        )
    only = DEEPGEMM_FOR_ONE_PYTHON.get(pins.vllm)
    if only and pins.python.minor != only:
        raise Impossible(
            f"the DeepGEMM in vLLM {pins.vllm}'s wheel is compiled for Python {only} alone, and python is "
            f"{pins.python.version}"
        )


def _others(architectures: tuple[str, ...], left_out: str) -> str:
    return ", ".join(f'"{each}"' for each in architectures if each != left_out)
