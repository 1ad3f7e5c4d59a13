"""What ``/proc`` says of processes. Only what starts quickly: every guard imports this file."""

from __future__ import annotations

import os
import signal
from typing import NamedTuple


class Process(NamedTuple):
    """One process at one moment. Pids are used again; a pid with its start time (clock ticks since boot) is not."""

    pid: int
    parent: int
    session: int
    state: str
    start: int

    @property
    def alive(self) -> bool:
        """Whether it can still do anything: a zombie only waits to be counted."""
        return self.state not in ("Z", "X")


def process(pid: int) -> Process | None:
    """The process, or None if there is none with this pid. proc_pid_stat(5) explains the fields."""
    try:
        # pathlib would add milliseconds to every guard's start.
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        return None
    # The name stands in parentheses and may hold anything, parentheses and spaces included.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[3]), fields[0].decode(), int(fields[19]))


def processes() -> list[Process]:
    """Every process that can be seen."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208
    return [each for each in found if each is not None]


def descendants(root: int) -> list[Process]:
    """The living processes below ``root``, parents before their children.

    Not of one moment: a process whose parent dies during the look can be missed, so that an empty answer proves
    nothing.
    """
    children: dict[int, list[Process]] = {}
    for each in processes():
        children.setdefault(each.parent, []).append(each)
    found: list[Process] = []
    level = [root]
    while level:
        below = [child for pid in level for child in children.pop(pid, [])]
        found += below
        level = [child.pid for child in below]
    return [each for each in found if each.alive]


def send(target: Process, number: int) -> bool:
    """Send a signal to this process and to none that has its pid by now; False if it is gone or not ours."""
    try:
        handle = os.pidfd_open(target.pid)
    except OSError:
        return False
    try:
        now = process(target.pid)
        if now is None or now.start != target.start or not now.alive:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
