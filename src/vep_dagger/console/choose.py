"""Which view of a run fits: a live table on a terminal, plain lines in a pipe, JSON lines when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from vep_dagger.console.plain import JsonLines, PlainLines
from vep_dagger.jobs.events import Emit, Event

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_OF_A_PIPE = 200
"""Columns of a table that goes into a file or another program, where nothing has to fit a screen."""


def console(out: TextIO) -> Console:
    """Where tables are printed."""
    from rich.console import Console

    return Console(file=out, highlight=False, width=None if out.isatty() else WIDTH_OF_A_PIPE)


@contextmanager
def shown(out: TextIO, begun: Callable[[str], None], *, as_json: bool) -> Iterator[Emit]:
    """Show the events of a run while the context lasts. ``begun`` hears the run directory as soon as there is one."""

    def heard(event: Event) -> None:
        if event.kind == "run-started":
            begun(event.text)
        view(event)

    if not as_json and out.isatty():
        from vep_dagger.console.live import LiveTable

        with LiveTable(console(out)).shown() as view:
            yield heard
    else:
        view = JsonLines(out) if as_json else PlainLines(out)
        yield heard
