"""The places that the conformance suite runs over: a new launcher is one more class here, and its name in
``PLACES``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import urlsplit

import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.engines.dagger import DaggerSession
from vep_dagger.engines.docker import Docker
from vep_dagger.launchers.base import Launcher, Server, ServerSpec
from vep_dagger.launchers.compiled import volume_name
from vep_dagger.launchers.dagger.launcher import DaggerLauncher
from vep_dagger.launchers.dagger.server import DaggerServer
from vep_dagger.launchers.docker.launcher import DockerLauncher
from vep_dagger.launchers.docker.server import DockerServer
from vep_dagger.launchers.fake import FakeLauncher, Script
from vep_dagger.launchers.process import ProcessLauncher, ProcessServer
from vep_dagger.processes.leftovers import find


@dataclass(frozen=True)
class Behaviour:
    """What a server, and a client beside it, are made to do."""

    lines: tuple[str, ...] = ("hello from the server",)
    dies_after_s: float | None = None
    exit_code: int = 0
    ignores_term: bool = False
    workers: int = 0
    """Children that survive a stop."""
    client_lasts_s: float = 0.0
    client_exit_code: int = 0
    client_line: str = "hello from the client"
    server_options: tuple[str, ...] = ()
    """More of ``standin.py``'s, for real places."""
    client_options: tuple[str, ...] = ()


class Place(Protocol):
    """A launcher, and what the suite must know of it."""

    real: ClassVar[bool]
    """Whether commands really run."""
    engine: ClassVar[bool]
    """Whether it needs something that may not be here."""
    listens: ClassVar[str]
    """The address that a server is told to listen on, if it is to be reached at 127.0.0.1."""
    takes_s: ClassVar[float]
    """What a start or a client may take at most before the command runs."""
    counts_workers: ClassVar[bool]
    """Whether processes that outlive their server are killed one by one."""
    protects_mounts: ClassVar[bool]
    """Whether what may only be read cannot be written."""
    image: BuiltImage

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self: ...

    def launcher(self, behaviour: Behaviour) -> Launcher: ...

    def argv(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]: ...

    def client(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]: ...

    def left(self, server: Server) -> list[Any]:
        """What is still alive of a server and its clients."""

    def traces(self, spec: ServerSpec) -> list[Any]:
        """What is there of any server of the spec's directory, started or not."""


def image(paths: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None) -> BuiltImage:
    return BuiltImage("k" * 64, "venv", "an image", (), 0.0, True, env or {}, paths or {})


def answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((urlsplit(url).hostname or "", urlsplit(url).port or 0)) == 0


def standin_server(python: str, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
    words = [python, str(standin), "--host", "{host}", "--port", "{port}"]
    words += [word for line in behaviour.lines for word in ("--line", line)]
    words += ["--exit-code", str(behaviour.exit_code), "--workers", str(behaviour.workers)]
    words += ["--last", str(3600 if behaviour.dies_after_s is None else behaviour.dies_after_s)]
    return (*words, *(["--ignore-term"] if behaviour.ignores_term else []), *behaviour.server_options)


def standin_client(python: str, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
    words = [python, str(standin), "--line", behaviour.client_line, "--fetch", "http://{host}:{port}/health"]
    words += ["--last", str(behaviour.client_lasts_s), "--exit-code", str(behaviour.client_exit_code)]
    return (*words, *behaviour.client_options)


def marks(directory: Path) -> list[Path]:
    return list(directory.glob(".vep-*"))


@dataclass
class ProcessPlace:
    """Real processes of this machine."""

    real: ClassVar[bool] = True
    engine: ClassVar[bool] = False
    listens: ClassVar[str] = "127.0.0.1"
    takes_s: ClassVar[float] = 0.0
    counts_workers: ClassVar[bool] = True
    protects_mounts: ClassVar[bool] = False
    image: BuiltImage = field(default_factory=image)

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        return cls()

    def launcher(self, behaviour: Behaviour) -> Launcher:
        return ProcessLauncher(grace_s=0.5)

    def argv(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return standin_server(sys.executable, behaviour, standin)

    def client(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return standin_client(sys.executable, behaviour, standin)

    def left(self, server: Server) -> list[Any]:
        assert isinstance(server, ProcessServer)
        return find(server.guarded.marker) + self.traces(server.spec)

    def traces(self, spec: ServerSpec) -> list[Any]:
        return marks(spec.directory)


@dataclass
class DockerPlace:
    """Containers of the daemon of this machine."""

    docker: Docker
    image: BuiltImage
    network: str | None = None

    real: ClassVar[bool] = True
    engine: ClassVar[bool] = True
    listens: ClassVar[str] = "0.0.0.0"
    takes_s: ClassVar[float] = 3.0
    counts_workers: ClassVar[bool] = False
    protects_mounts: ClassVar[bool] = True

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        docker: Docker = request.getfixturevalue("docker")
        base: str = request.getfixturevalue("pulled_base")
        made = BuiltImage(uuid.uuid4().hex * 2, "docker", base, (), 0.0, True, {})
        place = cls(docker, made)

        def remove_volumes() -> None:
            # A test may have given it another image meanwhile.
            names = {volume_name(made), volume_name(place.image)}
            subprocess.run([docker.program, "volume", "rm", "--force", *names], check=False, capture_output=True)

        request.addfinalizer(remove_volumes)
        return place

    def launcher(self, behaviour: Behaviour) -> Launcher:
        return DockerLauncher(BuildSettings(network=self.network), replace(self.docker, environ=dict(os.environ)), 0.5)

    def argv(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return standin_server("python3", behaviour, standin)

    def client(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return standin_client("python3", behaviour, standin)

    def left(self, server: Server) -> list[Any]:
        assert isinstance(server, DockerServer)
        inside = self._words("top", server.container.name, "-o", "pid")
        return inside + find(server.guarded.marker) + self.traces(server.container.spec)

    def traces(self, spec: ServerSpec) -> list[Any]:
        label = f"label=dev.vep.run={spec.shared}"
        return self._words("ps", "--all", "--quiet", "--filter", label) + marks(spec.directory)

    def _words(self, *words: str) -> list[Any]:
        asked = [self.docker.program, *words]
        return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60).stdout.split()


class DockerHostPlace(DockerPlace):
    """Containers in the network of this machine."""

    listens: ClassVar[str] = "127.0.0.1"

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        made = super().make(request)
        made.network = "host"
        return made


@dataclass
class DaggerPlace:
    """Execs of a Dagger engine. That what they ran is gone can be seen where the engine is of this machine."""

    session: DaggerSession
    image: BuiltImage

    real: ClassVar[bool] = True
    engine: ClassVar[bool] = True
    listens: ClassVar[str] = "127.0.0.1"
    takes_s: ClassVar[float] = 12.0
    counts_workers: ClassVar[bool] = True
    protects_mounts: ClassVar[bool] = True

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        session: DaggerSession = request.getfixturevalue("own_dagger_session")
        base = session.client.container().from_(request.getfixturevalue("plain_base"))
        made = BuiltImage(uuid.uuid4().hex * 2, "dagger", "an image", (), 0.0, True, {}, handle=base)
        return cls(session, made)

    def launcher(self, behaviour: Behaviour) -> Launcher:
        return DaggerLauncher(BuildSettings(environ=dict(os.environ)), self.session, 0.5)

    def argv(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return standin_server("python3", behaviour, standin)

    def client(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return standin_client("python3", behaviour, standin)

    def left(self, server: Server) -> list[Any]:
        assert isinstance(server, DaggerServer)
        return find(server.marker)

    def traces(self, spec: ServerSpec) -> list[Any]:
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if any(each.endswith(f" {spec.directory}".encode()) for each in file.read_bytes().split(b"\0")):
                    found.append(file.parent.name)
        return found


@dataclass
class FakePlace:
    """Scripted servers in this process."""

    real: ClassVar[bool] = False
    engine: ClassVar[bool] = False
    listens: ClassVar[str] = "127.0.0.1"
    takes_s: ClassVar[float] = 0.0
    counts_workers: ClassVar[bool] = True
    protects_mounts: ClassVar[bool] = False
    image: BuiltImage = field(default_factory=image)

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        return cls()

    def launcher(self, behaviour: Behaviour) -> Launcher:
        return FakeLauncher(
            Script(
                lines=behaviour.lines,
                die_after_s=behaviour.dies_after_s,
                exit_code=behaviour.exit_code,
                refuses_to_stop=behaviour.ignores_term,
                stop_leaves=behaviour.workers,
                bench_seconds=behaviour.client_lasts_s,
                bench_exit_code=behaviour.client_exit_code,
                bench_lines=(behaviour.client_line,),
            )
        )

    def argv(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return ("vllm", "serve", "--host", "{host}", "--port", "{port}")

    def client(self, behaviour: Behaviour, standin: Path) -> tuple[str, ...]:
        return ("vllm", "bench", "serve")

    def left(self, server: Server) -> list[Any]:
        return [server.url] if answers(server.url) else []

    def traces(self, spec: ServerSpec) -> list[Any]:
        return []


PLACES: dict[str, type[Place]] = {
    "process": ProcessPlace,
    "docker": DockerPlace,
    "docker in the host's network": DockerHostPlace,
    "dagger": DaggerPlace,
    "fake": FakePlace,
}
