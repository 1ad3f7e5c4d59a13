"""A cell's image as a SquashFS: built or found, made by enroot or exported and flattened, and put in its place when it
is whole.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import anyio.to_thread

from vep_dagger.builders.base import BuiltImage, Say
from vep_dagger.builders.docker.bases import inspect
from vep_dagger.builders.docker.deliver import Delivery
from vep_dagger.builders.names import tag_of
from vep_dagger.builders.registry import find_builder
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.dsl import Image
from vep_dagger.engines import Engines, open_engines
from vep_dagger.errors import MachineError, UsageError
from vep_dagger.squash.choice import Program, find_enroot
from vep_dagger.squash.enroot_form import ID_LABEL, SCHEME, ImageConfig, files_of, refuse_lines, warnings_of
from vep_dagger.squash.enroot_import import import_image, path_note
from vep_dagger.squash.flatten import read_image, read_tree, write_tree
from vep_dagger.squash.mksquashfs import Command, find_mksquashfs, make_squashfs, surroundings
from vep_dagger.squash.target import Standing, refuse_other, standing
from vep_dagger.squash.workplace import sweep, workplace

BUILDERS = ("dagger", "docker", "registry")
"""Those whose images have a root file system."""


@dataclass(frozen=True, slots=True)
class Squashed:
    """A SquashFS file that is whole."""

    file: Path
    size_bytes: int
    digest: str
    """``sha256:…`` of the manifest of the image in it, or, where enroot made it, of the image's configuration."""
    program: Program
    """What made it."""
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


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs that make a file."""

    enroot: str | None
    """None where mksquashfs makes it."""
    mksquashfs: str
    """Enroot needs it too."""


def find_tools(builder: str, settings: BuildSettings, using: Program | None) -> Tools:
    """What makes a file of this builder's images. Raises UsageError (a builder without images, enroot with a builder
    whose images it cannot take) and MachineError (a program that is not there): whatever the image is, before anybody
    is asked for anything."""
    if builder == "venv":
        raise UsageError(
            "the builder venv has no image, and so no root file system to make a file of",
            where="--builder",
            hint=f"use {', '.join(BUILDERS)}",
        )
    find_builder(builder, settings)
    return Tools(find_enroot(using, builder, settings.environ), find_mksquashfs(settings.environ))


async def squash(
    image: Image,
    builder: str,
    settings: BuildSettings,
    target: Path,
    say: Say,
    *,
    force: bool = False,
    using: Program | None = None,
) -> Squashed:
    """The SquashFS of an image at ``target``. A file of the very same image stays, unless another program made it than
    the one that was asked for; one of the same key and another image, built anew since, is replaced; any other is
    refused, but with ``force``.

    ``using`` is the program that makes it: by default enroot, where it is installed and can be handed the image, else
    mksquashfs. Nothing unfinished is ever at ``target``: work is done in a directory beside it. Raises UsageError (such
    a file, a builder without images, enroot with a builder whose images it cannot take), BuildError, and MachineError
    (no mksquashfs, no engine, no space, a program that fails).
    """
    tools = find_tools(builder, settings, using)
    find_builder(builder, settings).refuse(image)
    # Programs that are handed paths run elsewhere.
    target = await anyio.to_thread.run_sync(target.absolute)
    there = await anyio.to_thread.run_sync(standing, target, surroundings(settings.environ))
    if not force:
        refuse_other(target, there, image)
    log = target.with_name(f"{target.name}.log")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for name in await anyio.to_thread.run_sync(sweep, target.parent):
            say(f"{image.tag}: removed {name}, which a vep that was killed had left")
        with workplace(target.parent) as aside:
            work = _Work(image, builder, settings, target, using, aside, log, say)
            made = await (work.by_enroot(tools.enroot) if tools.enroot else work.by_mksquashfs(tools.mksquashfs))
    except OSError as error:
        raise MachineError(
            f"the file cannot be written: {error.strerror or error}",
            where=str(error.filename or target),
            hint="look at the free space of that directory, and whether you may write there",
        ) from error
    log.unlink(missing_ok=True)
    return made


@dataclass(frozen=True, slots=True)
class _Work:
    """One file to be made, or found, with the directory to work in."""

    image: Image
    builder: str
    settings: BuildSettings
    target: Path
    using: Program | None
    aside: Path
    log: Path
    say: Say

    async def by_enroot(self, program: str) -> Squashed:
        """By ``enroot import``, out of Docker's daemon."""
        async with open_engines({self.builder}, self.settings.environ) as engines:
            docker = engines.docker
            assert docker is not None
            built = await self._built(engines, self.settings)
            own = built.location
            config = ImageConfig.read({"config": (await inspect(docker, own) or {}).get("Config")})
            refuse_lines(config)
            there = await self._there()
            found = self._is_same(there, own, None)
            imported = not found or (there is not None and there.program == "enroot")
            notes = warnings_of(config, gpu=self._gpu, imported=imported)
            if imported:
                notes += await path_note(docker, own, config)
            if found and there is not None:
                return await self._found(there, notes)
            self.say(f"{self.image.tag}: making {self.target.name} with enroot")
            made = await import_image(program, docker, self.image, own, self.aside, self.log)
        return await self._put(made, there, "enroot", own, notes)

    async def by_mksquashfs(self, program: str) -> Squashed:
        """By our own writer, out of an archive."""
        settings = replace(self.settings, export=self.aside)
        async with open_engines({self.builder}, settings.environ) as engines:
            built = await self._built(engines, settings)
            if built.exported is None:
                # The builder registry exports nothing, and its daemon has the image now.
                assert engines.docker is not None
                delivery = Delivery(replace(settings, publish=None))
                built = await delivery.carry_out(engines.docker, self.image, built, self.log, self.say)
        assert built.exported is not None
        archive = Path(built.exported)
        content = await anyio.to_thread.run_sync(read_image, archive)
        notes = warnings_of(content.config, gpu=self._gpu)
        there = await self._there()
        if there is not None and self._is_same(there, content.id, content.digest):
            return await self._found(there, notes)
        tag = tag_of(self.image, settings.tags)
        own = files_of(content.config.labelled(ID_LABEL, content.id), f"{SCHEME}{tag}@{content.digest}")
        self.say(f"{self.image.tag}: making {self.target.name}")
        tree = await anyio.to_thread.run_sync(read_tree, archive, content, own)
        made = self.aside / "image.sqsh"

        def feed(sink: IO[bytes]) -> None:
            write_tree(archive, content, tree, own, sink)

        await make_squashfs(Command.of(program, settings.environ, tree.latest_s), made, self.log, feed)
        return await self._put(made, there, "mksquashfs", content.digest, notes)

    @property
    def _gpu(self) -> bool:
        return self.image.device == "cuda"

    async def _built(self, engines: Engines, settings: BuildSettings) -> BuiltImage:
        working = find_builder(self.builder, settings, engines)
        await working.ready(self.image)
        return await working.build(self.image, self.log, self.say)

    async def _there(self) -> Standing | None:
        return await anyio.to_thread.run_sync(standing, self.target, surroundings(self.settings.environ))

    def _is_same(self, there: Standing | None, own: str, digest: str | None) -> bool:
        """Whether what is there can stay."""
        if there is None or not there.is_of(self.image, id=own, digest=digest):
            return False
        return self.using in (None, there.program)

    async def _found(self, there: Standing, notes: tuple[str, ...]) -> Squashed:
        size = (await anyio.to_thread.run_sync(self.target.stat)).st_size
        return Squashed(self.target, size, str(there), there.program, found=True, notes=notes)

    async def _put(
        self, made: Path, there: Standing | None, program: Program, digest: str, notes: tuple[str, ...]
    ) -> Squashed:
        if there is not None:
            was = f"was of {there}, made by {there.program}" if there.key else "was something else"
            self.say(f"{self.image.tag}: {self.target.name} {was}; it is replaced")
        await anyio.to_thread.run_sync(_rename, made, self.target)
        size = (await anyio.to_thread.run_sync(self.target.stat)).st_size
        return Squashed(self.target, size, digest, program, found=False, notes=notes)


def _rename(made: Path, target: Path) -> None:
    """Give a file its name once all of it is on the disk."""
    with made.open("rb") as opened:
        os.fsync(opened.fileno())
    made.replace(target)
