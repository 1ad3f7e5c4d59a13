"""The choices of axes, as what each sets."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import ValidationError

from vep_dagger.errors import nearest
from vep_dagger.matrix.cell import Frozen, freeze, label_of
from vep_dagger.matrix.checks import SWITCHES
from vep_dagger.matrix.positions import DataPath
from vep_dagger.matrix.problems import Problems
from vep_dagger.matrix.schema import Choice, Include, MatrixFile, ServeChanges
from vep_dagger.matrix.slug import list_slug
from vep_dagger.matrix.values import type_words
from vep_dagger.matrix.wording import explain

Slot: TypeAlias = tuple[str, str]
"""A field of :class:`~vep_dagger.matrix.cell.Settings` and a name in it; the name of a switch is empty."""
Sets: TypeAlias = dict[Slot, Frozen]


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of one axis: its label, its part of the slug, what it sets, and where the file has it."""

    axis: str
    label: str
    slug: str
    sets: Sets
    path: DataPath

    @property
    def choice(self) -> tuple[str, str]:
        """Axis and label, as cells have them."""
        return self.axis, self.label

    def __str__(self) -> str:
        return f"{self.axis}={self.label}"


def slot_name(slot: Slot) -> str:
    """A slot as a person writes it: ``env.NCCL_DEBUG``, ``all2all``."""
    return f"{slot[0]}.{slot[1]}" if slot[1] else slot[0]


def defaults(file: MatrixFile) -> Sets:
    """What the file sets for every cell."""
    sets: Sets = {("pins", name): freeze(value) for name, value in file.pins.items()}
    if file.serve is None:
        return sets
    serve = file.serve.model_dump(exclude={"args", "env", *SWITCHES}, exclude_none=True)
    sets |= {("serve", name): freeze(value) for name, value in serve.items()}
    sets |= {("args", name): freeze(value) for name, value in file.serve.args.items()}
    sets |= {("env", name): value for name, value in file.serve.env.items()}
    return sets | {(switch, ""): value for switch in SWITCHES if (value := getattr(file.serve, switch)) is not None}


def choice_sets(choice: Choice | Include, *, but: Collection[str] = ()) -> Sets:
    """What a choice of a named axis or an include sets; ``but`` are switches that stand for axes there."""
    sets: Sets = {("pins", name): freeze(value) for name, value in choice.pins.items()}
    sets |= {("serve", name): value for name, value in choice.serve.model_dump(exclude_none=True).items()}
    sets |= {("args", name): freeze(value) for name, value in choice.args.items()}
    sets |= {("env", name): value for name, value in choice.env.items()}
    switches = (switch for switch in SWITCHES if switch not in but)
    return sets | {(switch, ""): value for switch in switches if (value := getattr(choice, switch)) is not None}


class OptionReader:
    """Reads the choices of a file's axes; notes axes that nothing uses, and values that their use cannot have."""

    def __init__(self, file: MatrixFile, known_pins: Collection[str], problems: Problems) -> None:
        self._file = file
        self._pins = frozenset(known_pins)
        self._problems = problems

    def axes(self) -> dict[str, list[Option]]:
        """The options of each axis, in the file's order."""
        self._check_pins()
        return {name: list(self._options(name)) for name in self._file.axes}

    def list_option(self, axis: str, value: bool | int | float | str, path: DataPath) -> Option | None:
        """One choice of a list axis; None, and a problem noted, when nothing can use it."""
        slot = self._slot(axis)
        if slot is None or not self._fits(slot, value, axis, path):
            return None
        label = label_of(value)
        return Option(axis, label, list_slug(axis, value, label), {slot: value}, path)

    def _options(self, name: str) -> Iterator[Option]:
        axis = self._file.axes[name]
        if isinstance(axis, dict):
            for label, choice in axis.items():
                yield Option(name, label, label, choice_sets(choice), ("axes", name, label))
        elif self._slot(name) is None:
            words = sorted({*self._pins, *SWITCHES, *ServeChanges.model_fields})
            kinds = "a list is for a pin, a switch or a key of [serve]; a table of choices may have any name"
            near = nearest(name, words)
            hint = f"did you mean {near!r}? {kinds}" if near else kinds
            self._problems.add(f"nothing uses the axis {name!r}", ("axes", name), key=True, hint=hint)
        else:
            for at, value in enumerate(axis):
                if (option := self.list_option(name, value, ("axes", name, at))) is not None:
                    yield option

    def _slot(self, axis: str) -> Slot | None:
        if axis in self._pins:
            return "pins", axis
        if axis in SWITCHES:
            return axis, ""
        return ("serve", axis) if axis in ServeChanges.model_fields else None

    def _fits(self, slot: Slot, value: bool | int | float | str, axis: str, path: DataPath) -> bool:
        if slot[0] == "pins":
            if isinstance(value, str):
                return True
            hint = f'write "{self._problems.text(path)}"; a version is text, since 0.10 and 0.1 are the same number'
            self._problems.add(f"{axis}: expected text, got {type_words(value)}", path, hint=hint)
            return False
        model = ServeChanges if slot[0] == "serve" else Choice
        try:
            model.model_validate({axis: value})
        except ValidationError as error:
            explain(error, self._problems, path)
            return False
        return True

    def _check_pins(self) -> None:
        for name in self._file.pins:
            self._check_pin(name, ("pins", name))
        for axis, choices in self._file.axes.items():
            for label, choice in (choices if isinstance(choices, dict) else {}).items():
                for name in choice.pins:
                    self._check_pin(name, ("axes", axis, label, "pins", name))
        for at, include in enumerate(self._file.include):
            for name in include.pins:
                self._check_pin(name, ("include", at, "pins", name))

    def _check_pin(self, name: str, path: DataPath) -> None:
        if name not in self._pins:
            self._problems.unknown(f"recipe {self._file.recipe!r} has no pin", name, self._pins, path, key=True)
