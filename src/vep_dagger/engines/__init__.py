"""Engines: what builders and launchers talk to, opened once for a run and shared by both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vep_dagger.engines.dagger import DaggerSession
    from vep_dagger.engines.docker import Docker

NEEDED: Mapping[str, str] = {"docker": "docker", "registry": "docker", "dagger": "dagger"}
"""The engine of each builder and launcher that needs one, by the name that people choose it by."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines that are open; None for what nobody asked for."""

    docker: Docker | None = None
    dagger: DaggerSession | None = None


@asynccontextmanager
async def open_engines(names: Collection[str], environ: Mapping[str, str]) -> AsyncIterator[Engines]:
    """Open what builders and launchers of these names need. Raises MachineError for one that is not there: what was
    tried, how to get one, and what works without.
    """
    wanted = {NEEDED[name] for name in names if name in NEEDED}
    docker = None
    if "docker" in wanted:
        from vep_dagger.engines.docker import find_docker

        docker = await find_docker(environ)
    if "dagger" not in wanted:
        yield Engines(docker)
        return
    from vep_dagger.engines.dagger import open_dagger

    async with open_dagger(environ) as session:
        yield Engines(docker, session)
