"""The word CELL of a command line: one cell, or several that come to the same image or the same server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vep_dagger.errors import UsageError
from vep_dagger.matrix import Matrix
from vep_dagger.plan import Plan, make_plan
from vep_dagger.plan.meant import one_deployment, one_image

GPU = """
recipe = "vllm-ep"
[axes]
vllm = ["0.10.1.1", "0.11.0"]
all2all = ["pplx", "naive"]
[axes.load]
light = { env = { ODD = "1" } }
alike = { env = { ODD = "1" } }
heavy = { env = { ODD = "2" } }
heavier = { env = { ODD = "3" } }
"""
SERVE = """
[serve]
model = "deepseek-ai/DeepSeek-R1-0528"
data_parallel = 8
expert_parallel = true
"""


def plan(folder: Path, text: str = GPU + SERVE) -> Plan:
    (folder / "matrix.toml").write_text(text)
    return make_plan(Matrix.load(folder / "matrix.toml"))


def test_a_cells_name_means_its_image_and_its_server(tmp_path: Path) -> None:
    made = plan(tmp_path)
    cell = made.cells[0]
    assert one_image(made, cell.cell.slug) is cell.image
    assert one_deployment(made, cell.cell.slug) is cell.deployment


def test_an_expression_means_what_all_its_cells_share(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert one_image(made, "0.11.0") is made.choose("0.11.0").images[0]
    assert len(made.choose("0.11.0 and naive and (light or alike)").cells) == 2
    assert one_deployment(made, "0.11.0 and naive and (light or alike)").env[0] == ("ODD", "1")


@pytest.mark.parametrize(("one", "noun", "names"), [(one_image, "image", 2), (one_deployment, "server", 4)])
def test_cells_that_share_none_are_counted_and_the_first_are_named(
    tmp_path: Path, one: Callable[[Plan, str], object], noun: str, names: int
) -> None:
    made = plan(tmp_path)
    known = [image.tag for image in made.images] if noun == "image" else [each.slug for each in made.deployments]
    with pytest.raises(UsageError) as refused:
        one(made, "pplx or naive")
    shown = ", ".join(known[:names]) + (", …" if len(known) > names else "")
    assert refused.value.what == f"'pplx or naive' chooses cells of {len(known)} {noun}s: {shown}"
    assert "vep plan" in (refused.value.hint or "")


@pytest.mark.parametrize("one", [one_image, one_deployment])
def test_what_is_wrong_with_the_word_is_told_of_the_word(tmp_path: Path, one: Callable[[Plan, str], object]) -> None:
    made = plan(tmp_path)
    for word, what in {
        "": "CELL is empty",
        "(": "the expression ends where a word is expected",
        "pplxx": "no cell has 'pplxx' in its slug, nor as axis=label",
        "pplx and naive": "CELL 'pplx and naive' fits no cell",
    }.items():
        with pytest.raises(UsageError) as refused:
            one(made, word)
        assert refused.value.what == what
        assert "-k" not in refused.value.render()
        assert refused.value.where is None or str(refused.value.where).startswith("CELL:1:")


def test_an_impossible_cell_has_neither_and_its_reason_is_said(tmp_path: Path) -> None:
    made = plan(tmp_path, GPU.replace('"pplx", "naive"', '"naive", "mori"') + SERVE)
    impossible = next(cell for cell in made.cells if cell.impossible)
    for one, noun in ((one_image, "image"), (one_deployment, "server")):
        with pytest.raises(UsageError) as refused:
            one(made, impossible.cell.slug)
        assert refused.value.what == f"{impossible.cell.slug!r} has no {noun}: {impossible.impossible}"


def test_a_matrix_that_serves_nothing_has_images_and_no_server(tmp_path: Path) -> None:
    made = plan(tmp_path, 'recipe = "vllm-cpu"\n[pins]\nvllm = "0.32.0"\n')
    slug = made.cells[0].cell.slug
    assert one_image(made, slug) is made.images[0]
    with pytest.raises(UsageError, match=r"the matrix has no \[serve\]"):
        one_deployment(made, slug)
