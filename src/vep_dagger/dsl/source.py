"""Sources: what a build takes from outside, each pinned by what it holds and not by what it is called.

A source whose hash nobody has seen yet can be written down (``commit=None``, ``sha256=None``, ``digest=None``): it is
*unresolved*, its key says so, and a builder refuses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from vep_dagger.dsl.key import Canonical

COMMIT_FILE = ".vep-commit"
"""The file at the top of a git tree that holds its commit object, as git hashes it: a tree without ``.git`` can be held
against its commit with nothing else. Each of its submodules has its own.
"""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git tree at one full commit, with :data:`COMMIT_FILE` instead of its ``.git``, and with its submodules at the
    commits that the tree names unless ``submodules`` is false. ``ref`` is the tag or branch a person wrote, kept for
    reading and for the lock.
    """

    url: str
    commit: str | None
    ref: str | None = None
    submodules: bool = True

    def __post_init__(self) -> None:
        if self.commit is not None and not _COMMIT.fullmatch(self.commit):
            raise ValueError(f"{self.url}: {self.commit!r} is no full commit (40 hex characters); a tag goes into ref=")
        if self.commit is None and self.ref is None:
            raise ValueError(f"{self.url}: a git source needs a commit, or the ref that is meant")

    @property
    def resolved(self) -> bool:
        """Whether the content is known."""
        return self.commit is not None

    def canonical(self) -> Canonical:
        """The commit alone decides the content, and whether submodules are in it; the address may be a mirror's."""
        content: Canonical = self.commit if self.commit else [self.url, self.ref]
        kind = "git" if self.commit else "git-unresolved"
        return {kind: content} if self.submodules else {kind: content, "submodules": False}


@dataclass(frozen=True, slots=True)
class HttpSource:
    """A file from a URL with its sha256 (64 hex characters). ``unpack`` takes a tar or zip archive apart where it is
    mounted.
    """

    url: str
    sha256: str | None
    unpack: bool = False

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.url}: {self.sha256!r} is not a sha256 (64 hex characters)")

    @property
    def resolved(self) -> bool:
        """Whether the content is known."""
        return self.sha256 is not None

    def canonical(self) -> Canonical:
        """The hash alone decides the content, and whether it is unpacked."""
        content: Canonical = {"http": self.sha256} if self.sha256 else {"http-unresolved": self.url}
        return {"source": content, "unpack": self.unpack}


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A container image by digest (``sha256:…``). ``ref`` is the name with its tag, for reading and for the lock; or
    ``oci-archive:PATH``, a file, whose digest is that of the image manifest in it.
    """

    ref: str
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.digest is not None and not _SHA256.fullmatch(self.digest.removeprefix("sha256:")):
            raise ValueError(f"{self.ref}: {self.digest!r} is not an image digest (sha256: and 64 hex characters)")

    @property
    def resolved(self) -> bool:
        """Whether the content is known."""
        return self.digest is not None

    def canonical(self) -> Canonical:
        """The digest alone decides the content."""
        return {"image": self.digest} if self.digest else {"image-unresolved": self.ref}


@dataclass(frozen=True, slots=True)
class PlainBase(ImageSource):
    """Any plain Linux with glibc: for images whose content does not depend on which one it is, since all that they hold
    comes from Python packages. A builder takes what it has and says in its own key and manifest what that was; there is
    nothing to lock.
    """

    @property
    def resolved(self) -> bool:
        """Always: nothing of the base is meant."""
        return True

    def canonical(self) -> Canonical:
        """That it is plain."""
        return {"image": "plain"}


PLAIN = PlainBase("plain")
"""The one plain base."""

Source: TypeAlias = GitSource | HttpSource | ImageSource


def git(url: str, commit: str | None, *, ref: str | None = None, submodules: bool = True) -> GitSource:
    """A git tree by full commit, or, unresolved, by a ``ref``. ``submodules=False`` leaves theirs empty: for those that
    the build does not use, or that are sources of their own.
    """
    return GitSource(url, commit, ref, submodules)


def http(url: str, sha256: str | None, *, unpack: bool = False) -> HttpSource:
    """A file by its sha256; ``unpack=True`` for an archive whose content is wanted."""
    return HttpSource(url, sha256, unpack)


def image(ref: str, digest: str | None = None) -> ImageSource:
    """An image by digest."""
    return ImageSource(ref, digest)
