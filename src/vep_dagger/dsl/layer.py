"""Layers: one component's build, from pins to the prefix it leaves.

A component's file declares it with :func:`layer`; a recipe asks a :class:`Stack` for it, which resolves what it needs with the
same pins, each layer once::

    class Pins(LayerPins):
        version: Version = "v2.5.1"

    @layer(prefix="/opt/gdrcopy", needs=[cuda.devel])
    def gdrcopy(build: Build, pins: Pins) -> Build:
        source = git("https://github.com/NVIDIA/gdrcopy.git", pins.commit, ref=pins.version)
        return build.mount(source, "/src").run("make", "-C", "/src", "prefix=/opt/gdrcopy", "lib_install")
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar, get_type_hints

from vep_dagger.dsl.build import Build
from vep_dagger.dsl.key import Canonical, key_of
from vep_dagger.dsl.pins import Pins
from vep_dagger.dsl.source import ImageSource

LayerPins = Pins
P = TypeVar("P", bound=Pins)

ROOT = "/"
"""The prefix of a layer that is a whole root file system: a base that others are built in."""


@dataclass(frozen=True)
class Layer:
    """One component, ready to be built: its base, what it needs, its steps, and the prefix that is kept of it."""

    name: str
    prefix: str
    base: Layer | ImageSource
    needs: tuple[Layer, ...]
    build: Build
    platform: str = "linux/amd64"
    pins: Pins | None = field(default=None, compare=False)

    @cached_property
    def key(self) -> str:
        """sha256 of everything that decides the content; see the contract in ``docs/layers.md``."""
        base: Canonical = self.base.key if isinstance(self.base, Layer) else self.base.canonical()
        return key_of(
            "layer",
            {
                "base": base,
                "needs": [need.key for need in self.needs],
                "platform": self.platform,
                "prefix": self.prefix,
                "build": self.build.canonical(),
            },
        )

    @property
    def is_base(self) -> bool:
        """Whether it is a whole root file system."""
        return self.prefix == ROOT


@dataclass(frozen=True)
class LayerDef(Generic[P]):
    """A layer before its pins are known: what :func:`layer` gives."""

    name: str
    prefix: str
    source: ImageSource | Callable[[P], ImageSource] | None
    needs: tuple[LayerDef[Any], ...]
    pins_type: type[P]
    make: Callable[[Build, P], Build]

    def __post_init__(self) -> None:
        bases = [need.name for need in self.needs if need.prefix == ROOT]
        if (self.source is None) != (len(bases) == 1):
            raise ValueError(f"layer {self.name}: needs exactly one base, as source= or as one base layer in needs (has {bases})")


def layer(
    prefix: str,
    *,
    needs: Sequence[LayerDef[Any]] = (),
    source: ImageSource | Callable[[P], ImageSource] | None = None,
    name: str | None = None,
) -> Callable[[Callable[[Build, P], Build]], LayerDef[P]]:
    """Declare a layer. ``needs`` holds one base (a layer whose prefix is ``/``), unless ``source`` is the image to start from,
    and the layers whose prefixes and exported variables the build sees."""

    def declare(make: Callable[[Build, P], Build]) -> LayerDef[P]:
        parameter = list(inspect.signature(make).parameters)[1]
        pins_type = get_type_hints(make)[parameter]
        return LayerDef(name or getattr(make, "__name__", "layer"), prefix, source, tuple(needs), pins_type, make)

    return declare


class Stack:
    """The layers of one image: gives each layer its pins and builds each once.

    ``pins`` is the recipe's table; a layer finds its own pins in the field that has its name, and takes its defaults otherwise.
    """

    def __init__(self, pins: Pins, platform: str = "linux/amd64") -> None:
        self._pins = pins
        self._platform = platform
        self._made: dict[str, Layer] = {}

    def __call__(self, definition: LayerDef[Any]) -> Layer:
        """The layer of ``definition``, with all it needs."""
        if definition.name not in self._made:
            self._made[definition.name] = self._make(definition)
        return self._made[definition.name]

    def _make(self, definition: LayerDef[Any]) -> Layer:
        pins = getattr(self._pins, definition.name, None)
        if not isinstance(pins, definition.pins_type):
            pins = definition.pins_type()
        bases = [self(need) for need in definition.needs if need.prefix == ROOT]
        source = definition.source(pins) if callable(definition.source) else definition.source
        base: Layer | ImageSource | None = bases[0] if bases else source
        assert base is not None, "LayerDef holds the rule"
        return Layer(
            name=definition.name,
            prefix=definition.prefix,
            base=base,
            needs=tuple(self(need) for need in definition.needs if need.prefix != ROOT),
            build=definition.make(Build(), pins),
            platform=self._platform,
            pins=pins,
        )
