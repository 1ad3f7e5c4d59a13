"""A builder without an engine, for people who test their own pipelines: what happens is written down beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from vep_dagger.builders.base import BuiltImage, BuiltLayer, OnLayer, Say, ignore_layer
from vep_dagger.dsl import Image, key_of
from vep_dagger.errors import BuildError, VepError


@dataclass(frozen=True, slots=True)
class FakeBuild:
    """What happens to one image: after ``delay_s`` seconds ``error`` is raised, or the image is there."""

    delay_s: float = 0.0
    error: VepError | None = None
    cached: bool = False
    refused: str | None = None
    """Why the builder cannot lower the image at all."""
    lines: tuple[str, ...] = ()
    """What the log gets."""
    notes: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


class FakeBuilder:
    """Follows a script of image tags; an image that is not in it is built at once.

    ``asked`` and ``built`` list the tags in the order in which builds began and succeeded; a second build of the same
    image finds it cached, as with every builder.
    """

    name = "fake"

    def __init__(self, script: Mapping[str, FakeBuild] | None = None) -> None:
        self._script = dict(script or {})
        self.asked: list[str] = []
        self.built: list[str] = []
        self._there: set[str] = set()

    def refuse(self, image: Image) -> None:
        """Raise BuildError if the script says so."""
        why = self._script.get(image.tag, FakeBuild()).refused
        if why is not None:
            raise BuildError(f"recipe {image.recipe!r} cannot be built: {why}", where=image.tag)

    async def ready(self, image: Image) -> None:
        """A fake is always ready."""

    async def build(self, image: Image, log: Path, say: Say, on_layer: OnLayer = ignore_layer) -> BuiltImage:
        """Do what the script says of the image."""
        self.refuse(image)
        happens = self._script.get(image.tag, FakeBuild())
        self.asked.append(image.tag)
        say(f"{image.tag}: building")
        await anyio.sleep(happens.delay_s)
        target = anyio.Path(log)
        await target.parent.mkdir(parents=True, exist_ok=True)
        await target.write_text("".join(f"{line}\n" for line in happens.lines), encoding="utf-8")
        if happens.error is not None:
            raise happens.error
        cached = happens.cached or image.key in self._there
        self._there.add(image.key)
        self.built.append(image.tag)
        forms = [(step, form) for step in image.build.steps if (form := step.canonical()) is not None]
        layers = tuple(
            BuiltLayer(step.describe(), key_of("step", form), "cached" if cached else "built", 0.0)
            for step, form in forms
        )
        for layer in layers:
            on_layer(layer)
        return BuiltImage(
            key=image.key,
            builder=self.name,
            location=f"fake:{image.tag}",
            layers=layers,
            seconds=happens.delay_s,
            cached=cached,
            env=image.env,
            paths=happens.paths,
            notes=happens.notes,
            packages=happens.packages,
        )
