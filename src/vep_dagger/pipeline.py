"""What pipelines in Python are made of: a run whose results are heard one by one, and the command around it.

The programs of ``pipelines/`` are plain uses of it, to run and to copy::

    async def build(options: Options) -> bool:
        async with carried_out(options) as run:
            async for image in run.ended(BuildRecord):
                print(image.name, image.record.digest)
        return run.outcome.passed

    if __name__ == "__main__":
        pipeline(build, "build")
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import click

from vep_dagger.cli.options import OF_MATRIX, running
from vep_dagger.console.ending import ended, heed_signals, way_on
from vep_dagger.console.plain import JsonLines, PlainLines
from vep_dagger.evidence import AnyRecord, BuildRecord, RunDirectory
from vep_dagger.evidence.record import RECORD
from vep_dagger.evidence.rundir import record_place
from vep_dagger.jobs.events import Emit, Event
from vep_dagger.jobs.groups import unwrapped
from vep_dagger.jobs.run import Stage
from vep_dagger.workflow import Options, Outcome
from vep_dagger.workflow import run as run_workflow

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream

R = TypeVar("R", bound=AnyRecord)

BUILDER = "dagger"
"""What pipelines build with unless people say otherwise."""


def ignore(event: Event) -> None:
    """For whoever wants results alone."""


@dataclass(frozen=True, slots=True)
class Ended(Generic[R]):
    """A job that has come to its end, in this run or, with ``resume``, in an earlier one."""

    name: str
    """The image's tag, or the cell's slug."""
    record: R
    found: bool
    """Whether it was there already."""


@dataclass
class Running:
    """A run that goes on."""

    _events: MemoryObjectReceiveStream[Event]
    _outcome: Outcome | None = None
    _directory: RunDirectory | None = None

    async def ended(self, kind: type[R]) -> AsyncIterator[Ended[R]]:
        """The jobs whose records are of this kind, each as it ends, until the run does; one that was skipped is not
        among them. There is one stream of results, so ask once.
        """
        tags: dict[str, str] = {}
        async for event in self._events:
            if event.kind == "run-started":
                self._directory = RunDirectory(Path(event.text))
                tags = {image.key: image.tag for image in self._directory.plan().images}
            elif event.job and self._directory:
                file = anyio.Path(self._directory.path / record_place(event.job))
                record = RECORD.validate_python(json.loads(await file.read_text(encoding="utf-8")))
                if isinstance(record, kind):
                    name = tags[record.image] if isinstance(record, BuildRecord) else event.job.split(":")[1]
                    yield Ended(name, record, event.kind == "job-kept" or event.text == "cached")

    @property
    def outcome(self) -> Outcome:
        """What the run came to; there once its context has been left."""
        if self._outcome is None:
            raise RuntimeError("the run goes on: leave its context first")
        return self._outcome


@asynccontextmanager
async def carried_out(options: Options, emit: Emit = ignore) -> AsyncIterator[Running]:
    """Carry a run out beside the context's body; leaving it waits for the run's end, an exception stops the run.

    ``emit`` hears every event. Raises whatever :func:`vep_dagger.workflow.run` does.
    """
    send, receive = anyio.create_memory_object_stream[Event](math.inf)
    run = Running(receive)

    def hear(event: Event) -> None:
        emit(event)
        if event.kind in ("run-started", "job-finished", "job-kept"):
            send.send_nowait(event)

    async def carry_out() -> None:
        with send:
            run._outcome = await run_workflow(options, hear)

    with unwrapped(), receive:
        async with anyio.create_task_group() as group:
            group.start_soon(carry_out)
            yield run


def layers_of(image: Ended[BuildRecord]) -> str:
    """``3 built, 2 cached, 0 taken``: what became of the image's layers this time."""
    states: Counter[str] = Counter("cached" if image.found else layer.state for layer in image.record.layers)
    counted = ("built", "cached", "taken", *(["failed"] if states["failed"] else []))
    return ", ".join(f"{states[state]} {state}" for state in counted)


def pipeline(work: Callable[[Options, Emit], Awaitable[bool]], stage: Stage) -> None:
    """Run ``work`` as a program: options from the command line, events as lines on stderr, exit codes and Ctrl-C as
    ``vep`` has them; 1 where ``work`` gives False. ``work``'s docstring is the help.
    """

    @click.command(help=work.__doc__, context_settings={"default_map": {"builder": BUILDER}, "max_content_width": 100})
    @OF_MATRIX
    @running
    def program(matrix: Path, *, as_json: bool, **chosen: Any) -> None:
        begun: list[str] = []
        view = JsonLines(sys.stderr) if as_json else PlainLines(sys.stderr)

        def show(event: Event) -> None:
            if event.kind == "run-started":
                begun.append(event.text)
            view(event)

        heed_signals()
        with way_on(lambda: _again(sys.argv, begun[0]) if begun else None):
            passed = anyio.run(_awaited, work, Options(matrix, stage, **chosen), show)
        sys.exit(0 if passed else 1)

    ended(lambda: program(standalone_mode=False))


async def _awaited(work: Callable[[Options, Emit], Awaitable[bool]], options: Options, emit: Emit) -> bool:
    return await work(options, emit)


def _again(argv: list[str], directory: str) -> str:
    """The same command line, going on in a run directory; of an option that stands twice the last one counts."""
    resume = [] if "--resume" in argv else ["--resume"]
    return shlex.join(["python", *argv, "--out", directory, *resume])
