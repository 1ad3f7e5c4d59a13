from __future__ import annotations

import itertools

from tests.report.example import Run, cell_doc, plan_of
from vep_dagger.report.grid import Grid, grid


def laid_out(
    axes: dict[str, list[str]], *more: dict[str, str], leave_out: frozenset[tuple[str, ...]] = frozenset()
) -> Grid:
    products = [labels for labels in itertools.product(*axes.values()) if labels not in leave_out]
    cells = [cell_doc(dict(zip(axes, labels, strict=True)), "img-1") for labels in products]
    return grid(Run(plan_of(axes, [*cells, *(cell_doc(choices, "img-1") for choices in more)])).summary())


def test_one_axis_grows_downwards() -> None:
    layout = laid_out({"vllm": ["1", "2", "3"]})
    assert (layout.row_axes, layout.column_axis) == (("vllm",), None)
    assert [row.labels for row in layout.rows] == [("1",), ("2",), ("3",)]


def test_of_two_axes_the_shorter_makes_the_columns_and_the_later_of_equals() -> None:
    assert laid_out({"a": ["1", "2"], "b": ["1", "2", "3"]}).column_axis == "a"
    assert laid_out({"a": ["1", "2"], "b": ["1", "2"]}).column_axis == "b"


def test_an_axis_without_a_choice_does_not_make_the_columns_of_a_choice() -> None:
    layout = laid_out({"a": ["1"], "b": ["1", "2"], "c": ["1", "2"]})
    assert (layout.row_axes, layout.column_axis) == (("a", "b"), "c")
    assert laid_out({"a": ["1"], "b": ["1", "2"]}).row_axes == ("b",)


def test_many_cells_make_a_wide_grid() -> None:
    layout = laid_out({"a": list("12345"), "b": list("123"), "c": list("12")})
    assert (layout.column_axis, len(layout.rows)) == ("a", 6)
    assert [row.again for row in layout.rows] == [0, 1, 0, 1, 0, 1]


def test_a_combination_that_is_left_out_is_an_empty_place() -> None:
    layout = laid_out({"a": ["1", "2"], "b": ["x", "y"]}, leave_out=frozenset({("1", "y")}))
    assert [[len(slot) for slot in row.slots] for row in layout.rows] == [[1, 0], [1, 1]]


def test_included_cells_stand_apart_when_they_lack_an_axis_and_in_the_grid_when_not() -> None:
    layout = laid_out({"a": ["1", "2"], "b": ["x", "y"]}, {"a": "3"}, {"a": "4", "b": "z"})
    assert [cell.slug for cell in layout.apart] == ["3"]
    assert layout.columns == ("x", "y", "z")
    assert layout.rows[-1].labels == ("4",)


def test_every_cell_has_exactly_one_place(run: Run) -> None:
    summary = run.summary()
    layout = grid(summary)
    placed = [cell.slug for row in layout.rows for slot in row.slots for cell in slot]
    assert sorted(placed) == sorted(cell.slug for cell in summary.cells)
