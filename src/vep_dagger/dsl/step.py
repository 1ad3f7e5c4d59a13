"""Steps: what a build chain is made of. Plain values; a builder lowers them, in order.

Three kinds. *Content* steps (:class:`Run`, :class:`Write`, :class:`Copy`, :class:`MakePython`, :class:`Install`) leave
something in the file system. *Setting* steps (:class:`Env`, :class:`Workdir`, :class:`Mount`) change how the content
steps after them run, and so are content too. *Ways to build* (:class:`CacheMount`, :class:`Secret`) make a build
quicker or possible without deciding what it gives: they are never part of a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from vep_dagger.dsl.key import Canonical
from vep_dagger.dsl.source import Source

JOBS = "{vep:jobs}"
"""Stands for the number of parallel jobs in a :class:`Run`'s argument (``f"-j{JOBS}"``) or in the value of an
:class:`Env` that is not exported (``MAX_JOBS``): the builder puts its own number there, and since parallelism is a way
to build, the key holds the placeholder.
"""


def with_jobs(text: str, jobs: int) -> str:
    """``text`` with :data:`JOBS` replaced by a number, as a builder does before it runs a command."""
    return text.replace(JOBS, str(jobs))


@dataclass(frozen=True, slots=True)
class Run:
    """A command, as an argument list. It fails the build when it exits with anything but 0."""

    argv: tuple[str, ...]

    def canonical(self) -> Canonical:
        """The argument list, with :data:`JOBS` left in place."""
        return {"run": self.argv}

    def describe(self) -> str:
        """The command as a person would type it."""
        return "run " + " ".join(self.argv)


@dataclass(frozen=True, slots=True)
class Write:
    """A text file, written with this mode."""

    path: str
    text: str
    mode: int = 0o644

    def canonical(self) -> Canonical:
        """Path, text and mode."""
        return {"write": self.path, "text": self.text, "mode": self.mode}

    def describe(self) -> str:
        """The file's path."""
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class Copy:
    """The content of a source, kept in the file system (a :class:`Mount` is there for the following commands only)."""

    source: Source
    path: str

    def canonical(self) -> Canonical:
        """The source's content and where it goes."""
        return {"copy": self.source.canonical(), "path": self.path}

    def describe(self) -> str:
        """Where the source goes."""
        return f"copy {self.path}"


@dataclass(frozen=True, slots=True)
class MakePython:
    """A Python environment at ``prefix``, of an interpreter that satisfies ``version`` (a PEP 440 specifier, or a
    release such as ``3.12``).
    """

    prefix: str
    version: str

    def canonical(self) -> Canonical:
        """Where and which."""
        return {"python": self.version, "prefix": self.prefix}

    def describe(self) -> str:
        """Where and which."""
        return f"python {self.version} at {self.prefix}"


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to satisfy an :class:`Install`: requirements to install, requirements that replace those of dependencies,
    further places to look, and what to tell people when it is taken.

    A place in ``indexes`` is a directory with distribution files, or a page that links to them (pip's ``--find-links``;
    one project's page of a package index is such a page). It adds candidates for what it lists and for nothing else, so
    that it cannot answer for other packages.
    """

    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    note: str | None = None

    def canonical(self) -> Canonical:
        """Requirements and overrides in the order given; an index is a place, as a mirror is, and no content."""
        return {"requirements": self.requirements, "overrides": self.overrides}


@dataclass(frozen=True, slots=True)
class Install:
    """Python packages into the environment at ``prefix``: the first alternative that can be resolved on this machine's
    indexes.

    ``excluded`` are distributions that dependencies ask for and that must stay out. ``before`` (an RFC 3339 date) hides
    every release made later, so that the same step resolves to the same packages next month.
    """

    prefix: str
    alternatives: tuple[Alternative, ...]
    excluded: tuple[str, ...] = ()
    before: str | None = None

    def canonical(self) -> Canonical:
        """All that decides the resolution."""
        return {
            "install": [alternative.canonical() for alternative in self.alternatives],
            "excluded": self.excluded,
            "before": self.before,
            "prefix": self.prefix,
        }

    def describe(self) -> str:
        """The requirements of the first choice."""
        return "install " + " ".join(self.alternatives[0].requirements)


@dataclass(frozen=True, slots=True)
class Env:
    """Variables for the steps that follow, and, when ``exported``, for whoever uses the result."""

    variables: tuple[tuple[str, str], ...]
    exported: bool = False

    def canonical(self) -> Canonical:
        """Names, values, and whether they leave the build."""
        return {"env": [list(pair) for pair in self.variables], "exported": self.exported}

    def describe(self) -> str:
        """The names alone."""
        return "env " + " ".join(name for name, _ in self.variables)


@dataclass(frozen=True, slots=True)
class Workdir:
    """The working directory of the commands that follow."""

    path: str

    def canonical(self) -> Canonical:
        """The path."""
        return {"workdir": self.path}

    def describe(self) -> str:
        """The path."""
        return f"workdir {self.path}"


@dataclass(frozen=True, slots=True)
class Mount:
    """A source that the following commands see at ``path``, writable for them, and that is gone from the result."""

    source: Source
    path: str

    def canonical(self) -> Canonical:
        """The source's content and where it is seen."""
        return {"mount": self.source.canonical(), "path": self.path}

    def describe(self) -> str:
        """Where it is seen."""
        return f"mount {self.path}"


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A directory that lives from build to build under a name (pip, ccache, apt). Never content."""

    name: str
    path: str

    def canonical(self) -> Canonical:
        """Nothing: a way to build."""
        return None

    def describe(self) -> str:
        """The cache's name."""
        return f"cache {self.name}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that the following commands find in the variable ``name``; its value comes from the builder's
    surroundings. Never content.
    """

    name: str

    def canonical(self) -> Canonical:
        """Nothing: a way to build."""
        return None

    def describe(self) -> str:
        """The secret's name, never its value."""
        return f"secret {self.name}"


Step: TypeAlias = Run | Write | Copy | MakePython | Install | Env | Workdir | Mount | CacheMount | Secret
