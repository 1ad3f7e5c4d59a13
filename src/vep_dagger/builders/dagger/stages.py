"""One stage of a lowered image as a chain of Dagger's calls: what :mod:`.lowering` says, and nothing besides."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vep_dagger.builders.base import Say
from vep_dagger.builders.dagger.bases import Base
from vep_dagger.builders.dagger.secrets import Secrets
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.sources.fetch import fetch
from vep_dagger.builders.stages import SHELL, TOOLS, Exec, File, Operation, Stage, Tree
from vep_dagger.builders.tools import tools_directory
from vep_dagger.dsl import ImageSource
from vep_dagger.engines.dagger import DaggerSession

if TYPE_CHECKING:
    from dagger import Container, Directory

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are found in an image that does not say."""


class Chain:
    """A stage as it grows. Ask for :attr:`container` when all is in it: mounts are gone from that."""

    def __init__(
        self,
        start: Container,
        stage: Stage,
        images: Mapping[ImageSource, Base],
        settings: BuildSettings,
        session: DaggerSession,
        secrets: Secrets,
        platform: str,
        say: Say,
    ) -> None:
        self._now = start
        self._stage = stage
        self._images = images
        self._settings = settings
        self._session = session
        self._secrets = secrets
        self._platform = platform
        self._say = say
        self._mounts: dict[str, None] = {}
        self._caches: tuple[tuple[str, str], ...] = ()
        self._named: tuple[str, ...] = ()
        self._surrounded = False
        self.commands: dict[str, Operation] = {}
        """The operation that each command line stands for."""

    @property
    def container(self) -> Container:
        """What the stage has become, without anything that was only there to build it."""
        self._settle((), ())
        for path in reversed(self._mounts):
            self._now = self._now.without_mount(path)
        self._mounts.clear()
        if self._surrounded:
            self._now, self._surrounded = self._secrets.unmount(self._now), False
        return self._now

    def take(self, prefixes: Mapping[str, Directory]) -> None:
        """The prefixes of other stages, by their paths."""
        for path, directory in prefixes.items():
            self._now = self._now.with_directory(path, directory)

    async def begin(self) -> None:
        """The variables that are there from the start."""
        for name, value in self._stage.env:
            self._now = self._now.with_env_variable(name, value)
        if self._stage.programs:
            before = await self._session.ask(lambda: self._now.env_variable("PATH"))
            path = ":".join((*self._stage.programs, before or _PATH))
            self._now = self._now.with_env_variable("PATH", path)

    async def add(self, operations: Iterable[Operation]) -> None:
        """Carry out operations in their order. Sources are fetched, on this machine, for it."""
        for operation in operations:
            match operation:
                case Exec():
                    await self._exec(operation)
                case File():
                    self._now = self._now.with_new_file(operation.path, operation.text, permissions=operation.mode)
                case Tree():
                    await self._tree(operation)

    async def _exec(self, operation: Exec) -> None:
        if not self._surrounded:
            self._now, self._surrounded = self._secrets.mount(self._now), True
        if operation.tools and TOOLS not in self._mounts:
            tools = await tools_directory(self._platform, self._settings.environ)
            directory = self._session.client.host().directory(str(tools))
            self._now = self._now.with_mounted_directory(TOOLS, directory, read_only=True)
            self._mounts[TOOLS] = None
        self._settle(operation.caches, operation.secrets)
        text = _line(operation, dict(self._stage.env))
        self.commands.setdefault(text, operation)
        self._now = self._now.with_exec([*SHELL, text])

    async def _tree(self, operation: Tree) -> None:
        source, path = operation.source, operation.path
        put = self._now.with_directory if operation.kept else self._now.with_mounted_directory
        host = self._session.client.host()
        if isinstance(source, ImageSource):
            self._now = put(path, self._images[source].container.rootfs())
        elif (place := await fetch(source, self._settings, self._say)).is_dir():
            self._now = put(path, host.directory(str(place)))
        else:
            file = host.file(str(place))
            self._now = (
                self._now.with_file(path, file, permissions=0o644)
                if operation.kept
                else self._now.with_mounted_file(path, file)
            )
        if not operation.kept:
            self._mounts[path] = None

    def _settle(self, caches: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> None:
        """Let a command have these caches and secrets, and no others."""
        if caches != self._caches:
            for _, path in reversed(self._caches):
                self._now = self._now.without_mount(path)
            for name, path in caches:
                self._now = self._now.with_mounted_cache(path, self._session.client.cache_volume(f"vep-{name}"))
            self._caches = caches
        if names != self._named:
            for name in self._named:
                self._now = self._now.without_secret_variable(name)
            for name in names:
                self._now = self._now.with_secret_variable(name, self._secrets.named[name])
            self._named = names


def _line(operation: Exec, there: Mapping[str, str]) -> str:
    """The command with its own variables and its directory: they are of this command alone, and so not the
    container's."""
    own = [(name, value) for name, value in operation.env if there.get(name) != value]
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in own)
    lines = [f"export {words}"] if words else []
    if operation.workdir is not None:
        place = shlex.quote(operation.workdir)
        lines.append(f"mkdir -p {place}; cd {place}")
    return "\n".join([*lines, operation.text])
