"""The packages that build source distributions, found until nothing more is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Package = Mapping[str, Any]
"""A package of ``pylock.toml`` (PEP 751)."""


@dataclass(frozen=True)
class Tools:
    """What builds the source distributions of one resolution.

    ``resolve`` gives the packages of requirements; ``written`` what a package says that it is built with (None, of one
    that has a wheel); ``running`` what its build asks for besides, as it runs with these packages.
    """

    resolve: Callable[[Sequence[str]], Sequence[Package]]
    written: Callable[[Package], Sequence[str] | None]
    running: Callable[[Package, Sequence[Package]], Sequence[str]]
    _known: dict[tuple[str, str], Sequence[str]] = field(default_factory=dict)

    def of(self, package: Package) -> Sequence[Package]:
        """What builds a source distribution, and what builds those of these packages that have no wheel, in one
        resolution: uv is told one release of each.
        """
        return self._all(self._asked_by(package))

    def _asked_by(self, package: Package) -> Sequence[str]:
        name = package["name"], package["version"]
        if name not in self._known:
            written = self.written(package)
            # From here on, so that what needs itself does not ask for ever.
            self._known[name] = written or ()
            if written is not None:
                self._known[name] = (*written, *self.running(package, self._all(written)))
        return self._known[name]

    def _all(self, requires: Sequence[str]) -> Sequence[Package]:
        wanted = list(dict.fromkeys(requires))
        while wanted:
            found = self.resolve(wanted)
            asked = dict.fromkeys(each for package in found for each in self._asked_by(package))
            if not (missing := [each for each in asked if each not in wanted]):
                return found
            wanted += missing
        return ()
