"""Events: what a run says while it goes on. One stream, shown as a live table, as plain lines, or as JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

EventKind: TypeAlias = Literal[
    "run-started",
    "job-planned",
    "job-kept",
    "job-started",
    "job-progress",
    "layer",
    "job-finished",
    "job-skipped",
    "note",
    "run-finished",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. ``docs/plan.md`` explains the fields by kind."""

    kind: EventKind
    text: str
    """For people, one line."""
    job: str | None = None
    verdict: str | None = None
    """Of a finished, kept or skipped job."""
    seconds: float | None = None
    """How long a finished job or layer took; a layer that is being built, so far."""
    file: str | None = None
    """A file of the run directory that says more (relative path)."""
    layer: str | None = None
    """Of kind ``layer``: its name, in the build ``job``."""
    state: str | None = None
    """Of kind ``layer``: ``building``, ``built``, ``cached``, ``taken`` or ``failed``."""

    def data(self) -> dict[str, object]:
        """The event without its empty fields."""
        return {name: value for name, value in asdict(self).items() if value is not None}


Emit: TypeAlias = Callable[[Event], None]
"""Takes each event as it happens; must return at once."""
