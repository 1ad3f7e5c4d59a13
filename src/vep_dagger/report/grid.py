"""The verdict grid: which axes become rows and columns, and which cell stands where."""

from __future__ import annotations

from dataclasses import dataclass

from vep_dagger.report.model import CellSummary, Summary

SYMBOLS = {"passed": "✓", "failed": "✗", "fell-back": "↩\ufe0e", "impossible": "⊘", "not-run": "○"}
"""A sign for each verdict, so that no colour is needed to read it; U+FE0E keeps the arrow from becoming an emoji."""

MANY = 24
"""More cells than this make a grid that is wide rather than long."""
WIDE = 6
"""The most columns of such a grid."""


@dataclass(frozen=True, slots=True)
class Row:
    """The labels at its head, and the cells under each column: none where the matrix leaves the combination out."""

    labels: tuple[str, ...]
    again: int
    """How many of the first labels are those of the row above."""
    slots: tuple[tuple[CellSummary, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows × columns, and the cells that lack an axis and so have no place in them."""

    row_axes: tuple[str, ...]
    column_axis: str | None
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    apart: tuple[CellSummary, ...]


def grid(summary: Summary) -> Grid:
    """Lay the cells out.

    One axis: its choices are rows, with one column. More: one axis makes the columns, and the others together make the
    rows. That axis is the one with the fewest choices (but more than one), since narrow tables are read on phones;
    where there are many cells it is the one with the most, up to :data:`WIDE`. The later one, when two are alike.
    """
    axes = list(summary.axes)
    whole = {cell.slug for cell in summary.cells if axes and all(axis in cell.choices for axis in axes)}
    placed = [cell for cell in summary.cells if cell.slug in whole]
    apart = tuple(cell for cell in summary.cells if cell.slug not in whole)
    # An included cell may bring a label that its axis does not list.
    labels = {
        axis: list(dict.fromkeys([*summary.axes[axis], *(cell.choices[axis] for cell in placed)])) for axis in axes
    }
    column_axis = _column_axis(axes, labels, len(placed))
    row_axes = tuple(axis for axis in axes if axis != column_axis)
    columns = tuple(labels[column_axis]) if column_axis else ("verdict",)
    order = {axis: {label: number for number, label in enumerate(labels[axis])} for axis in axes}
    slots: dict[tuple[str, ...], dict[str, list[CellSummary]]] = {}
    for cell in placed:
        head = tuple(cell.choices[axis] for axis in row_axes)
        column = cell.choices[column_axis] if column_axis else "verdict"
        slots.setdefault(head, {}).setdefault(column, []).append(cell)
    heads = sorted(slots, key=lambda head: [order[axis][label] for axis, label in zip(row_axes, head, strict=True)])
    rows = tuple(
        Row(head, _again(above, head), tuple(tuple(slots[head].get(column, ())) for column in columns))
        for above, head in zip([(), *heads], heads, strict=False)
    )
    return Grid(row_axes, column_axis, columns, rows, apart)


def _again(above: tuple[str, ...], head: tuple[str, ...]) -> int:
    same = [a == b for a, b in zip(above, head, strict=False)]
    return same.index(False) if False in same else len(same)


def _column_axis(axes: list[str], labels: dict[str, list[str]], cells: int) -> str | None:
    if len(axes) < 2:
        return None
    several = [axis for axis in axes if len(labels[axis]) > 1] or axes
    if len(several) == 1:
        # The only axis with a choice makes the rows, so that the table grows downwards.
        return next(axis for axis in reversed(axes) if axis != several[0])
    fitting = [axis for axis in several if len(labels[axis]) <= WIDE]
    if cells > MANY and fitting:
        return max(reversed(fitting), key=lambda axis: len(labels[axis]))
    return min(reversed(several), key=lambda axis: len(labels[axis]))
