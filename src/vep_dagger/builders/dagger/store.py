"""Finished layers, put aside as images of their prefixes alone, so that they outlive the engine's cache and are shared.

A layer that is kept is taken from there also by whoever has just put it there: what stands on it is cached the same way
from then on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from vep_dagger.builders.dagger.failure import is_missing, refused, said_by, unpackable
from vep_dagger.builders.keep import KeepDirectory, KeepRepository, parse_keep
from vep_dagger.builders.names import KEY_LABEL
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import IMAGE, Stage
from vep_dagger.dsl.layer import ROOT
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.errors import MachineError

if TYPE_CHECKING:
    from dagger import Container, Directory

LOOK_S = 120.0


class Store:
    """Takes layers from where they are kept, and puts them there. Does nothing where nobody said a place."""

    def __init__(self, settings: BuildSettings, session: DaggerSession, platform: str, log: Path) -> None:
        self._keep = parse_keep(settings.keep) if settings.keep else None
        self._session = session
        self._platform = platform
        self._log = log

    def keeps(self, stage: Stage) -> bool:
        """Whether a stage is one to be kept: a layer with a prefix of its own."""
        return self._keep is not None and stage.name != IMAGE and stage.layer is not None and stage.prefix != ROOT

    async def take(self, stage: Stage) -> Directory | None:
        """What a layer leaves, if it is kept."""
        import dagger

        if isinstance(self._keep, KeepRepository):
            ref = self._keep.layer(stage.key)
            try:
                with anyio.fail_after(LOOK_S):
                    found = await self._session.ask(self._empty().from_(ref).image_ref)
                # By digest: a tag is looked up in each session, and nothing that stands on it is cached.
                kept = self._empty().from_(f"{self._keep.repository}@{found.rpartition('@')[2]}")
                return await self._prefix(kept, stage)
            except dagger.QueryError as error:
                if is_missing(error):
                    return None
                raise MachineError(
                    f"the layers kept in {self._keep.repository} cannot be reached: {said_by(error)}",
                    where="--keep",
                    hint="look whether the registry is up and lets you in (docker login), or leave --keep out",
                ) from error
            except TimeoutError:
                raise MachineError(f"{ref}: no answer within {LOOK_S:g} s", where="--keep") from None
        if isinstance(self._keep, KeepDirectory) and (file := self._keep.layer(stage.key)).is_file():
            archive = self._session.client.host().file(str(file))
            try:
                return await self._prefix(self._empty().import_(archive), stage)
            except dagger.QueryError as error:
                raise unpackable(str(file), error, file) from error
        return None

    async def put(self, stage: Stage, made: Directory) -> Directory:
        """Put a layer aside; what it leaves, as it is kept. Raises BuildError where that is refused."""
        import dagger

        image = self._empty().with_directory(stage.prefix, made).with_label(KEY_LABEL, stage.key)
        if isinstance(self._keep, KeepRepository):
            ref = self._keep.layer(stage.key)
            try:
                await self._session.ask(lambda: image.publish(ref))
            except dagger.QueryError as error:
                raise refused(ref, error, self._log) from error
        elif isinstance(self._keep, KeepDirectory):
            await self._save(image, self._keep.layer(stage.key))
        return await self.take(stage) or made

    async def _save(self, image: Container, target: Path) -> None:
        import dagger

        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".vep-keep-", dir=target.parent) as aside:
                saved = Path(aside) / "saved.tar"
                await self._session.ask(lambda: image.export(str(saved)))
                saved.rename(target)
        except OSError as error:
            raise MachineError(f"layers cannot be kept: {error.strerror or error}", where=str(target)) from error
        except dagger.QueryError as error:
            raise MachineError(f"layers cannot be kept: {said_by(error)}", where=str(target)) from error

    async def _prefix(self, image: Container, stage: Stage) -> Directory:
        return await self._session.ask(image.directory(stage.prefix).sync)

    def _empty(self) -> Container:
        import dagger

        return self._session.client.container(platform=dagger.Platform(self._platform))
