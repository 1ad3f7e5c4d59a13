"""For all tests: one that cannot run here says what is missing and how to get it, and the output ends with that."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from vep_dagger.engines.dagger import DaggerSession
    from vep_dagger.engines.docker import Docker

ENGINES = ("docker", "dagger_session", "loopback_registry", "plain_base")
"""Fixtures of parts of this machine: who uses one is marked ``engine``."""

DAGGER_PATIENCE_S = 120
"""Seconds for an engine to answer; a CLI that has none starts one, if it can."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "engine: needs Docker, a Dagger engine or a registry (`-m 'not engine'` without)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses an engine."""
    for item in items:
        if isinstance(item, pytest.Function) and not set(ENGINES).isdisjoint(item.fixturenames):
            item.add_marker("engine")


@pytest.fixture
def needs() -> Callable[[str, str], str]:
    """``needs("chromium", "apt-get install chromium")``: the program's path, or the test is skipped, loudly."""

    def find(program: str, how: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"needs {program}: {how}")
        return path

    return find


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """Docker that can build, or the test is skipped, loudly. Images that tests have left are removed in the end."""
    import anyio

    from vep_dagger.engines.docker import find_docker
    from vep_dagger.errors import MachineError

    try:
        found = anyio.run(find_docker, dict(os.environ))
    except MachineError:
        pytest.skip(
            "needs Docker: apt-get install docker.io, and start dockerd (a container may need --iptables=false)"
        )
    before = _images(found)
    yield found
    ours = ("vep/probe:", "vep/docker-probe:", "vep/kept:", "vep/own:", "127.0.0.1:")
    left = {image.rpartition(" ")[2] for image in _images(found) - before if image.startswith(ours)}
    if left:
        subprocess.run([found.program, "rmi", "--force", *sorted(left)], stdout=subprocess.DEVNULL, check=False)


def _images(docker: Docker) -> set[str]:
    """Name and id of each image that the daemon has."""
    words = [docker.program, "images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]
    return set(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines())


@pytest.fixture(scope="session")
def dagger_portal() -> Iterator[BlockingPortal]:
    """The event loop that the Dagger session lives in: ``dagger_portal.call(function, …)`` runs there."""
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def dagger_session(dagger_portal: BlockingPortal) -> Iterator[DaggerSession]:
    """A session with a Dagger engine, of ``dagger_portal``'s event loop, or the test is skipped, loudly."""
    import anyio

    from vep_dagger.engines.dagger import open_dagger
    from vep_dagger.errors import MachineError

    @asynccontextmanager
    async def opened() -> AsyncIterator[DaggerSession]:
        with anyio.CancelScope(deadline=anyio.current_time() + DAGGER_PATIENCE_S) as scope:
            async with open_dagger(dict(os.environ)) as session:
                scope.deadline = math.inf
                yield session
        if scope.cancelled_caught:
            raise TimeoutError

    with ExitStack() as stack:
        try:
            session = stack.enter_context(dagger_portal.wrap_async_context_manager(opened()))
        except (MachineError, TimeoutError):
            pytest.skip(
                "needs a Dagger engine: install Dagger's CLI 0.21, and name an engine in "
                "_EXPERIMENTAL_DAGGER_RUNNER_HOST (unix:///run/dagger/engine.sock) where Docker cannot start one"
            )
        yield session


@pytest.fixture(scope="session")
def loopback_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``127.0.0.1:PORT`` of an empty registry that speaks plain HTTP, or the test is skipped, loudly."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry: apt-get install docker-registry")
    from tests.registry_process import registry

    with registry(program, tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def plain_base(request: pytest.FixtureRequest) -> str:
    """The plain base of images (Debian with Python, gcc and make), by digest: what VEP_PLAIN_BASE names, else one that
    is made once; or the test is skipped, loudly.
    """
    named = os.environ.get("VEP_PLAIN_BASE")
    if named:
        return named
    import plain_base as script

    try:
        made: Path = script.archive(script.cache_directory())
    except script.CannotMakeError as error:
        pytest.skip(f"needs a plain base ({error}): {script.HOW}")
    return script.push(made, request.getfixturevalue("loopback_registry"))


def missing_things(reasons: list[str]) -> Iterator[str]:
    """One line for each thing that was missing: how many tests went without it, and how to get it."""
    for reason, count in Counter(reasons).items():
        thing, colon, how = reason.partition(": ")
        tests = f"{count} test{'s' if count > 1 else ''} skipped"
        if thing.startswith("needs ") and colon:
            yield f"{tests} for want of {thing.removeprefix('needs ')}. To run them: {how}"
        else:
            yield f"{tests}: {reason}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Skips are loud: what was not tested is the last thing before the closing line."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in skipped if isinstance(report.longrepr, tuple)]
    if reasons:
        terminalreporter.section("not tested here")
        for line in missing_things(reasons):
            terminalreporter.line(line, yellow=True)
