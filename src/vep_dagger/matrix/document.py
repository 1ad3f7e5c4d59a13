"""A TOML file as plain data, and where each piece of it stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vep_dagger.errors import Location, MatrixError
from vep_dagger.matrix.positions import DataPath, Mark, Span, first_error, parse_tree, read_positions

_SYNTAX_HINT = "text stands in quotes, a list in [ ], a table in { } on one line; true and false are in lower case"


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML 1.0 file: its data, and the place of every key and value."""

    file: str
    """The file's name as the user wrote it; places name it so."""
    data: dict[str, Any]
    """The file's content as :mod:`tomli` gives it."""
    _lines: tuple[bytes, ...] = field(repr=False)
    _marks: Mapping[DataPath, Mark] = field(repr=False)

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> Document:
        """Reads the file.

        :raises MatrixError: it is missing, not a file, not readable, not UTF-8, begins with a byte order mark, or is
            not TOML 1.0.
        """
        file = os.fspath(path)
        try:
            source = Path(path).read_bytes()
        except FileNotFoundError:
            raise MatrixError(
                f"there is no file {file!r}", hint="name a matrix file, or write matrix.toml here"
            ) from None
        except IsADirectoryError:
            hint = f"did you mean {os.path.join(file, 'matrix.toml')!r}?"  # noqa: PTH118 - Path would change the user's spelling
            raise MatrixError(f"{file!r} is a directory, not a matrix file", hint=hint) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise MatrixError(f"{file!r} cannot be read: {reason}") from None
        return cls.from_bytes(source, file)

    @classmethod
    def from_bytes(cls, source: bytes, file: str = "matrix.toml") -> Document:
        """Reads a file's content; ``file`` is its name in messages. Raises as :meth:`parse` does."""
        import tomli

        lines = tuple(line.removesuffix(b"\r") for line in source.split(b"\n"))
        if source.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            hint = "save it as plain UTF-8, without a byte order mark"
            raise MatrixError("the file begins with a byte order mark", where=Location(file, 1, 1), hint=hint)
        try:
            text = source.decode()
        except UnicodeDecodeError as error:
            before = source[: error.start]
            row, column = before.count(b"\n"), error.start - (before.rfind(b"\n") + 1)
            where = _locate(file, lines, Span(row, column, row, column + 1))
            raise MatrixError("the file is not UTF-8", where=where, hint="save it as UTF-8") from None
        try:
            data = tomli.loads(text)
        except tomli.TOMLDecodeError as error:
            raise _syntax_error(file, lines, source, error) from None
        except RecursionError:
            raise MatrixError("lists and tables are nested too deeply", where=Location(file, 1, 1)) from None
        except ValueError:
            # A number of thousands of digits is refused by Python itself, which knows no place.
            raise MatrixError(
                "the file holds a number that is too long to be read", where=Location(file, 1, 1)
            ) from None
        root = parse_tree(source)
        if (span := first_error(root)) is not None:
            # Newer versions of tomli accept TOML 1.1, older ones do not: a file must mean the same on every machine.
            raise MatrixError("this is not TOML 1.0", where=_locate(file, lines, span), hint=_SYNTAX_HINT)
        return cls(file, data, lines, read_positions(root)[0])

    def locate(self, path: DataPath, *, key: bool = False) -> Location:
        """Where the value at ``path`` stands, or its key; of what the file does not have, the nearest thing around it.

        What spans several lines is marked to the end of its first. The file as a whole has no excerpt.
        """
        while path:
            mark = self._marks.get(path)
            if mark is not None:
                return _locate(self.file, self._lines, mark.key if key else mark.value)
            path = path[:-1]
        return Location(self.file, 1, 1)


def _locate(file: str, lines: tuple[bytes, ...], span: Span) -> Location:
    line = lines[span.row]
    # The tree counts bytes; people and terminals count characters.
    column = len(line[: span.column].decode(errors="replace"))
    end = len(line[: span.end_column].decode(errors="replace")) if span.end_row == span.row else None
    excerpt = _printable(line.decode(errors="replace"))
    width = (len(excerpt.rstrip()) if end is None else end) - column
    return Location(file, span.row + 1, column + 1, excerpt, max(1, width))


def _printable(line: str) -> str:
    """The line without characters that would do something to a terminal; tabs stay, and so does every column."""
    return "".join(
        character if character == "\t" or character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )


def _syntax_error(file: str, lines: tuple[bytes, ...], source: bytes, error: Any) -> MatrixError:
    root = parse_tree(source)
    if first_error(root) is None:
        repeats = read_positions(root)[1]
        if repeats:
            # Of a key that is set twice, tomli names the place after its value.
            repeat = min(repeats, key=lambda repeat: repeat.key)
            name = ".".join(str(part) for part in repeat.path if isinstance(part, str))
            hint = f"it is first set in line {repeat.first.row + 1}"
            return MatrixError(f"{name!r} is set twice", where=_locate(file, lines, repeat.key), hint=hint)
    row, column = error.lineno - 1, error.colno - 1
    while row > 0 and not lines[row].strip():
        # At the end of the document there is nothing to see; the last text before it shows what was left open.
        row -= 1
        column = len(lines[row].decode())
    line = lines[row].decode()
    column = min(column, max(0, len(line) - 1)) if column >= len(line) else column
    where = Location(file, row + 1, column + 1, _printable(line), 1)
    return MatrixError(f"not TOML: {_lower_first(error.msg)}", where=where, hint=_SYNTAX_HINT)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
