"""A server in the foreground: built, started, shown, watched, and stopped."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from pathlib import Path

import anyio

from vep_dagger.builders.base import BuiltImage, BuiltLayer
from vep_dagger.builders.registry import find_builder
from vep_dagger.compat import Compat
from vep_dagger.engines import open_engines
from vep_dagger.errors import LaunchError, VepError
from vep_dagger.jobs.failure import JobFailed
from vep_dagger.jobs.groups import unwrapped
from vep_dagger.jobs.logwatch import LogWatch
from vep_dagger.jobs.probe import Probe
from vep_dagger.jobs.readiness import Start, await_ready, check_alive
from vep_dagger.jobs.smoke import ask_completions
from vep_dagger.jobs.start import log_watch, server_spec
from vep_dagger.launchers.base import Launcher, Server
from vep_dagger.launchers.registry import find_launcher
from vep_dagger.serving.backend import Backend
from vep_dagger.serving.choose import Asked, Chosen, choose_locked
from vep_dagger.serving.command import readable
from vep_dagger.serving.interruption import Interruption
from vep_dagger.serving.screen import Screen, Shown
from vep_dagger.workflow import refuse_early
from vep_dagger.workflow.run_directory import RUNS

LOOK_S = 0.1
"""Between two looks at the log."""

KEPT_LINES = 10_000
"""Lines of the log that are held for finding out why a server died: it may run for weeks."""

DYING_S = 3.0
"""For a server that has failed a request to end, if it dies of it."""

LAST_LINES = 10
"""Lines of the log that are told again when a server died."""


async def serve(asked: Asked, screen: Screen) -> bool:
    """Serve a cell until it is interrupted (True), or raise: MatrixError, UsageError or MachineError before anything
    runs, BuildError, and LaunchError with the cause when the server dies."""
    interruption = Interruption(screen.say)
    failure: VepError | None = None
    with unwrapped():
        async with anyio.create_task_group() as group:
            await group.start(interruption.listen)
            with interruption.scope:
                try:
                    chosen = await choose_locked(asked, screen.say)
                    refuse_early(chosen.plan, asked.options)
                    await _build_and_serve(asked, chosen, screen, interruption)
                except VepError as error:
                    failure = error
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return interruption.heard > 0


async def _build_and_serve(asked: Asked, chosen: Chosen, screen: Screen, interruption: Interruption) -> None:
    options = asked.options
    settings = options.settings(chosen.full)
    image = chosen.deployment.image
    async with open_engines({options.builder, options.place}, settings.environ) as engines:
        builder = find_builder(options.builder, settings, engines)
        launcher = find_launcher(options.place, settings, engines)
        await builder.ready(image)
        directory = _directory(chosen.deployment.slug)
        screen.say(f"building {image.tag} ({options.builder})")

        def on_layer(layer: BuiltLayer) -> None:
            if layer.state in ("built", "taken"):
                screen.say(f"{layer.name} {layer.state} ({layer.seconds:.1f} s)")

        try:
            built = await builder.build(image, directory / "build.log", screen.say, on_layer)
            foreground = Foreground(chosen, launcher, directory, screen, interruption, Compat.load(options.compat))
            await foreground.run(built)
        finally:
            with suppress(OSError):
                # Only where nothing was written.
                directory.rmdir()


def _directory(slug: str) -> Path:
    """A new directory for the logs of a server, and for what it may write."""
    name = f"serve-{slug}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    number = 1
    while True:
        directory = RUNS / (name if number == 1 else f"{name}-{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        return directory


@dataclass
class Foreground:
    """One start of one server."""

    chosen: Chosen
    launcher: Launcher
    directory: Path
    screen: Screen
    interruption: Interruption
    compat: Compat

    @property
    def log(self) -> Path:
        """stdout and stderr of the server."""
        return self.directory / "server.log"

    async def run(self, built: BuiltImage) -> None:
        """Start it, and go on until it dies: LaunchError, with the cause. Cancelled, it is stopped."""
        matrix, deployment = self.chosen.plan.matrix, self.chosen.deployment
        spec = server_spec(matrix, deployment, self.directory.resolve(), self.log.resolve(), self.directory)
        watch = log_watch(self.log, deployment, self.compat)
        backend = Backend(watch, str(self.log), self.screen.say)
        shown = Shown(self.log, self.screen)
        try:
            with unwrapped():
                async with self.launcher.start(built, spec) as server, self._stopping(server, shown, backend):
                    # A container's line has its variables.
                    variables = spec.env if self.launcher.name == "process" else {}
                    self.screen.say(f"$ {readable(server.command, variables)}")
                    self.screen.say(f"log: {self.log}")
                    async with anyio.create_task_group() as group:
                        group.start_soon(self._show, shown, backend)
                        await self._watch(server, watch, backend)
        except JobFailed as failure:
            shown.more()
            raise self._died(failure, watch) from None
        finally:
            shown.more()
            self.screen.say(f"the log is {self.log}")

    async def _show(self, shown: Shown, backend: Backend) -> None:
        while True:
            shown.more()
            backend.look()
            await anyio.sleep(LOOK_S)

    async def _watch(self, server: Server, watch: LogWatch, backend: Backend) -> None:
        """Until it dies: JobFailed. The line that it is ready comes when a request was answered."""
        deployment, smoke = self.chosen.deployment, self.chosen.plan.matrix.file.smoke
        start, log = Start(watch.phases), str(self.log)
        async with Probe(server.url, smoke.deadlines.request) as probe:
            await await_ready(server, probe, watch, log, start, smoke.deadlines, lambda _: None, tolerant=True)
            first = smoke.model_copy(update={"prompts": smoke.prompts[:1]})
            try:
                await ask_completions(server, probe, watch, log, deployment, first, lambda _: None)
            except JobFailed as failure:
                # A server that lives may be of use all the same: one of embeddings completes nothing.
                with anyio.move_on_after(DYING_S):
                    await server.wait()
                check_alive(server, watch, log, "at the first request")
                self.screen.say(f"!!! WARNING: {failure.reason}")
            else:
                await server.settled()
                backend.conclude()
        self.screen.say(self._ready(server.url, start))
        while True:
            watch.read()
            del watch.lines[:-KEPT_LINES]
            check_alive(server, watch, log, "while it served")
            await anyio.sleep(LOOK_S)

    def _ready(self, url: str, start: Start) -> str:
        name, smoke = self.chosen.deployment.model.served_name, self.chosen.plan.matrix.file.smoke
        body = dumps({"model": name, "prompt": smoke.prompts[0], "max_tokens": smoke.max_tokens})
        curl = ["curl", f"{url}/v1/completions", "-H", "Content-Type: application/json", "-d", body]
        return f"ready: {url} serves {name} after {start.ready_seconds:.1f} s; try: {shlex.join(curl)}"

    @asynccontextmanager
    async def _stopping(self, server: Server, shown: Shown, backend: Backend) -> AsyncIterator[None]:
        """Stop it in the end, within the deadline that the matrix file has for that; a second signal shortens it."""
        self.interruption.server = server
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as group:
                    group.start_soon(self._show, shown, backend)
                    stopped = await server.stop(self.chosen.plan.matrix.file.smoke.deadlines.stop)
                    group.cancel_scope.cancel()
            shown.more()
            self.interruption.server = None
            if self.interruption.heard:
                how = "had to be killed" if stopped.exit_code is None else f"ended with exit code {stopped.exit_code}"
                self.screen.say(f"the server {how} after {stopped.seconds:.1f} s")

    def _died(self, failure: JobFailed, watch: LogWatch) -> LaunchError:
        watch.read(last=True)
        witness = failure.witness
        cause = f": {witness.text}" if witness else ""
        last = "\n".join(f"    {line.text}" for line in watch.lines[-LAST_LINES:])
        where = f"{self.log}:{witness.line}" if witness and witness.line else str(self.log)
        return LaunchError(
            f"{failure.reason}{cause}\n  its last lines:\n{last}", where=where, hint=f"all of its log: {self.log}"
        )
