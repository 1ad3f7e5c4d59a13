from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vep_dagger.report.statistics import distribution


@pytest.mark.parametrize(
    ("values", "median", "low", "high"),
    [([5.0], 5.0, 5.0, 5.0), ([3.0, 1.0, 2.0], 2.0, 1.0, 3.0), ([4.0, 1.0, 2.0, 3.0], 2.5, 1.0, 4.0)],
)
def test_the_median_and_the_range_of_repeats(values: list[float], median: float, low: float, high: float) -> None:
    found = distribution(values)
    assert found is not None
    assert (found.median, found.low, found.high, found.n) == (median, low, high, len(values))
    assert found.values == tuple(values), "the order of measurement is kept"


def test_what_is_not_a_number_is_not_a_value() -> None:
    found = distribution([math.nan, 2.0, math.inf])
    assert found is not None
    assert found.values == (2.0,)
    assert distribution([math.nan]) is None


def test_a_single_value_has_no_spread() -> None:
    one, two = distribution([4.0]), distribution([9.0, 11.0])
    assert one is not None
    assert two is not None
    assert one.spread is None
    assert two.spread == pytest.approx(0.2)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_the_median_lies_within_the_range(values: list[float]) -> None:
    found = distribution(values)
    assert found is not None
    assert found.low <= found.median <= found.high
