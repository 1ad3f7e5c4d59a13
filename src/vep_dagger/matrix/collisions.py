"""Cells whose slugs would be the same file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vep_dagger.matrix.cell import Cell
from vep_dagger.matrix.options import Option
from vep_dagger.matrix.positions import DataPath
from vep_dagger.matrix.problems import Problems
from vep_dagger.matrix.rules import IncludeRule

_SHOWN = 5


def check_slugs(
    cells: Sequence[Cell], axes: Mapping[str, Sequence[Option]], added: Sequence[IncludeRule], problems: Problems
) -> None:
    """Notes cells with the same slug, the first few of them; capitals do not count, as on some file systems."""
    if len({cell.slug.lower() for cell in cells}) == len(cells):
        return
    seen: dict[str, Cell] = {}
    paths = {(axis, option.label): option.path for axis, options in axes.items() for option in options}
    shown = 0
    for at, cell in enumerate(cells):
        other = seen.setdefault(cell.slug.lower(), cell)
        if other is cell:
            continue
        new = at - (len(cells) - len(added))
        differ = [choice for choice in cell.choices if choice not in other.choices]
        path: DataPath = added[new].path if new >= 0 else paths[differ[0]]
        names = " and ".join(
            f"({', '.join(f'{axis}={label}' for axis, label in one.choices)})" for one in (other, cell)
        )
        problems.add(f"two cells have the slug {cell.slug!r}: {names}", path, hint=_hint(other, cell))
        shown += 1
        if shown == _SHOWN:
            return


def _hint(one: Cell, other: Cell) -> str:
    if one.choices == other.choices:
        return "name another choice: there is a cell of these already"
    mine, theirs = dict(one.choices), dict(other.choices)
    differ = [
        f"{mine.get(axis, 'none')!r} or {theirs.get(axis, 'none')!r} of {axis!r}"
        for axis in {**mine, **theirs}
        if mine.get(axis) != theirs.get(axis)
    ]
    rule = "in a slug every character but A-Z a-z 0-9 . _ - is a '-', and capitals do not count"
    return f"rename {', or '.join(differ)}; {rule}"
