"""The guard: a small process that starts one command, and sees to it that nothing of it outlives ``vep``.

Run as a script, once for every command, in a session of its own::

    vep ──control pipe──▶ guard ──▶ command ──▶ its workers, and theirs
        ◀──report pipe───

The only write end of the control pipe is in ``vep``, so that its end of file means that ``vep`` is gone, also by
SIGKILL. The guard is the subreaper of all that it starts: a process whose parent ends becomes the guard's child,
through any number of forks and sessions, so that nothing slips away, and having no child left means that nothing is
left at all.

Control (stdin), one JSON object a line: first the request (``argv`` with an absolute program, ``env``, ``cwd``,
``grace_s``, ``linger_s``, ``mark``, a file to delete at the end, or null, and ``last``, what is to be done when nothing
is left (:mod:`.last`), or null), then any number of ``{"stop": grace_s}``. Reports (stdout), one JSON object a line:
``started`` (pid) or ``failed`` (step, errno); ``exited`` (code) as soon as the command's main process has; ``ended``
(code, killed, forced) when nothing is left. Codes are exit codes, or negative signals. stderr is the log: the command's
stdout and stderr, and the guard's own should it ever fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any

# The guard is run as a file by an isolated interpreter (-I -S), which knows of no packages. This one comes last: it
# hides nothing.
if not __package__:
    sys.path.append(os.path.abspath(__file__).removesuffix("/vep_dagger/processes/guard.py"))  # noqa: PTH100

from vep_dagger.processes.last import Last, carry_out
from vep_dagger.processes.procfs import descendants, send

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.2
"""Between rounds of SIGKILL: a process that holds a device can take seconds to go."""


def prctl(option: int, value: int) -> None:
    """prctl(2), which the standard library lacks. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def say(event: str, **facts: Any) -> None:
    """Report to ``vep``, or to nobody if it is gone."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"event": event, **facts}).encode() + b"\n")


class StartError(OSError):
    """The command could not be started; ``step`` is fork, directory or program."""

    def __init__(self, step: str, code: int) -> None:
        super().__init__(code, os.strerror(code))
        self.step = step


def start(request: dict[str, Any]) -> int:
    """Start the command in a process group of its own; its pid. Raises StartError."""
    read_end, write_end = os.pipe()
    guard = os.getpid()
    try:
        child = os.fork()
    except OSError as error:
        raise StartError("fork", error.errno or errno.EAGAIN) from error
    if child == 0:
        step = "fork"
        try:
            os.setpgid(0, 0)
            # Should somebody kill the guard, at least the main process goes with it.
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(127)
            # What this process or a shell (nohup, &) ignores would stay ignored.
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(2, 1)
            step = "directory"
            os.chdir(request["cwd"])
            step = "program"
            os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606
        except OSError as error:
            os.write(write_end, f"{step} {error.errno}".encode())
        finally:
            os._exit(127)
    os.close(write_end)
    failure = os.read(read_end, 100).decode()
    os.close(read_end)
    if failure:
        os.waitpid(child, 0)
        step, code = failure.split()
        raise StartError(step, int(code))
    return child


class Guard:
    """Waits for the command's end, for the word to end it, or for the end of ``vep``; then ends the rest."""

    def __init__(self, request: dict[str, Any], unread: bytes, wakeup: int) -> None:
        self.grace_s = float(request["grace_s"])
        self.linger_s = float(request["linger_s"])
        self.wakeup = wakeup
        self.main = start(request)
        self.code: int | None = None
        self.forced = False
        self.killed: set[tuple[int, int]] = set()
        self.deadline: float | None = None
        self.unread = unread
        self.poll = select.poll()
        self.poll.register(0, select.POLLIN)
        self.poll.register(wakeup, select.POLLIN)

    def watch(self) -> None:
        """Return when nothing of the command is left."""
        pause = FIRST_PAUSE_S
        self.obey(b"")
        while self.reap():
            wait = None if self.deadline is None else self.deadline - time.monotonic()
            if wait is not None and wait <= 0:
                self.kill()
                wait = pause = min(2 * pause, LONGEST_PAUSE_S)
            for descriptor, _ in self.poll.poll(None if wait is None else 1000 * wait + 1):
                if descriptor == 0:
                    self.listen()
                elif signal.SIGTERM in os.read(self.wakeup, 4096):
                    self.stop(self.grace_s)

    def reap(self) -> bool:
        """Take the exit codes of those that ended; whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.main and self.code is None:
                self.code = os.waitstatus_to_exitcode(status)
                say("exited", code=self.code)
                # What the main process leaves behind may end by itself, but not take its time.
                self.end_within(self.linger_s)

    def listen(self) -> None:
        """Read what ``vep`` says; its silence for ever means that it is gone."""
        heard = os.read(0, 65536)
        if not heard:
            self.poll.unregister(0)
            self.stop(self.grace_s)
            return
        self.obey(heard)

    def obey(self, heard: bytes) -> None:
        """Do what complete lines say."""
        *lines, self.unread = (self.unread + heard).split(b"\n")
        for line in lines:
            self.stop(float(json.loads(line)["stop"]))

    def stop(self, grace_s: float) -> None:
        """Ask the main process alone: workers that are told before it call it a crash."""
        if self.code is None:
            os.kill(self.main, signal.SIGTERM)
        self.end_within(grace_s)

    def end_within(self, seconds: float) -> None:
        """Force the end after so long; a deadline only ever comes nearer."""
        deadline = time.monotonic() + seconds
        self.deadline = deadline if self.deadline is None else min(deadline, self.deadline)

    def kill(self) -> None:
        """SIGKILL to all that is there now. Others may appear meanwhile: it is repeated until no child is left."""
        for each in descendants(os.getpid()):
            if send(each, signal.SIGKILL):
                self.killed.add((each.pid, each.start))
                self.forced |= each.pid == self.main


def read_request() -> tuple[dict[str, Any], bytes] | None:
    """The first line of the control pipe and what came with it, or None if ``vep`` is gone already."""
    heard = b""
    while b"\n" not in heard:
        more = os.read(0, 65536)
        if not more:
            return None
        heard += more
    line, _, unread = heard.partition(b"\n")
    return json.loads(line), unread


def main() -> None:
    """Guard one command."""
    # Ctrl-C and a closed terminal are for vep to decide about.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wakeup, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    request = read_request()
    if request is None:
        return
    try:
        guard = Guard(*request, wakeup)
    except StartError as error:
        say("failed", step=error.step, errno=error.errno)
        return
    say("started", pid=guard.main)
    guard.watch()
    if last := request[0]["last"]:
        carry_out(Last(**last))
    if mark := request[0]["mark"]:
        with contextlib.suppress(OSError):
            os.unlink(mark)  # noqa: PTH108
    say("ended", code=guard.code, killed=len(guard.killed), forced=guard.forced)


if __name__ == "__main__":
    main()
