"""What nvcc compiles for, by CUDA release, and what is nearest to what it does not."""

from __future__ import annotations

import itertools

import pytest
from pydantic import TypeAdapter, ValidationError

from vep_dagger.layers.architectures import (
    KNOWN,
    Architectures,
    DeviceArchitectures,
    TorchArchitectures,
    nearest_for,
    unknown_to,
)
from vep_dagger.layers.cuda import CORRECTIONS

NVCC = TypeAdapter[tuple[str, ...]](Architectures)
DEVICE = TypeAdapter[tuple[str, ...]](DeviceArchitectures)
TORCH = TypeAdapter[tuple[str, ...]](TorchArchitectures)


@pytest.mark.parametrize(
    ("cuda", "knows", "does_not"),
    [
        ("11.8", ("37", "50", "90"), ("90a", "100", "120f")),
        ("12.0", ("50", "90a"), ("37", "100")),
        ("12.8", ("50", "72", "100a", "101", "120"), ("100f", "103", "121", "110")),
        ("12.9", ("50", "101f", "103a", "121", "100f"), ("110", "88")),
        ("13.0", ("75", "88", "90a", "100f", "110"), ("50", "52", "60", "61", "70", "72", "101", "101a")),
    ],
)
def test_a_cuda_release_knows_the_architectures_of_its_time(
    cuda: str, knows: tuple[str, ...], does_not: tuple[str, ...]
) -> None:
    assert [each for each in knows if unknown_to(cuda, each)] == []
    assert [each for each in does_not if not unknown_to(cuda, each)] == []


@pytest.mark.parametrize("cuda", CORRECTIONS)
def test_the_nearest_is_one_that_the_cuda_compiles_for(cuda: str) -> None:
    for architecture in [*KNOWN, "90a", "100f", "9.0a+PTX", "10.0", "12.1a"]:
        near = nearest_for(cuda, (architecture,))

        assert near
        assert all(unknown_to(cuda, each) is None for each in near), architecture
        assert (near == (architecture,)) == (unknown_to(cuda, architecture) is None), architecture


def test_the_nearest_for_kernels_is_one_that_they_take() -> None:
    assert nearest_for("12.6", ("100",)) == ("90",)
    assert nearest_for("12.6", ("100",), device=True) == DEVICE.validate_python(("90a",))
    assert nearest_for("12.6", ("10.0",)) == TORCH.validate_python(("9.0a",))


@pytest.mark.parametrize("kind", [NVCC, DEVICE, TORCH], ids=["nvcc", "device", "torch"])
def test_what_a_message_says_to_write_is_taken(kind: TypeAdapter[tuple[str, ...]]) -> None:
    refused = 0
    for number, suffix in itertools.product(range(10, 200), ("", "a", "f")):
        text = f"{number // 10}.{number % 10}{suffix}" if kind is TORCH else f"{number}{suffix}"
        try:
            kind.validate_python((text,))
        except ValidationError as error:
            written = error.errors()[0]["msg"].partition("write '")[2].partition("'")[0]
            assert kind.validate_python((written,)) == (written,)
            refused += 1
    assert refused > 500


@pytest.mark.parametrize("kind", [NVCC, DEVICE, TORCH], ids=["nvcc", "device", "torch"])
def test_a_library_has_code_for_some_gpu(kind: TypeAdapter[tuple[str, ...]]) -> None:
    with pytest.raises(ValidationError, match="an empty list makes a library without code for any GPU"):
        kind.validate_python(())
