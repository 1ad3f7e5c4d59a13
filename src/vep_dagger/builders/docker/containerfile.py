"""A Containerfile of several stages, as a value: its text, and what it needs besides.

A stage of the file is a stage of the image; three more follow: ``checks`` (the checks, run in the finished image),
``results`` (what they wrote, alone) and ``final`` (the image with its manifest, last, so that a plain ``docker build``
gives it).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from vep_dagger.builders.docker.instructions import Instruction, copy, run
from vep_dagger.builders.docker.shell_text import lines_of
from vep_dagger.builders.stages import File, Stage
from vep_dagger.dsl import GitSource, HttpSource

CHECK_STAGE = "checks"
RESULT_STAGE = "results"
FINAL_STAGE = "final"

SURROUNDINGS_ID = "vep-env"
CERTIFICATES_ID = "vep-ca"
"""Ids of the two secrets that every command may see and none needs."""

TOOLS_PLACE = "tools"
MANIFEST_PLACE = "manifest.json"
"""Places in the build context."""

_KEPT = "/run/vep-kept"


@dataclass(frozen=True, slots=True)
class FileStage:
    """A stage of the file. ``stage`` is the image's, where it has one."""

    name: str
    comments: tuple[str, ...]
    base: str
    instructions: tuple[Instruction, ...]
    stage: Stage | None = None
    first: int = 1
    """The number of its first step: BuildKit counts FROM where that is an image, and not where it is a stage."""

    def render(self, until: int | None = None) -> str:
        """Its text; with ``until`` that before the step of this number."""
        lines = [f"# {comment}" for comment in self.comments]
        lines.append(f"FROM {self.base} AS {self.name}")
        number = self.first - 1
        for instruction in self.instructions:
            number += instruction.counted
            if until is not None and number >= until:
                break
            lines.append(instruction.text)
        return "\n".join(lines) + "\n"

    def step(self, number: int) -> Instruction | None:
        """The instruction that BuildKit calls by this number."""
        counted = [instruction for instruction in self.instructions if instruction.counted]
        return counted[number - self.first] if 0 <= number - self.first < len(counted) else None


@dataclass(frozen=True)
class Containerfile:
    """The file, and what must be in its build context: texts with their modes, and sources."""

    header: tuple[str, ...]
    stages: tuple[FileStage, ...]
    files: Mapping[str, File]
    sources: Mapping[str, GitSource | HttpSource]
    needs_tools: bool
    secrets: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it."""
        head = "".join(f"# {line}".rstrip() + "\n" for line in self.header)
        return "\n".join([head, *(stage.render() for stage in self.stages)])

    def until(self, name: str, number: int) -> str:
        """The stages up to one that ends before a step: what a person looks into when that step fails."""
        kept: list[str] = []
        for stage in self.stages:
            if stage.name == name:
                kept.append(stage.render(until=number))
                break
            kept.append(stage.render())
        return "\n".join(kept)

    def stage(self, name: str) -> FileStage | None:
        """The stage that the file calls so."""
        return next((stage for stage in self.stages if stage.name == name), None)


def kept_layer(file: Containerfile, name: str, prefix: str) -> str:
    """The file with two more stages: what a layer leaves, alone, is the last. It is copied with its own mode."""
    command = shlex.join(["cp", "-a", "--parents", prefix.lstrip("/"), _KEPT])
    aside = run([], lines_of(f"mkdir -p {_KEPT}; cd /; {command}"))
    alone = copy(f"{_KEPT}/", "/", origin="kept-prefix")
    return f"{file.text}\nFROM {name} AS kept-prefix\n{aside}\n\nFROM scratch AS kept\n{alone}\n"
