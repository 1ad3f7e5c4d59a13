"""The ways to build and run that a machine has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vep_dagger.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class Way:
    """A builder with a launcher that this version has, and what must be found for it."""

    builder: str
    launcher: str
    runs: str
    needs: tuple[str, ...] = ()
    """Findings that must not be ``missing``."""
    whole: tuple[str, ...] = ()
    """Findings that must be ``ok``."""


WAYS = (
    Way("venv", "process", "vLLM for CPUs in environments of this machine", needs=("uv", "libnuma", "disk-cache")),
    Way("dagger", "dagger", "images and servers in a Dagger engine", whole=("dagger",)),
    Way("docker", "docker", "images and servers in Docker containers", whole=("docker",)),
)


def blocked_by(way: Way, findings: Sequence[Finding]) -> list[str]:
    """The names of what a way lacks here; none if it is open."""
    states = {finding.name: finding.state for finding in findings}
    missing = [name for name in way.needs if states.get(name) == "missing"]
    return missing + [name for name in way.whole if states.get(name) != "ok"]


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if there is at least one way to run, else 3."""
    return 0 if any(not blocked_by(way, findings) for way in WAYS) else 3
