"""What a plan has not resolved: which sources, who needs them, and why nobody knows what they hold."""

from __future__ import annotations

from dataclasses import dataclass

from vep_dagger.matrix.lock import AnyEntry, PythonEntry
from vep_dagger.plan.locking import wanted
from vep_dagger.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class OpenSource:
    """One source whose content is neither in a pin nor in the lock."""

    kind: str
    """The lock's table for it: ``git``, ``archive``, ``image`` or ``python``."""
    asked: str
    """What was asked for, as people call it."""
    used_by: tuple[str, ...]
    """Names of layers, and ``environment`` for an image's own chain."""
    unseen: str | None
    """Why `vep lock` could not see it either; None if nobody has asked."""

    @property
    def stops(self) -> bool:
        """Whether no container is built without it. Python requirements are resolved when they are installed."""
        return self.kind != PythonEntry.table


def open_sources(plan: Plan) -> tuple[OpenSource, ...]:
    """Those of all images of a plan, each once."""
    asked = [entry for entry in wanted(plan.images) if entry.content is None]
    held = {entry.identity: plan.lock.find(entry.identity) if plan.lock else None for entry in asked}
    return tuple(
        _open(entry, found.unseen if found else None)
        for entry in asked
        if not ((found := held[entry.identity]) and found.content)
    )


def _open(entry: AnyEntry, unseen: str | None) -> OpenSource:
    # The hash that finds a Python environment says nothing to people.
    asked = " ".join(entry.requirements) if isinstance(entry, PythonEntry) else entry.asked
    return OpenSource(entry.table, asked, tuple(entry.used_by), unseen)
