"""Which release a version text means, and whose data is used for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.version import Version

from vep_dagger.errors import CompatError, nearest

LONGEST = 64
"""Characters of a version that are looked at; a longer text is no release."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A release, and the known release whose data is used for it: itself, or ``known_as``."""

    version: str
    data: Version
    known_as: str | None


class Versions:
    """The releases that the data knows, those that exist though nobody has read them, and the rules for all others."""

    def __init__(self, releases: Iterable[str], unverified: Iterable[str]) -> None:
        self._known = sorted({self._exact(text, "releases") for text in releases})
        self._unverified = sorted({self._exact(text, "unverified") for text in unverified} - set(self._known))
        for version in self._unverified:
            if version < self._known[0]:
                raise CompatError(
                    f"unverified release {version} is older than {self._known[0]}, with which the data begins"
                )

    @property
    def known(self) -> tuple[str, ...]:
        """The releases that the data knows, oldest first."""
        return tuple(str(version) for version in self._known)

    def resolve(self, text: str) -> Resolved:
        """Raises CompatError for what is no release, is too old, or is not known to exist."""
        version = self._parse(text)
        oldest, newest = self._known[0], self._known[-1]
        index = bisect_right(self._known, version) - 1
        if index >= 0 and self._known[index] == version:
            return Resolved(str(self._known[index]), version, None)
        if version > newest:
            return Resolved(str(version), newest, str(newest))
        if version in self._unverified:
            return Resolved(str(version), self._known[index], str(self._known[index]))
        if version < oldest:
            raise CompatError(
                f"vLLM {version} is too old: the data begins with {oldest}",
                hint=f"the releases are {oldest} to {newest}",
            )
        below, above = self._neighbours(version)
        raise CompatError(
            f"vLLM {version} is not a release that is known to exist",
            hint=f"the nearest are {below} and {above}; if it does exist, name it in an overlay: "
            f'unverified = ["{version}"]',
        )

    def _neighbours(self, version: Version) -> tuple[Version, Version]:
        every = sorted([*self._known, *self._unverified])
        index = bisect_right(every, version)
        return every[index - 1], every[index]

    def _parse(self, text: str) -> Version:
        shown = repr(text if len(text) <= LONGEST else text[:LONGEST] + "…")
        newest = self._known[-1]
        try:
            if len(text) > LONGEST:
                raise ValueError
            version = Version(text)
        except ValueError:
            near = nearest(text[:LONGEST], self.known)
            meant = f"did you mean {near!r}? " if near else ""
            raise CompatError(
                f"{shown} is not a vLLM release", hint=f"{meant}a release is written like {newest}, the newest known"
            ) from None
        if version.epoch or version.local or version.is_postrelease or (version.is_prerelease and version < newest):
            raise CompatError(
                f"{shown} is not a vLLM release", hint=f"write the release alone, such as {version.base_version}"
            )
        return version

    @staticmethod
    def _exact(text: str, where: str) -> Version:
        try:
            return Version(text)
        except ValueError:
            raise CompatError(
                f"{text!r} in {where} is not a version", hint="write vLLM releases, such as 0.26.0"
            ) from None
