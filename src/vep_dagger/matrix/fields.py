"""One field of the settings: its value for every combination of choices, each different value once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from vep_dagger.matrix.cell import Frozen
from vep_dagger.matrix.options import Sets

Change: TypeAlias = tuple[tuple[int, tuple[str, Frozen]], ...]
"""What something sets in one field: the place in the sorted names, and the pair of name and value."""


class FieldTable:
    """The values that one field has in some cell.

    A field's value depends on few axes. It is made once for each combination of *their* choices; cells hold its number.
    """

    def __init__(self, field: str, names: Iterable[str], defaults: Sets) -> None:
        self.field = field
        self._names = sorted(names)
        self._places = {name: place for place, name in enumerate(self._names)}
        self._row = [(name, defaults[field, name]) if (field, name) in defaults else None for name in self._names]
        self._numbers: dict[object, int] = {}
        self.values: list[object] = []
        """The different values, by number."""
        self.changed: set[int] = set()
        """The includes that changed something, by their bit."""

    def change(self, sets: Sets) -> Change:
        """The part of ``sets`` that is of this field."""
        return tuple(
            (self._places[name], (name, value)) for (field, name), value in sets.items() if field == self.field
        )

    def number(self, choices: Iterable[Change], includes: Iterable[tuple[int, Change]] = ()) -> int:
        """The number of the value that these choices, and then these includes, give."""
        row = self._row.copy()
        for change in choices:
            for place, pair in change:
                row[place] = pair
        for bit, change in includes:
            for place, pair in change:
                if row[place] != pair:
                    row[place] = pair
                    self.changed.add(bit)
        value = self._value(row)
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number

    def _value(self, row: list[tuple[str, Frozen] | None]) -> object:
        if self.field in ("all2all", "deep_gemm"):
            return row[0][1] if row and row[0] else None
        return tuple(pair for pair in row if pair is not None)
