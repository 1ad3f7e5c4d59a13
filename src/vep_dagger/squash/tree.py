"""The tree that the layers of an image come to: which member of which layer each path is.

Layers are applied as the OCI image specification says (``layer.md`` of opencontainers/image-spec v1.1.0): ``.wh.NAME``
takes ``NAME`` of the layers below away, ``.wh..wh..opq`` all that they have in its directory, and whatever is no
directory replaces what was there.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Node:
    """What a path is: a directory, or a member of a layer whose content it has."""

    layer: int
    index: int
    """Of the member in its layer, which holds the content; -1 for a directory that no layer describes."""
    directory: bool


class Tree:
    """Paths without a leading slash; the root itself is not among them."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._children: dict[str, set[str]] = {"": set()}
        self.latest_s = 0
        """The latest time of any member, in seconds of the epoch."""

    def apply(self, layer: int, members: Iterable[tarfile.TarInfo]) -> None:
        """Put a layer on top of those before."""
        own: set[str] = set()
        for index, member in enumerate(members):
            path = clean(member.name)
            above, name = posixpath.split(path)
            self.latest_s = max(self.latest_s, int(member.mtime))
            if name == _OPAQUE:
                self._empty(above, own)
            elif name.startswith(_WHITEOUT):
                hidden = posixpath.join(above, name.removeprefix(_WHITEOUT))
                if hidden not in own:
                    self._remove(hidden)
            elif path:
                self._put(path, self._node(layer, index, member), own)

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        """Paths with what they are, sorted, each directory before what is in it."""
        yield from sorted(self._nodes.items())

    def _node(self, layer: int, index: int, member: tarfile.TarInfo) -> Node:
        if member.islnk():
            # The content is that of the first name, wherever that one has gone since.
            target = self._nodes.get(clean(member.linkname))
            if target is not None and not target.directory:
                return target
        return Node(layer, index, member.isdir())

    def _put(self, path: str, node: Node, own: set[str]) -> None:
        above, name = posixpath.split(path)
        known = self._nodes.get(above)
        if above and (known is None or not known.directory):
            self._put(above, Node(node.layer, -1, directory=True), own)
        elif above not in own:
            # It holds something of this layer, so that this layer's opaque directories above it do not take it away.
            self._own(above, own)
        before = self._nodes.get(path)
        if before is not None and not (before.directory and node.directory):
            self._remove(path)
        self._nodes[path] = node
        self._children[above].add(name)
        if node.directory:
            self._children.setdefault(path, set())
        own.add(path)

    @staticmethod
    def _own(path: str, own: set[str]) -> None:
        while path and path not in own:
            own.add(path)
            path = posixpath.dirname(path)

    def _empty(self, path: str, own: set[str]) -> None:
        """Take away what layers below have in a directory."""
        for name in list(self._children.get(path, ())):
            child = posixpath.join(path, name)
            if child not in own:
                self._remove(child)
            else:
                self._empty(child, own)

    def _remove(self, path: str) -> None:
        if self._nodes.pop(path, None) is None:
            return
        above, name = posixpath.split(path)
        self._children[above].discard(name)
        for child in list(self._children.get(path, ())):
            self._remove(posixpath.join(path, child))
        self._children.pop(path, None)


def clean(name: str) -> str:
    """A member's name as a path below the root, which it cannot leave."""
    return posixpath.normpath(f"/{name}").lstrip("/")
