"""What ``docker build --progress=plain`` prints, read as it comes: which step of which stage runs, was cached, failed.

BuildKit calls a step a vertex and numbers it::

    #7 [nccl 3/5] RUN make
    #7 sha256:…
    #7 0.345 a line that the command printed
    #7 DONE 3.2s

or ``#7 CACHED``, ``#7 CANCELED``, ``#7 ERROR: …`` (``util/progress/progressui/printer.go`` of BuildKit v0.8, which the
clients of Docker 20.10 have; later ones print the same without the digests).
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

State: TypeAlias = Literal["running", "cached", "done", "failed", "canceled"]

KEPT_LINES = 60
"""The last lines of a step's output that are kept for messages."""
SETTLED_S = 0.5
"""A cached step says so at once: one that has not, this long after its name, is at work."""

_LINE = re.compile(r"#(\d+) (.*)")
_OUTPUT = re.compile(r"(\d+\.\d+) ?(.*)")
_STEP = re.compile(r"\[(?:\S+ )?(\S+)\s+(\d+)/(\d+)\] (.*)")
_DONE = re.compile(r"DONE (\d+(?:\.\d+)?)s")
_CODE = re.compile(r"exit code: (\d+)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(slots=True)
class Vertex:
    """One step: its stage, its number there and how many there are."""

    name: str
    stage: str | None = None
    number: int = 0
    total: int = 0
    state: State = "running"
    seconds: float = 0.0
    error: str = ""
    since: float = field(default_factory=time.monotonic)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    @property
    def works(self) -> bool:
        """Whether it does something that can be cached: FROM only names where a stage begins."""
        return self.stage is not None and not self.name.startswith("FROM ")

    @property
    def code(self) -> int | None:
        """The exit code of a command that failed."""
        found = _CODE.search(self.error)
        return int(found.group(1)) if found else None


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage as far as it has come."""

    name: str
    ran: bool
    """Whether any of its steps was carried out, and not found."""
    ended: bool
    seconds: float
    """The sum of its steps'."""


@dataclass
class BuildLog:
    """Reads the lines of one build. ``on_stage`` hears of a stage when it begins to work and when it has ended."""

    on_stage: Callable[[StageProgress], None] = lambda _: None
    vertices: dict[int, Vertex] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    """Lines of no step: at the end, what the client says is wrong."""
    _said: dict[str, tuple[bool, bool]] = field(default_factory=dict)

    def feed(self, line: str) -> None:
        """Take a line."""
        found = _LINE.fullmatch(line)
        if found is None:
            if line.strip() and not line.startswith(("---", " > ")):
                self.others.append(line)
            return
        number, rest = int(found.group(1)), found.group(2)
        vertex = self.vertices.get(number)
        if vertex is None:
            self.vertices[number] = _vertex(rest)
            return
        if output := _OUTPUT.fullmatch(rest):
            vertex.lines.append(output.group(2))
            # Commands print by the hundred thousand lines: what is known already is not worked out again.
            if self._said.get(vertex.stage or "") != (True, False):
                self._tell(vertex)
        elif done := _DONE.fullmatch(rest):
            vertex.state, vertex.seconds = "done", float(done.group(1))
            self._tell(vertex)
        elif rest == "CACHED":
            vertex.state = "cached"
            self._tell(vertex)
        elif rest == "CANCELED":
            vertex.state = "canceled"
        elif rest.startswith("ERROR"):
            vertex.state, vertex.error = "failed", rest.removeprefix("ERROR").lstrip(": ")
            vertex.seconds = time.monotonic() - vertex.since
        elif rest and not _DIGEST.fullmatch(rest) and not vertex.works:
            vertex.lines.append(rest)

    def look(self) -> None:
        """Tell of stages whose steps have begun and print nothing. Called now and then."""
        for vertex in self.running:
            if time.monotonic() - vertex.since > SETTLED_S:
                self._tell(vertex)

    @property
    def running(self) -> tuple[Vertex, ...]:
        """The steps of stages that are at work now."""
        return tuple(vertex for vertex in self.vertices.values() if vertex.works and vertex.state == "running")

    @property
    def failed(self) -> Vertex | None:
        """The step that failed first, of a stage if there is one."""
        failed = [vertex for vertex in self.vertices.values() if vertex.state == "failed"]
        return next((vertex for vertex in failed if vertex.stage), failed[0] if failed else None)

    def stage(self, name: str) -> StageProgress:
        """How far a stage has come."""
        steps = [vertex for vertex in self.vertices.values() if vertex.stage == name and vertex.works]
        last = [vertex for vertex in steps if vertex.number == vertex.total]
        return StageProgress(
            name,
            ran=any(vertex.state != "cached" for vertex in steps),
            ended=bool(last) and all(vertex.state in ("done", "cached") for vertex in steps),
            seconds=sum(_seconds(vertex) for vertex in steps),
        )

    @property
    def complaint(self) -> str:
        """What the client says is wrong, in one line."""
        return self.others[-1] if self.others else "it did not say why"

    def _tell(self, vertex: Vertex) -> None:
        if not vertex.works or vertex.stage is None:
            return
        progress = self.stage(vertex.stage)
        now = (progress.ran, progress.ended)
        if self._said.get(vertex.stage) != now and (progress.ran or progress.ended):
            self._said[vertex.stage] = now
            self.on_stage(progress)


def last_output(vertices: Sequence[Vertex]) -> str:
    """The last line that any of these steps has printed."""
    lines = [vertex.lines[-1] for vertex in vertices if vertex.lines]
    return lines[-1] if lines else ""


def _seconds(vertex: Vertex) -> float:
    return time.monotonic() - vertex.since if vertex.state == "running" else vertex.seconds


def _vertex(name: str) -> Vertex:
    found = _STEP.fullmatch(name)
    if found is None:
        return Vertex(name)
    return Vertex(found.group(4), found.group(1), int(found.group(2)), int(found.group(3)))
