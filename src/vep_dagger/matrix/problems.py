"""Problems of a matrix file: collected while it is read, told all in one go."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vep_dagger.errors import Location, MatrixError, did_you_mean
from vep_dagger.matrix.document import Document
from vep_dagger.matrix.positions import DataPath

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class MatrixProblemsError(MatrixError):
    """Several things that are wrong in one matrix file; each is a :class:`MatrixError` of its own."""

    def __init__(self, file: str, problems: Iterable[MatrixError]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{len(self.problems)} problems in {file}")

    def render(self) -> str:
        """Each problem with its place, then how many there are."""
        return "\n\n".join([*(problem.render() for problem in self.problems), f"{self.what}"])

    def __str__(self) -> str:
        return "\n".join([f"{self.what}:", *(str(problem) for problem in self.problems)])


class Problems:
    """The problems found so far in one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: dict[tuple[str, DataPath], MatrixError] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, what: str, path: DataPath, *, key: bool = False, hint: str | None = None) -> None:
        """Notes that ``what`` is wrong with the value at ``path``, or with its key. The same thing is noted once."""
        error = MatrixError(what, where=self.document.locate(path, key=key), hint=hint)
        self._found.setdefault((what, path), error)

    def unknown(self, what: str, word: str, known: Iterable[str], path: DataPath, *, key: bool = False) -> None:
        """Notes a word that is not known, with the nearest right one."""
        self.add(f"{what} {word!r}", path, key=key, hint=did_you_mean(word, known))

    def text(self, path: DataPath) -> str:
        """The value at ``path`` as the file writes it."""
        where = self.document.locate(path)
        return where.excerpt[where.column - 1 : where.column - 1 + where.width]

    def line(self, path: DataPath, *, key: bool = False) -> str:
        """``line 12``: where another thing stands, for a message about this one."""
        return f"line {self.document.locate(path, key=key).line}"

    def raise_if_any(self) -> None:
        """Raises what was found, in the order of the file: one error alone, or all as :class:`MatrixProblemsError`."""
        errors = sorted(self._found.values(), key=_place)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise MatrixProblemsError(self.document.file, errors)


def _place(error: MatrixError) -> tuple[int, int]:
    return (error.where.line, error.where.column) if isinstance(error.where, Location) else (0, 0)


def name_of(path: DataPath) -> str:
    """A path as it would be written in the file, without the indexes of lists: ``axes.transport.ibgda``."""
    return ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in path if isinstance(part, str))
