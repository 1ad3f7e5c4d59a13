"""A run as a live table on a terminal: a row a job, its state, what it does now, its seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vep_dagger.console.plain import MARKS
from vep_dagger.jobs.events import Emit, Event

STYLES = {
    "passed": "green",
    "failed": "bold red",
    "fell-back": "bold yellow",
    "not-run": "dim",
    "running": "cyan",
    "waiting": "dim",
}

REFRESHES_PER_SECOND = 2
"""Few, since drawing takes a core's time away from what is measured."""


@dataclass
class Row:
    """One job as it stands."""

    state: str = "waiting"
    text: str = ""
    began: float | None = None
    seconds: float | None = None


class LiveTable:
    """Draws the jobs that have been heard of."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, Row] = {}
        self._live: Live | None = None
        self._began = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[Emit]:
        """Draw while the context lasts; the finished table stays on the screen."""
        with Live(self, console=self._console, refresh_per_second=REFRESHES_PER_SECOND, transient=False) as live:
            self._live = live
            yield self.take

    def take(self, event: Event) -> None:
        """Take one event in."""
        if event.job is None:
            if self._live and event.kind in ("note", "run-started"):
                lead = "run directory " if event.kind == "run-started" else "note: "
                self._live.console.print(Text(lead + event.text, style="" if event.kind == "run-started" else "yellow"))
            return
        row = self._rows.setdefault(event.job, Row())
        match event.kind:
            case "job-started":
                row.state, row.began = "running", time.monotonic()
            case "job-finished" | "job-skipped" | "job-kept":
                row.state = event.verdict or "passed"
                row.seconds = event.seconds if event.seconds is not None else row.seconds
        row.text = f"kept: {event.text}" if event.kind == "job-kept" else event.text

    def __rich__(self) -> RenderableType:
        """The table now: all that is over in one line when the screen is short of rows."""
        table = Table(box=None, pad_edge=False, expand=False)
        table.add_column("job", no_wrap=True, overflow="ellipsis", ratio=3)
        table.add_column("state", no_wrap=True)
        table.add_column("s", justify="right", no_wrap=True)
        table.add_column("", overflow="ellipsis", no_wrap=True, ratio=4)
        room = max(5, self._console.height - 6)
        rows = list(self._rows.items())
        over = [name for name, row in rows if row.state not in ("running", "waiting")]
        hidden = set(over[: max(0, len(rows) - room)])
        for name, row in rows:
            if name in hidden:
                continue
            style = STYLES.get(row.state, "")
            seconds = row.seconds if row.seconds is not None else (time.monotonic() - row.began if row.began else None)
            table.add_row(
                name,
                Text(MARKS.get(row.state, row.state), style=style),
                f"{seconds:.0f}" if seconds is not None else "",
                row.text,
            )
        counts = self._counts(len(hidden))
        return Group(table, Text(counts, style="dim"))

    def _counts(self, hidden: int) -> str:
        states = [row.state for row in self._rows.values()]
        parts = [f"{states.count(state)} {MARKS.get(state, state)}" for state in dict.fromkeys(states)]
        elapsed = int(time.monotonic() - self._began)
        more = f", {hidden} of them not shown" if hidden else ""
        return f"{elapsed // 60}:{elapsed % 60:02d}  {', '.join(parts)}{more}"
