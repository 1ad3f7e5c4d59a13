"""The places that the conformance suite runs over: a new launcher is one more class here, and its name in
``PLACES``."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.launchers.base import Launcher, Server, ServerSpec
from vep_dagger.launchers.fake import FakeLauncher, Script
from vep_dagger.launchers.process import ProcessLauncher, ProcessServer
from vep_dagger.processes.leftovers import find

STANDIN = Path(__file__).with_name("standin.py")


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


class Place(Protocol):
    """A launcher, and what the suite must know of it."""

    image: BuiltImage

    def launcher(self, behaviour: Behaviour) -> Launcher: ...

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]: ...

    def client(self, behaviour: Behaviour) -> tuple[str, ...]: ...

    def left(self, server: Server) -> list[Any]:
        """What is still alive of a server and its clients."""


def image(paths: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None) -> BuiltImage:
    return BuiltImage("k" * 64, "venv", "an image", (), 0.0, True, env or {}, paths or {})


def answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((urlsplit(url).hostname or "", urlsplit(url).port or 0)) == 0


@dataclass
class ProcessPlace:
    """Real processes of this machine."""

    image: BuiltImage = field(default_factory=image)

    def launcher(self, behaviour: Behaviour) -> Launcher:
        return ProcessLauncher(grace_s=0.5)

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]:
        words = [sys.executable, str(STANDIN), "--host", "{host}", "--port", "{port}"]
        words += [word for line in behaviour.lines for word in ("--line", line)]
        words += ["--exit-code", str(behaviour.exit_code), "--workers", str(behaviour.workers)]
        words += ["--last", str(3600 if behaviour.dies_after_s is None else behaviour.dies_after_s)]
        return (*words, *(["--ignore-term"] if behaviour.ignores_term else []))

    def client(self, behaviour: Behaviour) -> tuple[str, ...]:
        words = [
            sys.executable,
            str(STANDIN),
            "--line",
            behaviour.client_line,
            "--fetch",
            "http://{host}:{port}/health",
        ]
        return (*words, "--last", str(behaviour.client_lasts_s), "--exit-code", str(behaviour.client_exit_code))

    def left(self, server: Server) -> list[Any]:
        assert isinstance(server, ProcessServer)
        return find(server.guarded.marker) + list(server.spec.directory.glob(".vep-process-*"))


@dataclass
class FakePlace:
    """Scripted servers in this process."""

    image: BuiltImage = field(default_factory=image)

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

    def argv(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("vllm", "serve", "--host", "{host}", "--port", "{port}")

    def client(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("vllm", "bench", "serve")

    def left(self, server: Server) -> list[Any]:
        return [server.url] if answers(server.url) else []


PLACES: dict[str, type[Place]] = {"process": ProcessPlace, "fake": FakePlace}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]()


@pytest.fixture
def behaviour() -> type[Behaviour]:
    return Behaviour


@pytest.fixture
def make_image() -> Callable[..., BuiltImage]:
    return image


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ports are locked in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("runtime")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    """A server that does nothing yet: tests replace its command."""
    return ServerSpec("cell-1", ("true",), {}, (), tmp_path, tmp_path / "logs" / "server.log")
