"""The agent and the bridge to it, without an engine: the agent is a process of this machine that has a directory of its
own where this side has the shared one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from vep_dagger.errors import LaunchError
from vep_dagger.launchers.dagger import agent as agent_module
from vep_dagger.launchers.dagger.agent import MARKER, SECRETS, TOKEN
from vep_dagger.launchers.dagger.bridge import Bridge, open_bridge
from vep_dagger.launchers.dagger.remote import Remote
from vep_dagger.launchers.dagger.streams import background
from vep_dagger.processes.leftovers import find

pytestmark = pytest.mark.anyio

AGENT = Path(agent_module.__file__)
STANDIN = Path(__file__).with_name("standin.py")
MARK = "feedbeef" * 4

ECHO = """
import socket, sys, threading
def serve(connection):
    with connection:
        total = 0
        while data := connection.recv(65536):
            total += len(data)
            connection.sendall(data)
        connection.sendall(b"|" + str(total).encode())
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class Place:
    """A bridge, its agent, and a directory that both share."""

    def __init__(self, bridge: Bridge, agent: subprocess.Popen[bytes], group: TaskGroup, shared: Path) -> None:
        self.bridge, self.agent, self.group, self.shared = bridge, agent, group, shared

    async def run(self, *words: str, log: str = "logs/command.log", env: dict[str, str] | None = None) -> Remote:
        return await Remote.start(
            self.bridge,
            self.group,
            words,
            env={"PATH": os.environ["PATH"]} | (env or {}),
            secrets=["HF_TOKEN"],
            cwd=self.shared,
            log=self.shared / log,
            label="test",
            image="an image",
            marker=MARK,
        )

    async def python(self, code: str, *words: str, log: str = "logs/command.log") -> Remote:
        return await self.run(sys.executable, "-c", code, *words, log=log)

    def inside(self, path: str) -> Path:
        """A shared file as the agent sees it."""
        return Path(f"/proc/{self.agent.pid}/root{self.shared}/{path}")


@pytest.fixture
def unshare() -> str:
    program = shutil.which("unshare")
    if program is None or subprocess.run([program, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces: allow unprivileged ones, or run as root")
    return program


@asynccontextmanager
async def a_place(unshare: str, shared: Path, marker: Path | None = None) -> AsyncIterator[Place]:
    shared.mkdir()  # noqa: ASYNC240
    async with open_bridge() as bridge, background() as group:
        env = {"PATH": os.environ["PATH"], "IMAGE": "yes", "HF_TOKEN": "secret", TOKEN: bridge.token}
        env |= {SECRETS: "HF_TOKEN"} | ({MARKER: str(marker)} if marker else {})
        command = [unshare, "-rm", "sh", "-c", 'mount -t tmpfs none "$1"; shift; exec "$@"', "sh", str(shared)]
        command += [sys.executable, "-I", "-S", str(AGENT), "127.0.0.1", str(bridge.port)]
        agent = subprocess.Popen(  # noqa: ASYNC220
            command,
            env=env,
            stderr=subprocess.PIPE,
        )
        assert agent.stderr
        try:
            with anyio.fail_after(20):
                assert await bridge.greeted()
            await bridge.watch([shared])
            yield Place(bridge, agent, group, shared)
            await bridge.say({"do": "end"})
        finally:
            bridge.lose("the test is over")
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(agent.wait, 20)
            agent.stderr.close()
            assert find(MARK) == []


@pytest.fixture
async def far(unshare: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with a_place(unshare, tmp_path / "shared") as made:
        yield made


@pytest.fixture
async def echo(far: Place, unused_port: int) -> AsyncIterator[int]:
    """The port, here, of a server inside that says everything back, and at the end how much it was."""
    server = await far.python(ECHO, str(unused_port), log="logs/echo.log")
    await until(
        lambda: (far.shared / "logs/echo.log").exists() and "ready" in (far.shared / "logs/echo.log").read_text()
    )
    front = unused_port + 1
    await far.bridge.tunnel("127.0.0.1", front, "127.0.0.1", unused_port, server.gone)
    yield front
    await server.stop(0)


@pytest.fixture
def unused_port() -> int:
    import socket

    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port: int = one.getsockname()[1]
            try:
                with socket.create_server(("127.0.0.1", port + 1)):
                    return port
            except OSError:
                continue


async def until(true: Callable[[], Any], limit_s: float = 10.0) -> None:
    with anyio.fail_after(limit_s):
        while not true():  # noqa: ASYNC110 (what is waited for is another process')
            await anyio.sleep(0.02)


async def test_the_agent_says_what_its_place_is_and_no_secret(far: Place) -> None:
    hello = far.bridge.hello
    assert hello is not None
    assert hello.env["IMAGE"] == "yes"
    assert not {"HF_TOKEN", TOKEN, SECRETS} & set(hello.env)
    assert hello.warm is None


async def test_a_command_has_the_declared_environment_and_the_secrets_and_nothing_else(far: Place) -> None:
    command = await far.run(sys.executable, str(STANDIN), "--env", "--last", "0", env={"ONE": "1"})
    assert await command.wait() == 0
    lines = (far.shared / "logs/command.log").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert names - {"LC_CTYPE"} == {"ONE", "PATH", "HF_TOKEN", "VEP_PROCESS", "SPT_NOENV"}


async def test_large_bodies_go_through_a_tunnel_both_ways_and_each_way_ends_by_itself(echo: int) -> None:
    body = os.urandom(1 << 20) * 24
    heard = bytearray()
    async with await anyio.connect_tcp("127.0.0.1", echo) as stream, anyio.create_task_group() as group:

        async def listen() -> None:
            async for chunk in stream:
                heard.extend(chunk)

        group.start_soon(listen)
        await stream.send(body)
        await stream.send_eof()
    assert hashlib.sha256(heard[: len(body)]).digest() == hashlib.sha256(body).digest()
    assert heard[len(body) :] == f"|{len(body)}".encode()


async def test_what_is_streamed_through_a_tunnel_comes_as_it_is_sent(echo: int) -> None:
    async with await anyio.connect_tcp("127.0.0.1", echo) as stream:
        with anyio.fail_after(10):
            for number in range(20):
                word = f"token {number}".encode()
                await stream.send(word)
                assert await stream.receive() == word


async def test_many_connections_go_through_a_tunnel_at_once(echo: int) -> None:
    async def talk(number: int) -> None:
        async with await anyio.connect_tcp("127.0.0.1", echo) as stream:
            await stream.send(str(number).encode() * 1000)
            await stream.send_eof()
            heard = b"".join([chunk async for chunk in stream])
            assert heard.startswith(str(number).encode() * 1000 + b"|")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(talk, number)


async def test_whoever_has_a_servers_answer_has_what_it_wrote_before(far: Place, unused_port: int) -> None:
    code = ECHO.replace("connection.sendall(data)", "print(data.decode(), flush=True); connection.sendall(data)")
    server = await far.python(code, str(unused_port), log="logs/echo.log")
    await until(lambda: "ready" in _text(far.shared / "logs/echo.log"))
    await far.bridge.tunnel("127.0.0.1", unused_port + 1, "127.0.0.1", unused_port, server.gone)
    async with await anyio.connect_tcp("127.0.0.1", unused_port + 1) as stream:
        for number in range(20):
            await stream.send(f"request {number}".encode())
            await stream.receive()
            assert _text(far.shared / "logs/echo.log").endswith(f"request {number}\n")


async def test_a_port_that_nobody_listens_on_resets_the_connection(far: Place, unused_port: int) -> None:
    await far.bridge.tunnel("127.0.0.1", unused_port + 1, "127.0.0.1", unused_port, anyio.Event())
    async with await anyio.connect_tcp("127.0.0.1", unused_port + 1) as stream:
        await stream.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def test_two_tasks_may_stop_a_command_at_once(far: Place) -> None:
    command = await far.python("import time; time.sleep(60)")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(command.stop, 5)
    assert (await command.stop(5)).exit_code == -15


async def test_files_come_as_they_grow_and_whole_when_the_command_has_ended(far: Place) -> None:
    code = """
import os, time
os.makedirs("deep/er")
with open("deep/er/growing", "w") as file:
    file.write("begin\\n"); file.flush()
    while not os.path.exists("go"): time.sleep(0.02)
    file.write("x" * 5_000_000)
open("empty", "w").close()
with open("program", "w") as file: file.write("#!/bin/sh")
os.chmod("program", 0o755)
"""
    command = await far.python(code)
    growing = far.shared / "deep/er/growing"
    await until(lambda: growing.exists() and growing.read_text() == "begin\n")
    far.inside("go").touch()
    assert await command.wait() == 0
    assert growing.read_text() == "begin\n" + "x" * 5_000_000
    assert (far.shared / "empty").read_bytes() == b""
    assert (far.shared / "program").stat().st_mode & 0o777 == 0o755


async def test_a_file_that_is_replaced_renamed_or_written_anew_is_the_same_on_both_sides(far: Place) -> None:
    code = """
import os, time
def settle():
    time.sleep(0.6)
with open("part", "w") as file: file.write("first")
with open("log", "w") as file: file.write("old old old")
with open("same", "w") as file: file.write("1234")
settle()
os.rename("part", "whole")
with open("log", "w") as file: file.write("new content that is longer")
with open("same", "w") as file: file.write("5678")
with open("other.tmp", "w") as file: file.write("second")
settle()
os.rename("other.tmp", "whole")
"""
    assert await (await far.python(code)).wait() == 0
    files = {path.name: path.read_text() for path in far.shared.iterdir() if path.is_file()}
    assert files == {"whole": "second", "log": "new content that is longer", "same": "5678"}


async def test_a_journals_line_is_never_here_before_what_it_tells_of(far: Place) -> None:
    code = """
import json
for number in range(60):
    with open(f"result-{number}.json", "w") as file: file.write("x" * 30_000)
    with open("journal.jsonl", "a") as file: file.write(f"{number}\\n")
"""
    command = await far.python(code)
    journal, done = far.shared / "journal.jsonl", 0
    while done < 60:
        if journal.exists():
            lines = journal.read_text().splitlines()
            for line in lines[done:]:
                assert (far.shared / f"result-{line}.json").stat().st_size == 30_000
            done = len(lines)
        await anyio.sleep(0.001)
    assert await command.wait() == 0


async def test_files_of_here_are_sent_there_once_and_when_they_changed(far: Place) -> None:
    (far.shared / "bench").mkdir()
    script = far.shared / "bench/client.py"
    script.write_text("print('one')\n" + "#" * 1_000_000)
    await far.bridge.push(far.shared / "bench")
    assert await (await far.run(sys.executable, str(script), log="bench/client.log")).wait() == 0
    assert far.bridge.sharing.unsent(far.shared / "bench") == []
    script.write_text("print('two')\n")
    assert far.bridge.sharing.unsent(far.shared / "bench") == [script]
    await far.bridge.push(far.shared / "bench")
    assert await (await far.run(sys.executable, str(script), log="bench/client.log")).wait() == 0
    # What was here before is not lost when a log of the same name grows.
    assert (far.shared / "bench/client.log").read_text() == "one\ntwo\n"
    assert script.read_text() == "print('two')\n"


async def test_nothing_is_written_outside_the_shared_directories(far: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (far.shared / "link").symlink_to(outside)
    header = {"event": "data", "offset": 0, "fresh": True, "mode": 0o644}
    for path in (outside / "a", far.shared / "../outside/b", far.shared / "link/c"):
        far.bridge.sharing.take({**header, "path": str(path)}, b"evil")
    assert list(outside.iterdir()) == []


async def test_a_disk_that_refuses_is_said_when_the_files_are_asked_for(far: Place) -> None:
    (far.shared / "taken").mkdir()
    (far.shared / "taken" / "something").touch()
    await (await far.python("open('taken', 'w').write('a file there, a directory here')")).wait()
    with pytest.raises(LaunchError, match="cannot be written here") as caught:
        await far.bridge.flush()
    assert "taken" in str(caught.value.where)


async def test_a_death_is_told_with_its_code_and_its_last_words(far: Place) -> None:
    command = await far.python("import os; print('last words', flush=True); os._exit(7)")
    assert await command.wait() == 7
    assert (far.shared / "logs/command.log").read_text() == "last words\n"
    stopped = await command.stop(5)
    assert (stopped.exit_code, stopped.clean, stopped.killed) == (7, True, 0)


async def test_what_refuses_to_stop_is_killed_with_its_workers_and_counted(far: Place) -> None:
    code = """
import runpy, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = await far.python(code, str(STANDIN), "--workers", "3", "--daemon", "--line", "up")
    await until(lambda: "up" in _text(far.shared / "logs/command.log"))
    await until(lambda: len(find(MARK)) == 6)
    stopped = await command.stop(0.3)
    assert (stopped.exit_code, stopped.clean, stopped.killed) == (None, False, 5)
    assert find(MARK) == []


async def test_a_command_that_is_given_up_while_it_starts_is_gone(far: Place) -> None:
    with anyio.move_on_after(0):
        await far.python("import time; time.sleep(60)")
    await until(lambda: find(MARK) == [])


async def test_memory_is_told_while_a_command_lives(far: Place) -> None:
    command = await far.python("block = bytearray(50_000_000); import time; time.sleep(60)")
    await until(lambda: (command.memory_bytes() or 0) > 50_000_000)
    await command.stop(0)
    assert command.memory_bytes() is None


async def test_a_program_that_is_not_there_is_said(far: Place) -> None:
    with pytest.raises(LaunchError, match="the program 'nowhere-to-be-found' is not in the image an image"):
        await far.run("nowhere-to-be-found")
    with pytest.raises(LaunchError, match="cannot be run"):
        await far.run("/no/such/program")


async def test_when_the_agent_is_killed_commands_count_as_killed_and_waits_end(far: Place) -> None:
    command = await far.python("import time; time.sleep(60)")
    far.agent.kill()
    with anyio.fail_after(15):
        assert await command.wait() == -9
        assert (await command.stop(5)).exit_code is None
        await far.bridge.flush()
    assert far.bridge.lost is not None
    with pytest.raises(LaunchError, match="is lost"):
        await far.python("pass")
    await until(lambda: find(MARK) == [])


async def test_when_this_side_is_gone_the_agent_kills_everything_and_ends(far: Place) -> None:
    await far.run(sys.executable, str(STANDIN), "--workers", "2", "--daemon", "--line", "up")
    await until(lambda: len(find(MARK)) == 5)
    far.bridge.lose("this side is gone")
    with anyio.fail_after(10):
        assert await anyio.to_thread.run_sync(far.agent.wait) == 1
    assert find(MARK) == []


async def test_a_stranger_without_the_token_gets_nothing(far: Place) -> None:
    for greeting in (b"GET / HTTP/1.1\r\n\r\n", json.dumps({"token": "wrong", "channel": 0}).encode() + b"\n", b"[]\n"):
        stream = await anyio.connect_tcp("127.0.0.1", far.bridge.port)
        async with stream:
            await stream.send(greeting)
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(15):
                await stream.receive()
    assert far.bridge.lost is None
    assert await (await far.python("pass")).wait() == 0


async def test_a_start_is_warm_once_an_earlier_one_has_settled(unshare: str, tmp_path: Path) -> None:
    marker = tmp_path / "cache" / "settled" / "key"
    for number, warm in enumerate((False, False, True)):
        async with a_place(unshare, tmp_path / str(number), marker) as far:
            assert far.bridge.hello is not None
            assert far.bridge.hello.warm is warm
            if number == 1:
                await far.bridge.say({"do": "settled"})
                await until(marker.exists)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
