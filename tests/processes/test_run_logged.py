"""Commands that run to their end, with their output in a log."""

# ruff: noqa: ASYNC240 (a test may wait for its own small files)

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from vep_dagger.errors import LaunchError
from vep_dagger.processes.run import run_logged

pytestmark = pytest.mark.anyio

Run = Callable[..., Awaitable[int]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "log"


@pytest.fixture
def shell(tmp_path: Path, log: Path) -> Run:
    async def run(text: str, **options: Any) -> int:
        return await run_logged(
            ["/bin/sh", "-c", text], env={"PATH": os.environ["PATH"]}, cwd=tmp_path, log=log, **options
        )

    return run


# Seconds that no other run of these tests sleeps.
LONG = f"300.{os.getpid()}"


def sleepers() -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if LONG in (p.info["cmdline"] or [])]


async def test_output_and_errors_are_appended_and_the_exit_code_is_given(shell: Run, log: Path) -> None:
    log.parent.mkdir()
    log.write_text("before\n")
    assert await shell("echo out; echo err >&2; exit 3") == 3
    assert log.read_text() == "before\nout\nerr\n"
    assert await shell("kill -9 $$") == -signal.SIGKILL


async def test_lines_are_told_as_they_come_without_what_was_there_before(shell: Run, log: Path) -> None:
    log.parent.mkdir()
    log.write_text("before\n")
    heard: list[tuple[float, str]] = []
    begin = time.monotonic()
    await shell(
        "echo one; sleep 1; printf two; printf ' three\\nrest'",
        on_line=lambda line: heard.append((time.monotonic() - begin, line)),
    )
    assert [line for _, line in heard] == ["one", "two three", "rest"]
    assert heard[0][0] < heard[1][0] - 0.7


async def test_a_hundred_megabytes_are_neither_lost_nor_a_standstill(shell: Run, log: Path) -> None:
    count = 0
    turns = 0

    def count_line(line: str) -> None:
        nonlocal count
        count += 1
        assert len(line) == 99

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        line = "x" * 99
        text = f"{sys.executable} -c \"import sys; [sys.stdout.write(('{line}\\n') * 10000) for _ in range(100)]\""
        assert await shell(text, on_line=count_line) == 0
        tasks.cancel_scope.cancel()
    assert (count, log.stat().st_size) == (1_000_000, 100_000_000)
    assert turns > 10


async def test_a_command_that_closes_its_output_early_is_waited_for(shell: Run, log: Path) -> None:
    heard: list[str] = []
    assert await shell("echo bye; exec >&- 2>&-; sleep 0.5; exit 6", on_line=heard.append) == 6
    assert heard == ["bye"]


async def test_what_lingers_may_still_write_and_is_gone_at_the_end(shell: Run) -> None:
    heard: list[str] = []
    assert await shell(f"(sleep 0.3; echo late) & sleep {LONG} & echo early", on_line=heard.append, grace_s=0.0) == 0
    assert heard == ["early", "late"]
    assert sleepers() == []


async def test_a_cancelled_command_is_gone_with_all_of_its_tree(shell: Run) -> None:
    with anyio.move_on_after(0.6) as scope:
        await shell(f"(setsid sleep {LONG} &) ; sleep {LONG} & sleep {LONG}", grace_s=0.2)
    assert scope.cancelled_caught
    assert sleepers() == []


async def test_a_command_that_takes_too_long_is_stopped_and_an_error(shell: Run, log: Path) -> None:
    with pytest.raises(LaunchError, match=r"'bench' did not end within 0\.5 s") as caught:
        await shell("trap 'echo told; exit' TERM; while :; do sleep 0.05; done", timeout_s=0.5, label="bench")
    assert caught.value.where == str(log)
    assert log.read_text() == "told\n"


async def test_a_listener_that_fails_stops_the_command(shell: Run) -> None:
    def fail(line: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await shell(f"echo one; exec sleep {LONG}", on_line=fail)
    assert sleepers() == []
