"""All combinations of the axes' choices, as numbers: which are left, and which includes extend them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TypeVar

from vep_dagger.matrix.fields import Change, FieldTable
from vep_dagger.matrix.options import Option
from vep_dagger.matrix.rules import ExcludeRule, IncludeRule, Rule

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Grid:
    """The combinations that the excludes leave, the last axis fastest."""

    axes: Sequence[Sequence[Option]]
    alive: Sequence[bool] | None
    """For each combination, whether it is left; None when all are."""
    masks: Sequence[int]
    """For each that is left, the includes that extend it, a bit each."""
    useful: int
    """The excludes, a bit each, that removed what those before them had left."""

    @classmethod
    def of(
        cls, axes: Sequence[Sequence[Option]], excludes: Sequence[ExcludeRule], includes: Sequence[IncludeRule]
    ) -> Grid:
        """Applies the excludes to all combinations, and sees where the includes fit."""
        alive, useful = None, 0
        if excludes:
            removed = _masks(axes, excludes)
            alive = [not mask for mask in removed]
            for mask in set(removed):
                useful |= mask & -mask
        masks = _masks(axes, includes)
        return cls(axes, alive, masks if alive is None else list(compress(masks, alive)), useful)

    @property
    def fitted(self) -> int:
        """The includes, a bit each, that extend some cell."""
        fitted = 0
        for mask in set(self.masks):
            fitted |= mask
        return fitted

    def left(self, combinations: Iterable[T]) -> Iterable[T]:
        """What is left of one thing for each combination."""
        return combinations if self.alive is None else compress(combinations, self.alive)

    def pairs(self, first: int, second: int) -> set[tuple[int, int]]:
        """The choices of two axes that stand together in some cell."""
        codes = set(self._codes({first, second}))
        return {divmod(code, len(self.axes[second])) for code in codes}

    def numbers(self, table: FieldTable, includes: Mapping[int, Change]) -> list[int]:
        """For each cell, the number of its value in the table. ``includes``: what each, by its bit, sets there."""
        changes = [[table.change(option.sets) for option in axis] for axis in self.axes]
        touching = {at for at, axis in enumerate(changes) if any(axis)}
        keys = self._codes(touching)
        relevant = sum(includes)
        kinds = sorted({mask & relevant for mask in set(self.masks)}) or [0]
        if len(kinds) > 1:
            number = {kind: at for at, kind in enumerate(kinds)}
            base = len(kinds)
            keys = [key * base + number[mask & relevant] for key, mask in zip(keys, self.masks, strict=True)]
        combined = table.combine([changes[at] for at in sorted(touching)])
        known = {}
        for key in set(keys):
            code, kind = divmod(key, len(kinds))
            if combined is not None and not kinds[kind]:
                known[key] = table.keep(combined[code])
                continue
            chosen = []
            for at in sorted(touching, reverse=True):
                code, choice = divmod(code, len(changes[at]))
                chosen.append(changes[at][choice])
            extending = [(bit, change) for bit, change in includes.items() if kinds[kind] & bit]
            known[key] = table.number(chosen, extending)
        return list(map(known.__getitem__, keys))

    def _codes(self, touching: set[int]) -> list[int]:
        """For each cell, its choices of some axes as one number: mixed radix, the last axis lowest."""
        codes = [0]
        for at, axis in enumerate(self.axes):
            size = len(axis)
            if at in touching:
                codes = [code * size + choice for code in codes for choice in range(size)]
            else:
                codes = [code for code in codes for _ in range(size)]
        return list(self.left(codes))


def _masks(axes: Sequence[Sequence[Option]], rules: Sequence[Rule]) -> list[int]:
    masks = [(1 << len(rules)) - 1]
    for axis in axes:
        fits = [sum(1 << at for at, rule in enumerate(rules) if rule.fits(option)) for option in axis]
        masks = [mask & fit for mask in masks for fit in fits]
    return masks
