"""The seam between plans and engines: what a builder is.

A new one passes ``tests/builders/test_builder_conformance.py``, or is not one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from vep_dagger.dsl import Image

Say: TypeAlias = Callable[[str], None]
"""Takes one line about the progress of long work."""

LayerState: TypeAlias = Literal["building", "built", "cached", "taken", "failed"]
"""``taken``: from where finished layers are kept (``--keep``), or from a registry that has the whole image."""


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """One layer or step of a build: whether it was built, cached, or taken from elsewhere, and its seconds.

    While it is going on its state is ``building``, and ``seconds`` those so far.
    """

    name: str
    key: str
    state: LayerState
    seconds: float
    size_bytes: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Of these bytes, those of each part that it was installed in: all of them, or empty."""


OnLayer: TypeAlias = Callable[[BuiltLayer], None]
"""Hears of each layer when it begins and when it is done."""


def ignore_layer(layer: BuiltLayer) -> None:
    """For whoever does not want to hear of layers."""


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that exists now, and how to use it from this machine.

    ``paths`` maps the absolute paths of the image that are somewhere else for whoever runs it (``venv``: the
    environment's prefix to a directory of the cache); empty where the image has a root file system of its own.
    """

    key: str
    builder: str
    location: str
    layers: tuple[BuiltLayer, ...]
    seconds: float
    cached: bool
    env: Mapping[str, str]
    paths: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    digest: str | None = None
    """``sha256:…`` of the image's manifest where it has one: published, exported, or pulled; else of its
    configuration."""
    published: str | None = None
    """``repository:tag@sha256:…`` if it was pushed to a registry."""
    exported: str | None = None
    """The archive that it was exported to."""
    handle: object = field(default=None, compare=False, repr=False)
    """The engine's own value, for the launcher of the same engine."""

    def translate(self, text: str) -> str:
        """``text`` with the image's paths replaced by those of this machine; see :func:`translate`."""
        return translate(text, self.paths)


def translate(text: str, paths: Mapping[str, str]) -> str:
    """``text`` with whole paths replaced, and what is below them.

    Of ``/venv`` neither ``/data/venv`` nor ``/venv2`` is touched, so that text that is translated already stays as it
    is.
    """
    if not paths:
        return text
    longest_first = sorted(paths, key=len, reverse=True)
    pattern = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w.-])"
    return re.sub(pattern, lambda found: paths[found.group()], text)


class Builder(Protocol):
    """Lowers an image onto an engine."""

    name: str

    def refuse(self, image: Image) -> None:
        """Raise BuildError if this builder cannot lower the image, with the step and what to use instead. Touches
        nothing.
        """

    async def ready(self, image: Image) -> None:
        """Raise MachineError if this machine cannot build the image now: no engine, no space, an unwritable cache. An
        image that is there already needs neither. Builds nothing."""

    async def build(self, image: Image, log: Path, say: Say, on_layer: OnLayer = ignore_layer) -> BuiltImage:
        """Build the image, or find it built. All output goes to ``log`` as it comes; ``say`` hears of progress,
        ``on_layer`` of each layer.

        Raises BuildError (layer, step, exit code, last lines) or MachineError (engine, disk). Cancelling it leaves
        nothing half-made.
        """
