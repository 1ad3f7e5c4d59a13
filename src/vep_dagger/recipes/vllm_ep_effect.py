"""Pins of ``vllm-ep`` that do nothing: told in a plan, and no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vep_dagger.layers import kernels

if TYPE_CHECKING:
    from vep_dagger.recipes.vllm_ep_pins import VllmEpPins


def without_effect(pins: VllmEpPins) -> tuple[str, ...]:
    """What is written in the pins and does nothing. No error: a matrix may go over releases that use a component and
    releases that do not.
    """
    used = kernels.used_by(pins.vllm)
    notes = []
    for name in ("pplx", "deepgemm", "deepep"):
        if name in pins.model_fields_set and name not in used:
            why = "holds DeepGEMM itself" if name == "deepgemm" else f"has no backend that uses {name}"
            notes.append(
                f"the pin {name} has no effect with vLLM {pins.vllm}, which {why}; cells that differ in it alone share "
                "one image"
            )
    if pins.nvshmem.wheel and "architectures" in pins.nvshmem.model_fields_set:
        notes.append("the pin nvshmem.architectures has no effect with a wheel, which has NVIDIA's choice of them")
    if pins.cuda.devel and pins.cuda.runtime and "distribution" in pins.cuda.model_fields_set:
        notes.append("the pin cuda.distribution has no effect where devel and runtime name the images")
    return tuple(notes)
