"""What `vep plan` says of layers: how many there are, who shares them, what they are made of, what is not resolved."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.explain.explain_lab import MATRIX, lock, write_stack
from vep_dagger.console.choose import WIDTH_OF_A_PIPE
from vep_dagger.console.plan_table import ROWS, print_plan
from vep_dagger.plan import load_plan
from vep_dagger.plan.open_sources import open_sources

Show = Callable[..., list[str]]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """The lines of the plan of the stack, with the text of a lock file and of a matrix file."""
    file = write_stack(tmp_path)

    def lines(held: str, text: str = MATRIX) -> list[str]:
        file.write_text(text)
        file.with_suffix(".lock").write_text(held)
        out = io.StringIO()
        print_plan(load_plan(file), Console(file=out, width=WIDTH_OF_A_PIPE, no_color=True, highlight=False))
        return [line.rstrip() for line in out.getvalue().splitlines()]

    return lines


def row(lines: list[str], name: str) -> list[list[str]]:
    return [line.split() for line in lines if line.startswith(f"{name} ")]


def test_each_layer_says_how_many_cells_share_it(show: Show) -> None:
    lines = show(lock())
    assert [words[2] for words in row(lines, "gdrcopy")] == ["4"]
    # Four cells have three NCCLs: `batch` differs from `old` in its server alone.
    assert [words[2] for words in row(lines, "nccl")] == ["2", "1", "1"]
    assert [words[2] for words in row(lines, "ofi")] == ["2", "1", "1"]


def test_the_count_is_of_layers_against_those_of_every_cell_alone(show: Show) -> None:
    # Five layers a cell, the Python environment not among them: it is a chain of steps of the image.
    assert "11 layer builds (20 if each cell were built by itself)" in show(lock())


def test_an_impossible_cell_counts_for_no_build(show: Show, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    refuse = '    if pins.nccl.arch == "sm_100":\n        raise Impossible("no such GPU")\n    stack = Stack(pins)'
    recipe.write_text(
        recipe.read_text()
        .replace("import Build,", "import Impossible, Build,")
        .replace("    stack = Stack(pins)", refuse)
    )
    lines = show(lock())
    assert any(line.startswith("hopper") and line.endswith("impossible: no such GPU") for line in lines)
    assert "8 layer builds (15 if each cell were built by itself)" in lines


def test_reasons_of_cells_beyond_the_table_are_told_with_their_number(show: Show, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    refuse = '    if pins.nccl.version > "v1":\n        raise Impossible("too new")\n    stack = Stack(pins)'
    recipe.write_text(
        recipe.read_text()
        .replace("import Build,", "import Impossible, Build,")
        .replace("    stack = Stack(pins)", refuse)
    )
    axis = "".join(f'n{n:03} = {{ pins = {{ nccl = {{ version = "v1{n:03}" }} }} }}\n' for n in range(1, ROWS + 3))
    head, _, tail = MATRIX.partition("old = {}")
    lines = show(lock(), head + axis + "old = {}\n" + "[serve]" + tail.partition("[serve]")[2])
    assert "2 of them impossible: too new" in lines


def test_sources_are_shown_with_what_they_hold(show: Show) -> None:
    lines = show(lock())
    assert row(lines, "devel")[0][3:] == ["base:1", "aaaaaaaaaaaa"]
    assert row(lines, "nccl")[0][3:] == ["nccl", "v1", "111111111111"]


def test_what_is_not_locked_is_named_with_what_would_resolve_it(show: Show) -> None:
    lines = show("format = 1\n")
    assert row(lines, "nccl")[0][3:] == ["not", "locked:", "https://example.org/nccl.git", "v1"]
    assert "3 sources not locked, and needed by every build of their layers: run `vep lock`" in lines
    assert [line for line in show(lock()) if "sources not locked" in line] == []


def test_a_source_that_could_not_be_seen_says_why(show: Show) -> None:
    lines = show('format = 1\n[[image]]\nref = "base:1"\nunseen = "the registry answers 403"\n')
    (line,) = (line for line in lines if "403" in line)
    assert line.strip() == "base:1 (devel): `vep lock` could not see it: the registry answers 403; pin what it holds"


def test_python_environments_are_resolved_late_and_stop_nothing(show: Show, tmp_path: Path) -> None:
    lines = show(lock())
    assert lines[-1].startswith("1 Python environment (environment) not locked, and resolved when it is installed")
    (python,) = open_sources(load_plan(tmp_path / "matrix.toml"))
    assert (python.asked, python.used_by, python.stops) == ("vllm==0.32.0", ("environment",), False)
