"""A command under a guard, seen from `vep`: with real commands that behave badly."""

# ruff: noqa: ASYNC230, ASYNC240 (a test may wait for its own small files)

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from vep_dagger.errors import LaunchError
from vep_dagger.processes.failure import not_started
from vep_dagger.processes.guarded import Guarded
from vep_dagger.processes.last import Last
from vep_dagger.processes.leftovers import find

pytestmark = pytest.mark.anyio

Start = Callable[..., AbstractAsyncContextManager[Guarded]]

# A worker that nobody can ask, and one that is told by SIGTERM and says so.
DEAF = "trap '' TERM; sleep 60 & wait; sleep 60"
TELLS = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def shell(tmp_path: Path, log: Path) -> Start:
    """``shell(text)`` runs a text of sh; whatever the test does, nothing may be left of it."""

    @asynccontextmanager
    async def start(text: str, **options: Any) -> AsyncIterator[Guarded]:
        async with await Guarded.start(
            ["/bin/sh", "-c", text], env={"PATH": os.environ["PATH"]}, cwd=tmp_path, log=log, grace_s=0.3, **options
        ) as guarded:
            yield guarded
        assert find(guarded.marker) == []

    return start


async def until(true: Callable[[], Any]) -> None:
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110 (what is waited for is another process')
            await anyio.sleep(0.01)


async def test_the_main_process_alone_is_asked_and_its_answer_is_the_exit_code(shell: Start, log: Path) -> None:
    # The worker is in the process group of the command, as vLLM's are.
    async with shell(f"({TELLS.replace('told', 'worker told')}) & {TELLS}") as guarded:
        await until(lambda: log.read_text().count("ready") == 2)
        ended = await guarded.stop(2)
    assert ended.code == 5
    assert "worker told" not in log.read_text()
    assert (ended.forced, ended.clean) == (False, False)


async def test_what_is_left_gets_a_moment_to_end_by_itself(shell: Start) -> None:
    async with shell("sleep 0.4 & exit 0") as guarded:
        assert await guarded.wait() == 0
        with anyio.fail_after(2):
            await guarded.left()
        ended = await guarded.stop(0)
    assert ended.clean


async def test_what_does_not_use_that_moment_is_killed_and_counted(shell: Start) -> None:
    begin = time.monotonic()
    async with shell("sleep 60 & sleep 60 & exit 0", linger_s=0.3) as guarded:
        await guarded.left()
        ended = await guarded.stop(0)
    assert (ended.code, ended.killed, ended.forced) == (0, 2, False)
    assert 0.3 <= time.monotonic() - begin < 3


async def test_no_moment_is_longer_than_the_grace_of_a_stop(shell: Start, log: Path) -> None:
    async with shell("sleep 60 & echo up; exec sleep 60", linger_s=30) as guarded:
        await until(lambda: "up" in log.read_text())
        ended = await guarded.stop(0.3)
    assert (ended.code, ended.killed) == (-signal.SIGTERM, 1)
    assert ended.seconds < 3


async def test_a_second_stop_with_less_grace_shortens_the_first(shell: Start) -> None:
    async with shell(DEAF) as guarded:
        await anyio.sleep(0.2)
        begin = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(guarded.stop, 30.0)
            await anyio.sleep(0.1)
            await guarded.stop(0.1)
        assert time.monotonic() - begin < 3


async def test_processes_that_keep_forking_are_all_killed(shell: Start) -> None:
    # Each generation is gone before its children are looked at.
    async with shell("f() { (sleep 0.01; f) & }; trap '' TERM; f; f; f; sleep 60") as guarded:
        await anyio.sleep(0.3)
        ended = await guarded.stop(0)
    assert ended.forced


async def test_a_guard_that_does_not_answer_is_replaced(shell: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vep_dagger.processes.guarded.PATIENCE_S", 0.3)
    async with shell("sleep 60 & exec sleep 60") as guarded:
        await until(lambda: len(guarded.pids()) == 2)
        os.kill(guarded.guard_pid, signal.SIGSTOP)
        ended = await guarded.stop(0)
    assert (ended.forced, ended.clean) == (True, False)


async def test_looking_does_not_take_the_news_from_those_who_wait(shell: Start) -> None:
    async def wait(guarded: Guarded) -> None:
        with anyio.fail_after(1.5):
            assert await guarded.wait() == 0

    # After the exit the next report is two seconds away, since something lingers.
    async with shell("sleep 60 & sleep 0.3; exit 0") as guarded, anyio.create_task_group() as tasks:
        tasks.start_soon(wait, guarded)
        await anyio.sleep(0.1)
        time.sleep(0.5)  # noqa: ASYNC251 (the report comes while it is nobody's turn)
        guarded.exited()


async def test_pids_and_memory_are_the_commands_without_the_guards(shell: Start) -> None:
    async with shell("sleep 60 & exec sleep 60") as guarded:
        await until(lambda: len(guarded.pids()) == 2)
        assert guarded.pids()[0] == guarded.pid
        assert guarded.guard_pid not in guarded.pids()
        memory = guarded.memory_bytes()
        assert memory is not None
        # How much of a shared page is one's own changes with every process of the machine; RSS is ten times as much.
        assert memory == pytest.approx(sum(psutil.Process(p).memory_full_info().pss for p in guarded.pids()), rel=0.5)
        await guarded.stop(0)
        assert (guarded.pids(), guarded.memory_bytes()) == ([], None)


async def test_memory_that_is_not_ours_to_look_into_is_counted_as_resident(
    shell: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    async with shell("exec sleep 60") as guarded:
        await until(lambda: psutil.Process(guarded.pid).name() == "sleep")
        monkeypatch.setattr(psutil.Process, "memory_full_info", refuse)
        assert guarded.memory_bytes() == psutil.Process(guarded.pid).memory_info().rss


async def test_a_mark_is_in_the_folder_for_as_long_as_something_lives(shell: Start, tmp_path: Path) -> None:
    async with shell("exec sleep 60", marks=tmp_path) as guarded:
        assert (tmp_path / f".vep-process-{guarded.marker}").exists()
    assert list(tmp_path.glob(".vep-*")) == []


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path, log: Path) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Guarded.start(["/bin/sleep", "60"], env={}, cwd=tmp_path, log=log, marks=tmp_path)
    assert scope.cancelled_caught
    assert list(tmp_path.glob(".vep-*")) == []


async def test_the_command_has_no_descriptor_of_ours_and_an_empty_input(shell: Start, log: Path) -> None:
    with Path("/dev/null").open() as ours:
        os.set_inheritable(ours.fileno(), True)
        async with shell("ls -l /proc/self/fd; cat; trap") as guarded:
            assert await guarded.wait() == 0
    text = log.read_text()
    assert [line for line in text.splitlines() if "pipe:" in line] == []
    assert text.count(" -> ") == 4  # three, and the folder that ls reads


async def test_signals_that_python_a_shell_or_vep_ignore_or_block_are_as_usual_for_the_command(
    shell: Start, log: Path
) -> None:
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        async with shell("grep -E 'Sig(Blk|Ign)' /proc/self/status") as guarded:
            await guarded.wait()
    finally:
        signal.signal(signal.SIGQUIT, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    # The C library keeps signals 32 and 33 for itself, and lets nobody change what was inherited of them.
    ours = sum(1 << (number - 1) for number in signal.valid_signals())
    assert [int(line.split()[1], 16) & ours for line in log.read_text().splitlines()] == [0, 0]


async def test_an_environment_and_arguments_of_any_bytes_and_sizes_arrive(tmp_path: Path, log: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe") + "ü\n=\"'"
    env = {"ODD": odd, "LONG": "x" * 100_000}
    text = 'printf %s "$ODD$1" > odd; printf %s "$LONG" > long'
    async with await Guarded.start(["/bin/sh", "-c", text, "sh", odd], env=env, cwd=tmp_path, log=log) as guarded:
        assert await guarded.wait() == 0
    assert (tmp_path / "odd").read_bytes() == os.fsencode(odd) * 2
    assert (tmp_path / "long").stat().st_size == 100_000


async def test_a_relative_directory_is_of_vep_and_not_of_the_guard(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deeper").mkdir()
    async with await Guarded.start(["/bin/pwd"], env={}, cwd=Path("deeper"), log=log, marks=Path("deeper")) as guarded:
        await guarded.wait()
    assert log.read_text() == f"{tmp_path}/deeper\n"
    assert list(tmp_path.rglob(".vep-*")) == []


async def test_a_guard_that_cannot_start_is_an_error_with_what_it_said(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vep_dagger.processes.guarded.GUARD", tmp_path / "gone.py")
    with pytest.raises(LaunchError, match="its guard ended") as caught:
        await Guarded.start(["/bin/sleep", "60"], env={}, cwd=tmp_path, log=log)
    assert caught.value.where == str(log)
    assert "gone.py" in log.read_text()


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.EAGAIN, "ulimit -u"), (errno.ENOMEM, "not enough memory"), (errno.E2BIG, "too long")],
)
def test_a_refusal_of_the_system_has_a_hint(code: int, hint: str) -> None:
    error = not_started("cell", "/bin/sh", Path("/"), "fork", code)
    assert error.what == f"a process cannot be started: {os.strerror(code)}"
    assert hint in (error.hint or "")


async def test_a_limit_of_processes_is_an_error_and_no_crash(tmp_path: Path, log: Path, monkeypatch: Any) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("subprocess.Popen", refuse)
    with pytest.raises(LaunchError, match="'sleep' cannot be started: Resource temporarily unavailable") as caught:
        await Guarded.start(["/bin/sleep", "60"], env={}, cwd=tmp_path, log=log, marks=tmp_path)
    assert "ulimit -u" in (caught.value.hint or "")
    assert list(tmp_path.glob(".vep-*")) == []


@pytest.mark.parametrize(
    ("script", "marked"),
    [("touch {done}", False), ("echo No such thing; exit 1", False), ("echo something else; exit 1", True)],
)
async def test_what_is_to_be_done_last_is_done_when_nothing_is_left_and_noted_until_then(
    tmp_path: Path, script: str, marked: bool
) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    words = ("/bin/sh", "-c", script.format(done=tmp_path / "done"))
    last = Last(words, dict(os.environ), "No such thing", str(mark))
    async with await Guarded.start(
        ["/bin/sleep", "60"], env={}, cwd=tmp_path, log=tmp_path / "log", last=last
    ) as guarded:
        assert guarded.exited() is None
        assert not there(tmp_path / "done")
        await guarded.stop(0.2)
    assert there(mark) == marked
    assert there(tmp_path / "done") == ("touch" in script)


def there(path: Path) -> bool:
    return path.exists()
