"""One field of the settings: its value for every combination of choices, each different value once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TypeAlias

from vep_dagger.matrix.cell import Frozen
from vep_dagger.matrix.checks import SWITCHES
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
        return self.keep(self._value(row))

    def keep(self, value: object) -> int:
        """The number of a value, a new one or that of an equal one."""
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number

    def combine(self, axes: Sequence[Sequence[Change]]) -> list[object] | None:
        """The value of every way to choose once from each axis, the last fastest, without includes.

        None when two of the axes set the same name, which this quick way cannot do: it strings what the choices set
        together, and then brings it into the order of the names.
        """
        if self.field in SWITCHES:
            return None
        size = width = len(self._row)
        order = list(range(size))
        strung: list[tuple[tuple[str, Frozen] | None, ...]] = [tuple(self._row)]
        gaps = False
        for changes in axes:
            places = sorted({place for change in changes for place, _ in change})
            if any(order[place] >= size for place in places):
                return None
            pieces = []
            for change in changes:
                sets = dict(change)
                pieces.append(tuple(sets.get(place, self._row[place]) for place in places))
            gaps = gaps or any(pair is None for piece in pieces for pair in piece)
            for at, place in enumerate(places):
                order[place] = width + at
            width += len(places)
            strung = [whole + piece for whole in strung for piece in pieces]
        order = [at for at in order if at >= size or self._row[at] is not None]
        if len(order) < 2:  # itemgetter gives no tuple then
            return [tuple(whole[at] for at in order if whole[at] is not None) for whole in strung]
        ordered = map(itemgetter(*order), strung)
        return [tuple(filter(None, value)) for value in ordered] if gaps else list(ordered)

    def _value(self, row: list[tuple[str, Frozen] | None]) -> object:
        if self.field in SWITCHES:
            return row[0][1] if row and row[0] else None
        return tuple(pair for pair in row if pair is not None)
