"""Cells: one combination of choices each, with what the choices set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

Frozen: TypeAlias = "bool | int | float | str | tuple[str, ...] | tuple[tuple[str, Frozen], ...]"
"""A value of the matrix file in a form that can be hashed: lists are tuples, tables are sorted tuples of pairs."""

Pairs: TypeAlias = tuple[tuple[str, Frozen], ...]


class Settings(NamedTuple):
    """All that the file and a cell's choices set, defaults of the file included; every field can be hashed.

    A choice of an axis overrides ``[pins]`` and ``[serve]``, and so does an ``[[include]]``. The cell that an include
    adds (since it fits no other) has the choices that the include names and no others: for an axis that it does not
    name, it has what ``[pins]`` and ``[serve]`` say.

    Cells that agree in a field share the same object, and cells that agree in all share the same ``Settings``, so that
    a plan can look things up by it cheaply. Within one file a name never has two values that are equal to Python and
    differ in meaning (``1`` and ``true``), so that a look-up by value is safe too.

    A named tuple, as :class:`Cell` is: a hundred thousand of them are made, and a frozen dataclass takes three times as
    long to fill.
    """

    pins: Pairs = ()
    """Pins by name, sorted."""
    serve: Pairs = ()
    """The other keys of ``[serve]``, sorted: host, model, tensor_parallel, … What is None is left out."""
    args: Pairs = ()
    """Flags of ``vllm serve``, sorted."""
    env: tuple[tuple[str, str], ...] = ()
    """Variables of the server, sorted."""
    all2all: str | None = None
    deep_gemm: bool | None = None


class Cell(NamedTuple):
    """One combination: a readable, stable, unique slug, the label of each axis' choice, and the settings."""

    slug: str
    choices: tuple[tuple[str, str], ...]
    """Axis and label of the choice, in the file's order."""
    settings: Settings


def label_of(value: object) -> str:
    """A choice of a list axis as a word: ``true`` and ``false`` as TOML writes them, everything else as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def freeze(value: Any) -> Frozen:
    """A value of the file in a form that can be hashed."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), freeze(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return tuple(str(item) for item in value)
    assert isinstance(value, bool | int | float | str)
    return value


def thaw(value: Frozen) -> Any:
    """The value that was frozen, as JSON knows it: lists and dicts again."""
    if not isinstance(value, tuple):
        return value
    if value and not isinstance(value[0], str):
        return {name: thaw(item) for name, item in value}
    return list(value)


def table(pairs: Iterable[tuple[str, Frozen]]) -> dict[str, Any]:
    """A field of :class:`Settings` as a plain dict."""
    return {name: thaw(value) for name, value in pairs}
