"""A command under a guard (:mod:`.guard`), seen from ``vep``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from vep_dagger.errors import LaunchError
from vep_dagger.processes.failure import cannot, not_started
from vep_dagger.processes.last import Last, carry_out
from vep_dagger.processes.leftovers import MARK_FILE, kill_leftovers, mark_environment
from vep_dagger.processes.procfs import descendants

GUARD = Path(__file__).with_name("guard.py")
LINGER_S = 2.0
"""For what a main process leaves behind, before it is killed."""
PATIENCE_S = 20.0
"""For SIGKILL to take effect: freeing the memory of a GPU takes seconds."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    """The main process' exit code, or its negative signal."""
    killed: int
    """How many of its processes had to be killed."""
    forced: bool
    """Whether the main process was one of them."""
    seconds: float
    """From the word to stop until nothing was left."""

    @property
    def clean(self) -> bool:
        """Whether everything ended without being killed."""
        return self.killed == 0 and not self.forced


class Guarded:
    """A command that was started and may have ended. Its context stops it, also when cancelled.

    Its environment is not kept here, so that no secret can be shown. ``marker`` is unique and stands in the environment
    of all its processes; ``pid`` is the main process', ``guard_pid`` the guard's.
    """

    def __init__(
        self,
        guard: subprocess.Popen[bytes],
        marker: str,
        label: str,
        grace_s: float,
        mark: Path | None,
        last: Last | None = None,
    ) -> None:
        assert guard.stdin is not None
        assert guard.stdout is not None
        self.marker = marker
        self.label = label
        self.grace_s = grace_s
        self.guard_pid = guard.pid
        self.pid = 0
        self._guard = guard
        self._control = guard.stdin
        self._report = guard.stdout
        self._mark = mark
        self._last = last
        self._heard = b""
        self._silent = False
        self._code: int | None = None
        self._event: dict[str, Any] | None = None
        self._ended: Ended | None = None
        # One task reads reports at a time; the others see what it read.
        self._reading = anyio.Lock()
        self._finishing = anyio.Lock()
        os.set_blocking(self._report.fileno(), False)

    def __repr__(self) -> str:
        return f"<Guarded {self.label!r} pid={self.pid} guard={self.guard_pid} code={self._code}>"

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        label: str = "",
        grace_s: float = 5.0,
        linger_s: float = LINGER_S,
        marks: Path | None = None,
        last: Last | None = None,
    ) -> Self:
        """Start a command whose first argument is an absolute path, with exactly this environment; its output is
        appended to ``log``.

        ``grace_s`` is what it gets between SIGTERM and SIGKILL when nobody is there to say (``vep`` was killed, or the
        context is left), ``linger_s`` what its other processes get once the main one has ended. A file in ``marks``
        says for how long something of it may be alive (see :func:`.leftovers.reap`). ``last`` is done when nothing of
        it is left, whether ``vep`` is there or not. Raises LaunchError.
        """
        marker = uuid.uuid4().hex
        mark = marks / f"{MARK_FILE}{marker}" if marks is not None else None
        label = label or Path(argv[0]).name
        guarded = cls(_spawn_guard(log, marker, label, mark), marker, label, grace_s, mark, last)
        request = {"argv": list(argv), "env": {**env, **mark_environment(marker)}}
        settings = {"cwd": _absolute(cwd), "grace_s": grace_s, "linger_s": linger_s, "mark": mark and _absolute(mark)}
        settings["last"] = last and last.message()
        try:
            guarded._say(request | settings)
            await guarded._until(lambda: guarded.pid != 0)
        except BaseException:
            await guarded.stop(0)
            raise
        if guarded.pid == 0:
            await guarded.stop(0)
            event = guarded._event or {}
            if event.get("event") == "failed":
                raise not_started(label, argv[0], cwd, event["step"], event["errno"])
            raise LaunchError(
                f"{label!r} was not started: its guard ended", where=str(log), hint="the log has its last words"
            )
        return guarded

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(self.grace_s)

    def exited(self) -> int | None:
        """The main process' exit code (negative: the signal), or None while it lives. Does not wait."""
        if not self._reading.locked():
            self._read()
        return self._known_code()

    async def wait(self) -> int:
        """Wait until the main process has exited, and give the exit code (negative: the signal). Others may still be
        there."""
        await self._until(lambda: self._code is not None)
        if self._code is None:
            await self._finish(time.monotonic())
        code = self._known_code()
        assert code is not None
        return code

    async def left(self) -> None:
        """Wait until nothing of it is left: what outlives the main process is given a moment, and killed."""
        await self._until(lambda: False)

    async def stop(self, grace_s: float) -> Ended:
        """End it: SIGTERM to the main process, and after ``grace_s`` SIGKILL to all. Nothing of it is alive afterwards.

        Cannot be cancelled, and is bounded: LaunchError if SIGKILL does not end it. Called again, it gives the same
        answer; called by a second task meanwhile, it can only shorten the first one's grace.
        """
        begin = time.monotonic()
        with anyio.CancelScope(shield=True):
            self._say({"stop": grace_s})
            with anyio.move_on_after(grace_s + PATIENCE_S + (self._last.timeout_s if self._last else 0)):
                await self._until(lambda: False)
            await self._finish(begin)
        assert self._ended is not None
        return self._ended

    def pids(self) -> list[int]:
        """The living processes of the command, parents before children, without the guard."""
        return [] if self._ended else [each.pid for each in descendants(self.guard_pid)]

    def memory_bytes(self) -> int | None:
        """What its processes hold: shared pages counted once (PSS) where that can be read, resident ones (RSS)
        elsewhere; None when it ended.

        Takes milliseconds for each process: not for a tight loop.
        """
        import psutil

        total = 0
        for pid in self.pids():
            try:
                process = psutil.Process(pid)
                try:
                    total += process.memory_full_info().pss
                except psutil.AccessDenied:
                    total += process.memory_info().rss
            except psutil.Error:
                continue
        return total or None

    def _known_code(self) -> int | None:
        # Without its guard the main process is killed by the kernel (PR_SET_PDEATHSIG).
        return -signal.SIGKILL if self._code is None and self._silent else self._code

    def _say(self, message: dict[str, Any]) -> None:
        unsaid = json.dumps(message).encode() + b"\n"
        try:
            while unsaid:
                unsaid = unsaid[self._control.write(unsaid) :]
        except (OSError, ValueError):
            # The guard is gone, or its pipe was closed here: the end of its reports says so too.
            pass

    def _read(self) -> None:
        """Take the reports that are there now."""
        while not self._silent:
            try:
                heard = os.read(self._report.fileno(), 65536)
            except BlockingIOError:
                return
            self._silent = not heard
            *lines, self._heard = (self._heard + heard).split(b"\n")
            for line in lines:
                self._event = event = json.loads(line)
                if event["event"] == "started":
                    self.pid = event["pid"]
                elif event["event"] == "exited":
                    self._code = event["code"]

    async def _until(self, done: Callable[[], bool]) -> None:
        """Read reports until ``done``, or until there will be no more."""
        while not done() and not self._silent:
            async with self._reading:
                self._read()
                if not done() and not self._silent:
                    await anyio.wait_readable(self._report)
                    self._read()

    async def _finish(self, begin: float) -> None:
        """Take the guard's last word, or do its work if it was killed (or does not answer)."""
        async with self._finishing:
            if self._ended:
                return
            last = self._event or {}
            killed, forced = last.get("killed", 0), last.get("forced", False)
            if last.get("event") not in ("ended", "failed") or not self._silent:
                # It was killed, or does not answer (SIGSTOP; or it waits for what SIGKILL does not end).
                self._guard.kill()
                await self._until(lambda: False)
                forced = self._code is None
                killed = len(await anyio.to_thread.run_sync(kill_leftovers, self.marker))
                if self._last is not None:
                    await anyio.to_thread.run_sync(carry_out, self._last)
            await anyio.to_thread.run_sync(self._guard.wait)
            self._control.close()
            self._report.close()
            if self._mark is not None:
                self._mark.unlink(missing_ok=True)
            code = self._known_code()
            self._ended = Ended(0 if code is None else code, killed, forced, time.monotonic() - begin)


def _spawn_guard(log: Path, marker: str, label: str, mark: Path | None) -> subprocess.Popen[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot("the log cannot be written", error, str(log)) from error
    try:
        if mark is not None:
            _touch(mark, label)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-E", str(GUARD), label],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            # Some interpreters find their own library by this variable.
            env={**{k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}, **mark_environment(marker)},
            cwd="/",
        )
    except OSError as error:
        if mark is not None:
            mark.unlink(missing_ok=True)
        raise cannot(f"{label!r} cannot be started", error, error.filename) from error
    finally:
        os.close(output)


def _touch(mark: Path, label: str) -> None:
    try:
        mark.touch()
    except OSError as error:
        raise cannot(f"the directory of {label!r} cannot be used", error, str(mark.parent)) from error


def _absolute(path: Path) -> str:
    # The guard's own directory is /, so that it holds no other.
    return str(path.absolute())
