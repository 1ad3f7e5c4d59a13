"""Servers as processes of this machine, each under a guard (:mod:`vep_dagger.processes.guard`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.cache import Places, cache_root, touch
from vep_dagger.errors import LaunchError
from vep_dagger.launchers import compiled, ports
from vep_dagger.launchers.base import ServerSpec, Stopped, refuse_nodes
from vep_dagger.launchers.environment import OURS, declared_environment
from vep_dagger.processes.run import Guarded, run_logged


@dataclass(frozen=True)
class ProcessServer:
    """A server on this machine."""

    url: str
    command: tuple[str, ...]
    guarded: Guarded
    image: BuiltImage
    spec: ServerSpec
    port: int
    note: Path | None = None
    """The note that says that this deployment was healthy before; None where nothing is kept."""
    warm: bool | None = None

    def exited(self) -> int | None:
        """The exit code (negative: the signal), or None while it lives."""
        return self.guarded.exited()

    async def wait(self) -> int:
        """Wait until it has exited, and give the exit code."""
        return await self.guarded.wait()

    async def run(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        """Run a client in the same image and directory, with the image's environment and ``env`` but not the server's;
        its exit code.

        Cancelling it kills it. Raises LaunchError if it cannot be started.
        """
        surroundings = declared_environment(
            os.environ, self.image, env, [name for name in self.spec.unset if name not in env]
        )
        command = resolve(argv, self.image, self.spec, self.port, surroundings)
        return await run_logged(
            command,
            env=surroundings,
            cwd=self.spec.directory,
            log=log,
            label=f"{self.spec.name} client",
            marks=self.spec.directory,
        )

    def memory_bytes(self) -> int | None:
        """What its processes hold: PSS where it can be read, else RSS; None when it has ended."""
        return self.guarded.memory_bytes()

    async def settled(self) -> None:
        """Note that a start of this deployment finds what it has compiled. A cache that has become unwritable keeps no
        such notes."""
        if self.note is not None:
            with suppress(OSError):
                self.note.mkdir(parents=True, exist_ok=True)

    async def stop(self, grace_s: float) -> Stopped:
        """SIGTERM to the main process, and after ``grace_s`` SIGKILL to all. Cannot be cancelled. Raises LaunchError if
        that is not enough."""
        ended = await self.guarded.stop(grace_s)
        return Stopped(None if ended.forced else ended.code, ended.clean, ended.seconds, ended.killed)


@dataclass(frozen=True)
class ProcessLauncher:
    """Runs a server as a process in a session of its own, on a loopback port, its output in its log.

    ``grace_s`` is what a server gets to end by itself when its context is left. While something of a server may be
    alive, its directory has a file ``.vep-process-<marker>``: :func:`vep_dagger.processes.leftovers.reap` ends what
    outlived both ``vep`` and the guard.
    """

    grace_s: float = 30.0
    name: str = "process"

    def refuse(self, nodes: int, host: str, port: int | None) -> None:
        """Raise UsageError for more than one node, PortError for a fixed port that is taken."""
        refuse_nodes(self.name, nodes)
        ports.refuse_taken(host, port)

    @asynccontextmanager
    async def start(self, image: BuiltImage, spec: ServerSpec) -> AsyncIterator[ProcessServer]:
        """Start a server; leaving the context stops it, also when cancelled. Raises LaunchError, PortError or
        MachineError."""
        gpu = await compiled.gpu_kind(spec.gpus, os.environ)
        with ports.reserved(spec.host, spec.port) as port, kept(compiled.volume_name(image, gpu)) as place:
            ours = OURS | (compiled.variables(str(place)) if place else {})
            env = declared_environment(os.environ, image, spec.env, spec.unset, ours)
            command = resolve(spec.argv, image, spec, port, env)
            guarded = await Guarded.start(
                command, env=env, cwd=spec.directory, log=spec.log, label=spec.name, marks=spec.directory
            )
            note = place / compiled.note(spec.key) if place and spec.key else None
            warm = note.exists() if note else None
            server = ProcessServer(ports.url(spec.host, port), command, guarded, image, spec, port, note, warm)
            try:
                yield server
            finally:
                await server.stop(self.grace_s)


@contextmanager
def kept(name: str) -> Iterator[Path | None]:
    """The directory of the user's cache for what servers of an image compile, kept from being pruned meanwhile; None
    where the cache cannot be written, or is being pruned."""
    places = Places(cache_root())
    place = places.compiled / name
    lock = places.lock(name)
    try:
        usable = lock.try_acquire("shared")
        if usable:
            place.mkdir(parents=True, exist_ok=True)
            touch(place)
    except OSError:
        usable = False
    try:
        yield place if usable and os.access(place, os.W_OK) else None
    finally:
        lock.release()


def resolve(
    argv: Sequence[str], image: BuiltImage, spec: ServerSpec, port: int, env: Mapping[str, str]
) -> tuple[str, ...]:
    """The command as this machine runs it: paths translated, ``{host}`` and ``{port}`` filled in, the program found on
    the PATH of ``env``.

    Raises LaunchError if there is no such program.
    """
    words = [image.translate(word).replace("{host}", spec.host).replace("{port}", str(port)) for word in argv]
    program = words[0]
    if "/" in program:
        # Relative to the directory that the command runs in, as a shell there would have it.
        return (str((spec.directory / program).absolute()), *words[1:])
    found = shutil.which(program, path=env.get("PATH", ""))
    if found is None:
        raise LaunchError(
            f"the program {program!r} is not in the image {image.location}",
            where=spec.name,
            hint=f"it was looked for in {env.get('PATH') or 'an empty PATH'}",
        )
    return (found, *words[1:])
