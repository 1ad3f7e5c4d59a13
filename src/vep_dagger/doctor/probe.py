"""What a probe is: a function that looks at a machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import wraps
from typing import TypeAlias

from vep_dagger.doctor.finding import Finding
from vep_dagger.doctor.machine import Machine

Probe: TypeAlias = Callable[[Machine], Iterable[Finding]]
"""Looks at a machine; its name is the function's, without ``probe_``."""


def later(probe: Probe) -> Probe:
    """A probe for what only later versions of vep make use of."""

    @wraps(probe)
    def look(machine: Machine) -> Iterator[Finding]:
        for finding in probe(machine):
            yield replace(finding, used=False)

    return look
