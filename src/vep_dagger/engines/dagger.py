"""A session with a Dagger engine: that of ``dagger run``, or one that Dagger's command line program opens for us."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from vep_dagger.engines.dagger_client import CLI_VARIABLE, RUNNER_VARIABLE, Address, session_of
from vep_dagger.engines.dagger_trace import Trace
from vep_dagger.errors import MachineError

if TYPE_CHECKING:
    from dagger import Client, Container

T = TypeVar("T")

CONNECT_S = 60.0
"""For the first answer of a session that is open already."""
PULSE_S = 20.0
"""Between two looks whether the engine is alive."""
PATIENCE_S = 120.0
"""For its answer to the smallest question: a machine may be very busy."""
SPEAKS = (0, 21)
"""The engines that the client library in use speaks with."""

WITHOUT = "without Dagger, --builder docker builds with Docker, and --builder venv what is Python alone"
GET_ONE = (
    "install Dagger's CLI 0.21 (https://docs.dagger.io/install: curl -fsSL https://dl.dagger.io/dagger/install.sh | "
    "DAGGER_VERSION=0.21.8 sh; on GitHub: dagger/dagger-for-github), which starts an engine through Docker; or name an "
    f"engine that runs in {RUNNER_VARIABLE}, and the CLI in {CLI_VARIABLE}; {WITHOUT}"
)


@dataclass
class DaggerSession:
    """An open session. ``client`` is ``dagger.dag`` while it lasts; ``address`` is where the session listens."""

    client: Client
    version: str
    """The engine's, as it says it: ``v0.21.8``."""
    address: Address
    trace: Trace
    under_run: bool
    """Whether it is that of a ``dagger run``, which shows what happens itself."""
    log: Path | None
    """Where what the session prints goes."""
    _dead: str | None = None
    _asking: set[anyio.CancelScope] = field(default_factory=set)

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The engine's answer, however long it takes, and as long as the engine lives. Raises MachineError when it does
        not any more; what else is wrong is raised as the library has it.
        """
        import dagger

        if self._dead:
            raise _died(self._dead)
        with anyio.CancelScope() as scope:
            self._asking.add(scope)
            try:
                return await question()
            except (dagger.TransportError, dagger.ClientConnectionError) as error:
                raise _died(str(error)) from error
            finally:
                self._asking.discard(scope)
        raise _died(str(self._dead))

    async def variables(self, container: Container) -> dict[str, str]:
        """The variables of a container, in one question (the library's own way is one a variable)."""
        import dagger
        import httpx

        text = "query($id: ID!) { node(id: $id) { ... on Container { envVariables { name value } } } }"
        order = {"query": text, "variables": {"id": await self.ask(container.id)}}
        try:
            async with httpx.AsyncClient(auth=(self.address.token, ""), timeout=PATIENCE_S, trust_env=False) as client:
                answer = (await client.post(f"{self.address.url}/query", json=order)).raise_for_status().json()
        except httpx.HTTPError as error:
            raise _died(str(error)) from error
        if answer.get("errors"):
            raise dagger.InvalidQueryError(str(answer["errors"][0].get("message")))
        return {each["name"]: each["value"] for each in answer["data"]["node"]["envVariables"]}

    async def pulse(self) -> None:
        """Ask for a sign of life now and then; when there is none, end all that waits for the engine."""
        import dagger

        while True:
            await anyio.sleep(PULSE_S)
            try:
                with anyio.fail_after(PATIENCE_S):
                    await self.client.version()
            except TimeoutError:
                self._give_up(f"it has not answered for {PATIENCE_S:g} s")
                return
            except dagger.DaggerError as error:
                self._give_up(str(error))
                return

    def _give_up(self, why: str) -> None:
        self._dead = why
        for scope in self._asking:
            scope.cancel()


def _died(why: str) -> MachineError:
    return MachineError(
        f"the Dagger engine has gone while it was worked with: {why}",
        hint="look at its log and start it again; then go on with --resume: layers that were finished are not built "
        "again where the engine has kept them (an engine that was killed may have lost them; --keep puts them aside)",
    )


@asynccontextmanager
async def open_dagger(environ: Mapping[str, str]) -> AsyncIterator[DaggerSession]:
    """A session with the engine that ``environ`` leads to. Raises MachineError: no CLI, no engine (what was tried, how
    to get one, what works without), or an engine of another version.
    """
    _load_library()
    async with session_of(environ, GET_ONE) as (address, log), _connected(address, log) as session:
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(session.pulse)
            group.start_soon(session.trace.follow)
            try:
                yield session
            except Exception as error:
                # What happened to others is raised as theirs, not as a group of one.
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure


def _load_library() -> None:
    """Import dagger-io without wrapping its 849 methods in checks of their arguments' types, which takes half a second:
    beartype leaves that out while PYTHONOPTIMIZE is set (beartype/_decor/decormain.py), and ours are checked by mypy.
    """
    before = os.environ.get("PYTHONOPTIMIZE")
    os.environ["PYTHONOPTIMIZE"] = "1"
    try:
        import dagger  # noqa: F401 - for its effect
    finally:
        if before is None:
            del os.environ["PYTHONOPTIMIZE"]
        else:
            os.environ["PYTHONOPTIMIZE"] = before


@asynccontextmanager
async def _connected(address: Address, log: Path | None) -> AsyncIterator[DaggerSession]:
    import dagger

    config = dagger.Config(retry=None)
    with address.in_environment():
        connection = dagger.connection(config)
        try:
            with anyio.fail_after(CONNECT_S):
                await connection.__aenter__()
                version = await dagger.dag.version()
        except TimeoutError:
            raise _unusable(f"no answer within {CONNECT_S:g} s") from None
        except dagger.DaggerError as error:
            raise _unusable(str(error)) from error
    try:
        _refuse_version(version)
        yield DaggerSession(
            dagger.dag, version, address, Trace(address.url, address.token), address.process is None, log
        )
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(10), suppress(dagger.DaggerError):
            await connection.__aexit__(None, None, None)


def _refuse_version(version: str) -> None:
    from importlib.metadata import version as version_of

    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) == SPEAKS:
        return  # an engine that was built by hand calls itself by other names
    raise MachineError(
        f"the Dagger engine is {version}, and the client library (dagger-io {version_of('dagger-io')}) speaks with "
        f"{SPEAKS[0]}.{SPEAKS[1]}",
        hint=f"start an engine of that version, or name one in {RUNNER_VARIABLE}; {WITHOUT}",
    )


def _unusable(why: str) -> MachineError:
    return MachineError(f"the Dagger session cannot be used: {why}", hint=GET_ONE)
