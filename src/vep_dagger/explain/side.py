"""A and B of ``vep explain``: a cell, a cell of another file, a cell with another lock, or a record of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vep_dagger.compat import Compat
from vep_dagger.dsl import Image
from vep_dagger.errors import LockError, UsageError, did_you_mean, nearest
from vep_dagger.explain.record import Recorded, read_record
from vep_dagger.matrix import Matrix
from vep_dagger.matrix.lock import Lock
from vep_dagger.plan import Deployment, Plan, PlannedCell, make_plan

_FORMS = "a cell's name, FILE.toml:CELL, a lock file, plan.json of a run, or the manifest of an image"
_SHOWN = 8


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: an image as its recipe made it, or what a record says of one."""

    asked: str
    what: str
    """In words."""
    cell: str | None
    image: Image | None = None
    deployment: Deployment | None = None
    impossible: str | None = None
    recorded: Recorded | None = None


def sides(a: str, b: str, matrix: Path, overlay: Path | None = None) -> tuple[Side, Side]:
    """What the two words of the command line mean. A file without a cell's name is about the cell of the other side,
    or about the only one that there is.

    Raises UsageError for a name that is no cell and no file, with the nearest; what the files have wrong is told as
    everywhere.
    """
    asked = _Asked(a, b, matrix, overlay)
    return asked.side(0), asked.side(1)


class _Asked:
    def __init__(self, a: str, b: str, matrix: Path, overlay: Path | None) -> None:
        self._words = (a, b)
        self._matrix = matrix
        self._compat = Compat.load(overlay)
        self._plans: dict[tuple[Path, Path | None], Plan] = {}

    @cached_property
    def _own(self) -> frozenset[str]:
        """The cells of the matrix file; none where there is no such file and nobody needs it."""
        if not self._matrix.exists() and all(self._parts(word)[0] for word in self._words):
            return frozenset()
        return frozenset(planned.cell.slug for planned in self._plan(self._matrix).cells)

    def side(self, number: int) -> Side:
        word = self._words[number]
        file, cell = (None, word) if word in self._own else self._parts(word)
        if file is None:
            return self._of_plan(word, self._matrix, word)
        return self._of_file(word, file, cell, number)

    def _parts(self, word: str) -> tuple[Path | None, str | None]:
        """File and cell: either may be missing."""
        if Path(word).exists():
            return Path(word), None
        file, colon, cell = word.rpartition(":")
        if colon and file and Path(file).exists():
            return Path(file), cell
        if "/" in word or Path(file or word).suffix in (".toml", ".lock", ".json"):
            raise UsageError(f"there is no file {file or word}", where=word, hint=f"what can be compared: {_FORMS}")
        return None, word

    def _of_file(self, word: str, file: Path, cell: str | None, number: int) -> Side:
        if file.is_dir():
            file = file / "plan.json"
        if file.suffix == ".toml":
            return self._of_plan(word, file, cell or self._others(number, self._plan(file)))
        if file.suffix == ".json":
            recorded = read_record(file, cell or self._named(number), word)
            return Side(word, recorded.what, recorded.cell, recorded=recorded, impossible=recorded.impossible)
        matrix = self._matrix_of(number)
        plan = self._plan(matrix, file)
        found = _cell(plan, cell or self._others(number, plan), word)
        return _planned(word, f"cell {found.cell.slug} of {matrix} with the lock {file}", found)

    def _of_plan(self, word: str, matrix: Path, cell: str) -> Side:
        found = _cell(self._plan(matrix), cell, word)
        return _planned(word, f"cell {found.cell.slug} of {matrix}", found)

    def _plan(self, matrix: Path, lock: Path | None = None) -> Plan:
        if (matrix, lock) not in self._plans:
            read = Matrix.load(matrix)
            held = _named_lock(lock) if lock else Lock.of(matrix)
            self._plans[matrix, lock] = make_plan(read, compat=self._compat, lock=held)
        return self._plans[matrix, lock]

    def _named(self, number: int) -> str | None:
        """The cell that the other side names."""
        other = self._words[1 - number]
        return other if other in self._own else self._parts(other)[1]

    def _matrix_of(self, number: int) -> Path:
        """The matrix file that the other side's cell is of."""
        other = self._words[1 - number]
        file = None if other in self._own else self._parts(other)[0]
        return file if file is not None and file.suffix == ".toml" else self._matrix

    def _others(self, number: int, plan: Plan) -> str:
        named = self._named(number)
        if named is not None:
            return named
        if len(plan.cells) == 1:
            return plan.cells[0].cell.slug
        raise UsageError(
            f"{self._words[number]} is about {len(plan.cells)} cells, and none is named",
            where=self._words[number],
            hint=f"name one: {self._words[number]}:{plan.cells[0].cell.slug}",
        )


def _named_lock(file: Path) -> Lock:
    """The lock in a file that a person named: it may be anything, so that nobody is told to delete it."""
    try:
        return Lock.load(file)
    except LockError as error:
        what = f"{file} is read as a lock, and cannot be: {error.what}"
        raise LockError(what, where=error.where, hint=f"what can be compared: {_FORMS}") from None


def _planned(word: str, what: str, found: PlannedCell) -> Side:
    return Side(word, what, found.cell.slug, found.image, found.deployment, found.impossible)


def _cell(plan: Plan, name: str, word: str) -> PlannedCell:
    for planned in plan.cells:
        if planned.cell.slug == name:
            return planned
    raise UsageError(
        f"{plan.matrix.path} has no cell {name!r}",
        where=word,
        hint=_nearest(name, [planned.cell.slug for planned in plan.cells]),
    )


def _nearest(name: str, cells: Sequence[str]) -> str:
    if nearest(name, cells):
        return did_you_mean(name, cells)
    some = f"{', '.join(cells[:_SHOWN])}{', …' if len(cells) > _SHOWN else ''}"
    return f"known: {some}; what can be compared: {_FORMS}"
