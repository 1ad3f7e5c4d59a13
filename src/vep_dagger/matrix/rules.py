"""Includes and excludes, as what they fit.

Each fits a cell when it fits each of the cell's choices, one by one. So the rules that fit a choice are a number with a
bit for each, and those that fit a cell are the numbers of its choices, and-ed: a matrix is not searched rule by rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vep_dagger.matrix.cell import label_of
from vep_dagger.matrix.checks import SWITCHES
from vep_dagger.matrix.options import Option, OptionReader, Sets, choice_sets, slot_name
from vep_dagger.matrix.positions import DataPath
from vep_dagger.matrix.problems import Problems
from vep_dagger.matrix.schema import Include, MatrixFile, Scalar


class Rule(Protocol):
    """What fits some choices and not others."""

    def fits(self, option: Option) -> bool:
        """Whether it is for cells with this choice, if their other choices fit too."""


@dataclass(frozen=True, slots=True)
class IncludeRule:
    """One ``[[include]]``: the choices that it names, in the order of the axes, and what it sets."""

    options: Mapping[str, Option]
    sets: Sets
    path: DataPath

    def fits(self, option: Option) -> bool:
        """Whether it can extend cells with this choice: it names no other, and overwrites nothing that it sets."""
        named = self.options.get(option.axis)
        if named is not None and named.label != option.label:
            return False
        return all(option.sets.get(slot, value) == value for slot, value in self.sets.items())


@dataclass(frozen=True, slots=True)
class ExcludeRule:
    """One ``[[exclude]]``: the label of each axis that it names."""

    labels: Mapping[str, str]
    path: DataPath

    def fits(self, option: Option) -> bool:
        """Whether it removes cells with this choice, if their other choices fit too."""
        return self.labels.get(option.axis, option.label) == option.label


def read_excludes(file: MatrixFile) -> list[ExcludeRule]:
    """The excludes, in the file's order."""
    return [
        ExcludeRule({axis: label_of(value) for axis, value in exclude.items()}, ("exclude", at))
        for at, exclude in enumerate(file.exclude)
    ]


def read_includes(file: MatrixFile, axes: Mapping[str, list[Option]], reader: OptionReader) -> list[IncludeRule]:
    """The includes, in the file's order. A value that a list axis does not have becomes an option of its own."""
    rules = []
    for at, include in enumerate(file.include):
        options: dict[str, Option] = {}
        for axis, value in _named(file, include).items():
            label = label_of(value)
            known = next((option for option in axes[axis] if option.label == label), None)
            option = known or reader.list_option(axis, value, ("include", at, axis))
            if option is not None:
                options[axis] = option
        ordered = {axis: options[axis] for axis in axes if axis in options}
        rules.append(IncludeRule(ordered, choice_sets(include, but=file.axes), ("include", at)))
    return rules


def _named(file: MatrixFile, include: Include) -> dict[str, Scalar]:
    """The axes that an include names, with the choice as it is written."""
    named = dict(include.__pydantic_extra__ or {})
    for switch in SWITCHES:
        if switch in file.axes and (value := getattr(include, switch)) is not None:
            named[switch] = value
    return named


def check_new_cell(rule: IncludeRule, problems: Problems) -> bool:
    """Whether an include that fits no cell can be one: it names choices, and it and they do not contradict."""
    if not rule.options:
        hint = (
            "an include cannot overwrite what an axis' choice sets; name the choice of a new cell, or change the axis"
        )
        problems.add("this include fits no cell, and names no axis to make a new cell of", rule.path, hint=hint)
        return False
    known: dict[object, tuple[object, str]] = {}
    for sets, name in [
        *((option.sets, f"{option}") for option in rule.options.values()),
        (rule.sets, "the include itself"),
    ]:
        for slot, value in sets.items():
            other, first = known.setdefault(slot, (value, name))
            if other != value:
                both = f"{first} sets {slot_name(slot)} to {other!r}, {name} to {value!r}"
                hint = "an include cannot overwrite what an axis' choice sets"
                problems.add(f"this include fits no cell, and cannot be one: {both}", rule.path, hint=hint)
                return False
    return True
