"""The ways to build and run that a machine has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vep_dagger.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class Way:
    """A builder with a launcher that this version has, and the findings that must not be ``missing`` for it."""

    builder: str
    launcher: str
    runs: str
    needs: tuple[str, ...]


WAYS = (Way("venv", "process", "vLLM for CPUs in environments of this machine", ("uv", "libnuma", "disk-cache")),)


def blocked_by(way: Way, findings: Sequence[Finding]) -> list[str]:
    """The names of what a way lacks here; none if it is open."""
    missing = {finding.name for finding in findings if finding.state == "missing"}
    return [name for name in way.needs if name in missing]


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if there is at least one way to run, else 3."""
    return 0 if any(not blocked_by(way, findings) for way in WAYS) else 3
