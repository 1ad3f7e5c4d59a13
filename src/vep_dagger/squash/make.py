"""A cell's image as a SquashFS: built or found, exported, flattened, and put in its place when it is whole."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

import anyio.to_thread

from vep_dagger.builders.base import BuiltImage, Say
from vep_dagger.builders.names import tag_of
from vep_dagger.builders.registry import find_builder
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import Image
from vep_dagger.engines import Engines, open_engines
from vep_dagger.errors import MachineError, UsageError
from vep_dagger.squash.enroot_form import SCHEME, files_of, warnings_of
from vep_dagger.squash.flatten import read_image, read_tree, write_tree
from vep_dagger.squash.mksquashfs import Command, find_mksquashfs, make_squashfs, surroundings
from vep_dagger.squash.target import refuse_other, standing

BUILDERS = ("dagger", "docker", "registry")
"""Those whose images have a root file system."""


@dataclass(frozen=True, slots=True)
class Squashed:
    """A SquashFS file that is whole."""

    file: Path
    size_bytes: int
    digest: str
    """``sha256:…`` of the manifest of the image in it."""
    found: bool
    """Whether it was there already, of the very same image."""
    notes: tuple[str, ...]
    """What a container of enroot has otherwise than one of Docker."""

    @property
    def commands(self) -> tuple[str, ...]:
        """What starts it: with pyxis, and with enroot alone."""
        file, name = shlex.quote(str(self.file)), shlex.quote(self.file.stem)
        return (
            f"srun --container-image={file} PROGRAM",
            f"enroot create --name {name} {file} && enroot start {name} PROGRAM",
        )


async def squash(
    image: Image, builder: str, settings: BuildSettings, target: Path, say: Say, *, force: bool = False
) -> Squashed:
    """The SquashFS of an image at ``target``. A file of the very same image stays; one of the same key and another
    digest, built anew since, is replaced; any other is refused, but with ``force``.

    Nothing unfinished is ever at ``target``: work is done in a directory beside it, which also holds the exported
    image. Raises UsageError (such a file, or a builder without images), BuildError, and MachineError (no mksquashfs, no
    engine, no space).
    """
    if builder == "venv":
        raise UsageError(
            "the builder venv has no image, and so no root file system to make a file of",
            where="--builder",
            hint=f"use {', '.join(BUILDERS)}",
        )
    find_builder(builder, settings).refuse(image)
    program = find_mksquashfs(settings.environ)
    # Programs that are handed paths run elsewhere.
    target = await anyio.to_thread.run_sync(target.absolute)
    there = await anyio.to_thread.run_sync(standing, target, surroundings(settings.environ))
    if not force:
        refuse_other(target, there, image)
    log = target.with_name(f"{target.name}.log")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vep-squash-", dir=target.parent) as aside:
            archive = await _exported(image, builder, replace(settings, export=Path(aside)), log, say)
            made = await _squash_archive(archive, program, image, settings, target, log, say)
    except OSError as error:
        raise MachineError(
            f"the file cannot be written: {error.strerror or error}",
            where=str(error.filename or target),
            hint="look at the free space of that directory, and whether you may write there",
        ) from error
    log.unlink(missing_ok=True)
    return made


async def _exported(image: Image, builder: str, settings: BuildSettings, log: Path, say: Say) -> Path:
    """The image as an OCI archive in ``settings.export``."""
    async with open_engines({builder}, settings.environ) as engines:
        working = find_builder(builder, settings, engines)
        await working.ready(image)
        built = await working.build(image, log, say)
        if built.exported is None:
            built = await _saved(engines, image, built, settings, log, say)
    assert built.exported is not None
    return Path(built.exported)


async def _saved(
    engines: Engines, image: Image, built: BuiltImage, settings: BuildSettings, log: Path, say: Say
) -> BuiltImage:
    """An image that was pulled: the builder ``registry`` exports nothing, and its daemon has it now."""
    from vep_dagger.builders.docker.deliver import Delivery

    assert engines.docker is not None
    return await Delivery(replace(settings, publish=None)).carry_out(engines.docker, image, built, log, say)


async def _squash_archive(
    archive: Path, program: str, image: Image, settings: BuildSettings, target: Path, log: Path, say: Say
) -> Squashed:
    content = await anyio.to_thread.run_sync(read_image, archive)
    notes = warnings_of(content.config, gpu=image.device == "cuda")
    there = await anyio.to_thread.run_sync(standing, target, surroundings(settings.environ))
    if there is not None and there.key == image.key and there.digest == content.digest:
        return await anyio.to_thread.run_sync(partial(_whole, target, content.digest, notes, found=True))
    own = files_of(content.config, f"{SCHEME}{tag_of(image, settings.tags)}@{content.digest}")
    say(f"{image.tag}: making {target.name}")
    tree = await anyio.to_thread.run_sync(read_tree, archive, content, own)
    aside = archive.with_name("image.sqsh")

    def feed(sink: IO[bytes]) -> None:
        write_tree(archive, content, tree, own, sink)

    await make_squashfs(Command.of(program, settings.environ, tree.latest_s), aside, log, feed)
    if there is not None:
        say(f"{image.tag}: {target.name} was of {there.digest or 'something else'}; it is replaced")
    await anyio.to_thread.run_sync(_put, aside, target)
    return await anyio.to_thread.run_sync(partial(_whole, target, content.digest, notes, found=False))


def _whole(target: Path, digest: str, notes: tuple[str, ...], *, found: bool) -> Squashed:
    return Squashed(target, target.stat().st_size, digest, found, notes)


def _put(made: Path, target: Path) -> None:
    """Give a file its name once all of it is on the disk."""
    with made.open("rb") as opened:
        os.fsync(opened.fileno())
    made.replace(target)
