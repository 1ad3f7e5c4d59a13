"""Cells: one combination of choices each, with what the choices set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Frozen: TypeAlias = "bool | int | float | str | tuple[str, ...] | tuple[tuple[str, Frozen], ...]"
"""A value of the matrix file in a form that can be hashed: lists are tuples, tables are sorted tuples of pairs."""

Pairs: TypeAlias = tuple[tuple[str, Frozen], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the file and a cell's choices set, defaults of the file included; every field can be hashed.

    Cells that agree in a field share the same object, so that a plan can look things up by it cheaply.
    """

    pins: Pairs = ()
    """Pins by name, sorted."""
    serve: Pairs = ()
    """The keys of ``[serve]`` but ``args`` and ``env``, sorted: model, tensor_parallel, … None values are left out."""
    args: Pairs = ()
    """Flags of ``vllm serve``, sorted."""
    env: tuple[tuple[str, str], ...] = ()
    """Variables of the server, sorted."""
    all2all: str | None = None
    deep_gemm: bool | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination: a readable, stable, unique slug, the label of each axis' choice, and the settings."""

    slug: str
    choices: tuple[tuple[str, str], ...]
    """Axis and label of the choice, in the file's order."""
    settings: Settings
