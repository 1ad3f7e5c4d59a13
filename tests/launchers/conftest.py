"""What the tests of launchers share. The places of the conformance suite are in ``launcher_places.py``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.launchers.launcher_places import PLACES, Behaviour, Place, image
from vep_dagger.builders.base import BuiltImage
from vep_dagger.engines.docker import Docker
from vep_dagger.launchers.base import ServerSpec

if TYPE_CHECKING:
    from vep_dagger.engines.dagger import DaggerSession

STANDIN = Path(__file__).with_name("standin.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes ``place`` over all of them, and what takes ``real_place`` over those that run commands."""
    for fixture, places in {
        "place": PLACES,
        "real_place": {name: place for name, place in PLACES.items() if place.real},
    }.items():
        if fixture in metafunc.fixturenames and (fixture == "real_place" or "real_place" not in metafunc.fixturenames):
            metafunc.parametrize(
                fixture,
                [
                    pytest.param(name, marks=[pytest.mark.engine] if place.engine else [])
                    for name, place in places.items()
                ],
                indirect=True,
            )


@pytest.fixture
def real_place(request: pytest.FixtureRequest) -> str:
    """The name of a place that really runs commands; ``place`` is that place then."""
    return str(request.param)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    chosen = request.getfixturevalue("real_place") if "real_place" in request.fixturenames else request.param
    return PLACES[chosen].make(request)


@pytest.fixture
async def own_dagger_session() -> AsyncIterator[DaggerSession]:
    """A session with a Dagger engine of the test's own event loop, or the test is skipped, loudly."""
    from vep_dagger.engines.dagger import open_dagger
    from vep_dagger.errors import MachineError

    async with AsyncExitStack() as stack:
        try:
            session = await stack.enter_async_context(open_dagger(dict(os.environ)))
        except MachineError:
            pytest.skip(
                "needs a Dagger engine: install Dagger's CLI 0.21, and name an engine in "
                "_EXPERIMENTAL_DAGGER_RUNNER_HOST (unix:///run/dagger/engine.sock) where Docker cannot start one"
            )
        yield session


@pytest.fixture(scope="session")
def pulled_base(docker: Docker, plain_base: str) -> Iterator[str]:
    """The plain base, in Docker; as it was before in the end."""
    present = subprocess.run([docker.program, "image", "inspect", plain_base], capture_output=True, check=False)
    if present.returncode != 0:
        subprocess.run([docker.program, "pull", plain_base], check=True, capture_output=True, timeout=300)
    yield plain_base
    if present.returncode != 0:
        subprocess.run([docker.program, "image", "rm", plain_base], check=False, capture_output=True)


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
    """Ports are locked, and what is compiled and downloaded is kept, in folders of the test's own."""
    folder = tmp_path_factory.mktemp("runtime")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("VEP_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    return folder


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that servers and clients may only read; the stand-in for both is in it."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(STANDIN, folder)
    (folder / "weights").write_text("of the model")
    return folder


@pytest.fixture
def spec(tmp_path: Path, model: Path) -> ServerSpec:
    """A server that does nothing yet: tests replace its command."""
    directory = tmp_path / "server"
    directory.mkdir()
    return ServerSpec(
        "cell-1",
        ("true",),
        {},
        (),
        directory,
        directory / "logs" / "server.log",
        mounts=(model,),
        shared=tmp_path,
        key="d" * 64,
    )
