"""The cache of environments: where it is, what is in it, and how it is made smaller.

::

    <cache>/venv/<key>/             an environment, complete
    <cache>/venv/building/<key>-*/  one being built; of a dead process if nobody holds the key's lock
    <cache>/venv/trash/             being deleted
    <cache>/venv/locks/<key>.lock   held exclusively by who builds or deletes, shared by who uses it
    <cache>/mounts/<name>/          cache mounts of recipes
    <cache>/compiled/<name>/        what servers of an image compiled at run time, for one kind of GPU; its lock is
                                    <cache>/venv/locks/<name>.lock
    <cache>/{sources,tools}/        what builds have fetched and need in containers; see :mod:`.shelves`
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vep_dagger.builders.locks import Lock
from vep_dagger.builders.manifest import read_manifest
from vep_dagger.builders.shelves import IN_USE, SHELVES, items
from vep_dagger.errors import MachineError

VARIABLE = "VEP_CACHE_DIR"
_USED = "vep-last-used"
_KEY_LENGTH = 64


def cache_root(environ: Mapping[str, str] | None = None) -> Path:
    """The user's cache directory for ``vep``: ``$VEP_CACHE_DIR``, or ``vep`` under the system's place for caches."""
    import platformdirs

    surroundings = os.environ if environ is None else environ
    return Path(surroundings.get(VARIABLE) or platformdirs.user_cache_dir("vep")).expanduser().absolute()


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes on the disk, each file once however many names it has."""

    total: int
    shared: int
    """Of these, in files that have names elsewhere too (uv's cache, another environment): deleting this one does not
    free them.
    """


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One environment of the cache."""

    key: str
    tag: str
    size_bytes: int
    shared_bytes: int
    """Of ``size_bytes``, what deleting this entry alone does not free; see :class:`Size`."""
    last_used: datetime
    path: Path
    in_use: bool


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of a cache."""

    root: Path

    @property
    def environments(self) -> Path:
        """Holds the complete environments, and the other places."""
        return self.root / "venv"

    @property
    def building(self) -> Path:
        """Environments that are being built."""
        return self.environments / "building"

    @property
    def trash(self) -> Path:
        """What is being deleted."""
        return self.environments / "trash"

    def environment(self, key: str) -> Path:
        """The environment with this key, there or not."""
        return self.environments / key

    def mount(self, name: str) -> Path:
        """The directory of a recipe's cache mount."""
        return self.root / "mounts" / name

    @property
    def compiled(self) -> Path:
        """Holds what servers compile at run time."""
        return self.root / "compiled"

    def lock(self, key: str) -> Lock:
        """The lock of an environment's key, or of a place for what servers compile."""
        return Lock(self.environments / "locks" / f"{key}.lock")

    def prepare(self) -> None:
        """Make the directories. Raises MachineError where the cache cannot be written."""
        try:
            for directory in (self.building, self.trash, self.environments / "locks"):
                directory.mkdir(parents=True, exist_ok=True)
                probe = directory / f".probe-{uuid.uuid4().hex}"
                probe.touch()
                probe.unlink()
        except OSError as error:
            raise MachineError(
                f"the cache {self.root} cannot be written: {error.strerror or error}",
                where=str(error.filename or self.root),
                hint=f"make it writable, or name another directory in {VARIABLE}",
            ) from None

    def discard(self, path: Path) -> None:
        """Delete a directory: first out of its place in one step, then piece by piece."""
        away = self.trash / f"{path.name}-{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):
            path.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def clear(self, key: str) -> None:
        """Delete whatever there is of a key whose lock is held, and what dead processes have left of others."""
        for leftover in _directories(self.building):
            if leftover.name.startswith(f"{key}-"):
                self.discard(leftover)
        self.discard(self.environment(key))
        self.sweep()

    def sweep(self) -> None:
        """Delete what dead processes have left: builds that nobody builds any more, and half-deleted directories."""
        for leftover in _directories(self.building):
            lock = self.lock(leftover.name.partition("-")[0])
            if lock.try_acquire("exclusive"):
                try:
                    self.discard(leftover)
                finally:
                    lock.release()
        for leftover in _directories(self.trash):
            shutil.rmtree(leftover, ignore_errors=True)


def touch(environment: Path) -> None:
    """Note that an environment is used now; a cache that may only be read keeps no such notes."""
    with contextlib.suppress(OSError):
        (environment / _USED).touch()


def size_of(*trees: Path) -> Size:
    """What directories take on the disk together."""
    names: Counter[tuple[int, int]] = Counter()
    files: dict[tuple[int, int], tuple[int, int]] = {}
    for tree in trees:
        for status in _files(tree):
            inode = (status.st_dev, status.st_ino)
            names[inode] += 1
            files[inode] = (status.st_blocks * 512, status.st_nlink)
    total = sum(size for size, _ in files.values())
    shared = sum(size for inode, (size, links) in files.items() if links > names[inode])
    return Size(total, shared)


def entries(cache: Path) -> list[CacheEntry]:
    """The environments of a cache, the last used first. Nothing is created if there is no cache."""
    places = Places(cache)
    found = []
    for path in _directories(places.environments):
        manifest = read_manifest(path) if len(path.name) == _KEY_LENGTH else None
        if manifest is None:
            continue
        size = size_of(path)
        lock = places.lock(path.name)
        in_use = lock.path.exists() and not lock.try_acquire("exclusive")
        lock.release()
        found.append(CacheEntry(path.name, manifest.tag, size.total, size.shared, _last_used(path), path, in_use))
    return sorted(found, key=lambda entry: (entry.last_used, entry.key), reverse=True)


def shelf_sizes(cache: Path) -> dict[str, int]:
    """The bytes on the disk of fetched sources and of the tools of containers, where there are any."""
    return {name: size_of(cache / name).total for name in SHELVES if any(items(cache / name))}


def prune(
    cache: Path,
    *,
    keep_days: float | None = None,
    everything: bool = False,
    keys: Collection[str] = (),
    now: datetime | None = None,
) -> int:
    """Delete environments: those not used for ``keep_days``, all of them, or those whose keys begin with one of
    ``keys``; and by age, or with all, what servers have compiled, fetched sources, and the tools of containers.

    What a running process uses stays; of sources and tools, that is what a build has asked for within
    :data:`.shelves.IN_USE`. Gives the bytes that the disk has got back: files that uv's cache or another
    environment has too are not among them.
    """
    places = Places(cache)
    if not places.root.is_dir():
        return 0
    places.prepare()
    now = now or datetime.now(UTC)
    before = now - timedelta(days=keep_days) if keep_days is not None else None
    doomed = []
    locks = []
    try:
        environments = [path for path in _directories(places.environments) if len(path.name) == _KEY_LENGTH]
        unused: list[tuple[Path, Lock]] = []
        for path in [*environments, *_directories(places.compiled)]:
            chosen = any(path.name.startswith(key) for key in keys if key)
            if everything or chosen or (before is not None and _last_used(path) < before):
                unused.append((path, places.lock(path.name)))
        shelved = [item for name in SHELVES for item in items(cache / name) if item.last_used <= now - IN_USE]
        unused += [
            (item.path, item.lock) for item in shelved if everything or (before is not None and item.last_used < before)
        ]
        for path, lock in unused:
            if lock.try_acquire("exclusive"):
                locks.append(lock)
                away = places.trash / f"{path.name}-{uuid.uuid4().hex}" / path.name
                away.parent.mkdir()
                path.rename(away)
                doomed.append(away.parent)
        size = size_of(*doomed)
        for away in doomed:
            shutil.rmtree(away)
    finally:
        for lock in locks:
            lock.release()
    places.sweep()
    return size.total - size.shared


def _last_used(environment: Path) -> datetime:
    marker = environment / _USED
    return datetime.fromtimestamp((marker if marker.exists() else environment).stat().st_mtime, UTC)


def _directories(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _files(tree: Path) -> Iterator[os.stat_result]:
    for directory, _, names in os.walk(tree):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(os.path.join(directory, name))  # noqa: PTH118 - a Path for each of 50,000 files is slow
