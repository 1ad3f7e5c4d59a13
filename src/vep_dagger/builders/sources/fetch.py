"""Sources of recipes, fetched once to this machine and verified, into a cache by content.

::

    <cache>/sources/commit/<commit>     a tree, with its commit instead of .git; <commit>-bare without its submodules'
                                        content
    <cache>/sources/http/<sha256>       a file
    <cache>/sources/tree/<sha256>       an archive, unpacked
    <cache>/sources/building/           being fetched, or left by a dead process
    <cache>/sources/locks/<name>.lock   held by who fetches; its time is that of the last use
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from vep_dagger.builders.base import Say
from vep_dagger.builders.cache import cache_root
from vep_dagger.builders.locks import Lock
from vep_dagger.builders.mirrors import shown
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.shelves import lock_of, used
from vep_dagger.dsl import GitSource, HttpSource
from vep_dagger.errors import BuildError, MachineError

PATIENCE_S = 3600.0
"""For one source, everything included: the largest ones are some gigabytes."""


async def fetch(source: GitSource | HttpSource, settings: BuildSettings, say: Say) -> Path:
    """The verified content of a source: a directory of a git tree or an unpacked archive, else a file. It is the
    cache's: nobody may change it.

    Raises BuildError (no commit or sha256; another content than the recipe says; an archive that cannot be unpacked)
    and MachineError (unreachable, no program git, no space).
    """
    refuse_unresolved(source)
    from vep_dagger.builders.sources.git import checkout
    from vep_dagger.builders.sources.http import download, unpack

    cache = _Cache(cache_root(settings.environ) / "sources")
    if isinstance(source, GitSource):
        name = f"commit/{source.commit}" + ("" if source.submodules else "-bare")
        return await cache.get(name, shown(source.url), lambda place: checkout(source, place, settings, say))
    file_name = f"http/{source.sha256}"
    if not source.unpack:
        return await cache.get(file_name, shown(source.url), lambda place: download(source, place, settings, say))

    async def downloaded_and_unpacked(place: Path) -> None:
        file = await cache.get(file_name, shown(source.url), lambda aside: download(source, aside, settings, say))
        await unpack(file, place, source)

    return await cache.get(f"tree/{source.sha256}", shown(source.url), downloaded_and_unpacked)


async def learn(url: str, settings: BuildSettings, say: Say) -> str:
    """The sha256 of whatever is at an address now. The file stays in the cache, where :func:`fetch` finds it.

    Raises BuildError (not there) and MachineError (unreachable, no space).
    """
    from vep_dagger.builders.sources.http import download_any

    cache = _Cache(cache_root(settings.environ) / "sources")
    return await cache.put(url, lambda place: download_any(url, place, settings, say))


def refuse_unresolved(source: GitSource | HttpSource) -> None:
    """Raise BuildError for a source without a commit or sha256: nobody knows what it holds."""
    if source.resolved:
        return
    if isinstance(source, GitSource):
        raise BuildError(
            f"the source {shown(source.url)} has no commit, only {source.ref!r}, which may be another one tomorrow",
            hint="`vep lock` finds its commit; or write it into the matrix file: the first word of "
            f"`git ls-remote {shown(source.url)} {source.ref}`",
        )
    raise BuildError(
        f"the source {shown(source.url)} has no sha256",
        hint=f"`vep lock` finds it; or write it into the matrix file: `curl -L {shown(source.url)} | sha256sum`",
    )


@dataclass(frozen=True, slots=True)
class _Cache:
    root: Path

    async def get(self, name: str, shown_url: str, make: Callable[[Path], Awaitable[None]]) -> Path:
        """What has this name, made by ``make`` if it is not there: once, whoever else asks at the same time."""
        place = self.root / name
        lock = lock_of(self.root, name)
        used(lock)
        if place.exists():
            return place
        async with self._aside(lock, name.replace("/", "-"), shown_url) as content:
            if not place.exists():
                await make(content)
                place.parent.mkdir(parents=True, exist_ok=True)
                content.rename(place)
        return place

    async def put(self, url: str, make: Callable[[Path], Awaitable[str]]) -> str:
        """The file that ``make`` makes of what is at ``url``, under the sha256 that it says."""
        flat = f"http-unseen-{hashlib.sha256(url.encode()).hexdigest()}"
        async with self._aside(lock_of(self.root, flat), flat, shown(url)) as content:
            sha256 = await make(content)
            place = self.root / "http" / sha256
            used(lock_of(self.root, f"http/{sha256}"))
            place.parent.mkdir(parents=True, exist_ok=True)
            # Where it is already it is the same, and whoever reads it goes on reading it.
            content.replace(place)
        return sha256

    @asynccontextmanager
    async def _aside(self, lock: Lock, flat: str, shown_url: str) -> AsyncIterator[Path]:
        """Where to make something, by one process at a time; what is left there goes away."""
        building = self.root / "building"
        try:
            with anyio.fail_after(PATIENCE_S):
                await lock.acquire("exclusive")
                await anyio.to_thread.run_sync(_sweep, building, flat)
                aside = building / f"{flat}-{uuid.uuid4().hex}"
                aside.mkdir(parents=True)
                try:
                    yield aside / "content"
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(lambda: shutil.rmtree(aside, ignore_errors=True))
        except TimeoutError:
            raise MachineError(f"{shown_url} could not be fetched within {PATIENCE_S:g} s") from None
        except OSError as error:
            raise MachineError(
                f"{shown_url} cannot be put into the cache: {error.strerror or error}",
                where=str(error.filename or self.root),
                hint="make space, or name another directory in VEP_CACHE_DIR",
            ) from None
        finally:
            lock.release()


def _sweep(building: Path, flat: str) -> None:
    """Delete what dead processes have left of a source whose lock is held."""
    for leftover in building.glob(f"{flat}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
