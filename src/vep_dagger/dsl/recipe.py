"""Recipes: functions from pins to an image.

``@recipe("vllm-cpu")`` marks one; its parameter's type says which pins a matrix file may set. An image is a run-time
base, the layers whose prefixes are merged into it, and a chain of steps on the base (the Python environment), in that
order of change: see ``docs/layers.md``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar, get_type_hints

from vep_dagger.dsl.build import Build, Check
from vep_dagger.dsl.key import Canonical, key_of
from vep_dagger.dsl.layer import Layer
from vep_dagger.dsl.pins import Pins
from vep_dagger.dsl.source import ImageSource
from vep_dagger.dsl.step import MakePython

P = TypeVar("P", bound=Pins)


class Impossible(Exception):  # noqa: N818 - it is a finding about pins, and no failure
    """Pins that are each right and are known not to work together: a recipe raises it with the reason, and the cell is
    planned as impossible.
    """


@dataclass(frozen=True)
class Image:
    """What a recipe gives: a base, a chain of steps on it, and the layers merged into the result."""

    recipe: str
    tag: str
    release: str
    base: Layer | ImageSource
    build: Build
    layers: tuple[Layer, ...] = ()
    device: str = "cuda"
    platform: str = "linux/amd64"
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What people should know of it when they plan, such as pins that do nothing; no part of what the image is."""
    pins: Pins | None = field(default=None, compare=False)
    failing: Mapping[str, str] = field(default_factory=dict, compare=False)
    """All-to-all backends that are known to fail in this image, with the reason: a cell that asks for one is planned as
    impossible, and others use the image."""

    def canonical(self) -> Canonical:
        """All that decides the image, its checks included, since their output is in its manifest."""
        return {
            "base": self.base.key if isinstance(self.base, Layer) else self.base.canonical(),
            "platform": self.platform,
            "layers": [layer.key for layer in self.layers],
            "build": self.build.canonical(),
            "checks": [check.canonical() for check in self.checks],
        }

    @cached_property
    def key(self) -> str:
        """sha256 of everything that decides the image."""
        return key_of("image", self.canonical())

    @property
    def parts(self) -> tuple[Build, ...]:
        """The builds whose results are in the image: of its base and what that stands on, of the layers, its own."""
        below = self.base.lineage if isinstance(self.base, Layer) else ()
        return (*(layer.build for layer in below), *(layer.build for layer in self.layers), self.build)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of the base, of the layers, then the image's own."""
        return tuple(check for part in self.parts for check in part.checks)

    @property
    def env(self) -> dict[str, str]:
        """The variables of whoever runs the image: later parts win over earlier ones, the chain's over all."""
        return {name: value for part in self.parts for name, value in part.exports.items()}

    @property
    def libraries(self) -> tuple[str, ...]:
        """The directories that the image's loader must search, each once."""
        return tuple(dict.fromkeys(path for part in self.parts for path in part.libraries))

    @property
    def programs(self) -> tuple[str, ...]:
        """The directories that go in front of PATH, each once, the image's own first."""
        return tuple(dict.fromkeys(path for part in reversed(self.parts) for path in part.programs))

    @property
    def python_prefix(self) -> str | None:
        """Where the Python environment is, or None."""
        found = [step.prefix for step in self.build.steps if isinstance(step, MakePython)]
        return found[-1] if found else None


@dataclass(frozen=True)
class Recipe(Generic[P]):
    """A function from pins to an image, with the type of its pins."""

    name: str
    pins_type: type[P]
    make: Callable[[P], Image]
    doc: str

    def image(self, pins: dict[str, Any]) -> Image:
        """The image of these pins. Raises pydantic.ValidationError for pins that are unknown or of a wrong form."""
        return self.make(self.pins_type.model_validate(pins))


def recipe(name: str) -> Callable[[Callable[[P], Image]], Recipe[P]]:
    """Declare a recipe under the name that matrix files use."""

    def declare(make: Callable[[P], Image]) -> Recipe[P]:
        parameter = next(iter(inspect.signature(make).parameters))
        return Recipe(name, get_type_hints(make)[parameter], make, inspect.getdoc(make) or "")

    return declare
