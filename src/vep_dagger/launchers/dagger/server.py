"""A server in an exec of Dagger, as :mod:`.dagger` has started it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup

from vep_dagger.builders.base import BuiltImage
from vep_dagger.launchers.base import ServerSpec, Stopped
from vep_dagger.launchers.dagger.bridge import Bridge
from vep_dagger.launchers.dagger.remote import Remote
from vep_dagger.launchers.environment import container_environment

SECRETS = ("HF_TOKEN",)
"""Variables that nobody may read in a query or in a record: Dagger's own secrets."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are found in an image that says nothing of it."""


@dataclass(frozen=True)
class DaggerServer:
    """A server in an exec."""

    url: str
    command: tuple[str, ...]
    warm: bool | None
    spec: ServerSpec
    marker: str
    """Stands in the environment of every process of the server and its clients."""
    image_env: Mapping[str, str]
    image: BuiltImage
    surroundings: Mapping[str, str] = field(repr=False)
    bridge: Bridge = field(repr=False)
    remote: Remote = field(repr=False)
    group: TaskGroup = field(repr=False)
    inside: str = "127.0.0.1"

    def exited(self) -> int | None:
        """The exit code (negative: the signal), or None while it lives; that of a kill when the exec is lost."""
        return self.remote.exited()

    async def wait(self) -> int:
        """Wait until it has exited, and give the exit code."""
        return await self.remote.wait()

    async def run(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        """Run a client in the same exec and directory, with the image's environment and ``env`` but not the server's;
        its exit code.

        What stands beside ``log`` is sent there before, and what was written is here afterwards. Cancelling it kills
        it. Raises LaunchError if it cannot be started.
        """
        unset = [name for name in self.spec.unset if name not in env]
        declared = container_environment(self.surroundings, self.image, env, unset)
        log.parent.mkdir(parents=True, exist_ok=True)
        await self.bridge.watch([log.parent])
        await self.bridge.push(log.parent)
        client = await Remote.start(
            self.bridge,
            self.group,
            filled(argv, self.inside, urlsplit(self.url).port or 0),
            env=merged(self.image_env, declared.env, unset),
            secrets=[name for name in SECRETS if name in declared.env],
            cwd=self.spec.directory,
            log=log,
            label=f"{self.spec.name} client",
            image=self.image.location,
            marker=self.marker,
        )
        try:
            code = await client.wait()
            await client.left()
        finally:
            await client.stop(0)
        with anyio.CancelScope(shield=True):
            await self.bridge.flush()
        return code

    def memory_bytes(self) -> int | None:
        """What its processes held at the last look, seconds ago: PSS where it can be read, else RSS; None when it has
        ended."""
        return self.remote.memory_bytes()

    async def settled(self) -> None:
        """From now on a start of the same deployment counts as warm."""
        await self.bridge.say({"do": "settled"})

    async def stop(self, grace_s: float) -> Stopped:
        """SIGTERM to the main process, and after ``grace_s`` SIGKILL to all. Cannot be cancelled. Raises LaunchError if
        that is not enough, and when not all of what it wrote could be written here."""
        stopped = await self.remote.stop(grace_s)
        self.bridge.sharing.check()
        return stopped


def merged(imaged: Mapping[str, str], declared: Mapping[str, str], unset: Sequence[str]) -> dict[str, str]:
    """The whole environment of a command, without its secrets."""
    whole = {"PATH": PATH} | {name: value for name, value in imaged.items() if name not in unset} | dict(declared)
    return {name: value for name, value in whole.items() if name not in SECRETS}


def filled(argv: Sequence[str], host: str, port: int) -> tuple[str, ...]:
    """A command with the server's host and port in their places."""
    return tuple(word.replace("{host}", host).replace("{port}", str(port)) for word in argv)
