"""Where in the matrix file a cell's setting was written, for errors that are found after expansion."""

from __future__ import annotations

from vep_dagger.errors import Location
from vep_dagger.matrix import Cell, Matrix
from vep_dagger.matrix.cell import label_of


def pin_place(matrix: Matrix, cell: Cell, name: str, *, key: bool = False) -> Location:
    """The place of a pin's value (or its name, with ``key``): the axis' choice that set it, or ``[pins]``."""
    for axis, label in cell.choices:
        choices = matrix.file.axes.get(axis)
        if isinstance(choices, list) and axis == name:
            for index, choice in enumerate(choices):
                if label_of(choice) == label:
                    return matrix.document.locate(("axes", axis, index))
        elif isinstance(choices, dict) and label in choices and name in choices[label].pins:
            return matrix.document.locate(("axes", axis, label, "pins", name), key=key)
    if name in matrix.file.pins:
        return matrix.document.locate(("pins", name), key=key)
    return matrix.document.locate(("recipe",))


def serve_place(matrix: Matrix, cell: Cell, table: str, name: str | None = None) -> Location:
    """The place of a key of ``[serve]`` (``model``, ``all2all``), or of an entry of its ``args`` or ``env``."""
    tail: tuple[str, ...] = (table,) if name is None else (table, name)
    for axis, label in cell.choices:
        choices = matrix.file.axes.get(axis)
        if axis == table:
            return matrix.document.locate(("axes", axis))
        if isinstance(choices, dict) and label in choices:
            chosen = choices[label]
            if name is not None and name in getattr(chosen, table):
                return matrix.document.locate(("axes", axis, label, *tail))
            if name is None and getattr(chosen, table, None) is not None:
                return matrix.document.locate(("axes", axis, label, table))
            if name is None and getattr(chosen.serve, table, None) is not None:
                return matrix.document.locate(("axes", axis, label, "serve", table))
    return matrix.document.locate(("serve", *tail))
