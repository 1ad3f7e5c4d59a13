"""The lock: what every pin of a matrix file resolves to, in a file beside it.

``matrix.toml`` has ``matrix.lock``: TOML that people read and programs write. Each entry is found by what was asked for
(an address with its tag, an image's name, the requirements of a Python environment), never by who asked; ``used_by`` is
for people and for ``--upgrade``. An entry whose content nobody could see yet says so (``unseen``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vep_dagger.errors import LockError, MatrixError
from vep_dagger.matrix.document import Document

FORMAT = 1
"""Raised when an older vep would misunderstand the file."""

HEAD = """\
# What the pins of the matrix file beside this one resolve to. Written by `vep lock`; commit it.
"""

UNREACHED = "could not be reached where this lock was made"
"""What the file says of an entry that nobody answered for: the same on every machine. Why is told where it happened."""

Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
PackageLine = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+==\S+( sha256:[0-9a-f]{64})+$")]


class Entry(BaseModel):
    """Base of every entry: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    table: ClassVar[str]
    """The name of its tables in the file."""

    used_by: list[str] = Field(default_factory=list, description="Layers that need it, for people and --upgrade.")
    unseen: str | None = Field(default=None, description="That nobody could say yet what it holds.")

    @property
    def identity(self) -> tuple[str, ...]:
        """What it is found by."""
        raise NotImplementedError

    @property
    def content(self) -> str | None:
        """What it resolves to, in one word; None where nobody has seen it."""
        raise NotImplementedError

    @property
    def asked(self) -> str:
        """What was asked for, as people call it."""
        return " ".join(word for word in self.identity[1:] if word)


class GitEntry(Entry):
    """A git repository at a tag, or at a commit that the matrix file itself names."""

    table = "git"

    url: str
    ref: str | None = None
    commit: Commit | None = None
    branch: bool = Field(default=False, description="Whether the ref is a branch, which moves.")

    @property
    def identity(self) -> tuple[str, ...]:
        """Address and tag; of a pinned commit, the commit."""
        return (self.table, self.url, self.ref or self.commit or "")

    @property
    def content(self) -> str | None:
        """The commit."""
        return self.commit


class ArchiveEntry(Entry):
    """A file from a URL, with what its server told of it when it had this content: where the server tells the same
    later, the file is not downloaded again to see whether it has changed.
    """

    table = "archive"

    url: str
    sha256: Sha256 | None = None
    size: int | None = Field(default=None, ge=0, description="Bytes: Content-Length.")
    etag: str | None = Field(default=None, description="ETag, if it is a strong one.")
    modified: str | None = Field(
        default=None, description="Last-Modified, if it was old enough to tell one second's files apart."
    )

    @property
    def identity(self) -> tuple[str, ...]:
        """The address."""
        return (self.table, self.url)

    @property
    def content(self) -> str | None:
        """The hash."""
        return self.sha256


class ImageEntry(Entry):
    """A container image."""

    table = "image"

    ref: str
    digest: Digest | None = None

    @property
    def identity(self) -> tuple[str, ...]:
        """The name with its tag."""
        return (self.table, self.ref)

    @property
    def content(self) -> str | None:
        """The digest."""
        return self.digest


class PythonEntry(Entry):
    """A Python environment: requirements, and every package that they came to, with the hashes of its files; of a
    source distribution also what builds it.
    """

    table = "python"

    request: Sha256 = Field(description="Of all that decides the resolution.")
    python: str = Field(description="The interpreter that it is for.")
    platform: str
    requirements: list[str]
    before: str | None = None
    packages: list[PackageLine] | None = Field(
        default=None, description="name==version and the hashes of the files that may be installed."
    )
    build: dict[str, list[PackageLine]] | None = Field(
        default=None, description="What each package is built with that has no wheel, in the same form."
    )

    @property
    def identity(self) -> tuple[str, ...]:
        """The hash of the request."""
        return (self.table, self.request)

    @property
    def content(self) -> str | None:
        """sha256 over the packages, and over what those without a wheel are built with."""
        if self.packages is None:
            return None
        build = self.build or {}
        tools = [line for name in sorted(build) for line in (f"build {name}", *build[name])]
        return hashlib.sha256("\n".join([*self.packages, *tools]).encode()).hexdigest()

    @property
    def asked(self) -> str:
        """Its requirements."""
        return f"{' '.join(self.requirements)} for Python {self.python} on {self.platform}"


AnyEntry: TypeAlias = GitEntry | ArchiveEntry | ImageEntry | PythonEntry
KINDS: tuple[type[AnyEntry], ...] = (GitEntry, ArchiveEntry, ImageEntry, PythonEntry)


class _File(BaseModel):
    """The file as it is written."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    format: int
    git: list[GitEntry] = []
    archive: list[ArchiveEntry] = []
    image: list[ImageEntry] = []
    python: list[PythonEntry] = []


@dataclass(frozen=True)
class Lock:
    """What pins resolve to: entries, each once, in an order that does not depend on how they were found."""

    entries: tuple[AnyEntry, ...] = ()
    path: Path | None = field(default=None, compare=False)
    """The file that it was read from."""

    @classmethod
    def beside(cls, matrix: Path) -> Path:
        """Where the lock of a matrix file is: ``matrix.lock`` beside ``matrix.toml``."""
        return matrix.with_suffix(".lock")

    @classmethod
    def of(cls, matrix: Path) -> Lock | None:
        """The lock of a matrix file, or None where there is none. Raises LockError for one that cannot be read."""
        path = cls.beside(matrix)
        return cls.load(path) if path.exists() else None

    @classmethod
    def load(cls, path: Path) -> Lock:
        """Read a lock file. Raises LockError: not TOML, of a newer format, or edited into something else."""
        try:
            document = Document.parse(path)
        except MatrixError as error:
            raise LockError(error.what, where=error.where, hint=_AGAIN) from None
        if document.data.get("format") != FORMAT:
            raise LockError(
                f"the lock has the format {document.data.get('format')!r}; this vep reads {FORMAT}",
                where=document.locate(("format",)),
                hint="use the vep that wrote it, or delete the file and run `vep lock`",
            )
        try:
            file = _File.model_validate(document.data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = document.locate(first["loc"])
            raise LockError(f"the lock is damaged: {first['msg']}", where=where, hint=_AGAIN) from None
        return cls.made(entry for kind in KINDS for entry in getattr(file, kind.table)).at(path)

    @classmethod
    def made(cls, entries: Iterable[AnyEntry]) -> Lock:
        """A lock of these entries, put in order; of two with one identity, their users are put together, and one that
        knows its content wins. Raises LockError for two that contradict each other.
        """
        found: dict[tuple[str, ...], AnyEntry] = {}
        for entry in entries:
            same = found.get(entry.identity)
            users = sorted({*entry.used_by, *(same.used_by if same else ())})
            if same and same.content and entry.content not in (None, same.content):
                raise LockError(
                    f"{entry.asked} ({', '.join(users)}) cannot be both {same.content} and {entry.content}",
                    hint="pin one of the two; where both are meant, name the commit or digest alone, without the tag",
                )
            known = same if same and same.content else entry
            found[entry.identity] = known.model_copy(update={"used_by": users})
        return cls(tuple(sorted(found.values(), key=lambda entry: (_order(entry), entry.identity))))

    def at(self, path: Path) -> Lock:
        """The same lock, of this file."""
        return Lock(self.entries, path)

    def __iter__(self) -> Iterator[AnyEntry]:
        return iter(self.entries)

    @cached_property
    def _found(self) -> dict[tuple[str, ...], AnyEntry]:
        return {entry.identity: entry for entry in self.entries}

    def find(self, identity: tuple[str, ...]) -> AnyEntry | None:
        """The entry with this identity, or None."""
        return self._found.get(identity)

    @cached_property
    def digest(self) -> str:
        """sha256 over all that the entries resolve to; who uses them is not in it."""
        lines = (f"{' '.join(entry.identity)} {entry.content}" for entry in self.entries)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def text(self) -> str:
        """The file's content."""
        import tomli_w

        tables: dict[str, Any] = {"format": FORMAT}
        for kind in KINDS:
            rows = [entry for entry in self.entries if isinstance(entry, kind)]
            if rows:
                tables[kind.table] = [_plain(entry) for entry in rows]
        return HEAD + tomli_w.dumps(tables, multiline_strings=False)


_AGAIN = "delete the file, or take it from version control, and run `vep lock`"


def _order(entry: AnyEntry) -> int:
    return KINDS.index(type(entry))


def _plain(entry: AnyEntry) -> dict[str, Any]:
    """The entry as a table: what is not known is left out, and who uses it comes last."""
    values = entry.model_dump(exclude_none=True, exclude_defaults=True)
    users = values.pop("used_by", [])
    return {**values, "used_by": users}
