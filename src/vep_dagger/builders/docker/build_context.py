"""The directory that a Containerfile is built in: its texts, sources and tools, laid out for ``docker build``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from vep_dagger.builders.base import Say
from vep_dagger.builders.docker.containerfile import MANIFEST_PLACE, TOOLS_PLACE, Containerfile
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.fetch import fetch
from vep_dagger.builders.tools import tools_directory
from vep_dagger.dsl import GitSource, HttpSource

FILE_NAME = "Containerfile"
FETCHES = 4
"""Sources that are fetched at the same time."""


async def lay_out(
    file: Containerfile, directory: Path, settings: BuildSettings, platform: str, manifest: str, say: Say
) -> None:
    """Make ``directory`` the context of ``file``; what is there already is replaced.

    Raises BuildError and MachineError of what is fetched.
    """
    fetched = await _fetched(file.sources, settings, say)
    tools = await tools_directory(platform, settings.environ) if file.needs_tools else None
    await anyio.to_thread.run_sync(_write, file, directory, fetched, tools, manifest)


async def _fetched(sources: Mapping[str, GitSource | HttpSource], settings: BuildSettings, say: Say) -> dict[str, Path]:
    places: dict[str, Path] = {}
    first: list[BaseException] = []
    limit = anyio.CapacityLimiter(FETCHES)

    async def get(place: str, source: GitSource | HttpSource) -> None:
        async with limit:
            try:
                places[place] = await fetch(source, settings, say)
            except Exception as error:
                # One error and not a group of them: the others are of no use then.
                first.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for place, source in sources.items():
            group.start_soon(get, place, source)
    if first:
        raise first[0]
    return places


def _write(
    file: Containerfile, directory: Path, fetched: Mapping[str, Path], tools: Path | None, manifest: str
) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / FILE_NAME).write_text(file.text, encoding="utf-8")
    (directory / MANIFEST_PLACE).write_text(manifest, encoding="utf-8")
    for place, content in file.files.items():
        target = directory / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content.text, encoding="utf-8", newline="")
    for place, path in fetched.items():
        _take(path, directory / place)
    if tools is not None:
        _take(tools, directory / TOOLS_PLACE)


def _take(source: Path, target: Path) -> None:
    """The content of the cache at another place, linked where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_link)
    else:
        _link(str(source), str(target))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
