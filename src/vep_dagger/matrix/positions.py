"""Where each key and value of a TOML file stands, from its syntax tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from tree_sitter import Node

DataPath: TypeAlias = tuple[str | int, ...]
"""The keys and list indexes that lead to a value of the data."""


class Span(NamedTuple):
    """A piece of the file: rows and columns count from 0, columns in bytes, the end is exclusive."""

    row: int
    column: int
    end_row: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Where one path of the data stands."""

    key: Span
    """The last part of its key; an element of a list, which has no key, has its value here too."""
    value: Span
    """Its value; a table that has a header or only parts of dotted keys has that name here."""
    explicit: bool
    """Whether the file sets it as such, and not only as the beginning of a longer key."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A key that the file sets a second time."""

    path: DataPath
    key: Span
    first: Span


def parse_tree(source: bytes) -> Node:
    """The syntax tree's root. It never fails: what it cannot read is an ``ERROR`` node."""
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_toml.language())).parse(source).root_node


def first_error(root: Node) -> Span | None:
    """The first place that the grammar of TOML 1.0 cannot read."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            return _span(node)
        stack.extend(child for child in reversed(node.children) if child.has_error or child.is_missing)
    return None


def read_positions(root: Node) -> tuple[dict[DataPath, Mark], list[Repeat]]:
    """Every path of the data with its place, and the keys that are set twice. The tree must have no error."""
    index = _Index()
    for node in root.named_children:
        if node.type == "pair":
            index.pair(node, ())
        elif node.type in ("table", "table_array_element"):
            table = index.header(node)
            for child in node.named_children:
                if child.type == "pair":
                    index.pair(child, table)
    return index.marks, index.repeats


class _Index:
    def __init__(self) -> None:
        self.marks: dict[DataPath, Mark] = {}
        self.repeats: list[Repeat] = []
        self._lengths: dict[DataPath, int] = {}

    def header(self, node: Node) -> DataPath:
        """Records ``[a.b]`` or ``[[a.b]]``, and gives the path of the table that it opens."""
        name = next(child for child in node.named_children if child.type in _KEYS)
        parts = _key_parts(name)
        path = self._open(parts[:-1], (), dotted=False)
        last, span = parts[-1]
        path = (*path, last)
        if node.type == "table":
            self._set(path, Mark(span, _span(name), explicit=True))
            return path
        length = self._lengths.get(path, 0)
        if length == 0:
            self._set(path, Mark(span, _span(name), explicit=True))
        self._lengths[path] = length + 1
        element = (*path, length)
        self.marks[element] = Mark(span, _span(name), explicit=True)
        return element

    def pair(self, node: Node, table: DataPath) -> None:
        """Records ``key = value`` and all that the value holds."""
        pending: list[tuple[Node, DataPath]] = [(node, table)]
        while pending:
            node, base = pending.pop()
            if node.type == "pair":
                name, value = _content(node)
                parts = _key_parts(name)
                path = (*self._open(parts[:-1], base, dotted=True), parts[-1][0])
                self._set(path, Mark(parts[-1][1], _span(value), explicit=True))
            else:
                value, path = node, base
            if value.type == "inline_table":
                # Reversed, since the last one pending is read first: a repeated key is then the second in the file.
                pending.extend((child, path) for child in reversed(_content(value)))
            elif value.type == "array":
                for at, item in enumerate(_content(value)):
                    self.marks[*path, at] = Mark(_span(item), _span(item), explicit=True)
                    pending.append((item, (*path, at)))

    def _open(self, parts: list[tuple[str, Span]], base: DataPath, *, dotted: bool) -> DataPath:
        """The table that the beginning of a key leads into: the newest element where it is an array of tables.

        A table that dotted keys have made cannot have a header later; one that is the beginning of a header can.
        """
        path = base
        for part, span in parts:
            path = (*path, part)
            self.marks.setdefault(path, Mark(span, span, explicit=dotted))
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _set(self, path: DataPath, mark: Mark) -> None:
        known = self.marks.get(path)
        if known is not None and known.explicit:
            self.repeats.append(Repeat(path, mark.key, known.key))
        else:
            self.marks[path] = mark


_KEYS = ("bare_key", "quoted_key", "dotted_key")


def _span(node: Node) -> Span:
    start, end = node.start_point, node.end_point
    return Span(start.row, start.column, end.row, end.column)


def _content(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _key_parts(node: Node) -> list[tuple[str, Span]]:
    """The parts of a key in their order: the grammar nests ``a.b.c`` as ``(a.b).c``."""
    parts: list[tuple[str, Span]] = []
    while node.type == "dotted_key":
        node, last = node.named_children
        parts.append((_key_text(last), _span(last)))
    parts.append((_key_text(node), _span(node)))
    return parts[::-1]


def _key_text(node: Node) -> str:
    import tomli

    text = (node.text or b"").decode()
    if node.type == "bare_key":
        return text
    # The quotes and escapes of a key are TOML's own; its parser reads them.
    return next(iter(tomli.loads(f"{text} = 0")))
