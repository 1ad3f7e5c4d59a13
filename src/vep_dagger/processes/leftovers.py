"""Processes that outlived both ``vep`` and their guard: found by a mark in their environment, and killed.

Every command is started with ``VEP_PROCESS=<marker>`` in its environment, which all its descendants inherit, and with a
file in a directory of the caller's (``.vep-process-<marker>``, empty) that is there for as long as anything of it may
be alive. So a later ``vep`` that is given the directory can end what an earlier one could not.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vep_dagger.errors import LaunchError, MachineError
from vep_dagger.processes.last import Last, carry_out
from vep_dagger.processes.procfs import Process, process, processes, send

MARK = "VEP_PROCESS"
MARK_FILE = ".vep-process-"
CONTAINER_FILE = ".vep-container-"
CONTAINER_NAME = re.compile(r"vep-[a-z0-9][a-z0-9_.-]*")
GONE = "No such container"


def mark_environment(marker: str) -> dict[str, str]:
    """The variables that make a process and its descendants recognisable.

    vLLM names its processes with setproctitle, which writes the name over the environment that /proc shows, and so over
    the mark, unless SPT_NOENV is set (setproctitle's README).
    """
    return {MARK: marker, "SPT_NOENV": "1"}


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():  # noqa: PTH116
            return False
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _find(marker: str) -> list[Process]:
    mark = f"{MARK}={marker}".encode()
    everyone = [each for each in processes() if each.alive and each.pid != os.getpid()]
    found = {each.pid: each for each in everyone if _is_marked(each.pid, mark)}
    # A process may have written over its environment: those in a session of a marked one, and the children of all of
    # these, belong too. Sessions are made by marked processes alone: the guard makes the first.
    own = process(os.getpid())
    sessions = {each.session for each in found.values()} - {own.session if own else 0}
    found |= {each.pid: each for each in everyone if each.session in sessions}
    while more := {each.pid: each for each in everyone if each.parent in found and each.pid not in found}:
        found |= more
    return sorted(found.values(), key=lambda each: each.start)


def find(marker: str) -> list[int]:
    """The pids of the living processes of this user that carry the marker, the guard included, the oldest first."""
    return [each.pid for each in _find(marker)]


def kill_leftovers(marker: str, patience_s: float = 10.0) -> list[int]:
    """SIGKILL every process with this marker until there is none; the pids that were killed.

    Raises LaunchError if some are still there after ``patience_s`` seconds (a process in a driver's call cannot be
    killed). Blocks.
    """
    killed: dict[int, None] = {}
    deadline = time.monotonic() + patience_s
    while remaining := _find(marker):
        killed |= {each.pid: None for each in remaining if send(each, signal.SIGKILL)}
        if time.monotonic() > deadline:
            pids = ", ".join(str(each.pid) for each in remaining)
            raise LaunchError(
                f"processes that SIGKILL does not end: {pids}",
                hint="they wait in the kernel, most often for a device's driver: see `dmesg`; a reboot may be needed",
            )
        time.sleep(0.01)
    return list(killed)


def reap(directory: Path, patience_s: float = 10.0) -> list[int]:
    """Kill what an earlier run left alive: every marker that has a file under ``directory``; the pids killed. Blocks.

    Call it only while no other ``vep`` works in the directory, since it ends living servers too. Raises LaunchError as
    ``kill_leftovers``.
    """
    killed: list[int] = []
    for file in sorted(directory.rglob(f"{MARK_FILE}*")):
        killed += kill_leftovers(file.name.removeprefix(MARK_FILE), patience_s)
        file.unlink(missing_ok=True)
    return killed


def container_removal(program: str, name: str, mark: Path, environ: Mapping[str, str]) -> Last:
    """What removes a container by its name, alive or not, and then the file that tells of it."""
    argv = (program, "container", "rm", "--force", "--volumes", name)
    return Last(argv, dict(environ), GONE, str(mark.absolute()))


def reap_containers(directory: Path, programs: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Remove the containers that an earlier run left: those that have a file under ``directory``; their names. Blocks.

    ``programs`` are the docker clients to try. Call it after :func:`reap`, which ends the guards that do the same.
    Raises MachineError where none of them can.
    """
    removed = []
    for mark in sorted(directory.rglob(f"{CONTAINER_FILE}*")):
        name = mark.name.removeprefix(CONTAINER_FILE)
        if not CONTAINER_NAME.fullmatch(name):
            continue
        if not any(carry_out(container_removal(program, name, mark, environ)) for program in programs):
            raise MachineError(
                f"the container {name} was left by a run that was killed, and Docker does not remove it",
                where=str(mark),
                hint=f"start Docker's daemon; or remove it yourself, with this file: docker rm --force {name}",
            )
        removed.append(name)
    return removed
