"""Waiting for a server: until ``/health`` answers, it dies, its log shows what must not be, or a phase of its start
takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from vep_dagger.compat.rules import PhaseRule
from vep_dagger.evidence import Witness
from vep_dagger.evidence.record import PhaseSpan
from vep_dagger.jobs.cause import find_cause
from vep_dagger.jobs.failure import JobFailed
from vep_dagger.jobs.logwatch import LogWatch
from vep_dagger.jobs.probe import Probe
from vep_dagger.launchers.base import Server
from vep_dagger.matrix.schema import Deadlines

LAUNCH = "launch"
"""The phase before the first that the log shows."""

POLL_S = 0.2


@dataclass
class Start:
    """A server's start as it is watched: when each phase began, in seconds from the process' start."""

    phases: Sequence[PhaseRule]
    began: float = field(default_factory=time.monotonic)
    marks: list[tuple[str, float]] = field(default_factory=lambda: [(LAUNCH, 0.0)])
    ready_seconds: float | None = None

    @property
    def phase(self) -> str:
        """The phase that the start is in."""
        return self.marks[-1][0]

    @property
    def elapsed(self) -> float:
        """Seconds since the process' start."""
        return time.monotonic() - self.began

    @property
    def in_phase(self) -> float:
        """Seconds since the current phase began."""
        return self.elapsed - self.marks[-1][1]

    def spans(self) -> list[PhaseSpan]:
        """The phases with their seconds; the last one ends when the server was ready, or now."""
        ends = [begin for _, begin in self.marks[1:]] + [
            self.ready_seconds if self.ready_seconds is not None else self.elapsed
        ]
        return [
            PhaseSpan(phase=phase, begin=round(begin, 3), seconds=round(max(0.0, end - begin), 3))
            for (phase, begin), end in zip(self.marks, ends, strict=True)
        ]


async def await_ready(
    server: Server,
    probe: Probe,
    watch: LogWatch,
    log: str,
    start: Start,
    deadlines: Deadlines,
    say: Callable[[str], None],
    *,
    tolerant: bool = False,
) -> None:
    """Return when ``/health`` answers 200. Raises JobFailed at once when it cannot any more, or, unless it is
    ``tolerant``, when the log shows what it must not."""
    said = ""
    while True:
        watch.read()
        _note_phase(start, watch)
        check_alive(server, watch, log, f"during {_where(start, watch)}")
        if not tolerant:
            check_forbidden(watch, log)
        if await probe.healthy():
            start.ready_seconds = round(start.elapsed, 3)
            return
        _check_deadlines(start, watch, log, deadlines)
        if (text := _where(start, watch)) != said:
            said = text
            say(text)
        await anyio.sleep(POLL_S)


def check_alive(server: Server, watch: LogWatch, log: str, when: str) -> None:
    """Raise JobFailed if the server has exited, with the line of its log that says why."""
    code = server.exited()
    if code is None:
        return
    watch.read(last=True)
    ended = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
    raise JobFailed(f"the server {ended} {when}", cause_witness(watch, log))


def check_forbidden(watch: LogWatch, log: str) -> None:
    """Raise JobFailed if the log shows a line that it must not."""
    for rule in watch.forbidden:
        line = watch.seen.get(rule)
        if line is not None:
            raise JobFailed(f"the log shows {rule.name}", line.witness(log), rule.violation)


def cause_witness(watch: LogWatch, log: str) -> Witness | None:
    """The line that says why the server failed, as evidence."""
    cause = find_cause(watch.lines)
    return cause.witness(log) if cause else None


def _note_phase(start: Start, watch: LogWatch) -> None:
    if watch.phase < 0:
        return
    phase = start.phases[watch.phase].phase
    if phase != start.phase:
        start.marks.append((phase, start.elapsed))


def _where(start: Start, watch: LogWatch) -> str:
    return f"{start.phase} {watch.progress}" if watch.progress and start.phase != LAUNCH else start.phase


def _check_deadlines(start: Start, watch: LogWatch, log: str, deadlines: Deadlines) -> None:
    limit = getattr(deadlines, start.phase)
    late = start.in_phase > limit
    if not late and start.elapsed <= deadlines.total:
        return
    spans = ", ".join(f"{span.phase} {span.seconds:.0f} s" for span in start.spans())
    what = (
        f"{_where(start, watch)} passed its deadline of {limit:g} s"
        if late
        else f"no /health within {deadlines.total:g} s"
    )
    last = watch.last
    raise JobFailed(f"{what} ({spans})", last.witness(log) if last else None)
