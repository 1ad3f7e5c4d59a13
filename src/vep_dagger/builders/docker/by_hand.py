"""The Containerfile of an image for people: to read, and to build with ``docker build`` alone. Needs no engine."""

from __future__ import annotations

from pathlib import Path

import anyio

from vep_dagger.builders.archive import manifest_digest
from vep_dagger.builders.base import Say
from vep_dagger.builders.base_archive import ARCHIVE
from vep_dagger.builders.checks import CHECKS, Proven, check_commands
from vep_dagger.builders.docker.bases import archive_name
from vep_dagger.builders.docker.build_context import lay_out
from vep_dagger.builders.docker.containerfile import Containerfile
from vep_dagger.builders.docker.render import render
from vep_dagger.builders.lowering import lower
from vep_dagger.builders.manifest import container_manifest
from vep_dagger.builders.mirrors import rewrite_image
from vep_dagger.builders.names import labels
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import Lowered, images_of
from vep_dagger.builders.unresolved import refuse_unresolved_of
from vep_dagger.dsl import Image, ImageSource, PlainBase
from vep_dagger.errors import BuildError, UsageError


def containerfile_of(image: Image, settings: BuildSettings) -> tuple[Containerfile, Lowered, tuple[str, ...]]:
    """The file, what it was made of, and what people should know of it. A base that is known by a tag alone stays so:
    nobody is asked. Raises BuildError for an archive that is none.
    """
    notes = []
    ref, _, digest = settings.plain_base.partition("@")
    if ref.startswith(ARCHIVE):
        digest = manifest_digest(settings.directory / ref.removeprefix(ARCHIVE))
    lowered = lower(image, digest or ref)
    sources = images_of(lowered)
    if any(isinstance(source, PlainBase) for source in sources) and not digest:
        notes.append(f"the plain base {ref} has no digest here: the keys are those of its name, a build's are others")
    refs = {source: _ref(source, settings, notes) for source in sources}
    return render(lowered, refs, labels(lowered), check_commands(image), CHECKS), lowered, tuple(notes)


def write_context(image: Image, settings: BuildSettings, directory: Path, say: Say) -> None:
    """Make a directory that ``docker build DIRECTORY`` builds the image in: the file, and all sources, fetched.

    What is built so has a manifest without proofs: the stage ``checks`` has them. Raises UsageError for what is not
    pinned, BuildError for what is not what it should be, and MachineError for what cannot be fetched.
    """
    file, lowered, _ = containerfile_of(image, settings)
    try:
        refuse_unresolved_of(lowered)
    except BuildError as error:
        raise UsageError(error.what, where=error.where, hint=error.hint) from None
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            f"{directory} is there already", where="--context", hint="name a directory that is new or empty"
        )
    plain = settings.plain_base.partition("@")[2] or None
    manifest = container_manifest(lowered, plain, Proven(), "docker")
    anyio.run(lay_out, file, directory, settings, image.platform, manifest, say)
    (directory / "Dockerfile").symlink_to("Containerfile")


def _ref(source: ImageSource, settings: BuildSettings, notes: list[str]) -> str:
    ref = settings.plain_base if isinstance(source, PlainBase) else source.ref
    if ref.startswith(ARCHIVE):
        path = settings.directory / ref.removeprefix(ARCHIVE)
        name = archive_name(manifest_digest(path))
        notes.append(f"{name} is {path}, which a build loads")
        return name
    name, _, own = ref.partition("@")
    digest = own or ("" if isinstance(source, PlainBase) else source.digest or "")
    asked = rewrite_image(name, settings.mirrors)
    return f"{asked}@sha256:{digest.removeprefix('sha256:')}" if digest else asked
