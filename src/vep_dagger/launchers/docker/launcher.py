"""Servers in containers of a Docker daemon on this machine.

The client ``docker run`` stays attached under a guard (:mod:`vep_dagger.processes.guard`), so that its output is the
log and its end the server's; SIGTERM goes through it to the server. When nothing of it is left, or ``vep`` is not, the
guard removes the container.

Servers run as root inside, which their images are made for (caches below ``/root``). Where ``vep`` itself does not,
what they have written is given to its user in the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import LaunchError, MachineError, UsageError
from vep_dagger.launchers import compiled, ports
from vep_dagger.launchers.base import ServerSpec, refuse_nodes
from vep_dagger.launchers.docker import failure
from vep_dagger.launchers.docker.line import Container, container_name, hf_cache, mount, variables
from vep_dagger.launchers.docker.server import DockerServer
from vep_dagger.launchers.environment import OURS, container_environment
from vep_dagger.processes.leftovers import CONTAINER_FILE, container_removal
from vep_dagger.processes.run import Guarded
from vep_dagger.processes.tail import Tail

START_S = 120.0
"""For a container to be made and started: a large image is prepared once."""

LOOK_S, LOOK_DEAD_S = 0.05, 2.0

UNSEEN = 3
"""The exit code of :data:`LOOK_INSIDE` when the container does not see this machine's files."""

LOOK_INSIDE = f'test -e "$1" || exit {UNSEEN}; test -e "$2"'


@dataclass(frozen=True)
class DockerLauncher:
    """Runs a server by ``docker run``: with the machine's Hugging Face cache and shared memory, its GPUs if asked for,
    the run's directory under its own path, and its port on this machine.

    ``grace_s`` is what a server gets to end by itself when its context is left. While the container may be there, the
    server's directory has a file ``.vep-container-<name>``:
    :func:`vep_dagger.processes.leftovers.reap_containers` removes what outlived both ``vep`` and the guard.
    """

    settings: BuildSettings = field(default_factory=BuildSettings)
    docker: Docker | None = None
    grace_s: float = 30.0
    name: str = "docker"

    def refuse(self, nodes: int, host: str, port: int | None) -> None:
        """Raise UsageError for more than one node or no network, PortError for a fixed port that is taken."""
        refuse_nodes(self.name, nodes)
        if self.settings.network == "none":
            raise UsageError(
                "a server without a network cannot be reached", where="--network", hint="leave it out, or name `host`"
            )
        ports.refuse_taken(host, port)

    @asynccontextmanager
    async def start(self, image: BuiltImage, spec: ServerSpec) -> AsyncIterator[DockerServer]:
        """Start a server; leaving the context stops it, also when cancelled. Raises LaunchError, PortError or
        MachineError."""
        docker = self.docker
        if docker is None:
            raise MachineError("no Docker is open", hint="open one with vep_dagger.engines.open_engines")
        gpu = await compiled.gpu_kind(spec.gpus, docker.environ)
        ours = OURS | compiled.variables()
        with ports.reserved(spec.host, spec.port) as port:
            container = Container(
                program=docker.program,
                image=image.location,
                spec=spec,
                port=port,
                network=self.settings.network,
                volume=f"{compiled.volume_name(image, gpu)}:{compiled.MOUNT}",
                environment=container_environment(docker.environ, image, spec.env, spec.unset, ours),
                hf_cache=hf_cache(docker.environ),
                name=container_name(spec.name),
            )
            server = await _start(docker, container, image)
            try:
                await _look_inside(server)
                yield server
            finally:
                with anyio.CancelScope(shield=True):
                    try:
                        await server.stop(self.grace_s)
                    finally:
                        await give_files(docker, image, spec)


async def _start(docker: Docker, container: Container, image: BuiltImage) -> DockerServer:
    """Start the container, and wait until it runs or has ended. Raises LaunchError or MachineError."""
    spec = container.spec
    mark = spec.directory / f"{CONTAINER_FILE}{container.name}"
    tail = Tail.end_of(spec.log)
    env, unset = container.environment.env, container.environment.unset
    with variables(env, unset, docker.environ) as handed:
        command, recorded = container.command(handed.words), container.recorded()
        try:
            mark.touch()
        except OSError as error:
            raise LaunchError(
                f"the directory of {spec.name!r} cannot be used: {error.strerror or error}", where=str(spec.directory)
            ) from error
        try:
            guarded = await Guarded.start(
                command,
                env=handed.environ,
                cwd=Path("/"),
                log=spec.log,
                label=spec.name,
                marks=spec.directory,
                last=container_removal(docker.program, container.name, mark, docker.environ),
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await docker.ask(*container_removal(docker.program, container.name, mark, {}).argv[1:])
            mark.unlink(missing_ok=True)
            raise
        url = ports.url(spec.host, container.port)
        server = DockerServer(url, recorded, docker, image, container, guarded, tail, mark)
        try:
            await _until_running(server)
        except BaseException:
            await guarded.stop(0)
            raise
    return server


async def _until_running(server: DockerServer) -> None:
    """Wait until the container runs or has ended."""
    name, end = server.container.name, time.monotonic() + START_S
    asked = "{{.State.Status}} {{.State.Pid}} {{.Id}}"
    while server.guarded.exited() is None:
        answer = await server.docker.ask("container", "inspect", "--format", asked, name)
        words = answer.out.split()
        if answer.code == 0 and words[0] not in ("created", "restarting"):
            server.pid, server.identity = int(words[1]), words[2]
            return
        if time.monotonic() > end:
            raise LaunchError(
                f"docker did not start the container within {START_S:g} s", where=name, hint=failure.DAEMON
            )
        with anyio.move_on_after(LOOK_S):
            await server.guarded.wait()


def _refuse_death_at_birth(server: DockerServer) -> None:
    """Raise LaunchError or MachineError for a container that has ended without its program having run."""
    if server.guarded.exited() not in failure.OWN_CODES:
        return
    if reason := failure.said(server.tail.read() or []):
        spec = server.container.spec
        raise failure.not_started(reason, spec.name, server.image.location, spec.argv[0])


async def _look_inside(server: DockerServer) -> None:
    """Find out whether the start is warm. Raises LaunchError if the container does not see this machine's files; of one
    that has ended nothing is known."""
    key = server.container.spec.key
    place = f"{compiled.MOUNT}/{compiled.note(key)}"
    words = ("exec", server.container.name, "sh", "-c", LOOK_INSIDE, "sh", str(server.mark.absolute()), place)
    answer = await server.docker.ask(*words)
    if answer.code == UNSEEN:
        raise LaunchError(
            "the container does not see this machine's files",
            where=str(server.container.spec.directory),
            hint="Docker's daemon is on another machine, or does not share this directory (Docker Desktop: Settings, "
            "Resources, File sharing)",
        )
    if answer.code == 0 or (answer.code == 1 and not answer.err):
        server.warm = answer.code == 0 if key else None
        return
    # Most often the container has ended already, and its client will in a moment.
    with anyio.move_on_after(LOOK_DEAD_S):
        await server.guarded.wait()
    _refuse_death_at_birth(server)


async def give_files(docker: Docker, image: BuiltImage, spec: ServerSpec) -> None:
    """Give what root has written in the run's directory to the user who runs ``vep``. Where that fails, the log says
    so: the measurement is none the worse."""
    shared = spec.shared or spec.directory
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return
    foreign = await anyio.to_thread.run_sync(written_by_others, shared, user)
    if not foreign:
        return
    words = [
        "run",
        "--rm",
        "--pull=never",
        "--network=none",
        "--user=0:0",
        "--volume",
        mount(shared.absolute(), str(shared.absolute())),
    ]
    words += ["--entrypoint=chown", image.location, "-R", "-h", f"{user}:{group}", *map(str, foreign)]
    answer = await docker.ask(*words)
    if answer.code != 0:
        with suppress(OSError), spec.log.open("a") as log:
            log.write(f"vep: files of root stay in {shared}: {answer.complaint}\n")


def written_by_others(directory: Path, user: int) -> list[Path]:
    """The topmost files and directories below ``directory`` that belong to somebody else. Where Docker runs without
    root there are none."""
    found: list[Path] = []
    for folder, folders, files in os.walk(directory.absolute()):
        for name in [*folders, *files]:
            path = Path(folder) / name
            with suppress(OSError):
                if path.lstat().st_uid != user:
                    found.append(path)
        folders[:] = [name for name in folders if Path(folder) / name not in found]
    return found
