"""The images that a build in Dagger starts from: known by their digests, since only those are cached between
sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from vep_dagger.builders.base import Say
from vep_dagger.builders.base_archive import ARCHIVE, held_base, sha256
from vep_dagger.builders.dagger.failure import said_by, unpackable
from vep_dagger.builders.failures import base_missing
from vep_dagger.builders.mirrors import rewrite_image
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import ImageSource, PlainBase
from vep_dagger.engines.dagger import DaggerSession

if TYPE_CHECKING:
    from dagger import Container

LOOK_S = 120.0
"""For a registry to say what it has."""


@dataclass(frozen=True)
class Base:
    """An image to start from; lazy, so that nothing is pulled that no step needs."""

    container: Container
    digest: str


class Bases:
    """The bases of a run's images, each resolved once: one run builds on one image, also when a tag is moved
    meanwhile."""

    def __init__(self, settings: BuildSettings, session: DaggerSession) -> None:
        self._settings = settings
        self._session = session
        self._known: dict[tuple[ImageSource, str], Base] = {}
        self._lock = anyio.Lock()

    async def resolve(self, source: ImageSource, platform: str, say: Say) -> Base:
        """The image of a base. Raises BuildError for one with another content than the recipe says, and MachineError
        where it cannot be had.
        """
        async with self._lock:
            key = (source, platform)
            if key not in self._known:
                self._known[key] = await self._resolve(source, platform, say)
            return self._known[key]

    async def _resolve(self, source: ImageSource, platform: str, say: Say) -> Base:
        import dagger

        plain = isinstance(source, PlainBase)
        ref = self._settings.plain_base if plain else source.ref
        digest = None if plain else source.digest
        if ref.startswith(ARCHIVE):
            return await self._archive(ref, digest, platform)
        name, _, own = ref.partition("@")
        digest = digest or own or None
        asked = rewrite_image(name, self._settings.mirrors)
        wanted = f"{asked}@{sha256(digest)}" if digest else asked
        empty = self._session.client.container(platform=dagger.Platform(platform))
        try:
            with anyio.fail_after(LOOK_S):
                found = await self._session.ask(empty.from_(wanted).image_ref)
        except TimeoutError:
            raise base_missing(
                ref, f"the registry did not answer within {LOOK_S:g} s", where=ref, tried=asked
            ) from None
        except dagger.QueryError as error:
            tried = asked if asked != name else None
            raise base_missing(ref, said_by(error), where=ref, tried=tried) from error
        if digest:
            return Base(empty.from_(wanted), sha256(digest))
        digest = found.rpartition("@")[2]
        repository = asked.rpartition(":")[0] if ":" in asked.rpartition("/")[2] else asked
        say(f"the base {asked} is {digest}")
        return Base(empty.from_(f"{repository}@{digest}"), digest)

    async def _archive(self, ref: str, digest: str | None, platform: str) -> Base:
        import dagger

        path, held = await held_base(ref, digest, self._settings.directory)
        client = self._session.client
        imported = client.container(platform=dagger.Platform(platform)).import_(client.host().file(str(path)))
        try:
            return Base(await self._session.ask(imported.sync), held)
        except dagger.QueryError as error:
            raise unpackable(ref, error, path) from error
