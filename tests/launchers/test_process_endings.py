"""However `vep`, its guard or its terminal end, nothing of a server stays."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vep_dagger.processes.leftovers import find, kill_leftovers, reap

DRIVER = Path(__file__).with_name("driver.py")


@dataclass
class Run:
    """A `vep` of its own process that runs a server."""

    vep: subprocess.Popen[bytes]
    marker: str
    guard: int
    pid: int
    log: Path

    def alive(self) -> list[int]:
        return find(self.marker)

    def gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*options: str, terminal: int | None = None) -> Run:
        command = [sys.executable, str(DRIVER), str(tmp_path), "--line", "up", *options]
        if terminal is not None:
            # setsid and a first open make the terminal the controlling one, as a person's shell does.
            text = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"
            command = [sys.executable, "-c", text, os.ttyname(terminal), *command]
        vep = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert vep.stdout is not None
        started = Run(vep, **json.loads(vep.stdout.readline()), log=tmp_path / "server.log")
        runs.append(started)
        workers = int(options[options.index("--workers") + 1]) if "--workers" in options else 0
        started.until(lambda: "serving" in started.log.read_text())
        started.until(lambda: len(started.alive()) == 2 + workers + ("--daemon" in options))
        return started

    yield start
    for each in runs:
        each.vep.kill()
        each.vep.wait()
        assert each.vep.stdout is not None
        each.vep.stdout.close()
        kill_leftovers(each.marker)


def test_sigkill_of_vep_ends_server_workers_and_daemons_within_seconds(run: Callable[..., Run], tmp_path: Path) -> None:
    server = run("--workers", "3", "--daemon", "--ignore-term")
    server.vep.kill()
    assert server.gone_within(8)
    # It was asked before it was forced.
    assert "asked to stop" in server.log.read_text()
    assert list(tmp_path.glob(".vep-process-*")) == []


def test_sigkill_of_vep_lets_a_good_server_end_by_itself(run: Callable[..., Run]) -> None:
    server = run()
    begin = time.monotonic()
    server.vep.kill()
    assert server.gone_within(8)
    assert time.monotonic() - begin < 3
    assert "asked to stop" in server.log.read_text()


def test_sigterm_of_the_guard_stops_the_server(run: Callable[..., Run]) -> None:
    server = run("--workers", "2")
    os.kill(server.guard, signal.SIGTERM)
    assert server.gone_within(8)
    assert "asked to stop" in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_to_the_guard_change_nothing(run: Callable[..., Run], number: signal.Signals) -> None:
    server = run()
    os.kill(server.guard, number)
    time.sleep(0.5)
    assert server.alive() == [server.guard, server.pid]


def test_ctrl_c_on_the_terminal_reaches_vep_alone_which_stops_the_server(run: Callable[..., Run]) -> None:
    ours, theirs = pty.openpty()
    try:
        server = run("--workers", "2", terminal=theirs)
        os.write(ours, b"\x03")
        assert server.vep.wait(10) != 0
        assert server.alive() == []
    finally:
        os.close(ours)
        os.close(theirs)
    # SIGTERM from the guard, and no SIGINT: the stand-in ends in silence at that.
    assert "asked to stop" in server.log.read_text()


def test_sigkill_of_vep_and_guard_takes_the_main_process_and_a_later_vep_reaps_the_rest(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    server = run("--workers", "3", "--daemon")
    os.kill(server.vep.pid, signal.SIGSTOP)
    os.kill(server.guard, signal.SIGKILL)
    server.vep.kill()
    server.until(lambda: len(server.alive()) == 4)
    assert server.pid not in server.alive()
    killed = reap(tmp_path)
    assert len(killed) == 4
    assert server.alive() == []
    assert list(tmp_path.glob(".vep-process-*")) == []
    assert reap(tmp_path) == []
