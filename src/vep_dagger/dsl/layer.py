"""Layers: one component's build, from pins to the prefix it leaves.

A component's file declares it with :func:`layer`; a recipe asks a :class:`Stack` for it, which resolves what it needs
with the same pins, each layer once::

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
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, get_type_hints

from vep_dagger.dsl.build import Build, Check
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

    def canonical(self) -> Canonical:
        """All that decides the content: what the key is made of, and what two keys that differ are compared by."""
        return {
            "base": self.base.key if isinstance(self.base, Layer) else self.base.canonical(),
            "needs": [need.key for need in self.needs],
            "platform": self.platform,
            "prefix": self.prefix,
            "build": self.build.canonical(),
        }

    @cached_property
    def key(self) -> str:
        """sha256 of everything that decides the content; see the contract in ``docs/layers.md``."""
        return key_of("layer", self.canonical())

    @property
    def is_base(self) -> bool:
        """Whether it is a whole root file system."""
        return self.prefix == ROOT

    @property
    def lineage(self) -> tuple[Layer, ...]:
        """The base layers that it stands on, the lowest first, and itself if it is one: what their files, variables and
        checks are in, it is in.
        """
        below = self.base.lineage if isinstance(self.base, Layer) else ()
        return (*below, self) if self.is_base else below

    @property
    def visible(self) -> tuple[Layer, ...]:
        """The layers whose prefixes, variables, libraries and programs the build sees: what it needs, and what that
        needs, each once and after its own needs.
        """
        seen: dict[str, Layer] = {}
        for need in self.needs:
            for each in (*need.visible, need):
                seen.setdefault(each.name, each)
        return tuple(seen.values())


@dataclass(frozen=True)
class LayerDef(Generic[P]):
    """A layer before its pins are known: what :func:`layer` gives."""

    name: str
    prefix: str
    source: ImageSource | Callable[[Any], ImageSource] | None
    needs: tuple[LayerDef[Any], ...]
    pins_type: type[P]
    make: Callable[[Build, P], Build]

    def __post_init__(self) -> None:
        bases = [need.name for need in self.needs if need.prefix == ROOT]
        if (self.source is None) != (len(bases) == 1):
            raise ValueError(
                f"layer {self.name}: needs one base, as source= or as one base layer in needs (has {bases})"
            )

    def check(self, name: str, *argv: str, expect: str | None = None) -> LayerDef[P]:
        """The layer with one more proof about the finished image; as everywhere in the language, this one stays as it
        was::

            nccl = nccl.check("header and library agree", "/opt/nccl/bin/agree", expect="ok")

        A proof that depends on pins is declared in the layer's function, with :meth:`Build.check`.
        """
        inner = self.make

        def make(build: Build, pins: P) -> Build:
            return inner(build, pins).check(name, *argv, expect=expect)

        Check(name, argv, expect)  # a check without a command is refused here, where its author sees it
        return replace(self, make=make)


class Declare(Protocol):
    """What :func:`layer` gives: makes a layer of a function, whose second parameter's type is that of its pins."""

    def __call__(self, make: Callable[[Build, P], Build], /) -> LayerDef[P]:
        """The layer that the function describes."""


def layer(
    prefix: str,
    *,
    needs: Sequence[LayerDef[Any]] = (),
    source: ImageSource | Callable[[Any], ImageSource] | None = None,
    name: str | None = None,
) -> Declare:
    """Declare a layer. ``needs`` holds one base (a layer whose prefix is ``/``), unless ``source`` is the image to
    start from, and the layers whose prefixes and exported variables the build sees.
    """

    def declare(make: Callable[[Build, P], Build], /) -> LayerDef[P]:
        parameter = list(inspect.signature(make).parameters)[1]
        pins_type = get_type_hints(make)[parameter]
        called = name or str(getattr(make, "__name__", "layer"))
        return LayerDef(called, prefix, source, tuple(needs), pins_type, make)

    return declare


class Stack:
    """The layers of one image: gives each layer its pins and builds each once.

    ``pins`` is the recipe's table; a layer finds its own pins in the field that has its name, and takes its defaults
    otherwise. A field of plain text or a table stands for the layer's pins, as it does in a matrix file; anything else
    is a mistake of the recipe (TypeError), since the layer would be built of its defaults in silence.
    """

    def __init__(self, pins: Pins, platform: str = "linux/amd64") -> None:
        self._pins = pins
        self._platform = platform
        self._made: dict[str, tuple[LayerDef[Any], Layer]] = {}

    def __call__(self, definition: LayerDef[Any]) -> Layer:
        """The layer of ``definition``, with all it needs."""
        if definition.name not in self._made:
            self._made[definition.name] = (definition, self._make(definition))
        known, made = self._made[definition.name]
        if known != definition:
            raise ValueError(f"two different layers of one image are called {definition.name!r}")
        return made

    def _make(self, definition: LayerDef[Any]) -> Layer:
        pins = self._pins_of(definition)
        bases = [self(need) for need in definition.needs if need.prefix == ROOT]
        source = definition.source(pins) if callable(definition.source) else definition.source
        base: Layer | ImageSource | None = bases[0] if bases else source
        assert base is not None, "LayerDef holds the rule"
        return Layer(
            name=definition.name,
            prefix=definition.prefix,
            base=base,
            needs=tuple(self(need) for need in definition.needs if need.prefix != ROOT),
            build=definition.make(Build(platform=self._platform), pins),
            platform=self._platform,
            pins=pins,
        )

    def _pins_of(self, definition: LayerDef[Any]) -> Pins:
        given = getattr(self._pins, definition.name, None)
        wanted: type[Pins] = definition.pins_type
        if given is None:
            return wanted()
        if isinstance(given, wanted):
            return given
        if isinstance(given, (str, dict)):
            return wanted.model_validate(given)
        raise TypeError(
            f"{type(self._pins).__name__}.{definition.name} is {type(given).__name__}, "
            f"and the layer {definition.name!r} takes {wanted.__name__}"
        )
