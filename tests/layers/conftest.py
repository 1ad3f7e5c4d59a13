from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vep_dagger.dsl import Image, ImageSource, Layer
from vep_dagger.recipes.vllm_ep import vllm_ep

MATRIX = Path(__file__).parents[2] / "matrix.toml"


@pytest.fixture(scope="session")
def seed() -> Callable[..., Image]:
    """The image of the repository's own matrix file, with some pins changed."""
    pins = tomllib.loads(MATRIX.read_text(encoding="utf-8"))["pins"]

    def make(**changes: Any) -> Image:
        return vllm_ep.image(pins | {"vllm": "0.10.1.1"} | changes)

    return make


@pytest.fixture(scope="session")
def keys() -> Callable[[Image], dict[str, str]]:
    """Every layer of an image by name, bases and what is only built against included, with its key."""

    def walk(image: Image) -> dict[str, str]:
        found: dict[str, str] = {}

        def visit(layer: Layer | ImageSource) -> None:
            if isinstance(layer, Layer):
                found[layer.name] = layer.key
                for need in (layer.base, *layer.needs):
                    visit(need)

        for layer in (image.base, *image.layers):
            visit(layer)
        return found

    return walk
