"""Launchers by the name that ``--launcher`` takes."""

from __future__ import annotations

from vep_dagger.errors import UsageError, did_you_mean
from vep_dagger.launchers.base import Launcher

NAMES = ("process",)


def find_launcher(name: str) -> Launcher:
    """The launcher of that name. Raises UsageError."""
    if name == "process":
        from vep_dagger.launchers.process import ProcessLauncher

        return ProcessLauncher()
    raise UsageError(f"there is no launcher {name!r}", where="--launcher", hint=did_you_mean(name, NAMES))
