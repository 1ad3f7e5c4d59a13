from __future__ import annotations

import pytest

from vep_dagger.report.text import clean, figure, href, limit, seconds, size


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[1;31mERROR\x1b[0m here", "ERROR here"),
        ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\x07", "a\ufffdb\ufffd"),
        ("progress\rbar\r\nnext\tcolumn", "progress\ufffdbar\nnext\tcolumn"),
        ("\udcff \u202egnp.exe", "\ufffd \ufffdgnp.exe"),
    ],
)
def test_what_cannot_be_shown_is_taken_out_or_marked(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (19636.13, "19,636"),
        (153.44, "153.4"),
        (29.649, "29.65"),
        (0.0421, "0.042"),
        (0.0, "0.000"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_a_figure_has_the_digits_that_can_be_read(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_a_limit_keeps_the_digits_of_whoever_set_it() -> None:
    assert (limit(2000.0), limit(37.125)) == ("2,000", "37.125")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.31, "0.31 s"), (31.44, "31.4 s"), (245.0, "4 min 05 s"), (7620.0, "2 h 07 min"), (None, "–")],
)
def test_a_duration_is_in_units_that_people_use(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


def test_sizes_are_decimal() -> None:
    assert [size(value) for value in (None, 999, 14_200_000_000)] == ["–", "999 B", "14.2 GB"]


def test_an_address_stays_a_path() -> None:
    assert href("cells/a b/x#1.json") == "../cells/a%20b/x%231.json"
    assert href("javascript:alert(1)").startswith("../")
