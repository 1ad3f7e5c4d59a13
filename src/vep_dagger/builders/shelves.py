"""What builds have put into the cache beside environments: fetched sources, and the tools of containers.

::

    <shelf>/<name>, <shelf>/<kind>/<name>   what is there, complete
    <shelf>/building/                       what is being made
    <shelf>/locks/<kind>-<name>.lock        held by who makes it; its time is that of the last use
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vep_dagger.builders.locks import Lock

SHELVES = ("sources", "tools")
IN_USE = timedelta(hours=1)
"""A build holds nothing while it hands a source to its engine: what was asked for so lately counts as in use."""

_NO_CONTENT = ("building", "locks")


@dataclass(frozen=True, slots=True)
class Item:
    """One source, or one set of tools."""

    path: Path
    lock: Lock

    @property
    def last_used(self) -> datetime:
        """When a build has last asked for it."""
        marker = self.lock.path if self.lock.path.exists() else self.path
        return datetime.fromtimestamp(marker.stat().st_mtime, UTC)


def items(shelf: Path) -> Iterator[Item]:
    """All that is complete on a shelf."""
    for path in _entries(shelf):
        if path.name in _NO_CONTENT or path.name.startswith("."):
            continue
        if shelf.name == "sources":
            yield from (Item(each, lock_of(shelf, f"{path.name}/{each.name}")) for each in _entries(path))
        else:
            yield Item(path, lock_of(shelf, path.name))


def lock_of(shelf: Path, name: str) -> Lock:
    """The lock of what has this name on a shelf."""
    return Lock(shelf / "locks" / f"{name.replace('/', '-')}.lock")


def used(lock: Lock) -> None:
    """Note that a build asks for something now; a cache that may only be read keeps no such notes."""
    with contextlib.suppress(OSError):
        lock.path.parent.mkdir(parents=True, exist_ok=True)
        lock.path.touch()


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
