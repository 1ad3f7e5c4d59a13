"""What is wrong with a pin, in words of the matrix file, for a recipe of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.errors import MatrixError
from vep_dagger.plan import load_plan

RECIPE = """
from __future__ import annotations

from typing import Literal

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails

from vep_dagger.dsl import PLAIN, Build, Commit, Image, Pins, Version, recipe


class ToolPins(Pins):
    version: Version = "v1.2"
    fast: bool = False
    jobs: int = 1
    flavours: tuple[str, ...] = ()


class PartPins(Pins):
    version: Version = "v3"
    commit: Commit | None = None


class OwnPins(Pins):
    tool: ToolPins = ToolPins()
    part: PartPins = PartPins()
    kind: Literal["small", "large"] = "small"
    wanted: Version
    word: Version | None = None

    @model_validator(mode="after")
    def _fits(self) -> OwnPins:
        if self.part.version == "v4":
            error = ValueError("v4 does not fit")
        elif self.part.version == "v5":
            error = ValueError("v5 does not fit: leave tool out")
        else:
            return self
        detail = InitErrorDetails(type="value_error", loc=("part",), input=self.part, ctx={"error": error})
        raise ValidationError.from_exception_data("OwnPins", [detail])


@recipe("own")
def own(pins: OwnPins) -> Image:
    note = (f"tool {pins.tool.version} is old",) if pins.tool.version == "v0" else ()
    return Image("own", "own", "1", PLAIN, Build(), device="cpu", notes=note)
"""


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    (tmp_path / "recipe.py").write_text(RECIPE)
    return tmp_path / "matrix.toml"


def refused(matrix: Path, pins: str) -> MatrixError:
    matrix.write_text(f'recipe = "recipe.py:own"\n[pins]\n{pins}\n')
    with pytest.raises(MatrixError) as caught:
        load_plan(matrix)
    return caught.value


@pytest.mark.parametrize(
    ("pins", "what", "hint"),
    [
        ('tool = "main"\nwanted = "1"', "pin tool.version: 'main' is no release", "leave it out, and v1.2 is taken"),
        (
            'tool = { version = "main", jobs = 2 }\nwanted = "1"',
            "pin tool.version: ",
            "leave it out, and v1.2 is taken",
        ),
        (
            'part = "main"\nwanted = "1"',
            "pin part.version: ",
            "leave it out, and v3 is taken; a commit is written beside the release: "
            'part = { version = "…", commit = "…" }',
        ),
        ('part = { commit = "main" }\nwanted = "1"', "pin part.commit: 'main' is no commit", None),
        ('part = "v4"\nwanted = "1"', "pin part: v4 does not fit", "leave it out, and v3 is taken"),
        ('part = { version = "v4" }\nwanted = "1"', "pin part: v4 does not fit", "leave it out, and v3 is taken"),
        ('part = "v5"\nwanted = "1"', "pin part: v5 does not fit: leave tool out", None),
        ('wanted = "main"', "pin wanted: 'main' is no release", None),
        ('wanted = "1"\nword = "main"', "pin word: 'main' is no release", None),
        ("tool = { version = 2 }\nwanted = '1'", "pin tool.version: expected text, got a whole", "write it in quotes"),
        ('tool = { fast = "yes" }\nwanted = "1"', "pin tool.fast: expected true or false, got text", None),
        ('tool = { jobs = "2" }\nwanted = "1"', "pin tool.jobs: expected a whole number, got text", None),
        ('tool = { flavours = "x" }\nwanted = "1"', "pin tool.flavours: expected a list, got text", None),
        ('kind = "lage"\nwanted = "1"', "pin kind: unknown word 'lage'", "did you mean 'large'?"),
        ('kind = "small"', "recipe own needs the pin 'wanted'", "set it in [pins] or in an axis named wanted"),
        ('wanted = "1"\ntol = "2"', "recipe 'recipe.py:own' has no pin 'tol'", "did you mean 'tool'?"),
        ('wanted = "1"\ntool = { vers = "2" }', "the pin tool has no key 'vers'", "did you mean 'version'?"),
    ],
)
def test_a_refusal_is_in_words_of_the_file(matrix: Path, pins: str, what: str, hint: str | None) -> None:
    error = refused(matrix, pins)

    assert error.what.startswith(what)
    assert error.hint == hint


def test_what_is_taken_without_a_pin_is_not_told_where_the_others_are_wrong_too(matrix: Path) -> None:
    error = refused(matrix, 'tool = "main"\nwanted = "main"')

    assert error.hint is None


def test_notes_of_an_image_are_told_without_a_server_too(matrix: Path) -> None:
    matrix.write_text('recipe = "recipe.py:own"\n[pins]\nwanted = "1"\n[axes]\ntool = ["v0", "v1"]\n')
    plan = load_plan(matrix)

    assert plan.all_warnings == plan.document().warnings == ["tool v0 is old"]
    assert [cell.warnings for cell in plan.document().cells] == [["tool v0 is old"], []]
