"""Steps: what a build chain is made of. Plain values; a builder lowers them, in order.

Three kinds. *Content* steps (:class:`Run`, :class:`Write`, :class:`Copy`, :class:`MakePython`, :class:`Install`) leave
something in the file system. *Setting* steps (:class:`Env`, :class:`Workdir`, :class:`Mount`) change how the content
steps after them run, and so are content too. *Ways to build* (:class:`CacheMount`, :class:`Secret`) make a build
quicker or possible without deciding what it gives: they are never part of a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
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
class LockedPackage:
    """One Python package at one version, with the hashes (``sha256:…``) of the files that may be installed of it.

    ``build`` is for a source distribution: the packages that it is built with, and nothing besides. None for wheels,
    and where a lock does not say: then a build takes what it asks for from the indexes.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    build: tuple[LockedPackage, ...] | None = None

    def canonical(self) -> Canonical:
        """All of it."""
        own: list[Canonical] = [self.name, self.version, list(self.hashes)]
        return own if self.build is None else [*own, [each.canonical() for each in self.build]]

    @property
    def requirement(self) -> str:
        """The package as a line of a requirements file that pip and uv check hashes of. It means the version as it is
        written: ``==2.7.1`` would admit another index's ``2.7.1+cpu`` too (PEP 440), which then has another hash.
        """
        return " ".join((f"{self.name}==={self.version}", *(f"--hash={each}" for each in self.hashes)))


@dataclass(frozen=True, slots=True)
class Part:
    """The packages of a resolution that one step installs: those whose names fit ``names`` (with ``*``) and none of
    ``but``. Several steps install one resolution, so that an image has several smaller layers, and a change of one
    package costs no more than its part.
    """

    names: tuple[str, ...]
    but: tuple[str, ...] = ()
    called: str = field(default="", compare=False)
    """What people call it; it decides nothing, and so is in no key."""

    @property
    def everything(self) -> bool:
        """Whether it is what the other parts have left."""
        return self.names == ("*",)

    @property
    def title(self) -> str:
        """What to call it: its own name, or its patterns.

        >>> Part(("torch", "triton")).title, Part(("*",), but=("torch",)).title
        ('torch, triton', 'other packages')
        """
        return self.called or ("other packages" if self.everything else ", ".join(self.names))

    def fits(self, name: str) -> bool:
        """Whether the package belongs to the part; names are compared as package indexes do (PEP 503).

        >>> Part(("nvidia-*",)).fits("nvidia_nccl_cu12"), Part(("*",), but=("torch",)).fits("torch")
        (True, False)
        """
        plain = re.sub(r"[-_.]+", "-", name).lower()
        wanted = any(fnmatchcase(plain, pattern) for pattern in self.names)
        return wanted and not any(fnmatchcase(plain, pattern) for pattern in self.but)

    def canonical(self) -> Canonical:
        """Both lists."""
        return {"names": self.names, "but": self.but}


@dataclass(frozen=True, slots=True)
class Install:
    """Python packages into the environment at ``prefix``: the first alternative that can be resolved on this machine's
    indexes.

    ``excluded`` are distributions that dependencies ask for and that must stay out. ``before`` (an RFC 3339 date) hides
    every release made later, so that the same step resolves to the same packages next month. ``part`` says which of
    the resolved packages this step installs; all by default. ``locked`` are the packages that a lock has for it: they
    are installed as they stand there, and nothing is resolved any more.
    """

    prefix: str
    alternatives: tuple[Alternative, ...]
    excluded: tuple[str, ...] = ()
    before: str | None = None
    part: Part | None = None
    locked: tuple[LockedPackage, ...] | None = None

    def request(self) -> Canonical:
        """All that decides the resolution, and nothing that follows from it: what a lock finds its answer by."""
        return {
            "install": [alternative.canonical() for alternative in self.alternatives],
            "excluded": self.excluded,
            "before": self.before,
        }

    def canonical(self) -> Canonical:
        """The locked packages alone decide the content; without a lock, the request does."""
        if self.locked is not None:
            return {"packages": [package.canonical() for package in self.locked], "prefix": self.prefix}
        part: dict[str, Canonical] = {"part": self.part.canonical()} if self.part else {}
        request = self.request()
        assert isinstance(request, dict)
        return {**request, "prefix": self.prefix, **part}

    @property
    def indexes(self) -> tuple[str, ...]:
        """The further places to look of all alternatives, each once."""
        return tuple(dict.fromkeys(place for way in self.alternatives for place in way.indexes))

    def describe(self) -> str:
        """The requirements of the first choice, and which part of them."""
        part = f" ({', '.join(self.part.names)})" if self.part else ""
        return "install " + " ".join(self.alternatives[0].requirements) + part


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
