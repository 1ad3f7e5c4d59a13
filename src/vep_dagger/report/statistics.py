"""What repeats say together.

Today a distribution is its median and its range. An interval for the median, and repeats that belong to rounds with
restarts between them, change what ``low``, ``high`` and ``basis`` hold, and nobody who reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Distribution:
    """The values of one figure over the repeats of one workload."""

    values: tuple[float, ...]
    """In the order in which they were measured."""
    median: float
    low: float
    high: float
    basis: Literal["min-max"] = "min-max"
    """What ``low`` and ``high`` are: the smallest and the largest value, and no interval of confidence."""

    @property
    def n(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def spread(self) -> float | None:
        """The range as a part of the median (0.02 is 2 %); None for a single value or a median of 0."""
        return (self.high - self.low) / abs(self.median) if self.n > 1 and self.median else None


def distribution(values: Iterable[float]) -> Distribution | None:
    """The distribution of the finite values; None if there are none."""
    finite = tuple(value for value in values if math.isfinite(value))
    if not finite:
        return None
    ordered = sorted(finite)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Distribution(finite, median, ordered[0], ordered[-1])
