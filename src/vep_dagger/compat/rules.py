"""What the look-ups of :mod:`vep_dagger.compat` give: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Violation: TypeAlias = Literal["failed", "fell-back"]
"""The verdict of a server whose log breaks a rule."""


@dataclass(frozen=True, slots=True)
class LineRule:
    """A line that a server's log must show, or must not show.

    ``pattern`` is a regular expression, searched (not anchored) in each line after colours and process prefixes are stripped.
    """

    name: str
    """What the line proves, in a few words: ``PPLX all2all manager``."""
    pattern: str
    violation: Violation = "failed"


@dataclass(frozen=True, slots=True)
class Selection:
    """How one release is told to use a backend, and how its log proves that it did; or why it cannot be."""

    env: tuple[tuple[str, str], ...] = ()
    """Variables to set, sorted by name."""
    args: tuple[str, ...] = ()
    """Flags of ``vllm serve``."""
    unset: tuple[str, ...] = ()
    """Variables that must not reach the server, since they would overrule or confuse the selection."""
    demanded: tuple[LineRule, ...] = ()
    forbidden: tuple[LineRule, ...] = ()
    impossible: str | None = None
    """Why this release cannot do what is asked; everything else is then empty."""


@dataclass(frozen=True, slots=True)
class PhaseRule:
    """A phase of a server's start, and the log lines that show that it has begun."""

    phase: str
    """One of the names of :class:`vep_dagger.matrix.schema.Deadlines`: weights, compile, warmup, capture, ready."""
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BenchFlags:
    """How one release's ``vllm bench serve`` spells what this project tells it."""

    backend: str
    """The flag that names the API: ``--backend`` or ``--endpoint-type``."""
    reports_failed: bool
    """Whether its result has a ``failed`` count; before that only ``completed`` against ``num_prompts`` tells."""
    ready_check: bool
    """Whether it takes ``--ready-check-timeout-sec``."""
    temperature: bool
    """Whether it takes ``--temperature``."""


@dataclass(frozen=True, slots=True)
class Release:
    """What one vLLM release is made of."""

    version: str
    torch: str
    cuda: str
    """The CUDA that its wheel is built for."""
    python: str
    """The Pythons that it runs on, as a PEP 440 specifier."""
    known_as: str | None = None
    """The release whose data is used, when this one is newer than the newest that the data knows; else None."""
