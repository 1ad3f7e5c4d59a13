from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vep_dagger.errors import Location, MatrixError
from vep_dagger.recipes import BUILT_IN, find_recipe

RECIPE = """\
from __future__ import annotations
from vep_dagger.dsl import PLAIN, Build, Image, Pins, Version, recipe

class MyPins(Pins):
    app: Version = "1.0"

@recipe("mine")
def mine(pins: MyPins) -> Image:
    return Image("mine", f"mine{pins.app}", pins.app, PLAIN, Build().python(">=3.11").install(f"app=={pins.app}"))

def plain(pins: MyPins) -> None: ...
"""


def error_of(name: str, beside: Path) -> MatrixError:
    with pytest.raises(MatrixError) as caught:
        find_recipe(name, beside)
    return caught.value


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_recipe_has_the_name_that_it_is_found_by(name: str, tmp_path: Path) -> None:
    assert find_recipe(name, tmp_path).name == name


def test_the_list_of_built_in_recipes_imports_none_of_them() -> None:
    script = (
        "import sys, vep_dagger.recipes; print([m for m in sys.modules if m.startswith('vep_dagger.recipes.vllm')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("wrong", "right"), [("vllm-cpuu", "vllm-cpu"), ("vlm-ep", "vllm-ep")])
def test_an_unknown_name_gets_the_nearest_right_one(wrong: str, right: str, tmp_path: Path) -> None:
    error = error_of(wrong, tmp_path)
    assert wrong in error.what
    assert f"did you mean {right!r}?" in (error.hint or "")


def test_a_users_function_is_found_beside_the_matrix_file(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "own.py").write_text(RECIPE)
    found = find_recipe("stacks/own.py:mine", tmp_path)
    assert found.image({"app": "2.0"}).tag == "mine2.0"
    assert find_recipe("stacks/own.py:mine", tmp_path) is found


def test_a_users_file_can_import_the_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "vep_test_sibling.py").write_text("NAME = 'from-sibling'\n")
    (tmp_path / "own.py").write_text(
        "import vep_test_sibling\n"
        + RECIPE.replace('"mine")', "vep_test_sibling.NAME)").replace("from __future__ import annotations\n", "")
    )
    before = list(sys.path)
    assert find_recipe("own.py:mine", tmp_path).name == "from-sibling"
    assert sys.path == before


def test_two_files_of_one_name_are_two_recipes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(RECIPE.replace('"mine"', f'"{folder}"'))
    assert [find_recipe(f"{folder}/own.py:mine", tmp_path).name for folder in "ab"] == ["a", "b"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere.py") in error_of("nowhere.py:mine", tmp_path).what


def test_a_function_that_is_not_there_gets_the_nearest_recipe_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(RECIPE)
    error = error_of("own.py:mien", tmp_path)
    assert "no 'mien'" in error.what
    assert error.hint == "did you mean 'mine'?"


def test_a_function_that_is_no_recipe_says_how_to_make_it_one(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(RECIPE)
    error = error_of("own.py:plain", tmp_path)
    assert "'plain' is no recipe" in error.what
    assert "@recipe" in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\n\ndef f():\n    raise RuntimeError('no luck')\n\nf()\n", 4, "RuntimeError: no luck"),
        ("import vep_no_such_module\n", 1, "ModuleNotFoundError"),
        ("x = 1\ny = (\n", 2, "SyntaxError"),
        ("raise SystemExit\n", None, ""),
    ],
)
def test_a_file_that_fails_to_import_is_shown_with_the_line(
    text: str, line: int | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(text)
    if line is None:
        with pytest.raises(SystemExit):
            find_recipe("own.py:mine", tmp_path)
        return
    error = error_of("own.py:mine", tmp_path)
    assert said in error.what
    assert isinstance(error.where, Location)
    assert (error.where.file, error.where.line) == (str(tmp_path / "own.py"), line)
    assert error.where.excerpt == text.splitlines()[line - 1]


def test_a_file_that_was_repaired_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("1 / 0\n")
    error_of("own.py:mine", tmp_path)
    (tmp_path / "own.py").write_text(RECIPE)
    assert find_recipe("own.py:mine", tmp_path).name == "mine"
