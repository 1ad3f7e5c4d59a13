"""From a matrix to its cells: a pure function of the file and of the names of the recipe's pins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, product
from math import prod
from typing import Any

from vep_dagger.matrix.cell import Cell, Settings, label_of
from vep_dagger.matrix.collisions import check_slugs
from vep_dagger.matrix.fields import FieldTable
from vep_dagger.matrix.grid import Grid
from vep_dagger.matrix.load import Matrix
from vep_dagger.matrix.options import Option, OptionReader, Sets, Slot, defaults, slot_name
from vep_dagger.matrix.problems import Problems
from vep_dagger.matrix.rules import IncludeRule, check_new_cell, read_excludes, read_includes
from vep_dagger.matrix.slug import LIMIT, NO_AXES, cut

MAX_CELLS = 1_000_000
"""More combinations than anybody can measure are a mistake, and would fill the memory before anything is said."""

_FIELDS = ("pins", "serve", "args", "env", "all2all", "deep_gemm")


def expand(matrix: Matrix, known_pins: Collection[str]) -> tuple[Cell, ...]:
    """The cells of a matrix: the combinations of its axes in the file's order, then those that includes add.

    Excludes and includes have the meaning that GitHub gives them in a workflow's matrix. An exclude removes the
    combinations that have all its choices. An include then extends each combination that is left and of which it
    overwrites nothing that a choice sets; what an earlier include set, it may overwrite. One that fits no combination
    becomes a cell of its own.

    :param known_pins: the names of the pins that the recipe takes.
    :raises MatrixError: an axis or pin that nothing uses, choices that contradict, excludes and includes without
        effect, slugs that collide, no cell left, or more than :data:`MAX_CELLS`; all that is found, as
        :meth:`Matrix.load` does.
    """
    problems = Problems(matrix.document)
    reader = OptionReader(matrix.file, known_pins, problems)
    axes = reader.axes()
    includes = read_includes(matrix.file, axes, reader)
    excludes = read_excludes(matrix.file)
    combined = prod(len(axis) for axis in axes.values())
    if combined > MAX_CELLS:
        problems.add(
            f"the axes combine to {combined:,} cells, more than {MAX_CELLS:,}", ("axes",), hint="make axes shorter"
        )
    problems.raise_if_any()

    grid = Grid.of(list(axes.values()), excludes, includes)
    for at, exclude in enumerate(excludes):
        if not grid.useful & 1 << at:
            hint = "the excludes before it have removed all that it names"
            problems.add("this exclude matches no cell", exclude.path, hint=hint)
    _check_contradictions(grid, problems)
    fitted = grid.fitted
    added = [rule for at, rule in enumerate(includes) if not fitted & 1 << at and check_new_cell(rule, problems)]
    problems.raise_if_any()

    settings = _Settings(defaults(matrix.file), axes.values(), includes)
    made = settings.make(grid, includes, added)
    for at, rule in enumerate(includes):
        if fitted & 1 << at and not settings.changed >> at & 1:
            hint = (
                "add what it sets (env, args, serve, pins), or remove it"
                if not rule.sets
                else "the cells that it fits have all of it already"
            )
            problems.add("this include sets nothing new", rule.path, hint=hint)

    choices = grid.left(product(*([option.choice for option in axis] for axis in grid.axes)))
    cells = list(map(Cell, _slugs(grid), choices, made))
    for rule, values in zip(added, made[len(cells) :], strict=True):
        options = rule.options.values()
        cells.append(
            Cell(cut("-".join(option.slug for option in options)), tuple(option.choice for option in options), values)
        )
    if not cells:
        problems.add("the excludes leave no cell", ("exclude", len(excludes) - 1), hint="remove one of them")
    check_slugs(cells, axes, added, problems)
    _check_baseline(matrix, cells, problems)
    problems.raise_if_any()
    return tuple(cells)


class _Settings:
    """Makes the settings of all cells; equal ones, and equal fields, are the same object."""

    def __init__(self, base: Sets, axes: Iterable[Sequence[Option]], includes: Sequence[IncludeRule]) -> None:
        slots: set[Slot] = {*base}
        for axis in axes:
            slots.update(slot for option in axis for slot in option.sets)
        for rule in includes:
            slots.update(rule.sets, *(option.sets for option in rule.options.values()))
        self._tables = [FieldTable(field, {name for kind, name in slots if kind == field}, base) for field in _FIELDS]

    @property
    def changed(self) -> int:
        """The includes, a bit each, that changed some cell."""
        return sum({bit for table in self._tables for bit in table.changed})

    def make(self, grid: Grid, includes: Sequence[IncludeRule], added: Sequence[IncludeRule]) -> list[Settings]:
        """The settings of the cells of the grid, then of those that includes add."""
        columns = []
        for table in self._tables:
            changes = {1 << at: change for at, rule in enumerate(includes) if (change := table.change(rule.sets))}
            column = grid.numbers(table, changes)
            for rule in added:
                column.append(
                    table.number(
                        [table.change(option.sets) for option in rule.options.values()] + [table.change(rule.sets)]
                    )
                )
            columns.append(column)
        codes = columns[0]
        for table, column in zip(self._tables[1:], columns[1:], strict=True):
            if (size := len(table.values)) > 1:
                codes = [code * size + number for code, number in zip(codes, column, strict=True)]
        places = dict(zip(codes, range(len(codes)), strict=True))
        fields: list[Iterable[Any]] = []
        for table, column in zip(self._tables, columns, strict=True):
            values = table.values
            fields.append([values[column[place]] for place in places.values()])
        made = dict(zip(places, map(Settings, *fields), strict=True))
        return list(map(made.__getitem__, codes))


def _slugs(grid: Grid) -> Iterable[str]:
    parts = [[option.slug for option in axis] for axis in grid.axes]
    slugs = map("-".join, grid.left(product(*parts))) if parts else (NO_AXES,)
    longest = sum(max(map(len, part)) + 1 for part in parts) - 1
    return slugs if longest <= LIMIT else map(cut, slugs)


def _check_contradictions(grid: Grid, problems: Problems) -> None:
    """No two choices of one cell may set the same thing to different values: neither could be said to win."""
    setters: dict[Slot, list[int]] = {}
    for at, axis in enumerate(grid.axes):
        for slot in {slot for option in axis for slot in option.sets}:
            setters.setdefault(slot, []).append(at)
    for slot, places in sorted(setters.items()):
        for first, second in combinations(places, 2):
            ours, theirs = list(enumerate(grid.axes[first])), list(enumerate(grid.axes[second]))
            differ = {
                (a, b): (one, other)
                for (a, one), (b, other) in product(ours, theirs)
                if slot in one.sets and slot in other.sets and one.sets[slot] != other.sets[slot]
            }
            together = grid.pairs(first, second) if differ else set()
            if (found := next((pair for at, pair in differ.items() if at in together), None)) is not None:
                one, other = found
                what = (
                    f"{one} sets {slot_name(slot)} to {one.sets[slot]!r}, and {other} sets it to {other.sets[slot]!r}"
                )
                hint = (
                    f"set it in one of the axes {one.axis!r} and {other.axis!r} only, or exclude these choices together"
                )
                problems.add(what, other.path, hint=hint)


def _check_baseline(matrix: Matrix, cells: Sequence[Cell], problems: Problems) -> None:
    wanted = {(axis, label_of(value)) for axis, value in matrix.file.pick.baseline.items()}
    if cells and not any(wanted.issubset(cell.choices) for cell in cells):
        problems.add(
            "no cell has the choices of the baseline", ("pick", "baseline"), hint="the excludes have removed them all"
        )
