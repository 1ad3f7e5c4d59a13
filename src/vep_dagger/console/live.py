"""A run as a live table on a terminal: a row a job, its state, its seconds, what it does now; below an image that is
being built, a row a layer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vep_dagger.console.layers import STYLES as LAYER_STYLES
from vep_dagger.console.layers import Layers
from vep_dagger.console.plain import MARKS
from vep_dagger.jobs.events import Emit, Event

STYLES = {
    "passed": "green",
    "failed": "bold red",
    "fell-back": "bold yellow",
    "not-run": "dim",
    "running": "cyan",
    "stopped": "yellow",
    "waiting": "dim",
}

REFRESHES_PER_SECOND = 2
"""Few, since drawing takes a core's time away from what is measured."""

INDENT = "  "
"""Before the name of a layer."""

STATE_WIDTH = max(len(MARKS.get(state, state)) for state in STYLES)
SECONDS_WIDTH = 5
GAPS = 3 * 2
"""Columns between four columns."""
BESIDE = 6
"""Lines of the screen that are not for jobs: the head, the counts, and notes above the table."""


@dataclass
class Row:
    """One job as it stands."""

    state: str = "waiting"
    about: str = ""
    """What the job's id does not tell: the image of a build."""
    text: str = ""
    began: float | None = None
    seconds: float | None = None
    layers: Layers = field(default_factory=Layers)

    def said(self) -> str:
        """What it does or came to, in one line; what matters first, since the line may be cut."""
        if self.state == "failed" and self.about:
            return " ".join(self.text.removeprefix(self.about).lstrip(",: ").split())
        if tally := self.layers.summary() if self.state == "passed" else "":
            return f"{tally} ({self.about})" if self.about else tally
        lead = f"{self.about}: " if self.about and self.about not in self.text else ""
        return " ".join(f"{lead}{self.text}".split()).removesuffix(":")

    def taken(self) -> str:
        """The seconds it took, or takes up to now."""
        seconds = self.seconds
        if seconds is None and self.began is not None and self.state == "running":
            seconds = time.monotonic() - self.began
        return f"{seconds:.0f}" if seconds is not None else ""

    @property
    def layer_lines(self) -> int:
        """How many lines its layers want: all while it goes on, those that failed when it has failed."""
        if self.state in ("running", "stopped"):
            return len(self.layers.rows())
        return sum(row.state == "failed" for row in self.layers.rows().values()) if self.state == "failed" else 0


class LiveTable:
    """Draws the jobs that have been heard of."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, Row] = {}
        self._began = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[Emit]:
        """Draw while the context lasts; the finished table stays on the screen."""
        with Live(self, console=self._console, refresh_per_second=REFRESHES_PER_SECOND, transient=False):
            try:
                yield self.take
            except BaseException:
                for row in self._rows.values():
                    if row.state == "running":
                        row.state = "stopped"
                        row.layers.end()
                raise

    def take(self, event: Event) -> None:
        """Take one event in."""
        if event.kind == "run-started":
            self._console.print(Text(f"run directory {event.text}"), soft_wrap=True)
        elif event.kind == "note":
            # Above the table also when it is about a job, whose row has the reason of its verdict.
            self._console.print(Text(f"note: {event.text}", style="yellow"), soft_wrap=True)
        elif event.job is not None:
            self._take_job(event, event.job)

    def _take_job(self, event: Event, job: str) -> None:
        row = self._rows.setdefault(job, Row())
        if event.kind == "job-planned":
            row.state = "waiting"
            row.about = "" if event.text in job else event.text
            return
        if event.kind == "layer":
            row.layers.take(event)
            return
        if event.kind == "job-progress" and row.layers.say(event.text.removeprefix(f"{row.about}: ")):
            return
        match event.kind:
            case "job-started":
                row.state, row.began = "running", time.monotonic()
            case "job-finished" | "job-skipped" | "job-kept":
                row.state = event.verdict or "passed"
                row.seconds = event.seconds if event.seconds is not None else row.seconds
        row.text = f"kept: {event.text}" if event.kind == "job-kept" else event.text

    def __rich__(self) -> RenderableType:
        """The table now."""
        # A copy, since this is called by the thread that draws.
        rows = dict(list(self._rows.items()))
        room = max(5, self._console.height - BESIDE)
        # Layers may take what jobs leave, and half of the screen.
        hidden = _hidden(rows, max(room - sum(row.layer_lines for row in rows.values()), (room + 1) // 2))
        left = room - (len(rows) - len(hidden))
        width = self._console.width - STATE_WIDTH - SECONDS_WIDTH - GAPS
        longest = max((len(name) for job, row in rows.items() for name in _names(job, row)), default=0)
        # Fixed widths: left to itself the table would jump with every text, and take from the states what a long reason
        # wants.
        names = min(longest, max(width // 2, width - 60))
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column("job", no_wrap=True, overflow="ellipsis", width=names)
        table.add_column("state", no_wrap=True, width=STATE_WIDTH)
        table.add_column("s", justify="right", no_wrap=True, width=SECONDS_WIDTH)
        table.add_column("", no_wrap=True, overflow="ellipsis", width=max(1, width - names))
        for name, row in rows.items():
            if name in hidden:
                continue
            state = Text(MARKS.get(row.state, row.state), style=STYLES.get(row.state, ""))
            table.add_row(Text(name), state, row.taken(), Text(row.said()))
            left -= _add_layers(table, row, min(row.layer_lines, left))
        return Group(table, Text(self._counts(rows, len(hidden)), style="dim", no_wrap=True, overflow="ellipsis"))

    def _counts(self, rows: Mapping[str, Row], hidden: int) -> str:
        states = [row.state for row in rows.values()]
        parts = [f"{states.count(state)} {MARKS.get(state, state)}" for state in STYLES if state in states]
        elapsed = int(time.monotonic() - self._began)
        more = f"; {hidden} of them not shown" if hidden else ""
        return f"{elapsed // 60}:{elapsed % 60:02d}  {', '.join(parts)}{more}"


def _names(job: str, row: Row) -> Iterator[str]:
    """What stands in the first column for a job."""
    yield job
    if row.layer_lines:
        yield from (f"{INDENT}{name}" for name in row.layers.rows())


def _add_layers(table: Table, row: Row, room: int) -> int:
    """Add a job's layers to its row, in so many lines; how many it took."""
    if room < 1:
        return 0
    shown, others = row.layers.fitting(room, failed_only=row.state == "failed")
    if others:
        table.add_row(Text(f"{INDENT}…"), "", "", Text(others, style="dim"))
    for layer in shown:
        style = LAYER_STYLES.get(layer.state, "")
        table.add_row(
            Text(f"{INDENT}{layer.name}"), Text(layer.state, style=style), Text(layer.taken()), Text(layer.text)
        )
    return len(shown) + bool(others)


def _hidden(rows: Mapping[str, Row], room: int) -> set[str]:
    """The jobs that a screen with room for so many does not show: never one that runs; first those that wait for long
    yet, then the oldest that passed, then the others."""

    def of(*states: str) -> list[str]:
        return [name for name, row in rows.items() if row.state in states]

    waiting = of("waiting")
    soon, late = waiting[: room // 2], waiting[room // 2 :]
    dispensable = [*reversed(late), *of("passed", "not-run"), *of("failed", "fell-back"), *reversed(soon)]
    return set(dispensable[: max(0, len(rows) - room)])
