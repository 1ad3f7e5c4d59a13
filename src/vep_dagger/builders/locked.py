"""Installations whose packages a lock has: the files that they are installed by, and the alternative that it took."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vep_dagger.dsl import Alternative, Build, LockedPackage
from vep_dagger.dsl.step import Install

DIRECTORY = ".vep-locked"
"""A directory of the environment: a requirements file with hashes for each installation. It stays, and proves what was
asked for."""


def requirements_text(packages: Iterable[LockedPackage]) -> str:
    """A requirements file of these packages, which uv and pip take nothing else for."""
    return "".join(f"{package.requirement}\n" for package in packages)


def requirements_path(prefix: str, text: str) -> str:
    """Where that file is, named by its content, so that what installs it is another command when that changes. It is
    no argument: a kernel takes 128 KiB in one (``MAX_ARG_STRLEN``, execve(2)), which hashes of some hundred packages
    fill.
    """
    return f"{prefix}/{DIRECTORY}/{hashlib.sha256(text.encode()).hexdigest()[:12]}.txt"


class ListFile(NamedTuple):
    """A requirements file of the environment."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """What uv is called for once: ``packages``; with ``tools``, one source distribution, built with these alone."""

    packages: ListFile
    tools: ListFile | None = None

    @property
    def files(self) -> tuple[ListFile, ...]:
        """All its files."""
        return (self.packages, self.tools) if self.tools else (self.packages,)


def calls(step: Install) -> Iterator[Call]:
    """The calls of uv that a locked installation is made of: one for all that has no tools of its own, if there is
    any, then one for each source distribution, since two may be built with different releases of one tool.
    """
    locked = step.locked or ()
    if ready := [package for package in locked if package.build is None]:
        yield Call(_file(step.prefix, requirements_text(ready)))
    for package in locked:
        if package.build is not None:
            head = f"# {package.name} {package.version} is built with these, and with nothing besides.\n"
            tools = _file(step.prefix, head + requirements_text(package.build))
            yield Call(_file(step.prefix, requirements_text([package])), tools)


def _file(prefix: str, text: str) -> ListFile:
    return ListFile(requirements_path(prefix, text), text)


def taken(step: Install) -> Alternative:
    """The alternative that a lock's packages come from: the first that they do not contradict."""
    versions = {_plain(package.name): package.version for package in step.locked or ()}
    fitting = (way for way in step.alternatives if all(_met(each, versions) for each in way.requirements))
    return next(fitting, step.alternatives[-1])


def locked_ways(build: Build) -> Iterator[Alternative]:
    """The alternative of each locked installation of a chain, in order. The parts of one resolution count once."""
    parts: dict[tuple[object, ...], list[LockedPackage]] = {}
    steps: dict[tuple[object, ...], Install] = {}
    for number, step in enumerate(build.steps):
        if isinstance(step, Install) and step.locked is not None:
            whole = (step.prefix, step.alternatives, step.excluded, step.before)
            identity: tuple[object, ...] = whole if step.part else (*whole, number)
            steps[identity] = step
            parts.setdefault(identity, []).extend(step.locked)
    for identity, step in steps.items():
        yield taken(Install(step.prefix, step.alternatives, locked=tuple(parts[identity])))


def _met(requirement: str, versions: dict[str, str]) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(requirement)
    except InvalidRequirement:
        return True
    version = versions.get(_plain(wanted.name))
    return version is None or wanted.specifier.contains(version, prereleases=True)


def _plain(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)
