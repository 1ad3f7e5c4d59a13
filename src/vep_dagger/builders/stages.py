"""What every container engine carries out for an image: stages of plain operations, and where things are in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from vep_dagger.dsl import Check, Image, ImageSource, Layer, Source, Step

ENVIRONMENT = "environment"
IMAGE = "image"

MANIFEST = "/opt/vep/manifest.json"
"""Where every image says what it holds."""

TOOLS = "/run/vep/tools"
"""Where steps of Python find ``uv`` and ``install.py``; mounted, never content."""

JOBS_VARIABLE = "VEP_JOBS"
"""What stands for :data:`vep_dagger.dsl.JOBS` in a container: a variable that is set when the command runs, so that it
is not content."""

SURROUNDINGS = "/run/vep/env"
"""A file that commands find while something is built: proxies, package indexes, the number of jobs, where the
certificates are. Mounted as a secret, so that it is neither content nor part of an engine's cache key."""

CERTIFICATES = "/run/vep/ca.pem"
"""The host's bundle of certificates, mounted in the same way."""

SHELL = (
    "/bin/sh",
    "-ec",
    f"if [ -e {SURROUNDINGS} ]; then . {SURROUNDINGS}; fi; "
    f': "${{{JOBS_VARIABLE}:=$(nproc)}}"; export {JOBS_VARIABLE}; eval "$0"',
)
"""What every command of a build is run by: its text is the next argument (``SHELL + (text,)``)."""


@dataclass(frozen=True, slots=True)
class Exec:
    """A command: ``text`` for ``/bin/sh -c``. ``env`` are the variables set so far by steps (in order of their names).

    ``caches`` are pairs of name and path, ``secrets`` names of variables. ``tools`` says that it uses :data:`TOOLS`.
    """

    text: str
    env: tuple[tuple[str, str], ...] = ()
    workdir: str | None = None
    caches: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    tools: bool = False
    step: Step | Check | None = None
    """What it was made of, for messages."""


@dataclass(frozen=True, slots=True)
class File:
    """A text file, with its mode, of the user and group 0."""

    path: str
    text: str
    mode: int = 0o644
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """A source's content below ``path``; with ``kept=False`` (a mount) it is there, and writable, for the rest of the
    stage, and gone from what the stage leaves.
    """

    source: Source
    path: str
    kept: bool
    step: Step | None = None


Operation: TypeAlias = Exec | File | Tree


@dataclass(frozen=True, slots=True)
class Taken:
    """A prefix of another stage, put at the same place."""

    stage: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: ``base`` is another stage's name or an image; ``prefix`` is what is kept of it, ``/`` for all."""

    name: str
    key: str
    """Of what it leaves; see :func:`lower` for the plain base's part in it."""
    base: str | ImageSource
    taken: tuple[Taken, ...]
    operations: tuple[Operation, ...]
    env: tuple[tuple[str, str], ...]
    """Variables from the start: what the base and the needed layers export."""
    programs: tuple[str, ...]
    """Directories to put in front of the base's PATH."""
    prefix: str
    layer: Layer | None = None


@dataclass(frozen=True, slots=True)
class Lowered:
    """An image as stages, each after those that it names; the last two are ``environment`` and ``image``."""

    image: Image
    key: str
    """Of the image as it is built on this plain base; the image's own key where there is none."""
    stages: tuple[Stage, ...]
    env: tuple[tuple[str, str], ...]
    """The variables of whoever runs the image."""

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def layers(self) -> tuple[Stage, ...]:
        """The stages that are layers."""
        return tuple(stage for stage in self.stages if stage.layer is not None)


def images_of(lowered: Lowered) -> tuple[ImageSource, ...]:
    """The images that a build starts from or copies from, each once."""
    bases = [stage.base for stage in lowered.stages if isinstance(stage.base, ImageSource)]
    trees = [op.source for stage in lowered.stages for op in stage.operations if isinstance(op, Tree)]
    return tuple(dict.fromkeys([*bases, *(source for source in trees if isinstance(source, ImageSource))]))
