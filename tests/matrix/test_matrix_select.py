# ruff: noqa: E501 - messages stand here as they are printed
from __future__ import annotations

from collections.abc import Callable

import pytest
from inline_snapshot import snapshot

from vep_dagger.errors import UsageError
from vep_dagger.matrix import Cell, select

TEXT = '[axes]\nvllm = ["0.10", "0.11"]\nall2all = ["pplx", "naive"]\ndeep_gemm = [true, false]'


@pytest.fixture(scope="module")
def eight(cells: Callable[..., tuple[Cell, ...]]) -> tuple[Cell, ...]:
    return cells(TEXT)


@pytest.mark.parametrize(
    ("expression", "slugs"),
    [
        ("vllm0.10-pplx-dg1", ["vllm0.10-pplx-dg1"]),
        ("pplx and dg1", ["vllm0.10-pplx-dg1", "vllm0.11-pplx-dg1"]),
        ("0.10 and not pplx", ["vllm0.10-naive-dg1", "vllm0.10-naive-dg0"]),
        ("not (pplx or vllm0.10) and dg1", ["vllm0.11-naive-dg1"]),
        ("vllm=0.11 and all2all=naive and deep_gemm=false", ["vllm0.11-naive-dg0"]),
        ("0.10 and pplx or 0.11 and naive and dg0", ["vllm0.10-pplx-dg1", "vllm0.10-pplx-dg0", "vllm0.11-naive-dg0"]),
        ("not not PPLX AND Deep_GEMM=True", ["vllm0.10-pplx-dg1", "vllm0.11-pplx-dg1"]),
        ("((dg0))and(naive)", ["vllm0.10-naive-dg0", "vllm0.11-naive-dg0"]),
    ],
)
def test_an_expression_chooses_the_cells_that_it_fits_in_their_order(
    eight: tuple[Cell, ...], expression: str, slugs: list[str]
) -> None:
    assert [cell.slug for cell in select(eight, expression)] == slugs


def test_a_part_of_a_label_is_not_the_label(cells: Callable[..., tuple[Cell, ...]]) -> None:
    made = cells('[axes]\nvllm = ["0.1", "0.10"]')
    assert [cell.slug for cell in select(made, "vllm=0.1")] == ["vllm0.1"]
    assert len(select(made, "vllm0.1")) == 2


def test_a_matrix_of_one_cell_can_be_chosen_from(cells: Callable[..., tuple[Cell, ...]]) -> None:
    assert len(select(cells(""), "default")) == 1


def test_no_depth_of_parentheses_is_too_deep(eight: tuple[Cell, ...]) -> None:
    assert len(select(eight, "(" * 20_000 + "pplx" + ")" * 20_000)) == 4


MISTAKES = {
    "pplx and pplex": snapshot("""\
error: no cell has 'pplex' in its slug, nor as axis=label
  --> -k:1:10
   |
 1 | pplx and pplex
   |          ^^^^^
  help: did you mean 'pplx'?\
"""),
    "all2all=nave": snapshot("""\
error: no cell has 'all2all=nave' in its slug, nor as axis=label
  --> -k:1:1
   |
 1 | all2all=nave
   | ^^^^^^^^^^^^
  help: did you mean 'all2all=naive'?\
"""),
    "deepep": snapshot("""\
error: no cell has 'deepep' in its slug, nor as axis=label
  --> -k:1:1
   |
 1 | deepep
   | ^^^^^^
  help: cells are vllm0.10-pplx-dg1, vllm0.10-pplx-dg0, vllm0.10-naive-dg1, vllm0.10-naive-dg0, vllm0.11-pplx-dg1, and 3 more\
"""),
    "pplx and naive": snapshot("""\
error: -k 'pplx and naive' fits no cell
  help: cells are vllm0.10-pplx-dg1, vllm0.10-pplx-dg0, vllm0.10-naive-dg1, vllm0.10-naive-dg0, vllm0.11-pplx-dg1, and 3 more\
"""),
    "pplx naive": snapshot("""\
error: expected 'and', 'or' or ')', got 'naive'
  --> -k:1:6
   |
 1 | pplx naive
   |      ^^^^^
  help: join words with 'and', 'or' and 'not'\
"""),
    "pplx and or naive": snapshot("""\
error: expected a word, 'not' or '(', got 'or'
  --> -k:1:10
   |
 1 | pplx and or naive
   |          ^^
  help: join words with 'and', 'or' and 'not'\
"""),
    "(pplx": snapshot("""\
error: nothing closes this '('
  --> -k:1:1
   |
 1 | (pplx
   | ^\
"""),
    "pplx)": snapshot("""\
error: nothing opens this ')'
  --> -k:1:5
   |
 1 | pplx)
   |     ^\
"""),
    "pplx and": snapshot("""\
error: the expression ends where a word is expected
  --> -k:1:9
   |
 1 | pplx and
   |         ^\
"""),
    "()": snapshot("""\
error: expected a word, 'not' or '(', got ')'
  --> -k:1:2
   |
 1 | ()
   |  ^
  help: join words with 'and', 'or' and 'not'\
"""),
    " \t": snapshot("""\
error: -k is empty
  help: name a part of a slug, or axis=label\
"""),
    "pplx\tand\x1b[31m": snapshot("""\
error: expected 'and', 'or' or ')', got 'and\\x1b[31m'
  --> -k:1:6
   |
 1 | pplx and [31m
   |      ^^^^^^^^
  help: join words with 'and', 'or' and 'not'\
"""),
}


@pytest.mark.parametrize("expression", MISTAKES)
def test_a_mistake_is_shown_where_it_is_with_the_nearest_right_word(eight: tuple[Cell, ...], expression: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(eight, expression)
    assert caught.value.exit_code == 2
    assert caught.value.render() == MISTAKES[expression]
