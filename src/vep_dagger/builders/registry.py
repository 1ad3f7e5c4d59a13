"""Builders by the name that ``--builder`` takes."""

from __future__ import annotations

from vep_dagger.builders.base import Builder
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.engines import Engines
from vep_dagger.errors import UsageError, did_you_mean

NAMES = ("venv", "dagger", "docker", "registry")


def find_builder(name: str, settings: BuildSettings | None = None, engines: Engines | None = None) -> Builder:
    """The builder of that name, on engines that are open: without them it can refuse, and not build. Raises
    UsageError.
    """
    settings, engines = settings or BuildSettings(), engines or Engines()
    match name:
        case "venv":
            from vep_dagger.builders.venv.builder import VenvBuilder

            return VenvBuilder(mirrors=settings.mirrors)
        case "dagger":
            from vep_dagger.builders.dagger.builder import DaggerBuilder

            return DaggerBuilder(settings, engines.dagger)
        case "docker":
            from vep_dagger.builders.docker.builder import DockerBuilder

            return DockerBuilder(settings, engines.docker)
        case "registry":
            from vep_dagger.builders.docker.published import RegistryBuilder

            return RegistryBuilder(settings, engines.docker)
    raise UsageError(f"there is no builder {name!r}", where="--builder", hint=did_you_mean(name, NAMES))
