"""What is wrong with a pin, in words of the matrix file: nothing that a user reads is pydantic's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, get_args

from pydantic import ValidationError

from vep_dagger.dsl import Pins, Recipe, SpellingError
from vep_dagger.errors import MatrixError, did_you_mean
from vep_dagger.matrix import Cell, Matrix
from vep_dagger.matrix.cell import thaw
from vep_dagger.matrix.values import type_words
from vep_dagger.plan.places import pin_place

EXPECTED: Mapping[str, str] = MappingProxyType(
    {"string_type": "text", "tuple_type": "a list", "int_type": "a whole number", "bool_type": "true or false"}
)
"""What pydantic's types of errors expected, in a person's words."""


def pin_error(matrix: Matrix, recipe: Recipe[Any], cell: Cell, error: ValidationError) -> MatrixError:
    """The first thing that a recipe's table of pins refused of a cell's, at its place in the file."""
    first = error.errors(include_url=False)[0]
    kind, value = first["type"], first["input"]
    pin, *inside = [str(part) for part in first["loc"]] or ["vllm"]
    name = inside[-1] if inside else pin
    place = pin_place(matrix, cell, pin, key=kind == "extra_forbidden")
    if kind == "extra_forbidden":
        what = f"the pin {pin} has no key {name!r}" if inside else f"recipe {recipe.name} has no pin {name!r}"
        return MatrixError(what, where=place, hint=did_you_mean(name, _known(recipe, pin if inside else None)))
    if kind == "missing":
        return MatrixError(
            f"recipe {recipe.name} needs the pin {name!r}",
            where=place,
            hint=f"set it in [pins] or in an axis named {name}",
        )
    called = f"pin {'.'.join((pin, *inside))}"
    context = first.get("ctx", {})
    if cause := context.get("error"):
        # What does not fit its neighbours says itself which key to leave out, where that is not the whole pin.
        spelling = isinstance(cause, SpellingError)
        told = not spelling and (inside or "leave" in str(cause))
        return MatrixError(
            f"{called}: {cause}", where=place, hint=None if told else _without(recipe, cell, pin, inside)
        )
    if kind in EXPECTED:
        bare = kind == "string_type" and isinstance(value, bool | int | float)
        return MatrixError(
            f"{called}: expected {EXPECTED[kind]}, got {type_words(value)}",
            where=place,
            hint="write it in quotes" if bare else None,
        )
    if kind == "literal_error":
        words = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        return MatrixError(f"{called}: unknown word {value!r}", where=place, hint=did_you_mean(str(value), words))
    return MatrixError(f"{called}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {value!r}", where=place)


def _without(recipe: Recipe[Any], cell: Cell, pin: str, inside: list[str]) -> str | None:
    """What is taken of a component if nothing is written instead, where the cell's other pins are right."""
    pins = {name: thaw(value) for name, value in cell.settings.pins}
    written = pins.pop(pin, None)
    if isinstance(written, dict) and inside:
        pins |= {pin: rest} if (rest := {key: value for key, value in written.items() if key != inside[0]}) else {}
    try:
        taken = getattr(recipe.pins_type.model_validate(pins), pin)
    except ValidationError:
        return None
    commit = ""
    if isinstance(taken, Pins):
        key, *_ = inside or type(taken).model_fields
        if key == "version" and inside and "commit" in type(taken).model_fields:
            commit = f'; a commit is written beside the release: {pin} = {{ version = "…", commit = "…" }}'
        taken = getattr(taken, key)
    return f"leave it out, and {taken} is taken{commit}" if isinstance(taken, str) else None


def _known(recipe: Recipe[Any], pin: str | None) -> list[str]:
    """The recipe's pins, or the keys of one pin's table."""
    fields = recipe.pins_type.model_fields
    if pin is None:
        return list(fields)
    written = fields[pin].annotation
    # A pin that can be left out is a union of its table and None.
    tables = (each for each in (written, *get_args(written)) if hasattr(each, "model_fields"))
    return list(getattr(next(tables, None), "model_fields", fields))
