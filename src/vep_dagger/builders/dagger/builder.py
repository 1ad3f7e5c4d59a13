"""Builds images with Dagger: every stage a branch of its own, awaited together, and merged into the image.

A stage's result is asked for by itself and goes on as an object of its own, so that no query holds more than one stage.
What the engine has of a stage's calls is not done again: everything that decides content is in those calls, and nothing
besides.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from vep_dagger.builders.base import BuiltImage, OnLayer, Say, ignore_layer
from vep_dagger.builders.checks import judge, sized
from vep_dagger.builders.dagger.bases import Base, Bases
from vep_dagger.builders.dagger.deliver import Delivery
from vep_dagger.builders.dagger.failure import query_failed
from vep_dagger.builders.dagger.secrets import Secrets, secrets_of
from vep_dagger.builders.dagger.work import Work
from vep_dagger.builders.lowering import lower
from vep_dagger.builders.manifest import container_manifest
from vep_dagger.builders.redaction import redacted
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import IMAGE, MANIFEST, Lowered, images_of
from vep_dagger.builders.unresolved import refuse_unresolved_of
from vep_dagger.dsl import Image, ImageSource, PlainBase, short
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.errors import MachineError

if TYPE_CHECKING:
    from dagger import Container, Directory

ANSWER_S = 60.0


class DaggerBuilder:
    """Lowers images onto a Dagger engine. ``handle`` of what it builds is the :class:`dagger.Container`."""

    name = "dagger"

    def __init__(self, settings: BuildSettings, session: DaggerSession | None) -> None:
        self._settings = settings
        self._session = session
        self._delivery = Delivery(settings)
        self._bases = Bases(settings, session) if session is not None else None

    def refuse(self, image: Image) -> None:
        """Raise BuildError for an image with a source or base of which nobody knows what it holds. Touches nothing."""
        refuse_unresolved_of(lower(image, ""))

    async def ready(self, image: Image) -> None:
        """Raise MachineError if the engine does not answer, or is of another platform."""
        session = self._engine()
        try:
            with anyio.fail_after(ANSWER_S):
                platform = await session.ask(session.client.default_platform)
        except TimeoutError:
            raise MachineError(f"the Dagger engine does not answer within {ANSWER_S:g} s") from None
        if platform != image.platform:
            raise MachineError(
                f"{image.tag} is for {image.platform}, and this Dagger engine builds for {platform}",
                hint=f"name an engine of {image.platform} in _EXPERIMENTAL_DAGGER_RUNNER_HOST",
            )

    async def build(self, image: Image, log: Path, say: Say, on_layer: OnLayer = ignore_layer) -> BuiltImage:
        """The image, built from what the engine has of its steps. Then it is published and exported, if that was asked
        for.

        Raises BuildError (the step that failed, a check, a registry that refuses) and MachineError (no engine, no base,
        no space). What it leaves when it fails, or is cancelled, are finished steps in the engine's cache.
        """
        self.refuse(image)
        session = self._engine()
        begin = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        bases = await self._resolve(image, say)
        plain = next((base.digest for source, base in bases.items() if isinstance(source, PlainBase)), None)
        lowered = lower(image, plain or "")
        secrets = await secrets_of(lowered, self._settings, session)
        work = Work(lowered, bases, self._settings, session, secrets, log, say, on_layer)
        container, left = await work.carry_out()
        proven = judge(image, await self._files(left), log, lambda text: redacted(text, secrets.hidden))
        text = container_manifest(lowered, plain, proven, self.name)
        container, env = await self._seal(container, text, lowered, log, secrets)
        layers = tuple(sized(layer, proven.sizes, proven.parts) for layer in work.states.values())
        built = BuiltImage(
            key=image.key,
            builder=self.name,
            location=f"dagger:{short(lowered.key)}",
            layers=layers,
            seconds=time.monotonic() - begin,
            cached=all(layer.state in ("cached", "taken") for layer in layers),
            env=env,
            notes=proven.notes,
            packages=proven.packages or {},
            handle=container,
        )
        for note in proven.notes:
            say(f"{image.tag}: {note}")
        built = await self._delivery.carry_out(session, container, image, built, log, say)
        return replace(built, seconds=time.monotonic() - begin)

    def _engine(self) -> DaggerSession:
        if self._session is None:
            raise MachineError("the builder dagger has no engine", hint="open one with vep_dagger.engines.open_engines")
        return self._session

    async def _resolve(self, image: Image, say: Say) -> dict[ImageSource, Base]:
        assert self._bases is not None
        sources = images_of(lower(image, ""))
        return {source: await self._bases.resolve(source, image.platform, say) for source in sources}

    async def _files(self, left: Directory | None) -> dict[str, str]:
        """What checks have left, by the names of the files."""
        if left is None:
            return {}
        session = self._engine()
        with tempfile.TemporaryDirectory(prefix="vep-checks-") as results:
            await session.ask(lambda: left.export(results))
            return await anyio.to_thread.run_sync(_texts, Path(results))

    async def _seal(
        self, container: Container, text: str, lowered: Lowered, log: Path, secrets: Secrets
    ) -> tuple[Container, dict[str, str]]:
        """The finished image, and its variables."""
        import dagger

        session = self._engine()
        try:
            done = await session.ask(container.with_new_file(MANIFEST, text).sync)
            return done, await session.variables(done)
        except dagger.QueryError as error:
            raise query_failed(lowered, lowered.stage(IMAGE), error, log, secrets.redact) from error


def _texts(directory: Path) -> dict[str, str]:
    return {entry.name: entry.read_text("utf-8", "replace") for entry in directory.iterdir()}
