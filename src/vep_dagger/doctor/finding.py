"""What a probe finds out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["ok", "limited", "missing"]
"""``limited``: something is there, but not all that it could enable."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that this machine has, or has not."""

    name: str
    """Stable: programs look for it."""
    state: State
    what: str
    """What was found: versions, sizes, counts; never a secret's value."""
    enables: str
    """What it is good for."""
    hint: str | None = None
    """How to get it, when it is not ``ok``."""
    used: bool = True
    """Whether this version of vep makes use of it; False where only later versions will."""
