"""The steps of one environment: each lowered onto uv or onto a program of the environment, in a directory aside."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread

from vep_dagger.builders.base import BuiltLayer, LayerState, OnLayer, translate
from vep_dagger.builders.cache import size_of
from vep_dagger.builders.failures import failed, last_lines
from vep_dagger.builders.manifest import CheckEntry, Interpreter, Manifest, StepEntry, write_manifest
from vep_dagger.builders.venv.commands import Commands
from vep_dagger.builders.venv.installation import Installation
from vep_dagger.builders.venv.interpreter import platform_tag
from vep_dagger.builders.venv.refusal import name_of
from vep_dagger.dsl import Check, Image, Step, key_of, with_jobs
from vep_dagger.dsl.step import CacheMount, Env, Install, MakePython, Run, Secret, Write
from vep_dagger.errors import BuildError, MachineError

_LARGEST_SCRIPT = 1_000_000


class Lowering:
    """The making of one environment at ``environment``; ``place`` is where it will be, as its texts say already."""

    def __init__(
        self,
        image: Image,
        key: str,
        interpreter: Interpreter,
        environment: Path,
        place: Path,
        commands: Commands,
        on_layer: OnLayer,
    ) -> None:
        self._image = image
        self._on_layer = on_layer
        self._key = key
        self._interpreter = interpreter
        self._environment = environment
        self._place = place
        self._commands = commands
        self._prefix = image.python_prefix or ""
        self._installation = Installation(image, environment, commands)
        commands.paths[self._prefix] = str(environment)

    async def run(self) -> None:
        """All steps in order, then the checks, then the manifest. Raises BuildError or MachineError."""
        begin = time.monotonic()
        steps = []
        for number, step in enumerate(self._image.build.steps, 1):
            where = f"{self._image.tag}, step {number} of {len(self._image.build.steps)}: {name_of(step)}"
            self._commands.write_log(f"==> {where}\n")
            form = step.canonical()
            if form is None or isinstance(step, Env):
                await self._do(step, where)
                continue
            steps.append(await self._timed(step, key_of("step", form), where))
        self._settle_scripts()
        checks = [await self._check(check) for check in self._image.checks]
        size = await anyio.to_thread.run_sync(size_of, self._environment)
        manifest = Manifest(
            key=self._key,
            image=self._image.key,
            recipe=self._image.recipe,
            tag=self._image.tag,
            release=self._image.release,
            prefix=self._prefix,
            platform=platform_tag(),
            interpreter=self._interpreter,
            pins=self._image.pins.model_dump(mode="json") if self._image.pins else {},
            env=self._image.env,
            steps=steps,
            checks=checks,
            alternatives=self._installation.taken,
            notes=self._installation.notes,
            packages=_packages(self._environment),
            size_bytes=size.total,
            built=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.monotonic() - begin,
        )
        write_manifest(self._environment, manifest)

    async def _timed(self, step: Step, key: str, where: str) -> StepEntry:
        """Carry out a step that leaves something, and tell of it."""
        name = name_of(step)
        started = time.monotonic()
        state: LayerState = "failed"
        self._on_layer(BuiltLayer(name, key, "building", 0.0))
        try:
            await self._do(step, where)
            state = "built"
        finally:
            seconds = time.monotonic() - started
            self._on_layer(BuiltLayer(name, key, state, seconds))
        return StepEntry(name=name, key=key, seconds=seconds)

    async def _do(self, step: Step, where: str) -> None:
        match step:
            case MakePython():
                await self._make_python(where)
            case Install():
                await self._installation.install(step, where)
            case Run():
                argv = [with_jobs(argument, _jobs()) for argument in step.argv]
                code, lines = await self._commands.run_program(argv, secrets=True)
                if code:
                    raise failed(where, code, lines, self._commands.log, command=shlex.join(step.argv))
            case Write():
                self._write(step)
            case Env():
                self._commands.variables |= {name: with_jobs(value, _jobs()) for name, value in step.variables}
            case CacheMount():
                directory = self._commands.places.mount(step.name)
                directory.mkdir(parents=True, exist_ok=True)
                self._commands.paths[step.path] = str(directory)
            case Secret():
                self._take_secret(step.name, where)
            case _:
                raise AssertionError(f"refused before: {step}")

    async def _make_python(self, where: str) -> None:
        self._say(f"Python {self._interpreter.version} of {self._interpreter.path}")
        code, lines = await self._commands.run_uv(
            "venv", "--relocatable", "--no-project", "--python", self._interpreter.path, str(self._environment)
        )
        if code:
            raise failed(where, code, lines, self._commands.log)

    async def _check(self, check: Check) -> CheckEntry:
        where = f"{self._image.tag}, check {check.name!r}"
        self._commands.write_log(f"==> {where}\n")
        code, lines = await self._commands.run_program(check.argv, secrets=False)
        if code:
            raise failed(where, code, lines, self._commands.log, command=shlex.join(check.argv))
        output = "\n".join(lines).replace(str(self._environment), self._prefix)
        if check.expect is not None and check.expect not in output:
            raise BuildError(
                f"{where}: {check.expect!r} is not in what it printed:{last_lines(lines)}",
                where=str(self._commands.log),
            )
        return CheckEntry(name=check.name, argv=list(check.argv), output=output)

    def _write(self, step: Write) -> None:
        path = Path(translate(step.path, self._commands.paths))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not over what is there: it may be a link to a file of uv's cache.
        path.unlink(missing_ok=True)
        path.write_text(translate(step.text, {self._prefix: str(self._place)}), encoding="utf-8")
        path.chmod(step.mode)

    def _take_secret(self, name: str, where: str) -> None:
        value = self._commands.environ.get(name)
        if value is None:
            raise MachineError(f"the secret {name} is not there", where=where, hint=f"set the variable {name} for vep")
        self._commands.secrets[name] = value

    def _settle_scripts(self) -> None:
        """Let scripts that name the directory aside name the place that the environment moves to.

        uv writes scripts that can be moved; a command that installs with other tools does not.
        """
        aside, place = str(self._environment).encode(), str(self._place).encode()
        for script in (self._environment / "bin").iterdir():
            if script.is_symlink() or not script.is_file() or script.stat().st_size > _LARGEST_SCRIPT:
                continue
            content = script.read_bytes()
            if content.startswith(b"#!") and aside in content:
                # A new file: the old one may be a link to a file of uv's cache.
                settled = script.with_name(f".{script.name}.settled")
                settled.write_bytes(content.replace(aside, place))
                shutil.copymode(script, settled)
                settled.replace(script)

    def _say(self, text: str) -> None:
        self._commands.say(f"{self._image.tag}: {text}")


def _packages(environment: Path) -> dict[str, str]:
    """The distributions of an environment, by name."""
    from importlib.metadata import distributions

    from packaging.utils import canonicalize_name

    folders = [str(folder) for folder in environment.glob("lib/python*/site-packages")]
    found = {str(canonicalize_name(each.metadata["Name"])): each.version for each in distributions(path=folders)}
    return dict(sorted(found.items()))


def _jobs() -> int:
    return len(os.sched_getaffinity(0))
