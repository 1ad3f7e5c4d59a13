"""Reading a server's log while it is written: phases, demanded and forbidden lines, and the line that says why it
died."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vep_dagger.compat.logtext import clean
from vep_dagger.compat.rules import LineRule, PhaseRule
from vep_dagger.evidence import Witness

MAX_TEXT = 400
"""Characters of a line that a witness keeps."""

UNFINISHED = 4096
"""Bytes of an unfinished line that are looked at: its end, since all of it again at each look would be quadratic."""


@dataclass(frozen=True, slots=True)
class Line:
    """One cleaned line. Several can stand on one line of the file (progress bars, processes that write at once)."""

    number: int
    """Line of the file, from 1."""
    text: str

    def witness(self, file: str) -> Witness:
        """The line as evidence."""
        return Witness(file=file, line=self.number, text=self.text[:MAX_TEXT])


@dataclass
class LogWatch:
    """Follows one growing file."""

    path: Path
    demanded: Sequence[LineRule] = ()
    forbidden: Sequence[LineRule] = ()
    phases: Sequence[PhaseRule] = ()
    lines: list[Line] = field(default_factory=list)
    seen: dict[LineRule, Line] = field(default_factory=dict)
    """The first line that matched each rule."""
    phase: int = -1
    """Index of the furthest phase that a line has shown; -1 before the first."""
    progress: str | None = None
    """How far the phase has come, where its lines say so (``58%``)."""
    _offset: int = 0
    _number: int = 0
    _rest: bytes = b""

    def __post_init__(self) -> None:
        self._rules = [(rule, re.compile(rule.pattern)) for rule in (*self.demanded, *self.forbidden)]
        self._phases = [
            (
                re.compile("|".join(f"(?:{pattern})" for pattern in rule.patterns)),
                re.compile(rule.progress) if rule.progress else None,
            )
            for rule in self.phases
        ]

    def read(self, *, last: bool = False) -> list[Line]:
        """Take in what has been written since the last call; ``last`` takes a final line without its newline too."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        fresh = [
            Line(self._number + index, text)
            for index, raw in enumerate(whole, 1)
            for text in clean(raw.decode("utf-8", "replace"))
        ]
        self._number += len(whole)
        if self._rest and not last:
            # A progress bar is one line without an end for minutes; the end of it shows how far a phase has come.
            self._note_phase(clean(self._rest[-UNFINISHED:].decode("utf-8", "replace"))[-1:])
        for line in fresh:
            self._note(line)
        self.lines += fresh
        return fresh

    @property
    def last(self) -> Line | None:
        """The last line with text."""
        return next((line for line in reversed(self.lines) if line.text.strip()), None)

    def _note(self, line: Line) -> None:
        for rule, pattern in self._rules:
            if rule not in self.seen and pattern.search(line.text):
                self.seen[rule] = line
        self._note_phase([line.text])

    def _note_phase(self, texts: Iterable[str]) -> None:
        for text in texts:
            for index, (shown, progress) in enumerate(self._phases):
                # The furthest wins: ranks reach a phase at different times.
                if index < self.phase:
                    continue
                percent = progress.search(text) if progress else None
                if percent or shown.search(text):
                    self.progress = f"{percent['percent']}%" if percent else None
                    self.phase = index
