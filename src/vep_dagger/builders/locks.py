"""Locks between processes of one machine, as files: one process writes, or many use, and a dead process holds nothing.

The kernel gives them up with the process that holds them, however it ends, and no child inherits them. Lock files are
never deleted: a lock on a deleted file would exclude nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Literal, TypeAlias

import anyio

Mode: TypeAlias = Literal["shared", "exclusive"]

_OPERATION = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX}
_POLL_S = 0.2


class Lock:
    """One holder's handle on a lock file. Not held until :meth:`try_acquire` or :meth:`acquire` says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def try_acquire(self, mode: Mode) -> bool:
        """Take it, or change the mode that is held, if nobody else is in the way; else nothing is held afterwards.

        A change of mode is not atomic: another process can have held the lock in between (flock(2)).
        """
        fd = self._fd
        if fd is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, _OPERATION[mode] | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            self._fd = None
            return False
        self._fd = fd
        # Only for people: who is in the way. Shared holders are many, so none of them signs.
        os.ftruncate(fd, 0)
        if mode == "exclusive":
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        return True

    async def acquire(self, mode: Mode) -> None:
        """Wait until it is taken."""
        while not self.try_acquire(mode):  # noqa: ASYNC110 - the kernel wakes nobody who does not block a thread
            await anyio.sleep(_POLL_S)

    def holder(self) -> int | None:
        """The pid of the process that holds it exclusively, if one has signed."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.path.read_text())
        return None

    def release(self) -> None:
        """Give it up; nothing happens if it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
