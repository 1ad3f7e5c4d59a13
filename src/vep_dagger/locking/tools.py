"""The packages that build a source distribution, found until nothing more is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Package = Mapping[str, Any]
"""A package of ``pylock.toml`` (PEP 751)."""

_SELF_SUFFICIENT = "70.1"
"""The setuptools that makes wheels by itself; an older one asks for ``wheel`` as it runs (setuptools, NEWS)."""


def all_tools(
    requires: Sequence[str],
    resolve: Callable[[Sequence[str]], Sequence[Package]],
    asked_by: Callable[[Package], Sequence[str]],
) -> Sequence[Package]:
    """The packages that ``requires`` come to, and those that build the source distributions among them, in one
    resolution: uv is told one release of each.

    ``resolve`` gives the packages of requirements; ``asked_by`` what one of them asks for to be built (nothing, of
    wheels).
    """
    wanted = list(dict.fromkeys(requires))
    while wanted:
        found = resolve(wanted)
        further = [each for package in found for each in (*asked_by(package), *_unspoken(package))]
        if not (missing := [each for each in dict.fromkeys(further) if each not in wanted]):
            return found
        wanted += missing
    return ()


def _unspoken(package: Package) -> Sequence[str]:
    """What a package is known to ask for as it builds others."""
    from packaging.version import Version

    old = package["name"] == "setuptools" and Version(package["version"]) < Version(_SELF_SUFFICIENT)
    return ("wheel",) if old else ()
