"""Which wheels fit: the interpreters that a request admits, and the platform that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

GLIBC = 35
"""The minor release of the glibc 2 that wheels may need: Ubuntu 22.04's, the oldest base that the recipes' images stand
on. Debian 12 has 2.36."""

_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""The older names of three of these platforms (PEP 600)."""
_MINORS = range(8, 40)
_PATCHES = range(64)


@dataclass(frozen=True)
class Pythons:
    """The CPythons that a request admits."""

    lowest: str
    """The lowest release, in full."""
    minors: tuple[int, ...]
    """All minor releases of Python 3 of which some release is admitted."""

    def fit(self, wheel: str, machine: str) -> bool:
        """Whether a wheel of this file name can be installed into one of them, on Linux with glibc."""
        try:
            _, _, _, tags = parse_wheel_filename(wheel)
        except InvalidWheelFilename:
            return False
        return not tags.isdisjoint(self._tags[machine])

    @cached_property
    def _tags(self) -> dict[str, frozenset[Tag]]:
        return {machine: frozenset(self._of(machine)) for machine in ("x86_64", "aarch64")}

    def _of(self, machine: str) -> Iterator[Tag]:
        platforms = list(_platforms(machine))
        for minor in self.minors:
            # Free-threaded interpreters (cp313t) are other ones, and no builder takes them.
            yield from cpython_tags((3, minor), [f"cp3{minor}"], platforms)
            yield from compatible_tags((3, minor), f"cp3{minor}", platforms)


def admitted(python: str) -> Pythons | None:
    """The interpreters of a release such as ``3.12`` or ``3.12.4``, or of a PEP 440 specifier; None if there are none.

    Python 3.8 is the first that is looked for.
    """
    from packaging.specifiers import InvalidSpecifier

    from vep_dagger.builders.venv.interpreter import specifier

    try:
        wanted = specifier(python)
    except InvalidSpecifier:
        return None
    releases = [(minor, patch) for minor in _MINORS for patch in _PATCHES if wanted.contains(f"3.{minor}.{patch}")]
    if not python or not releases:
        return None
    minor, patch = releases[0]
    return Pythons(f"3.{minor}.{patch}", tuple(dict.fromkeys(minor for minor, _ in releases)))


def _platforms(machine: str) -> Iterator[str]:
    for minor in range(GLIBC, (5 if machine == "x86_64" else 17) - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{machine}"
    yield f"linux_{machine}"
