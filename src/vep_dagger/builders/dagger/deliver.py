"""Where finished images of Dagger go: to a registry, and into archives."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from vep_dagger.builders.archive import make_loadable, manifest_digest
from vep_dagger.builders.base import BuiltImage, Say
from vep_dagger.builders.dagger.failure import refused, said_by
from vep_dagger.builders.names import tag_of
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import Image
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.errors import MachineError

if TYPE_CHECKING:
    from dagger import Container


class Delivery:
    """Publishes and exports what was asked for."""

    def __init__(self, settings: BuildSettings) -> None:
        self._settings = settings

    async def carry_out(
        self,
        session: DaggerSession,
        container: Container,
        image: Image,
        built: BuiltImage,
        log: Path,
        say: Say,
    ) -> BuiltImage:
        """The image with what is known of it now. Raises BuildError where the registry refuses it, and MachineError
        where the archive cannot be written.
        """
        if self._settings.publish:
            built = await self._publish(session, container, image, built, log, say)
        if self._settings.export:
            built = await self._export(session, container, image, built, say)
        return built

    async def _publish(
        self,
        session: DaggerSession,
        container: Container,
        image: Image,
        built: BuiltImage,
        log: Path,
        say: Say,
    ) -> BuiltImage:
        import dagger

        ref = f"{self._settings.publish}:{tag_of(image, self._settings.tags)}"
        say(f"{image.tag}: pushing {ref}")
        try:
            published = await session.ask(lambda: container.publish(ref))
        except dagger.QueryError as error:
            raise refused(ref, error, log) from error
        digest = published.rpartition("@")[2]
        say(f"{image.tag}: published as {ref}@{digest}")
        return replace(built, digest=digest, published=f"{ref}@{digest}")

    async def _export(
        self, session: DaggerSession, container: Container, image: Image, built: BuiltImage, say: Say
    ) -> BuiltImage:
        import dagger

        directory = self._settings.export
        assert directory is not None
        tag = tag_of(image, self._settings.tags)
        target = (directory / f"{tag}.tar").absolute()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".vep-export-", dir=target.parent) as aside:
                saved = Path(aside) / "saved.tar"
                await session.ask(lambda: container.export(str(saved)))
                await anyio.to_thread.run_sync(make_loadable, saved, f"{image.recipe}:{tag}")
                # The engine makes it its own alone; an image is no secret.
                saved.chmod(0o644)
                digest = await anyio.to_thread.run_sync(manifest_digest, saved)
                saved.rename(target)
        except (OSError, dagger.QueryError) as error:
            why = said_by(error) if isinstance(error, dagger.QueryError) else error.strerror or str(error)
            raise MachineError(
                f"{image.tag} cannot be exported: {why}",
                where=str(target),
                hint="look at the free space of that directory, and whether you may write there",
            ) from error
        say(f"{image.tag}: exported to {target}")
        return replace(built, exported=str(target), digest=built.digest if built.published else digest)
