"""Pins of ``vllm-ep`` that are right each by itself, and known to fail together or with an all-to-all backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from packaging.version import Version as Parsed

from vep_dagger.dsl import Impossible
from vep_dagger.layers import kernels, known, nccl, nvshmem, pplx, torch

if TYPE_CHECKING:
    from vep_dagger.recipes.vllm_ep_pins import VllmEpPins

NVSHMEM_TOO_NEW = "3.5.19"
"""From this NVSHMEM on, the kernels of DeepEP's first interface can fault (vllm#58159, DeepEP#764)."""

FIRST_INTERFACE = ("deepep_high_throughput", "deepep_low_latency")
"""The backends that run on them; commits with the second interface hold them too (``csrc/kernels/legacy``)."""

SECOND_INTERFACE = "deepep_v2"

NCCL_OF_V2 = "v2.30.4-1"
"""The oldest NCCL that DeepEP's second interface is built on and runs with (``DEEPEP_V2_MIN_NCCL`` in vLLM 0.33's
docker/Dockerfile.efa)."""

NEWER_NCCL = "v2.30.7-1"
DEEPEP_WITH_V2 = "d4f41e4e93602a15e95f55f6ee8df8f1aaa0e4bb"
"""What vLLM's releases with this interface build (0.27 to 0.33)."""

DEEPGEMM_FOR_ONE_PYTHON: Mapping[str, str] = MappingProxyType({"0.20.2": "3.12"})
"""Releases whose vendored DeepGEMM is compiled for one Python alone."""


def refuse_known_failures(pins: VllmEpPins) -> None:
    """Raise Impossible for pins that fail together, whatever the image is used for."""
    for reason in _failures(pins):
        raise Impossible(reason)


def backends_that_fail(pins: VllmEpPins) -> dict[str, str]:
    """The all-to-all backends that an image of these pins cannot run, with the reason; the image can do the others."""
    failing: dict[str, str] = {}
    if _nvshmem_is_too_new(pins):
        failing |= {backend: _fault(pins) for backend in FIRST_INTERFACE}
    needed = []
    if pins.deepep and pins.deepep.interface == "legacy":
        needed.append(f'deepep = "{DEEPEP_WITH_V2}", since {pins.deepep.commit[:7]} has no ElasticBuffer')
    if _older(pins.nccl, NCCL_OF_V2):
        needed.append(
            f'nccl = "{NEWER_NCCL}", since it needs {NCCL_OF_V2} or newer, and the image has {pins.nccl.version}'
        )
    if needed:
        failing[SECOND_INTERFACE] = f"{SECOND_INTERFACE} is DeepEP's second interface: pin {'; and '.join(needed)}"
    return failing


def _failures(pins: VllmEpPins) -> Iterator[str]:
    used = kernels.used_by(pins.vllm)
    deepep = pins.deepep if "deepep" in used else None
    if "pplx" in used and pins.pplx and pins.pplx.commit.startswith(pplx.WITHOUT_UID):
        yield (
            f"pplx-kernels {pplx.WITHOUT_UID} dropped nvshmem_alloc_empty_unique_id, which vLLM imports: pin "
            f"{pplx.Pins().commit}"
        )
    if deepep and deepep.interface == "legacy" and _nvshmem_is_too_new(pins):
        yield _fault(pins)
    if pins.nvshmem.for_one_cuda and pins.cuda.version.partition(".")[0] != "12":
        yield (
            f"NVSHMEM {pins.nvshmem.version} is an archive for CUDA 12, and cuda is {pins.cuda.version}: leave the pin "
            'out, or pin a tag, such as nvshmem = "v3.4.5-0", which any CUDA compiles'
        )
    yield from _differs_from_torch(pins)
    if deepep and deepep.interface == "v2" and _older(pins.nccl, NCCL_OF_V2):
        yield (
            f"DeepEP {deepep.commit[:7]} is built on NCCL {NCCL_OF_V2} or newer, and nccl is "
            f'{pins.nccl.version}: pin nccl = "{NEWER_NCCL}"'
        )
    only = DEEPGEMM_FOR_ONE_PYTHON.get(pins.vllm)
    if only and pins.python.minor != only:
        yield (
            f"the DeepGEMM in vLLM {pins.vllm}'s wheel is compiled for Python {only} alone, and python is "
            f"{pins.python.version}"
        )


def _differs_from_torch(pins: VllmEpPins) -> Iterator[str]:
    """torch's libraries are linked to NCCL and, from 2.9 on, to NVSHMEM. NCCL is preloaded, so that torch must find in
    it what it calls. Of NVSHMEM a process loads the first, which is torch's, and device code of another release hangs
    or fails with it (sglang#12949, NeMo Automodel#2614).
    """
    release = torch.release_of(pins.vllm)
    default = known.pins_of(pins.vllm)
    if release.nccl and _older(pins.nccl, release.nccl):
        yield (
            f"torch {release.torch}, which vLLM {pins.vllm} requires, is made for NCCL {release.nccl} and would call "
            f"what {pins.nccl.version} does not have, so that it cannot be imported: leave the pin nccl out, or pin "
            f'nccl = "{default.nccl}" or newer'
        )
    if release.nvshmem and pins.nvshmem.release != release.nvshmem:
        tagged = Parsed(release.nvshmem) >= Parsed(nvshmem.FIRST_TAG)
        or_tag = f', or pin nvshmem = "v{release.nvshmem}-0"' if tagged else ""
        yield (
            f"torch {release.torch}, which vLLM {pins.vllm} requires, loads its own NVSHMEM {release.nvshmem}, and "
            f"kernels for {pins.nvshmem.release} hang or fail with it (sglang#12949): leave the pin nvshmem out, and "
            f"NVIDIA's wheel of that one is taken{or_tag}"
        )


def _nvshmem_is_too_new(pins: VllmEpPins) -> bool:
    return Parsed(pins.nvshmem.release) >= Parsed(NVSHMEM_TOO_NEW)


def _fault(pins: VllmEpPins) -> str:
    return (
        f"DeepEP's first interface can fault on NVSHMEM {pins.nvshmem.release} (vllm#58159, DeepEP#764): leave the pin "
        f"nvshmem out, or pin one below {NVSHMEM_TOO_NEW}"
    )


def _older(pinned: nccl.Pins, wanted: str) -> bool:
    """Whether an NCCL is older than a release; False where its name does not say."""
    needed = nccl.Pins(version=wanted).code
    return pinned.code is not None and needed is not None and pinned.code < needed
