"""Everything that can go wrong, as one tree.

::

    VepError
    ├── UsageError        a command line or a setting that cannot be used       exit 2
    ├── MatrixError       the matrix file says something wrong                   exit 2
    │   └── MatrixProblemsError   several things at once (in vep_dagger.matrix.problems)
    ├── LockError         the lock and the matrix disagree                       exit 2
    ├── CompatError       a release or backend that cannot be looked up          exit 2
    ├── BuildError        an image could not be built                            exit 1
    ├── LaunchError       a server could not be started or stopped               exit 1
    │   └── PortError     a port cannot be had (in vep_dagger.launchers.ports)   exit 2
    ├── EvidenceError     a run directory cannot be used                         exit 2
    └── MachineError      this machine or an engine cannot do what is asked      exit 3

An error says what is wrong, where, and what to do. A user's mistake never shows a traceback: the command line prints
:meth:`VepError.render` and exits with :attr:`VepError.exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file: lines and columns count from 1; ``excerpt`` is the whole line, ``width`` the offending
    characters."""

    file: str
    line: int
    column: int
    excerpt: str = ""
    width: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def render(self) -> str:
        """The place, the line of the file, and a marker under the offending text."""
        if not self.excerpt:
            return f"  --> {self}"
        gutter = " " * len(str(self.line))
        # The marker keeps the tabs of the line, so that it stands under the text in any terminal.
        lead = "".join("\t" if character == "\t" else " " for character in self.excerpt[: self.column - 1])
        return f"  --> {self}\n {gutter} |\n {self.line} | {self.excerpt}\n {gutter} | {lead}{'^' * max(1, self.width)}"


class VepError(Exception):
    """What is wrong, where it is (file, cell, layer, step), and what to do about it."""

    exit_code = 1

    def __init__(self, what: str, *, where: Location | str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def render(self) -> str:
        """The message as a person reads it on a terminal, over several lines."""
        lines = [f"error: {self.what}"]
        if isinstance(self.where, Location):
            lines.append(self.where.render())
        elif self.where:
            lines.append(f"  at: {self.where}")
        if self.hint:
            lines.append(f"  help: {self.hint}")
        return "\n".join(lines)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f" ({self.hint})" if self.hint else "")


class UsageError(VepError):
    """A command line or a setting that cannot be used; nothing has been touched."""

    exit_code = 2


class MatrixError(VepError):
    """The matrix file says something wrong; nothing has been touched."""

    exit_code = 2


class LockError(VepError):
    """The lock and the matrix disagree, or a pin could not be resolved."""

    exit_code = 2


class CompatError(VepError):
    """A release, backend or switch that the compatibility data does not have."""

    exit_code = 2


class BuildError(VepError):
    """An image could not be built. Of a step that failed: the layer, the command, its exit code and its output's last
    lines.
    """

    def __init__(
        self,
        what: str,
        *,
        where: Location | str | None = None,
        hint: str | None = None,
        layer: str | None = None,
        command: str | None = None,
        code: int | None = None,
        output: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.layer = layer
        self.command = command
        self.code = code
        self.output = output


class LaunchError(VepError):
    """A server or a client could not be started, or did not stop."""


class EvidenceError(VepError):
    """A run directory that cannot be used: in use, of another format, or damaged."""

    exit_code = 2


class MachineError(VepError):
    """This machine or an engine cannot do what is asked; the hint says what would enable it."""

    exit_code = 3


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was most likely meant to be, or None."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the nearest right one, or all of them."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"did you mean {near!r}?"
    return f"known: {', '.join(words)}" if words else "nothing is known here"
