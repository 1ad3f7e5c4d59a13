"""Why a command could not be started, and what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from vep_dagger.errors import LaunchError

HINTS = {
    errno.EAGAIN: "the limit of processes is reached: see `ulimit -u`, and pids.max of the control group",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENOSPC: "the disk is full: free some space, or choose another directory",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another directory",
    errno.ENOMEM: "there is not enough memory to start a process",
    errno.EROFS: "the file system is read-only: choose another directory",
    errno.EACCES: "check the permissions of it and of the folders above it",
    errno.ENOEXEC: "it is neither a program for this machine nor a script with a `#!` line",
    errno.E2BIG: "arguments and environment together are too long for the kernel",
}


def cannot(what: str, error: OSError, where: str | None = None) -> LaunchError:
    """The error of something that the system refused: what it was, the system's words, and a hint where one is
    known."""
    return LaunchError(f"{what}: {error.strerror or error}", where=where, hint=HINTS.get(error.errno or 0))


def not_started(label: str, program: str, cwd: Path, step: str, code: int) -> LaunchError:
    """The error of a command whose guard could not start it: ``step`` and ``code`` (an errno) are the guard's."""
    error = OSError(code, os.strerror(code))
    if step == "directory":
        return cannot(f"the working directory of {label!r} cannot be used", error, str(cwd))
    if step == "program" and code == errno.ENOENT and Path(program).exists():
        return LaunchError(
            f"{program} cannot be run: the interpreter on its first line does not exist",
            hint="was its environment moved or removed?",
        )
    return cannot("a process cannot be started" if step == "fork" else "the program cannot be run", error, program)
