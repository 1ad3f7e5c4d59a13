"""What does not fit together among the pins of ``vllm-ep``, and is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from vep_dagger.dsl import Pins
from vep_dagger.layers import flashinfer, kernels, python, torch, vllm
from vep_dagger.layers.architectures import nearest_for, unknown_to

if TYPE_CHECKING:
    from vep_dagger.recipes.vllm_ep_pins import VllmEpPins


def misfits(pins: VllmEpPins) -> Iterator[tuple[str, str]]:
    """Pins that cannot be, the pin to change first, with the reason."""
    release = torch.release_of(pins.vllm)
    if not SpecifierSet(release.python).contains(pins.python.minor):
        yield (
            "python",
            f"vLLM {pins.vllm} runs on Python {release.python}, and the pin is {pins.python.version}: leave the pin "
            f"out, and {python.Pins().version} is taken",
        )
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
    major = pins.cuda.version.partition(".")[0]
    if pins.nvshmem.cuda_of_wheel not in (None, major):
        yield (
            "nvshmem",
            f"the wheel is for CUDA {pins.nvshmem.cuda_of_wheel}, and the pin cuda is {pins.cuda.version}: take "
            f"that of nvidia_nvshmem_cu{major} (https://pypi.org/project/nvidia-nvshmem-cu{major}/)",
        )
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
    if refused := torch.refused_build(wanted, pins.torch.build, pins.cuda.minor):
        yield "torch", refused
    if pins.platform == "linux/arm64" and pins.torch.build == torch.PYPI and not torch.on_arm(wanted):
        yield (
            "torch",
            f"torch {wanted} on PyPI has no CUDA on arm64: leave the build out, and that of PyTorch's index is taken",
        )


def _architecture_misfits(pins: VllmEpPins) -> Iterator[tuple[str, str]]:
    """All lists that the CUDA does not compile for, in one: who mends one by one would be told so five times."""
    cuda = pins.cuda.minor
    reasons: dict[str, str] = {}
    lines: list[str] = []
    places: list[str] = []
    for name, key in _compiled(pins).items():
        component: Pins = getattr(pins, name)
        listed: tuple[str, ...] = getattr(component, key)
        unknown = {each: why for each in listed if (why := unknown_to(cuda, each))}
        if unknown:
            reasons |= {each.removesuffix("+PTX").replace(".", ""): why for each, why in unknown.items()}
            near = nearest_for(cuda, listed, device=name == "nvshmem")
            lines.append(f"\n    {name} = {_table(component, key, near)}")
            # Nobody wrote the default's list: what was written is the CUDA that does not know it.
            places.append(name if key in component.model_fields_set else "cuda")
    if lines:
        named = ", ".join(f"{each} ({why})" for each, why in reasons.items())
        yield (
            "cuda" if "cuda" in places else places[0],
            f"CUDA {cuda} does not compile for {named}: pin a CUDA that does, or write{''.join(lines)}",
        )


def _compiled(pins: VllmEpPins) -> dict[str, str]:
    """The pins of what the image's layers compile for architectures, each with the key that lists these."""
    keys = {"nccl": "gencode", "nccl_tests": "gencode"}
    if not pins.nvshmem.wheel:
        keys["nvshmem"] = "architectures"
    keys |= {name: "architectures" for name in ("pplx", "deepep") if name in kernels.used_by(pins.vllm)}
    if pins.flash_attn:
        keys["flash_attn"] = "architectures"
    return keys


def _table(component: Pins, key: str, values: tuple[str, ...]) -> str:
    """What to write of a component: as it is written, with other values of one key. A text or a list of texts is the
    same in JSON and in TOML."""
    written = {name: getattr(component, name) for name in type(component).model_fields if name != key}
    kept = {name: value for name, value in written.items() if name in component.model_fields_set}
    return f"{{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in (kept | {key: values}).items())} }}"
