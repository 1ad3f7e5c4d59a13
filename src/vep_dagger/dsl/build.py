"""The build chain: an immutable list of steps. Each method gives a new one; nothing runs until a builder lowers it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from vep_dagger.dsl.key import Canonical
from vep_dagger.dsl.source import Source
from vep_dagger.dsl.step import (
    JOBS,
    Alternative,
    CacheMount,
    Copy,
    Env,
    Install,
    MakePython,
    Mount,
    Part,
    Run,
    Secret,
    Step,
    Workdir,
    Write,
)

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ALL = ("*",)


@dataclass(frozen=True, slots=True)
class Check:
    """A command that needs no GPU and proves something about the finished image; it passes when it exits with 0.

    ``expect``, when given, must occur in what the command prints.
    """

    name: str
    argv: tuple[str, ...]
    expect: str | None = None

    def __post_init__(self) -> None:
        if not self.argv:
            raise ValueError(f"check {self.name!r} needs a command")

    def canonical(self) -> Canonical:
        """Name, command and expectation."""
        return {"check": self.name, "argv": self.argv, "expect": self.expect}

    def describe(self) -> str:
        """Its name."""
        return f"check {self.name!r}"


@dataclass(frozen=True, slots=True)
class Build:
    """A chain of steps, with the checks and the directories of libraries and programs that its author declared."""

    steps: tuple[Step, ...] = ()
    checks: tuple[Check, ...] = ()
    libraries: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    platform: str = "linux/amd64"
    """What it is built for. Its author may choose by it what to fetch; the layer's or image's key holds it."""

    @property
    def machine(self) -> str:
        """The platform as upstream projects call it: ``x86_64`` or ``aarch64``."""
        return {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[self.platform]

    def _then(self, step: Step) -> Build:
        return replace(self, steps=(*self.steps, step))

    def run(self, *argv: str) -> Build:
        """Run a command (an argument list; use ``"sh", "-c", script`` where a shell is really meant)."""
        if not argv:
            raise ValueError("run() needs a command")
        return self._then(Run(argv))

    def write(self, path: str, text: str, mode: int = 0o644) -> Build:
        """Write a text file."""
        return self._then(Write(_absolute(path), text, mode))

    def copy(self, source: Source, path: str) -> Build:
        """Keep a source's content at ``path``."""
        return self._then(Copy(source, _absolute(path)))

    def mount(self, source: Source, path: str) -> Build:
        """Let the following commands see a source at ``path``; it is gone from the result."""
        return self._then(Mount(source, _absolute(path)))

    def python(self, version: str, prefix: str = "/venv") -> Build:
        """Make a Python environment at ``prefix``."""
        return self._then(MakePython(_absolute(prefix), version))

    def install(
        self,
        *requirements: str | Alternative,
        excluded: tuple[str, ...] = (),
        before: str | None = None,
        prefix: str = "/venv",
        parts: Mapping[str, tuple[str, ...]] | tuple[tuple[str, ...], ...] = (),
    ) -> Build:
        """Install Python packages: requirements, or :class:`Alternative` values of which the first that resolves is
        taken.

        ``parts`` are lists of names (with ``*``): the packages of each are installed in a step of their own, in this
        order, and all others in the last, of one resolution. A mapping gives each part a name, which is no content;
        its last may be ``("*",)``, to name the part of all others.
        """
        plain = tuple(item for item in requirements if isinstance(item, str))
        ways = tuple(item for item in requirements if isinstance(item, Alternative))
        if bool(plain) == bool(ways):
            raise ValueError("install() takes requirements or alternatives, and at least one")
        whole = Install(_absolute(prefix), ways or (Alternative(plain),), excluded, before)
        if not parts:
            return self._then(whole)
        named = list(parts.items()) if isinstance(parts, Mapping) else [("", names) for names in parts]
        if named[-1][1] != _ALL:
            named.append(("", _ALL))
        built, taken = self, tuple[str, ...]()
        for called, names in named:
            if "*" in taken:
                raise ValueError("a part of all packages, '*', leaves nothing for those after it: it can only be last")
            built = built._then(replace(whole, part=Part(names, taken, called)))
            taken = (*taken, *names)
        return built

    def env(self, variables: Mapping[str, str] | None = None, /, **named: str) -> Build:
        """Set variables for the steps that follow. A mapping takes names that are no keywords of Python's.

        :data:`JOBS` may stand in a value.
        """
        return self._then(Env(_variables(variables, named)))

    def export(self, variables: Mapping[str, str] | None = None, /, **named: str) -> Build:
        """Set variables for the steps that follow and for whoever uses the result."""
        pairs = _variables(variables, named)
        for name, value in pairs:
            if JOBS in value:
                raise ValueError(f"{name}: the number of parallel jobs is a way to build and cannot leave the build")
        return self._then(Env(pairs, exported=True))

    def workdir(self, path: str) -> Build:
        """Change the working directory of the commands that follow."""
        return self._then(Workdir(_absolute(path)))

    def cache(self, name: str, path: str) -> Build:
        """Mount a cache that lives from build to build; never content."""
        return self._then(CacheMount(name, _absolute(path)))

    def secret(self, name: str) -> Build:
        """Give the following commands a secret in the variable ``name``; never content."""
        return self._then(Secret(_variable(name)))

    def library(self, path: str) -> Build:
        """Declare a directory of shared libraries that the finished image's loader must search."""
        return replace(self, libraries=(*self.libraries, _absolute(path)))

    def program(self, path: str) -> Build:
        """Declare a directory of programs that goes in front of PATH, for whoever uses the result. Several layers can
        do so, where an exported PATH would replace the others'.
        """
        return replace(self, programs=(*self.programs, _absolute(path)))

    def check(self, name: str, *argv: str, expect: str | None = None) -> Build:
        """Declare a proof about the finished image."""
        return replace(self, checks=(*self.checks, Check(name, argv, expect)))

    @property
    def exports(self) -> dict[str, str]:
        """The variables that leave the build, later ones winning."""
        return {
            name: value
            for step in self.steps
            if isinstance(step, Env) and step.exported
            for name, value in step.variables
        }

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source in order of use."""
        return tuple(step.source for step in self.steps if isinstance(step, (Copy, Mount)))

    def canonical(self) -> Canonical:
        """All that decides the content: caches and secrets give None and are left out, and a check proves, it decides
        nothing.
        """
        steps = [form for step in self.steps if (form := step.canonical()) is not None]
        canonical: dict[str, Canonical] = {"steps": steps, "libraries": self.libraries}
        if self.programs:
            canonical["programs"] = self.programs
        return canonical


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path inside the image")
    if ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} goes up with '..': write the path that is meant")
    return path


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not a name that every shell accepts for a variable (letters, digits and _)")
    return name


def _variables(given: Mapping[str, str] | None, named: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    pairs = dict(given or {}) | dict(named)
    for name, value in pairs.items():
        _variable(name)
        if not isinstance(value, str):
            raise TypeError(f"{name}: a variable's value is text, not {type(value).__name__} {value!r}")
    return tuple(sorted(pairs.items()))
