"""What every launcher does. It is run over all the places of ``launcher_places.PLACES``; what takes ``real_place``,
over those that really run commands."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from tests.launchers.launcher_places import Behaviour, Place
from vep_dagger.errors import LaunchError
from vep_dagger.launchers.base import Server, ServerSpec

pytestmark = pytest.mark.anyio

Start: TypeAlias = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def start(place: Place, spec: ServerSpec, model: Path) -> Start:
    """``start(ignores_term=True)`` starts a server of that behaviour, and waits until it is healthy if it is to be."""

    @asynccontextmanager
    async def starter(
        port: int | None = None, healthy: bool = True, wanted: ServerSpec = spec, **facts: Any
    ) -> AsyncIterator[Server]:
        asked = Behaviour(**facts)
        wanted = replace(wanted, argv=place.argv(asked, model / "standin.py"), port=port)
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


async def test_the_command_that_is_recorded_is_the_one_that_runs(start: Start, place: Place) -> None:
    async with start() as server:
        port = server.url.rpartition(":")[2]
        assert server.url == f"http://127.0.0.1:{port}"
        begin = server.command.index("--host")
        assert server.command[begin : begin + 4] == ("--host", place.listens, "--port", port)


async def test_a_death_is_noticed_within_a_second_with_its_exit_code(start: Start, place: Place) -> None:
    async with start(dies_after_s=0.5 + place.takes_s, exit_code=7) as server:
        assert server.exited() is None
        await until(lambda: not answers(server) or server.exited() is not None, 5 + place.takes_s)
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


async def test_workers_that_outlive_a_stop_are_killed(start: Start, place: Place) -> None:
    async with start(workers=13) as server:
        stopped = await server.stop(0.5)
        assert place.left(server) == []
        # A container's processes end with its first.
        expected = (0, False, 13) if place.counts_workers else (0, True, 0)
        assert (stopped.exit_code, stopped.clean, stopped.killed) == expected


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
    with anyio.CancelScope() as scope:
        async with start(ignores_term=True, workers=2, healthy=False) as server:
            servers.append(server)
            begin = time.monotonic()
            scope.cancel()
            await anyio.sleep_forever()
    assert place.left(servers[0]) == []
    assert time.monotonic() - begin < 5 + 2 * place.takes_s


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3])
async def test_a_start_that_is_cancelled_leaves_nothing(
    start: Start, place: Place, spec: ServerSpec, seconds: float
) -> None:
    with anyio.move_on_after(seconds):
        async with start(healthy=False):
            await anyio.sleep_forever()
    assert place.traces(spec) == []


async def test_a_client_runs_beside_the_server_and_its_exit_code_is_given(
    start: Start, place: Place, model: Path, tmp_path: Path
) -> None:
    asked = Behaviour(client_exit_code=4)
    async with start(client_exit_code=4) as server:
        log = tmp_path / "deeper" / "client.log"
        code = await server.run(place.client(asked, model / "standin.py"), log, {})
        assert code == 4
        assert log.read_text().startswith("hello from the client\n")
        assert server.exited() is None


async def test_a_cancelled_client_is_gone_and_the_server_is_not(
    start: Start, place: Place, model: Path, tmp_path: Path
) -> None:
    asked = Behaviour(client_lasts_s=60.0)
    async with start(client_lasts_s=60.0) as server:
        alone = place.left(server)
        with anyio.move_on_after(0.5 + place.takes_s) as scope:
            await server.run(place.client(asked, model / "standin.py"), tmp_path / "client.log", {})
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


async def test_files_of_a_server_and_of_a_client_are_here_under_the_same_paths(
    start: Start, place: Place, real_place: str, spec: ServerSpec, model: Path, tmp_path: Path
) -> None:
    there = (spec.directory / "cache" / "server.txt", tmp_path / "results" / "client.json")
    async with start(server_options=("--write", f"{there[0]}=of the server")) as server:
        await until(there[0].exists)
        asked = Behaviour(client_options=("--write", f'{there[1]}={{"completed": 3}}'))
        await server.run(place.client(asked, model / "standin.py"), tmp_path / "client.log", {})
        assert json.loads(there[1].read_text()) == {"completed": 3}
    assert there[0].read_text() == "of the server"


async def test_a_client_reads_what_was_written_since_its_server_was_started(
    start: Start, place: Place, real_place: str, model: Path, tmp_path: Path
) -> None:
    orders, log = tmp_path / "raw" / "orders.json", tmp_path / "client.log"
    async with start() as server:
        orders.parent.mkdir()
        orders.write_text("do this")
        await server.run(place.client(Behaviour(client_options=("--show", str(orders))), model / "standin.py"), log, {})
    assert f"{orders} has do this" in log.read_text()


async def test_a_model_is_read_under_its_own_path_and_not_written_where_that_can_be_prevented(
    start: Start, place: Place, real_place: str, spec: ServerSpec, model: Path
) -> None:
    asked = ("--show", str(model / "weights"), "--write", f"{model / 'spoiled'}=x", "--show", str(model / "spoiled"))
    async with start(server_options=asked):
        text = spec.log.read_text()
    assert f"{model / 'weights'} has of the model" in text
    if place.protects_mounts:
        assert f"{model / 'spoiled'} cannot be read" in text
        assert not (model / "spoiled").exists()


def environment(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


async def test_the_environment_is_declared_and_a_clients_is_its_own(
    start: Start,
    place: Place,
    real_place: str,
    spec: ServerSpec,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_ATTENTION_BACKEND", "TRITON")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    cell = {"VLLM_ALL2ALL_BACKEND": "pplx", "TWO_LINES": "one\ntwo=2", "LONG": "x" * 70000, "#ODD": "kept"}
    wanted = replace(spec, env=cell, unset=("HF_HUB_OFFLINE",))
    log = tmp_path / "client.log"
    async with start(wanted=wanted, server_options=("--env",)) as server:
        asked = Behaviour(client_options=("--env",))
        await server.run(place.client(asked, model / "standin.py"), log, {"CLIENT": "1"})
    server_has, client_has = environment(spec.log.read_text()), environment(log.read_text())
    assert (server_has["VLLM_ALL2ALL_BACKEND"], server_has["LONG"]) == ("pplx", "x" * 70000)
    assert (server_has["TWO_LINES"], server_has["two"], server_has["#ODD"]) == ("one", "2", "kept")
    assert server_has["PYTHONUNBUFFERED"] == "1"
    assert (client_has["CLIENT"], client_has["HF_ENDPOINT"]) == ("1", "https://hub.example")
    assert not {"VLLM_ATTENTION_BACKEND", "HF_HUB_OFFLINE"} & (server_has.keys() | client_has.keys())
    assert not (cell.keys() | {"VLLM_CACHE_ROOT"}) & client_has.keys()


async def test_a_token_reaches_a_server_and_no_command_line_or_record(
    start: Start, place: Place, real_place: str, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    seen = spec.directory / "seen"
    async with start(server_options=("--write", f"{seen}=$HF_TOKEN", "--line", "fine")) as server:
        lines = command_lines()
        shown = repr(server) + repr(server.command)
        await until(seen.exists)
    assert seen.read_text() == "hf_secret"
    assert [line for line in lines if b"hf_secret" in line] == []
    assert "hf_secret" not in shown + spec.log.read_text()


def command_lines() -> list[bytes]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(file.read_bytes())
    return found


async def test_a_start_is_warm_once_the_same_deployment_was_healthy_and_finds_what_that_has_compiled(
    start: Start, place: Place, real_place: str, spec: ServerSpec
) -> None:
    kernel = "$VLLM_CACHE_ROOT/kernel"
    async with start(server_options=("--write", f"{kernel}=compiled")) as server:
        assert server.warm is False
    # It was never said to be healthy.
    async with start() as server:
        assert server.warm is False
        await server.settled()
    async with start(server_options=("--show", kernel)) as server:
        assert server.warm is True
    assert "kernel has compiled" in spec.log.read_text()
    async with start(wanted=replace(spec, key="e" * 64)) as server:
        assert server.warm is False


async def test_an_image_never_finds_what_another_has_compiled(start: Start, place: Place, real_place: str) -> None:
    async with start() as server:
        await server.settled()
    place.image = replace(place.image, digest="sha256:" + "7" * 64)
    async with start() as server:
        assert server.warm is False


async def test_a_cell_decides_where_its_server_keeps_what_it_compiles(
    start: Start, real_place: str, spec: ServerSpec
) -> None:
    wanted = replace(spec, env={"VLLM_CACHE_ROOT": "/somewhere"}, unset=("TRITON_CACHE_DIR",))
    async with start(wanted=wanted, server_options=("--env",)):
        seen = environment(spec.log.read_text())
    assert seen["VLLM_CACHE_ROOT"] == "/somewhere"
    assert "TRITON_CACHE_DIR" not in seen


async def test_a_program_that_the_image_lacks_is_named_with_the_image(
    place: Place, real_place: str, spec: ServerSpec
) -> None:
    with pytest.raises(LaunchError, match="the program 'vllm-not-here' is not in the image") as caught:
        async with place.launcher(Behaviour()).start(place.image, replace(spec, argv=("vllm-not-here", "serve"))):
            pass
    assert place.image.location in caught.value.what
    assert place.traces(spec) == []


async def test_a_server_works_in_its_directory(start: Start, real_place: str, spec: ServerSpec) -> None:
    async with start(server_options=("--write", "./here=x")):
        await until((spec.directory / "here").exists)
