"""A server in a container, seen from ``vep``, and the clients beside it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from vep_dagger.builders.base import BuiltImage
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import LaunchError
from vep_dagger.launchers import compiled
from vep_dagger.launchers.base import Stopped
from vep_dagger.launchers.docker import failure
from vep_dagger.launchers.docker.cgroup import memory_of
from vep_dagger.launchers.docker.line import CLIENT, KILL_CLIENT, Container, variables
from vep_dagger.launchers.environment import container_environment
from vep_dagger.processes.run import Guarded, run_logged
from vep_dagger.processes.tail import Tail


@dataclass
class DockerServer:
    """A server in a container."""

    url: str
    command: tuple[str, ...]
    docker: Docker
    image: BuiltImage
    container: Container
    guarded: Guarded
    tail: Tail
    mark: Path
    warm: bool | None = None
    identity: str = ""
    """Docker's id of the container."""
    pid: int = 0
    """Of its main process, as its daemon's machine counts."""

    def exited(self) -> int | None:
        """The exit code (negative: the signal), or None while it lives. Raises LaunchError if Docker lost it."""
        code = self.guarded.exited()
        return None if code is None else self._code(code)

    async def wait(self) -> int:
        """Wait until it has exited, and give the exit code. Raises LaunchError if Docker lost it."""
        return self._code(await self.guarded.wait())

    def _code(self, code: int) -> int:
        if code == failure.LOST:
            raise failure.lost(self.container.name, failure.said(self.tail.read() or []))
        return by_signal(code)

    async def run(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        """Run a client in the container, with the image's environment and ``env`` but not the server's; its exit code.

        Cancelling it kills it. Raises LaunchError if it cannot be started, or does not end.
        """
        spec, base = self.container.spec, self.container.environment
        declared = container_environment(
            self.docker.environ, self.image, env, [name for name in spec.unset if name not in env]
        )
        # A process of a container starts with its server's environment, which is taken away again.
        own = {name: self.image.env[name] for name in base.env if name in self.image.env} | dict(declared.env)
        drop = [word for name in base.env if name not in own for word in ("-u", name)]
        marker = uuid.uuid4().hex
        own |= {CLIENT: marker, "SPT_NOENV": "1"}
        tail = Tail.end_of(log)
        with variables(own, (), self.docker.environ) as handed:
            words = ("exec", "--workdir", str(spec.directory.absolute()), *handed.words, self.container.name)
            try:
                code = await run_logged(
                    (self.docker.program, *words, "env", *drop, *self.container.resolve(argv, self.container.loopback)),
                    env=handed.environ,
                    cwd=Path("/"),
                    log=log,
                    label=f"{spec.name} client",
                    grace_s=1.0,
                    marks=spec.directory,
                )
            finally:
                with anyio.CancelScope(shield=True):
                    await self._end_client(marker)
        if code in (126, 127) and (reason := next((x for x in tail.read() or [] if x.startswith("env: ")), None)):
            raise LaunchError(
                f"the program {argv[0]!r} is not in the image {self.image.location}", where=spec.name, hint=reason
            )
        return by_signal(code)

    async def _end_client(self, marker: str) -> None:
        """Kill what a client has left in the container, itself among it."""
        if self.guarded.exited() is not None:
            return
        words = ("exec", self.container.name, "sh", "-c", KILL_CLIENT, "sh", f"{CLIENT}={marker}")
        done = await self.docker.ask(*words)
        if done.code != 0 and self.guarded.exited() is None:
            raise LaunchError(
                f"a client does not end: {done.complaint}",
                where=self.container.name,
                hint="it goes with its server at the latest",
            )

    def memory_bytes(self) -> int | None:
        """What the container's processes hold, as the kernel counts it for the container without the file cache; None
        when it has ended, or where the daemon is on another machine."""
        return None if self.guarded.exited() is not None else memory_of(self.pid, self.identity)

    async def settled(self) -> None:
        """Note in the volume that this deployment was healthy."""
        if self.warm is not None:
            await self.docker.ask(
                "exec", self.container.name, "mkdir", "-p", f"{compiled.MOUNT}/{compiled.note(self.container.spec.key)}"
            )

    async def stop(self, grace_s: float) -> Stopped:
        """SIGTERM to the server, and after ``grace_s`` SIGKILL to the container. Its other processes end with it, and
        are not counted. Cannot be cancelled. Raises LaunchError if it cannot be removed."""
        ended = await self.guarded.stop(grace_s)
        if self.mark.exists():
            raise LaunchError(
                "the container was not removed, and may be running",
                where=self.container.name,
                hint=f"{failure.DAEMON}, or remove it yourself: docker rm --force {self.container.name}",
            )
        code = None if ended.forced else by_signal(ended.code)
        return Stopped(code, not ended.forced, ended.seconds, int(ended.forced))


def by_signal(code: int) -> int:
    """A code as the system gives it for processes: Docker says 128 + n for signal n."""
    return 128 - code if code > 128 else code
