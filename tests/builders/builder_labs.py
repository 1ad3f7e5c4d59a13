"""One laboratory a builder: how the conformance suites make it, ask it, and look into its results.

A new builder is one class and one line of :data:`KINDS`. What a builder cannot do by nature is said there, as a
capability that it lacks, and the tests of that are not asked of it.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import anyio
import pytest

from vep_dagger.builders.base import Builder, BuiltImage, BuiltLayer
from vep_dagger.builders.manifest import read_manifest
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.stages import MANIFEST
from vep_dagger.builders.venv.builder import VenvBuilder
from vep_dagger.dsl import PLAIN, Build, Image, Layer

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from vep_dagger.engines.dagger import DaggerSession
    from vep_dagger.engines.docker import Docker

T = TypeVar("T")

Capability: TypeAlias = Literal["root", "own-cache"]
"""``root``: images have a root file system, and so layers, sources, a loader, any command. ``own-cache``: results lie
in a directory of ours, where what is finished and half-made can be counted, and any process can build.
"""


class Lab(Protocol):
    name: str
    log: Path
    said: list[str]
    heard: list[BuiltLayer]
    """What the last build told of its layers."""
    environ: dict[str, str]
    """The variables of the machine that builders made from now on believe to be on."""
    place: str
    """A directory that steps of an image's own chain may write into, and that is there once :attr:`begin` is done."""
    begin: Build
    """What a chain begins with before commands can be run. No two labs begin alike, so that nothing is built yet."""

    def builder(self) -> Builder: ...

    def script(self, code: str) -> tuple[str, ...]:
        """The command that runs Python code in a step, a check, or a result."""

    def ready(self, image: Image) -> None:
        """Asks the builder whether the machine can build it now."""

    def build(self, image: Image) -> BuiltImage: ...

    def run(self, built: BuiltImage, *argv: str) -> str:
        """What a program of the result prints, with the result's own environment."""

    def mode(self, built: BuiltImage, path: str) -> int: ...
    def manifest(self, built: BuiltImage) -> dict[str, Any]: ...
    def wheels(self, build: Build, *files: Path) -> tuple[Build, tuple[str, ...]]:
        """The chain, whose next steps can reach wheels, and the places where they are."""

    def close(self) -> None: ...


class OwnCacheLab(Lab, Protocol):
    outside: Path
    """A directory that the commands of a build can reach under its own name, and that is none of its content."""

    def in_place(self) -> int:
        """How many results there are."""

    def half_made(self) -> int:
        """How many unfinished ones there are."""

    def process(self, image: Image, log: Path) -> subprocess.Popen[str]:
        """The same build in a process of its own; it prints what the builder says, and last whether it was cached."""


def read(lab: Lab, built: BuiltImage, path: str) -> str:
    """The text of a file of a result."""
    return lab.run(built, *lab.script(f"print(open({path!r}, encoding='utf-8').read(), end='')"))


class VenvLab:
    name = "venv"
    place = "/venv"

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.cache = directory / "cache"
        self.outside = directory / "outside"
        self.outside.mkdir()
        self.log = directory / "build.log"
        self.said: list[str] = []
        self.heard: list[BuiltLayer] = []
        self.environ = environ
        self.begin = Build().python(">=3.11")
        self._builders: list[VenvBuilder] = []
        self._processes: list[subprocess.Popen[str]] = []

    def builder(self) -> VenvBuilder:
        made = VenvBuilder(self.cache, environ=self.environ, min_free_bytes=0)
        self._builders.append(made)
        return made

    def script(self, code: str) -> tuple[str, ...]:
        return ("/venv/bin/python", "-c", code)

    def ready(self, image: Image) -> None:
        anyio.run(self.builder().ready, image)

    def build(self, image: Image) -> BuiltImage:
        self.heard.clear()
        return anyio.run(self.builder().build, image, self.log, self.said.append, self.heard.append)

    def run(self, built: BuiltImage, *argv: str) -> str:
        command = [built.translate(argument) for argument in argv]
        env = {"PATH": os.environ["PATH"], **built.env}
        return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=True).stdout.strip()

    def mode(self, built: BuiltImage, path: str) -> int:
        return Path(built.translate(path)).stat().st_mode & 0o7777

    def manifest(self, built: BuiltImage) -> dict[str, Any]:
        manifest = read_manifest(Path(built.location))
        assert manifest is not None
        return manifest.model_dump()

    def wheels(self, build: Build, *files: Path) -> tuple[Build, tuple[str, ...]]:
        return build, tuple(dict.fromkeys(str(file.parent) for file in files))

    def in_place(self) -> int:
        environments = self.cache / "venv"
        return len([path for path in environments.glob("*") if len(path.name) == 64]) if environments.is_dir() else 0

    def half_made(self) -> int:
        return sum(len(list((self.cache / "venv" / name).glob("*"))) for name in ("building", "trash"))

    def process(self, image: Image, log: Path) -> subprocess.Popen[str]:
        order = self.outside / f"{log.name}.order"
        order.write_bytes(pickle.dumps((self.cache, self.environ, image, log)))
        started = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("build_in_process.py")), str(order)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(started)
        return started

    def close(self) -> None:
        for builder in self._builders:
            builder.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


class RootLab:
    """What the labs of all engines for containers have in common. ``fresh`` is a text that nobody else has."""

    name: str
    place = "/opt/place"

    def __init__(self, directory: Path, environ: dict[str, str], plain: str) -> None:
        self.directory = directory
        self.log = directory / "build.log"
        self.said: list[str] = []
        self.heard: list[BuiltLayer] = []
        self.environ = environ
        self.fresh = uuid.uuid4().hex
        self.begin = Build().write(f"{self.place}/.fresh", self.fresh)
        self.settings = BuildSettings(plain_base=plain, directory=directory, network="host", environ=environ)

    def script(self, code: str) -> tuple[str, ...]:
        return ("python3", "-c", code)

    def builder(self) -> Builder:
        raise NotImplementedError

    def call(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Run a coroutine function where the engine's session lives."""
        return anyio.run(function, *arguments)

    def ready(self, image: Image) -> None:
        self.call(self.builder().ready, image)

    def build(self, image: Image) -> BuiltImage:
        self.heard.clear()
        return self.call(partial(self.builder().build, image, self.log, self.said.append, self.heard.append))

    def build_all(self, *images: Image) -> list[BuiltImage]:
        """Build images at the same time, with one builder."""
        builder, built = self.builder(), dict[int, BuiltImage]()

        async def one(at: int, image: Image) -> None:
            built[at] = await builder.build(image, self.log.with_name(f"{at}.log"), self.said.append)

        async def all_of_them() -> None:
            async with anyio.create_task_group() as group:
                for at, image in enumerate(images):
                    group.start_soon(one, at, image)

        self.call(all_of_them)
        return [built[at] for at in range(len(images))]

    def change(self, **settings: object) -> None:
        """Other settings for builders made from now on."""
        self.settings = replace(self.settings, **settings)  # type: ignore[arg-type]

    def layer(self, name: str, build: Build, *needs: Layer, **more: Any) -> Layer:
        """A layer that nobody has built yet: its prefix is ``/opt/<name>``, its base the plain one."""
        fields: dict[str, Any] = {"prefix": f"/opt/{name}", "base": PLAIN, "needs": needs, **more}
        return Layer(
            name=name, build=replace(build, steps=(*Build().env(FRESH=self.fresh).steps, *build.steps)), **fields
        )

    def run(self, built: BuiltImage, *argv: str) -> str:
        raise NotImplementedError

    def mode(self, built: BuiltImage, path: str) -> int:
        return int(self.run(built, "stat", "-c", "%a", path), 8)

    def manifest(self, built: BuiltImage) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self.run(built, "cat", MANIFEST))
        return manifest

    def states(self, built: BuiltImage) -> dict[str, str]:
        """What became of each layer."""
        return {layer.name: layer.state for layer in built.layers}

    def wheels(self, build: Build, *files: Path) -> tuple[Build, tuple[str, ...]]:
        from hashlib import sha256

        from vep_dagger.dsl import http

        for file in files:
            source = http(file.as_uri(), sha256(file.read_bytes()).hexdigest())
            build = build.mount(source, f"/wheels/{file.parent.name}/{file.name}")
        return build, tuple(dict.fromkeys(f"/wheels/{file.parent.name}" for file in files))

    def close(self) -> None: ...


class DockerLab(RootLab):
    name = "docker"

    def __init__(self, directory: Path, environ: dict[str, str], plain: str, docker: Docker) -> None:
        super().__init__(directory, environ, plain)
        self.docker = docker

    def builder(self) -> Builder:
        from vep_dagger.builders.docker.builder import DockerBuilder

        return DockerBuilder(self.settings, self.docker)

    def run(self, built: BuiltImage, *argv: str) -> str:
        command = [self.docker.program, "run", "--rm", "--network=none", "--entrypoint", argv[0], built.location]
        done = subprocess.run([*command, *argv[1:]], env=dict(self.docker.environ), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class DaggerLab(RootLab):
    name = "dagger"

    def __init__(
        self, directory: Path, environ: dict[str, str], plain: str, session: DaggerSession, portal: BlockingPortal
    ) -> None:
        super().__init__(directory, environ, plain)
        self.session = session
        self.portal = portal

    def builder(self) -> Builder:
        from vep_dagger.builders.dagger.builder import DaggerBuilder

        return DaggerBuilder(self.settings, self.session)

    def call(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        return self.portal.call(function, *arguments)

    def run(self, built: BuiltImage, *argv: str) -> str:
        import dagger

        container = built.handle
        assert isinstance(container, dagger.Container)

        async def ask() -> str:
            return await container.with_exec(list(argv)).stdout()

        return self.call(ask).strip()


@dataclass(frozen=True)
class Kind:
    """How the lab of a builder is made, and what the builder can do."""

    make: Callable[[pytest.FixtureRequest, Path, dict[str, str]], Any]
    can: frozenset[Capability]


def _venv(request: pytest.FixtureRequest, directory: Path, environ: dict[str, str]) -> VenvLab:
    return VenvLab(directory, environ)


def _docker(request: pytest.FixtureRequest, directory: Path, environ: dict[str, str]) -> DockerLab:
    docker = request.getfixturevalue("docker")
    return DockerLab(directory, environ, request.getfixturevalue("plain_base"), docker)


def _dagger(request: pytest.FixtureRequest, directory: Path, environ: dict[str, str]) -> DaggerLab:
    session = request.getfixturevalue("dagger_session")
    portal = request.getfixturevalue("dagger_portal")
    return DaggerLab(directory, environ, request.getfixturevalue("plain_base"), session, portal)


KINDS: Mapping[str, Kind] = {
    "venv": Kind(_venv, frozenset({"own-cache"})),
    "docker": Kind(_docker, frozenset({"root"})),
    "dagger": Kind(_dagger, frozenset({"root"})),
}


def kinds(*can: Capability) -> list[Any]:
    """The builders that can do all of this, as parameters of a fixture."""
    found = [name for name, kind in KINDS.items() if set(can) <= kind.can]
    return [pytest.param(name, marks=[pytest.mark.engine] if "root" in KINDS[name].can else []) for name in found]
