"""Launchers by the name that ``--launcher`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vep_dagger.builders.settings import BuildSettings
from vep_dagger.engines import Engines
from vep_dagger.errors import UsageError, did_you_mean
from vep_dagger.launchers.base import Launcher

NAMES = ("process", "dagger", "docker")

OF_BUILDER: Mapping[str, str] = MappingProxyType(
    {"venv": "process", "dagger": "dagger", "docker": "docker", "registry": "docker"}
)
"""The launcher that runs what a builder builds, unless people say otherwise."""


def find_launcher(name: str, settings: BuildSettings | None = None, engines: Engines | None = None) -> Launcher:
    """The launcher of that name, on engines that are open: without them it can refuse, and not start. Raises
    UsageError.
    """
    settings, engines = settings or BuildSettings(), engines or Engines()
    match name:
        case "process":
            from vep_dagger.launchers.process import ProcessLauncher

            return ProcessLauncher()
        case "dagger":
            from vep_dagger.launchers.dagger.launcher import DaggerLauncher

            return DaggerLauncher(settings, engines.dagger)
        case "docker":
            from vep_dagger.launchers.docker.launcher import DockerLauncher

            return DockerLauncher(settings, engines.docker)
    raise UsageError(f"there is no launcher {name!r}", where="--launcher", hint=did_you_mean(name, NAMES))
