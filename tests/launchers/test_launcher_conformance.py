"""What every launcher does. It is run over all the places of ``conftest.PLACES``."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from vep_dagger.errors import LaunchError
from vep_dagger.launchers.base import Server, ServerSpec

pytestmark = pytest.mark.anyio

# conftest.py holds the classes; a fixture gives them, since test folders are no packages.
Place: TypeAlias = Any
Start: TypeAlias = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def start(place: Place, spec: ServerSpec, behaviour: Callable[..., Any]) -> Start:
    """``start(ignores_term=True)`` starts a server of that behaviour, and waits until it is healthy if it is to be."""

    @asynccontextmanager
    async def starter(port: int | None = None, healthy: bool = True, **facts: Any) -> AsyncIterator[Server]:
        asked = behaviour(**facts)
        wanted = replace(spec, argv=place.argv(asked), port=port)
        async with place.launcher(asked).start(place.image, wanted) as server:
            if healthy:
                await until_healthy(server)
            yield server

    return starter


async def until_healthy(server: Server, limit_s: float = 10.0) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with anyio.fail_after(limit_s):
            while True:
                try:
                    if (await client.get(f"{server.url}/health")).status_code == 200:
                        return
                except httpx.TransportError:
                    assert server.exited() is None
                await anyio.sleep(0.02)


def answers(server: Server) -> bool:
    url = urlsplit(server.url)
    with socket.socket() as probe:
        return probe.connect_ex((url.hostname, url.port)) == 0


async def until(true: Callable[[], Any], limit_s: float = 5.0) -> None:
    with anyio.fail_after(limit_s):
        while not true():  # noqa: ASYNC110 (what is waited for is another process')
            await anyio.sleep(0.01)


async def test_a_server_answers_at_its_url_and_lives_until_the_context_is_left(start: Start, place: Place) -> None:
    async with start() as server:
        assert server.exited() is None
        assert place.left(server)
    assert server.exited() == 0
    assert place.left(server) == []


async def test_the_log_shows_lines_while_the_server_lives_after_what_was_there(start: Start, spec: ServerSpec) -> None:
    spec.log.parent.mkdir()
    spec.log.write_text("of an earlier start\n")
    async with start(lines=("Using DEEPGEMM backend", "ready")):
        await until(lambda: spec.log.exists() and "ready\n" in spec.log.read_text())
        assert spec.log.read_text().startswith("of an earlier start\nUsing DEEPGEMM backend\nready\n")


async def test_the_command_that_is_recorded_is_the_one_that_runs(start: Start) -> None:
    async with start() as server:
        port = server.url.rpartition(":")[2]
        assert server.url == f"http://127.0.0.1:{port}"
        begin = server.command.index("--host")
        assert server.command[begin : begin + 4] == ("--host", "127.0.0.1", "--port", port)


async def test_a_death_is_noticed_within_a_second_with_its_exit_code(start: Start) -> None:
    async with start(dies_after_s=0.5, exit_code=7) as server:
        assert server.exited() is None
        await until(lambda: not answers(server))
        await until(lambda: server.exited() is not None, 1.0)
        assert server.exited() == 7


async def test_waiting_ends_with_the_server_for_everybody_who_waits(start: Start) -> None:
    codes = []

    async def wait(server: Server) -> None:
        codes.append(await server.wait())

    async with start(healthy=False, dies_after_s=0.3, exit_code=7) as server:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, server)
                tasks.start_soon(wait, server)
    assert codes == [7, 7]


async def test_a_wait_that_is_given_up_leaves_the_server_alone(start: Start) -> None:
    async with start() as server:
        with anyio.move_on_after(0.05):
            await server.wait()
        assert server.exited() is None
        await until_healthy(server)


async def test_a_server_that_ends_when_asked_stops_cleanly(start: Start, place: Place) -> None:
    async with start() as server:
        stopped = await server.stop(5)
        assert place.left(server) == []
        assert (stopped.exit_code, stopped.clean, stopped.killed) == (0, True, 0)
        assert stopped.seconds < 2


async def test_a_server_that_does_not_end_when_asked_is_killed_after_the_grace(start: Start, place: Place) -> None:
    async with start(ignores_term=True) as server:
        stopped = await server.stop(0.4)
        assert place.left(server) == []
        assert (stopped.exit_code, stopped.clean, stopped.killed) == (None, False, 1)
        assert 0.4 <= stopped.seconds < 2


async def test_workers_that_outlive_a_stop_are_killed_and_counted(start: Start, place: Place) -> None:
    async with start(workers=13) as server:
        stopped = await server.stop(0.5)
        assert place.left(server) == []
        assert (stopped.exit_code, stopped.clean, stopped.killed) == (0, False, 13)


async def test_stopping_twice_or_by_two_tasks_gives_the_same_answer(start: Start) -> None:
    told = []

    async def stop(server: Server) -> None:
        told.append(await server.stop(0.3))

    async with start(ignores_term=True) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop, server)
            tasks.start_soon(stop, server)
        await stop(server)
    assert told[0] == told[1] == told[2]


async def test_stopping_a_dead_server_tells_how_it_died(start: Start, place: Place) -> None:
    async with start(healthy=False, dies_after_s=0.0, exit_code=3) as server:
        await server.wait()
        stopped = await server.stop(5)
        assert (stopped.exit_code, stopped.clean, stopped.killed) == (3, True, 0)
    assert place.left(server) == []


async def test_an_error_while_a_server_runs_comes_out_as_it_is_and_leaves_nothing(start: Start, place: Place) -> None:
    with pytest.raises(ZeroDivisionError):
        async with start(workers=2) as server:
            _ = 1 / 0
    assert place.left(server) == []


async def test_a_cancelled_run_leaves_nothing_and_does_not_last(start: Start, place: Place) -> None:
    servers: list[Server] = []
    begin = time.monotonic()
    with anyio.move_on_after(0.5):
        async with start(ignores_term=True, workers=2, healthy=False) as server:
            servers.append(server)
            await anyio.sleep_forever()
    assert place.left(servers[0]) == []
    assert time.monotonic() - begin < 5


async def test_a_client_runs_beside_the_server_and_its_exit_code_is_given(
    start: Start, place: Place, behaviour: Callable[..., Any], tmp_path: Path
) -> None:
    facts = {"client_exit_code": 4}
    async with start(**facts) as server:
        log = tmp_path / "deeper" / "client.log"
        code = await server.run(place.client(behaviour(**facts)), log, {})
        assert code == 4
        assert log.read_text().startswith("hello from the client\n")
        assert server.exited() is None


async def test_a_cancelled_client_is_gone_and_the_server_is_not(
    start: Start, place: Place, behaviour: Callable[..., Any], tmp_path: Path
) -> None:
    facts = {"client_lasts_s": 60.0}
    async with start(**facts) as server:
        alone = place.left(server)
        with anyio.move_on_after(0.5) as scope:
            await server.run(place.client(behaviour(**facts)), tmp_path / "client.log", {})
        assert scope.cancelled_caught
        assert place.left(server) == alone
        await until_healthy(server)


async def test_memory_is_known_while_the_server_lives(start: Start) -> None:
    async with start() as server:
        assert (server.memory_bytes() or 0) > 1 << 20
    assert server.memory_bytes() is None


async def test_a_fixed_port_is_used(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with start(port=port) as server:
        assert server.url == f"http://127.0.0.1:{port}"


async def test_a_fixed_port_in_use_is_refused_with_its_holder_and_nothing_is_touched(
    start: Start, spec: ServerSpec
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port} of 127.0.0.1 is in use by pid") as caught:
            async with start(port=port):
                pass
    assert caught.value.exit_code == 2
    assert not spec.log.exists()


async def test_two_servers_never_get_the_same_port(start: Start) -> None:
    async with start(healthy=False) as one, start(healthy=False) as other:
        assert one.url != other.url
