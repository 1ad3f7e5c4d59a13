from __future__ import annotations

from collections.abc import Callable

import pytest

from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Cell

Expand = Callable[..., tuple[Cell, ...]]


def test_what_no_file_name_should_have_becomes_a_dash(cells: Expand) -> None:
    assert [cell.slug for cell in cells('[axes]\nvllm = ["a/b c:é"]\nall2all = ["x y"]')] == ["vllma-b-c---x-y"]


@pytest.mark.parametrize("value", ["..", "-k", ".hidden", "_x"])
def test_no_slug_is_hidden_or_a_parent_directory_or_a_flag(cells: Expand, value: str) -> None:
    (cell,) = cells(f'[axes]\nall2all = ["{value}"]')
    assert cell.slug == f"all2all{value}"


def test_a_slug_that_is_too_long_keeps_its_beginning_and_ends_with_a_hash(cells: Expand) -> None:
    value = "1." * 100
    one, two = cells(f'[axes]\nvllm = ["{value}a", "{value}b"]')
    assert one.slug.startswith("vllm1.1.")
    assert (len(one.slug), one.slug[:111]) == (120, two.slug[:111])
    assert one.slug[111:] == "-fa7e5c70"


def test_slugs_that_differ_in_capitals_only_are_one_file_on_some_systems(cells: Expand) -> None:
    with pytest.raises(MatrixError, match=r"two cells have the slug 'Fast': \(kind=fast\) and \(kind=Fast\)"):
        cells("[axes.kind]\nfast = {}\nFast = { env = { A = '1' } }")


def test_parts_that_run_together_collide_across_axes(cells: Expand) -> None:
    with pytest.raises(MatrixError, match="two cells have the slug 'x-y-z'") as caught:
        cells("[axes.one]\nx = {}\nx-y = {}\n[axes.two]\ny-z = {}\nz = {}")
    assert caught.value.hint is not None
    assert "rename 'x' or 'x-y' of 'one', or 'y-z' or 'z' of 'two'" in caught.value.hint


def test_an_include_that_adds_a_cell_twice_collides(cells: Expand) -> None:
    with pytest.raises(MatrixError, match="two cells have the slug 'vllm2'") as caught:
        cells('[axes]\nvllm = ["1"]\n[[include]]\nvllm = "2"\n[[include]]\nvllm = "2"\nenv = { A = "1" }')
    assert str(caught.value.where) == "matrix.toml:6:3"
