"""A file that grows, read line by line."""

from __future__ import annotations

from pathlib import Path

CHUNK = 1 << 20
LONGEST_LINE = 1 << 16
"""Progress bars make lines of many kilobytes, and a broken program lines without end: longer ones may come in
pieces."""


class Tail:
    """Gives the lines that were added to a file since the last look, from ``offset`` on.

    Bytes that are not UTF-8 come as U+FFFD. A carriage return does not end a line.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self._rest = b""

    @classmethod
    def end_of(cls, path: Path) -> Tail:
        """Of what will be added to the file, which need not be there yet."""
        return cls(path, path.stat().st_size if path.exists() else 0)

    def read(self) -> list[str] | None:
        """The complete lines of the next mebibyte at most, without their ends; None if there is nothing new."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                chunk = file.read(CHUNK)
        except FileNotFoundError:
            return None
        if not chunk:
            return None
        self.offset += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace") for line in lines]

    def rest(self) -> list[str]:
        """The incomplete line at the end, if there is one, as if it were ended."""
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []
