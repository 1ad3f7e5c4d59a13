"""An OCI archive as one tree: a tar stream of what its layers come to, in the form of :mod:`.enroot_form`.

Nothing is unpacked, so neither root nor space is needed: the archive is read twice, once for the names and once for the
content. The stream is a function of the archive alone: directories first, then files in the order of the layers, then
links and devices, with the times that the layers give.
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from vep_dagger.builders.archive import manifest_digest
from vep_dagger.errors import BuildError
from vep_dagger.squash.enroot_form import ImageConfig
from vep_dagger.squash.tree import Node, Tree, clean

_ZSTD = b"\x28\xb5\x2f\xfd"
_LATEST = 2**32 - 1


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """The one image of an OCI archive."""

    digest: str
    id: str
    """``sha256:…`` of its configuration."""
    config: ImageConfig
    created_s: int
    """When its configuration says that it was made, in seconds of the epoch; 0 where it does not say."""
    layers: tuple[str, ...]
    """The names of the layers' blobs in the archive, the lowest first."""


def read_image(archive: Path) -> ArchivedImage:
    """What an archive holds. Blocks. Raises BuildError for one that is none of an image."""
    digest = manifest_digest(archive)
    with _opened(archive) as opened:
        # Docker's own list beside the index, which every archive of a builder has.
        (entry,) = json.load(_blob(opened, "manifest.json"))
        document = json.load(_blob(opened, entry["Config"]))
    own = f"sha256:{posixpath.basename(entry['Config'])}"
    created_s = _seconds(document.get("created"))
    return ArchivedImage(digest, own, ImageConfig.read(document), created_s, tuple(entry["Layers"]))


def read_tree(archive: Path, image: ArchivedImage, own: Mapping[str, str]) -> Tree:
    """What the layers come to, with the files ``own`` (path to text) on top. Blocks. Raises BuildError for a layer that
    cannot be read.
    """
    tree = Tree()
    with _opened(archive) as opened:
        for number in range(len(image.layers)):
            with _layer(opened, image.layers[number]) as members:
                tree.apply(number, members)
    tree.apply(len(image.layers), _own_members(own, image))
    return tree


def write_tree(archive: Path, image: ArchivedImage, tree: Tree, own: Mapping[str, str], sink: IO[bytes]) -> None:
    """Write a tree of :func:`read_tree` as a tar stream, with the working directory. Blocks. Raises BuildError for a
    layer that cannot be read, and OSError where ``sink`` takes no more.
    """
    with (
        _opened(archive) as opened,
        tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as made,
    ):
        _Writer(opened, image, tree, made).write(own)


def _own_members(own: Mapping[str, str], image: ArchivedImage) -> Iterator[tarfile.TarInfo]:
    for path, text in sorted(own.items()):
        yield _made(path, image.created_s, size=len(text.encode("utf-8", "surrogateescape")))


def _made(path: str, mtime: int, *, size: int = 0, directory: bool = False) -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    made.mode = 0o755 if directory else 0o644
    made.size, made.mtime = size, mtime
    return made


class _Writer:
    """Writes the members of a tree, reading each layer once for the directories and once for the rest."""

    def __init__(self, opened: tarfile.TarFile, image: ArchivedImage, tree: Tree, made: tarfile.TarFile) -> None:
        self._opened = opened
        self._image = image
        self._made = made
        self._directories: dict[str, Node] = {}
        # By layer and index: the paths that have this content, the first of which gets it.
        self._names: list[dict[int, list[str]]] = [{} for _ in range(len(image.layers) + 1)]
        for path, node in tree:
            if path.startswith("dev/") or path == ".dockerenv":
                continue
            if node.directory:
                self._directories[path] = node
            else:
                self._names[node.layer].setdefault(node.index, []).append(path)
        workdir = clean(image.config.workdir)
        parts = workdir.split("/") if workdir else []
        for depth in range(1, len(parts) + 1):
            part = "/".join(parts[:depth])
            if part not in self._directories and not any(part in each for each in self._all_names()):
                self._directories[part] = Node(len(image.layers), -1, directory=True)

    def _all_names(self) -> Iterator[list[str]]:
        for layer in self._names:
            yield from layer.values()

    def write(self, own: Mapping[str, str]) -> None:
        self._write_directories()
        last: list[tarfile.TarInfo] = []
        for number, blob in enumerate(self._image.layers):
            if not self._names[number]:
                continue
            with _layer(self._opened, blob) as members:
                for index, member in enumerate(members):
                    if paths := self._names[number].get(index):
                        content = members.extractfile(member) if member.isreg() else None
                        last += self._write(paths, member, content)
        for index, member in enumerate(_own_members(own, self._image)):
            text = own[member.name].encode("utf-8", "surrogateescape")
            last += self._write(self._names[-1].get(index, ()), member, io.BytesIO(text))
        # A link's target must be there before it.
        for member in last:
            self._made.addfile(member)

    def _write_directories(self) -> None:
        described: dict[str, tarfile.TarInfo] = {}
        for number in sorted({node.layer for node in self._directories.values() if node.index >= 0}):
            if number == len(self._image.layers):
                continue
            wanted = {node.index: path for path, node in self._directories.items() if node.layer == number}
            with _layer(self._opened, self._image.layers[number]) as members:
                for index, member in enumerate(members):
                    if index in wanted:
                        described[wanted[index]] = member
        for path in sorted(self._directories):
            member = described.get(path) or _made(path, self._image.created_s, directory=True)
            self._made.addfile(_as(path, member))

    def _write(
        self, paths: list[str] | tuple[str, ...], member: tarfile.TarInfo, content: IO[bytes] | None
    ) -> Iterator[tarfile.TarInfo]:
        """Write a file under the first of its names; the links to it, and what is no file, are for the end."""
        if not paths:
            return
        first, *others = paths
        if member.islnk():
            raise BuildError(f"a layer links {member.name} to {member.linkname}, which no layer has")
        if member.isreg():
            self._made.addfile(_as(first, member), content)
            for path in others:
                link = _as(path, member)
                link.type, link.linkname, link.size = tarfile.LNKTYPE, first, 0
                yield link
        else:
            yield from (_as(path, member) for path in paths)


def _as(path: str, member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member under a path of its own, with nothing that a SquashFS of enroot does not have: owners, attributes."""
    made = tarfile.TarInfo(path)
    made.type = tarfile.REGTYPE if member.isreg() else member.type
    made.size = member.size if member.isreg() else 0
    made.linkname = member.linkname if member.issym() else ""
    made.devmajor, made.devminor = member.devmajor, member.devminor
    made.mtime = min(max(int(member.mtime), 0), _LATEST)
    made.mode = _mode(member)
    return made


def _mode(member: tarfile.TarInfo) -> int:
    """Enroot's ``fixperms``: the owner reads everything, and enters and writes directories."""
    if member.issym():
        return 0o777
    mode = member.mode & 0o7777
    if member.isdir():
        return mode | 0o700
    return mode | (0o500 if mode & 0o111 else 0o400)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r:") as opened:
            yield opened
    except tarfile.TarError as error:
        raise BuildError(f"the archive cannot be read: {error}", where=str(archive)) from None


@contextmanager
def _layer(opened: tarfile.TarFile, name: str) -> Iterator[tarfile.TarFile]:
    blob = _blob(opened, name)
    start = blob.read(len(_ZSTD))
    blob.seek(0)
    if start == _ZSTD:
        raise BuildError(
            "a layer is compressed with zstd, which is not read here",
            where=name,
            hint="take --builder docker, whose daemon hands layers out uncompressed",
        )
    # From its beginning to its end, so that a compressed one is never read again for a member.
    with tarfile.open(fileobj=blob, mode="r|*", bufsize=1 << 20) as members:
        yield members


def _blob(opened: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        found = opened.extractfile(name)
    except KeyError:
        found = None
    if found is None:
        raise BuildError(f"the archive lacks a part of the image: {name}")
    return found


def _seconds(created: str | None) -> int:
    """Seconds of a time of RFC 3339, whose fractions may be finer than Python's."""
    if not created:
        return 0
    try:
        return max(int(datetime.fromisoformat(created[:19] + "+00:00").timestamp()), 0)
    except ValueError:
        return 0
