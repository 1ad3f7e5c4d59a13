"""One build in Dagger: the stages that the image needs, each as soon as those that it names are done."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from vep_dagger.builders.base import BuiltLayer, LayerState, OnLayer, Say
from vep_dagger.builders.checks import check_commands
from vep_dagger.builders.dagger.bases import Base
from vep_dagger.builders.dagger.failure import SHELL_HINT, is_full, no_space, query_failed, said_by
from vep_dagger.builders.dagger.secrets import Secrets
from vep_dagger.builders.dagger.stages import Chain
from vep_dagger.builders.dagger.store import Store
from vep_dagger.builders.failures import step_failed
from vep_dagger.builders.names import labels
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import ENVIRONMENT, IMAGE, Lowered, Operation, Stage
from vep_dagger.dsl import ImageSource
from vep_dagger.dsl.layer import ROOT
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.engines.dagger_trace import Watch
from vep_dagger.errors import VepError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from dagger import Container, Directory, ExecError

T = TypeVar("T")

TICK_S = 2.0
"""Between two words about a layer that is being built."""
SAY_S = 10.0
"""The same, for whoever hears one line at a time."""
QUICK_S = 0.5
"""Where an engine does not tell what it did: what took less was cached."""


@dataclass
class _Running:
    stage: Stage
    since: float
    watch: Watch | None = None
    said: float = 0.0


class Work:
    """The stages of one image on their way. ``states`` has what became of each layer."""

    def __init__(
        self,
        lowered: Lowered,
        bases: Mapping[ImageSource, Base],
        settings: BuildSettings,
        session: DaggerSession,
        secrets: Secrets,
        log: Path,
        say: Say,
        on_layer: OnLayer,
    ) -> None:
        self._lowered = lowered
        self._bases = bases
        self._settings = settings
        self._session = session
        self._secrets = secrets
        self._log = log
        self._tell = say
        self._on_layer = on_layer
        self._store = Store(settings, session, lowered.image.platform, log)
        self._made: dict[str, Container | Directory] = {}
        self._begun: dict[str, anyio.Event] = {}
        self._running: dict[str, _Running] = {}
        self.states = {stage.name: BuiltLayer(stage.name, stage.key, "cached", 0.0) for stage in _shown(lowered)}

    async def carry_out(self) -> tuple[Container, Directory | None]:
        """The image without its manifest, and what its checks have left. Raises BuildError or MachineError."""
        result: list[tuple[Container, Directory | None]] = []
        async with _Alone() as group:
            ticking = anyio.CancelScope()
            group.start_soon(self._tick, ticking)
            await self._need(self._lowered.stage(ENVIRONMENT).name, *self._names(IMAGE), group=group)
            result.append(await self._finish(group))
            ticking.cancel()
        return result[0]

    def _names(self, name: str) -> list[str]:
        """The stages that a stage names."""
        stage = self._lowered.stage(name)
        return [*([stage.base] if isinstance(stage.base, str) else []), *(taken.stage for taken in stage.taken)]

    async def _need(self, *names: str, group: TaskGroup) -> None:
        """Have these stages made: at the same time, and each once."""
        async with _Alone() as several:
            for name in dict.fromkeys(names):
                several.start_soon(self._once, name, group)

    async def _once(self, name: str, group: TaskGroup) -> None:
        if name in self._begun:
            await self._begun[name].wait()
            return
        done = self._begun[name] = anyio.Event()
        await self._make(self._lowered.stage(name), group)
        # Not when it failed: then all that waits for it is cancelled.
        done.set()

    async def _make(self, stage: Stage, group: TaskGroup) -> None:
        if self._store.keeps(stage):
            kept = await self._store.take(stage)
            if kept is not None:
                self._write(f"==> {stage.name}: taken from {self._settings.keep}")
                self._put(stage, "taken", 0.0)
                self._made[stage.name] = kept
                return
        await self._need(*self._names(stage.name), group=group)

        async def make(running: _Running) -> Container | Directory:
            chain = await self._chain(stage)
            await chain.add(stage.operations)
            built = chain.container
            whole: Callable[[], Awaitable[Container | Directory]] = (
                built.sync if stage.prefix == ROOT else built.directory(stage.prefix).sync
            )
            return await self._asked(stage, running, chain.commands, whole)

        made = await self._watched(stage, make, group)
        if self._store.keeps(stage):
            from dagger import Directory

            assert isinstance(made, Directory)
            self._say(f"putting layer {stage.name} aside")
            made = await self._store.put(stage, made)
        self._made[stage.name] = made

    async def _finish(self, group: TaskGroup) -> tuple[Container, Directory | None]:
        """The last stage: prefixes and the environment in one, and the checks in that."""
        from vep_dagger.builders.checks import CHECKS

        stage = self._lowered.stage(IMAGE)
        checks = check_commands(self._lowered.image)

        async def make(running: _Running) -> tuple[Container, Directory | None]:
            chain = await self._chain(stage)
            await chain.add(stage.operations)
            merged = chain.container
            for name, value in labels(self._lowered).items():
                merged = merged.with_label(name, value)
            merged = await self._asked(stage, running, chain.commands, merged.sync)
            if not checks:
                return merged, None
            proof = await self._chain(stage, merged)
            await proof.add(checks)
            left = proof.container.directory(CHECKS)
            return merged, await self._asked(stage, running, proof.commands, left.sync)

        return await self._watched(stage, make, group)

    async def _chain(self, stage: Stage, start: Container | None = None) -> Chain:
        from dagger import Container, Directory

        image = self._lowered.image
        base = start
        if base is None:
            made = self._made[stage.base] if isinstance(stage.base, str) else self._bases[stage.base].container
            assert isinstance(made, Container)
            base = made
        chain = Chain(base, stage, self._bases, self._settings, self._session, self._secrets, image.platform, self._say)
        if start is not None:
            return chain
        prefixes: dict[str, Directory] = {}
        for taken in stage.taken:
            left = self._made[taken.stage]
            assert isinstance(left, Directory)
            prefixes[taken.prefix] = left
        chain.take(prefixes)
        await chain.begin()
        return chain

    async def _watched(self, stage: Stage, make: Callable[[_Running], Awaitable[T]], group: TaskGroup) -> T:
        """Carry out a stage, and tell what becomes of it. What the engine tells late is waited for beside what goes
        on."""
        running = _Running(stage, time.monotonic())
        self._running[stage.name] = running
        self._put(stage, "building", 0.0)
        self._write(f"==> {stage.name}")
        try:
            with self._session.trace.watch(stage.name, lambda line: self._heard(running, line)) as watch:
                running.watch = watch
                made = await make(running)
        except VepError:
            self._put(stage, "failed", time.monotonic() - running.since)
            raise
        finally:
            self._running.pop(stage.name, None)
        group.start_soon(self._settle, stage, watch, time.monotonic() - running.since)
        return made

    async def _settle(self, stage: Stage, watch: Watch, wall: float) -> None:
        told = await self._session.trace.settled(watch, self._ping)
        ran = bool(watch.ran) if told else wall > QUICK_S
        self._put(stage, "built" if ran else "cached", (watch.seconds if told else wall) if ran else 0.0)

    async def _ping(self) -> object:
        return await self._session.ask(self._session.client.version)

    async def _asked(
        self, stage: Stage, running: _Running, commands: Mapping[str, Operation], question: Callable[[], Awaitable[T]]
    ) -> T:
        """The engine's answer; a command that failed as whose it was."""
        import dagger

        try:
            return await self._session.ask(question)
        except dagger.ExecError as error:
            raise await self._command_failed(stage, running, commands, error) from error
        except dagger.QueryError as error:
            raise query_failed(self._lowered, stage, error, self._log, self._secrets.redact) from error

    async def _command_failed(
        self, stage: Stage, running: _Running, commands: Mapping[str, Operation], error: ExecError
    ) -> VepError:
        watch = running.watch
        assert watch is not None
        with anyio.CancelScope(shield=True):
            await self._session.trace.settled(watch, self._ping)
        lines = [self._secrets.redact(line) for line in watch.said_last()]
        if not lines:
            # Another build may have run it, and heard what it said.
            lines = [self._secrets.redact(line) for line in f"{error.stdout}\n{error.stderr}".splitlines() if line]
            for line in lines:
                self._write(f"[{stage.name}] {line}")
        if not lines:
            lines = [self._secrets.redact(said_by(error))]
        if is_full(lines):
            return no_space(str(self._log), lines)
        operation = commands.get(error.command[-1]) if error.command else None
        if operation is None:
            return query_failed(self._lowered, stage, error, self._log, self._secrets.redact)
        return step_failed(self._lowered.image, stage, operation, error.exit_code, lines[-100:], self._log, SHELL_HINT)

    async def _tick(self, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                await anyio.sleep(TICK_S)
                now = time.monotonic()
                for running in tuple(self._running.values()):
                    self._put(running.stage, "building", now - running.since)
                    last = running.watch.last if running.watch else ""
                    if now - max(running.said, running.since) >= SAY_S:
                        running.said = now
                        tail = f": {self._secrets.redact(last).strip()[:200]}" if last.strip() else ""
                        self._say(f"{running.stage.name} for {now - running.since:.0f} s{tail}")

    def _heard(self, running: _Running, line: str) -> None:
        self._write(f"[{running.stage.name}] {self._secrets.redact(line)}")

    def _write(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _put(self, stage: Stage, state: LayerState, seconds: float) -> None:
        if stage.name in self.states:
            layer = replace(self.states[stage.name], state=state, seconds=seconds)
            self.states[stage.name] = layer
            self._on_layer(layer)

    def _say(self, text: str) -> None:
        self._tell(f"{self._lowered.image.tag}: {text}")


def _shown(lowered: Lowered) -> tuple[Stage, ...]:
    """The stages that are told of: all in which something happens."""
    return tuple(stage for stage in lowered.stages if stage.name != ENVIRONMENT or stage.operations)


class _Alone:
    """A task group whose first failure is raised as itself, and not as a group of one."""

    def __init__(self) -> None:
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> TaskGroup:
        return await self._group.__aenter__()

    async def __aexit__(self, *what: object) -> bool | None:
        try:
            return await self._group.__aexit__(*what)  # type: ignore[arg-type]
        except BaseExceptionGroup as errors:
            known = errors.subgroup(VepError)
            first: BaseException = errors if known is None else known
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from first.__cause__
