# ruff: noqa: E501 - a matrix file on one line is easier to compare with its cells
from __future__ import annotations

from collections.abc import Callable

import pytest

from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Cell, Matrix, Settings, expand
from vep_dagger.matrix.cell import table

Expand = Callable[..., tuple[Cell, ...]]


def slugs(cells: tuple[Cell, ...]) -> list[str]:
    return [cell.slug for cell in cells]


def test_a_matrix_without_axes_is_one_cell(cells: Expand) -> None:
    (cell,) = cells('[pins]\nvllm = "1"')
    assert (cell.slug, cell.choices, table(cell.settings.pins)) == ("default", (), {"vllm": "1"})


def test_axes_combine_in_the_order_of_the_file_with_the_last_one_fastest(cells: Expand) -> None:
    text = '[axes]\nvllm = ["0.10.1.1", "0.11.0"]\nall2all = ["pplx"]\ndeep_gemm = [true, false]\n[axes.transport]\na = {}\nb = {}'
    assert slugs(cells(text)) == [
        "vllm0.10.1.1-pplx-dg1-a",
        "vllm0.10.1.1-pplx-dg1-b",
        "vllm0.10.1.1-pplx-dg0-a",
        "vllm0.10.1.1-pplx-dg0-b",
        "vllm0.11.0-pplx-dg1-a",
        "vllm0.11.0-pplx-dg1-b",
        "vllm0.11.0-pplx-dg0-a",
        "vllm0.11.0-pplx-dg0-b",
    ]
    assert cells(text)[2].choices == (
        ("vllm", "0.10.1.1"),
        ("all2all", "pplx"),
        ("deep_gemm", "false"),
        ("transport", "a"),
    )


def test_a_list_axis_sets_the_pin_the_key_of_serve_or_the_switch_of_its_name(cells: Expand) -> None:
    text = '[axes]\nvllm = ["2"]\nmodel = ["org/x"]\ntensor_parallel = [8]\nexpert_parallel = [true]\nall2all = ["naive"]\ndeep_gemm = [false]'
    (cell,) = cells('[pins]\nvllm = "1"\nnccl = "n"\n' + text)
    assert cell.slug == "vllm2-modelorg-x-tensor_parallel8-expert_paralleltrue-naive-dg0"
    assert cell.settings == Settings(
        pins=(("nccl", "n"), ("vllm", "2")),
        serve=(
            ("data_parallel", 1),
            ("expert_parallel", True),
            ("host", "127.0.0.1"),
            ("model", "org/x"),
            ("nodes", 1),
            ("rpc_port", 13345),
            ("tensor_parallel", 8),
        ),
        all2all="naive",
        deep_gemm=False,
    )


def test_a_choice_of_a_named_axis_overrides_what_the_file_says(load: Callable[[str], Matrix]) -> None:
    matrix = load(
        """
        [pins]
        vllm = "1"
        nccl = { version = "v2", gencode = ["90", "100"] }
        [axes.kind.plain]
        [axes.kind.rich]
        pins = { vllm = "2" }
        env = { A = "b", C = "d" }
        args = { x = 1, list = ["p", "q"] }
        serve = { nodes = 2 }
        all2all = "pplx"
        deep_gemm = true
        [serve.env]
        A = "a"
        [serve.args]
        x = 0
        [[bench]]
        name = "b"
        input_len = 1
        output_len = 1
        num_prompts = 1
        """
    )
    plain, rich = expand(matrix, {"vllm", "nccl"})
    assert plain.settings.env == (("A", "a"),)
    assert plain.settings.all2all is None
    assert table(plain.settings.pins)["nccl"] == {"version": "v2", "gencode": ["90", "100"]}
    assert table(rich.settings.pins)["vllm"] == "2"
    assert rich.settings.env == (("A", "b"), ("C", "d"))
    assert table(rich.settings.args) == {"x": 1, "list": ["p", "q"]}
    assert table(rich.settings.serve)["nodes"] == 2
    assert (rich.settings.all2all, rich.settings.deep_gemm) == ("pplx", True)


def test_equal_fields_and_equal_settings_are_the_same_object(cells: Expand) -> None:
    text = '[axes]\nvllm = ["1", "2"]\nall2all = ["a", "b"]\n[axes.kind]\nx = {}\ny = { env = { A = "1" }, args = { n = 1 } }'
    made = cells(text + '\n[[include]]\nvllm = "3"\nenv = { A = "1" }')
    settings = {cell.slug: cell.settings for cell in made}
    first, second = settings["vllm1-a-y"], settings["vllm1-b-y"]
    assert first is not second
    assert first.pins is second.pins is settings["vllm1-a-x"].pins
    assert first.serve is second.serve is settings["vllm3"].serve
    assert first.args is second.args
    assert first.env is second.env is settings["vllm3"].env


def test_cells_whose_choices_set_the_same_share_their_settings(cells: Expand) -> None:
    one, two, three = cells("[axes.k]\na = {}\nb = { serve = { nodes = 1 } }\nc = { serve = { nodes = 2 } }")
    assert one.settings is two.settings
    assert one.settings is not three.settings


# https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations
GITHUB = """
[axes]
fruit = ["apple", "pear"]
animal = ["cat", "dog"]
[[include]]
env = { COLOR = "green" }
[[include]]
env = { COLOR = "pink" }
animal = "cat"
[[include]]
fruit = "apple"
env = { SHAPE = "circle" }
[[include]]
fruit = "banana"
[[include]]
fruit = "banana"
animal = "cat"
"""


def test_includes_do_what_githubs_own_example_says(cells: Expand) -> None:
    assert [{**dict(cell.choices), **dict(cell.settings.env)} for cell in cells(GITHUB)] == [
        {"fruit": "apple", "animal": "cat", "COLOR": "pink", "SHAPE": "circle"},
        {"fruit": "apple", "animal": "dog", "COLOR": "green", "SHAPE": "circle"},
        {"fruit": "pear", "animal": "cat", "COLOR": "pink"},
        {"fruit": "pear", "animal": "dog", "COLOR": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_a_cell_that_an_include_adds_has_what_the_file_says_for_the_axes_it_does_not_name(cells: Expand) -> None:
    made = cells(
        '[pins]\nvllm = "0"\n[axes]\nvllm = ["1"]\nall2all = ["a"]\n[[include]]\nall2all = "b"\nargs = { x = true }'
    )
    assert (made[-1].slug, table(made[-1].settings.pins)) == ("b", {"vllm": "0"})
    assert made[-1].settings.args == (("x", True),)


def test_an_include_overwrites_the_files_own_values_but_no_choice(cells: Expand) -> None:
    text = '[pins]\nnccl = "1"\n[axes.t]\na = { env = { X = "1" } }\nb = { env = { Y = "1" } }\n[[include]]\npins = { nccl = "2" }\nenv = { X = "2" }'
    a, b = cells(text)
    assert (a.settings.pins, a.settings.env) == ((("nccl", "1"),), (("X", "1"),))
    assert (b.settings.pins, b.settings.env) == ((("nccl", "2"),), (("X", "2"), ("Y", "1")))


def test_an_include_matches_a_choice_by_its_label(cells: Expand) -> None:
    text = '[axes]\ndeep_gemm = [true, false]\ntensor_parallel = [1, 2]\n[[include]]\ndeep_gemm = true\ntensor_parallel = 2\nenv = { A = "1" }'
    assert [bool(cell.settings.env) for cell in cells(text)] == [False, True, False, False]


def test_a_switch_without_an_axis_is_something_that_an_include_sets(cells: Expand) -> None:
    made = cells('[axes]\nvllm = ["1", "2"]\n[[include]]\nvllm = "2"\nall2all = "naive"\ndeep_gemm = false')
    assert [(cell.settings.all2all, cell.settings.deep_gemm) for cell in made] == [(None, None), ("naive", False)]


def test_excludes_come_before_includes_so_an_include_can_bring_a_combination_back(cells: Expand) -> None:
    text = '[axes]\nvllm = ["1", "2"]\nall2all = ["a", "b"]\n[[exclude]]\nvllm = "1"\n[[include]]\nvllm = "1"\nall2all = "b"\nenv = { A = "1" }'
    assert slugs(cells(text)) == ["vllm2-a", "vllm2-b", "vllm1-b"]
    assert [cell.settings.env for cell in cells(text)] == [(), (), (("A", "1"),)]


def test_an_exclude_removes_every_cell_that_has_all_its_choices(cells: Expand) -> None:
    text = '[axes]\nvllm = ["1", "2"]\nall2all = ["a", "b"]\ndeep_gemm = [true, false]\n[[exclude]]\nvllm = "1"\ndeep_gemm = false'
    assert slugs(cells(text)) == [
        "vllm1-a-dg1",
        "vllm1-b-dg1",
        "vllm2-a-dg1",
        "vllm2-a-dg0",
        "vllm2-b-dg1",
        "vllm2-b-dg0",
    ]


def test_choices_that_contradict_are_right_when_excludes_keep_them_apart(cells: Expand) -> None:
    axes = '[axes.s]\na = { env = { X = "1" } }\nb = {}\n[axes.t]\nc = { env = { X = "2" } }\nd = { env = { X = "1" } }'
    assert len(cells(axes + '\n[[exclude]]\ns = "a"\nt = "c"')) == 3
    with pytest.raises(MatrixError, match=r"sets env\.X to '1', and t=c sets it to '2'"):
        cells(axes)


def test_more_cells_than_anybody_can_measure_are_refused_before_they_are_made(cells: Expand) -> None:
    axes = "\n".join(
        f"[axes.a{axis}]\n" + "\n".join(f"c{axis}x{choice} = {{}}" for choice in range(100)) for axis in range(10)
    )
    with pytest.raises(MatrixError, match="100,000,000,000,000,000,000 cells"):
        cells(axes)


def test_the_same_file_gives_the_same_cells(cells: Expand) -> None:
    assert cells(GITHUB) == cells(GITHUB)
