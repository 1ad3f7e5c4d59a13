"""``mksquashfs`` of squashfs-tools, fed with a tar stream."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread

from vep_dagger.builders.failures import last_lines, out_of_space
from vep_dagger.errors import MachineError, VepError

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
OPTIONS_VARIABLE = "ENROOT_SQUASH_OPTIONS"
OPTIONS = "-comp lzo -noD -exit-on-error"
"""Enroot's own (``enroot.in`` of v4.1.2): files are stored as they are, so that nodes read them quickly."""
STALL_S = 600.0
"""Without a byte read or written, and it is given up."""
_LOOK_S = 1.0
_KEPT = ("PATH", "LANG", "TMPDIR")


def surroundings(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of squashfs-tools: none that holds a secret."""
    return {name: environ[name] for name in _KEPT if name in environ} | {"LC_ALL": "C"}


def find_mksquashfs(environ: Mapping[str, str]) -> str:
    """The program. Raises MachineError if there is none."""
    program = shutil.which("mksquashfs", path=environ.get("PATH", os.defpath))
    if program is None:
        raise MachineError(
            "there is no mksquashfs on PATH, which makes SquashFS files",
            hint="apt-get install squashfs-tools (Fedora: dnf install squashfs-tools)",
        )
    return program


@dataclass(frozen=True, slots=True)
class Command:
    """How a SquashFS is made, the same one of the same image each time."""

    program: str
    options: tuple[str, ...]
    environ: Mapping[str, str]

    @classmethod
    def of(cls, program: str, environ: Mapping[str, str], latest_s: int) -> Command:
        """For a stream in which no time is later than ``latest_s``. ``SOURCE_DATE_EPOCH`` in ``environ`` is the time of
        all files, as with enroot.
        """
        kept = surroundings(environ)
        epoch = environ.get(EPOCH_VARIABLE)
        if epoch:
            times: tuple[str, ...] = ("-mkfs-time", epoch, "-all-time", epoch)
        else:
            # The root has the time of the day, whatever the stream and -root-time say (mksquashfs 4.5.1 with -tar); by
            # this variable no time is later, and that of the file system is the same.
            times = ()
            kept[EPOCH_VARIABLE] = str(min(latest_s, 2**32 - 1))
        words = ("-tar", "-no-progress", "-noappend", "-all-root", "-no-xattrs", "-root-mode", "0755", *times)
        return cls(program, (*words, *shlex.split(environ.get(OPTIONS_VARIABLE) or OPTIONS)), kept)


class _Counting:
    """A pipe that counts what goes in."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self.written = 0

    def write(self, data: bytes) -> int:
        self._pipe.write(data)
        self.written += len(data)
        return len(data)


async def make_squashfs(command: Command, target: Path, log: Path, feed: Callable[[IO[bytes]], None]) -> None:
    """Make ``target`` of the tar stream that ``feed`` writes. Cancelling it ends the program.

    Raises what ``feed`` raises, and MachineError where the program fails (no space, an option that it does not know) or
    stands still.
    """
    # The log has the build before.
    begin = await anyio.to_thread.run_sync(_size, log)
    process = _started(command, target, log)
    assert process.stdin is not None
    pipe = process.stdin
    sink = _Counting(pipe)
    failure: list[VepError] = []

    def pump() -> int:
        try:
            feed(sink)  # type: ignore[arg-type]
            pipe.close()
        except VepError as error:
            # Without its end the stream must not become a file.
            process.kill()
            failure.append(error)
        except OSError:
            # It has ended, and its own words say why.
            pass
        finally:
            with contextlib.suppress(OSError):
                pipe.close()
        return process.wait()

    stalled: list[bool] = []
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_watch, process, sink, target, stalled)
            code = await anyio.to_thread.run_sync(pump, abandon_on_cancel=True)
            group.cancel_scope.cancel()
    finally:
        process.kill()
        process.wait()
    if failure:
        raise failure[0]
    if code != 0:
        raise _failed(code, target, log, begin, stalled=bool(stalled))


def _started(command: Command, target: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        # A session of its own: Ctrl-C is for vep, which ends it.
        return subprocess.Popen(
            [command.program, "-", str(target), *command.options],
            env=command.environ,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def _watch(process: subprocess.Popen[bytes], sink: _Counting, target: Path, stalled: list[bool]) -> None:
    """End a program that stands still."""
    before, since = (-1, -1), time.monotonic()
    while True:
        await anyio.sleep(_LOOK_S)
        now = (sink.written, _size(target))
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > STALL_S:
            stalled.append(True)
            process.kill()
            return


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _failed(code: int, target: Path, log: Path, begin: int, *, stalled: bool) -> MachineError:
    lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    if stalled:
        return MachineError(f"mksquashfs stood still for {STALL_S:g} s; it was ended", where=str(log))
    hint = None
    if out_of_space(lines):
        hint = f"free some space in {target.parent.parent}, or name a file elsewhere with -o"
    elif any("ompressor" in line for line in lines):
        hint = f"name a compressor that it has: {OPTIONS_VARIABLE}='-comp gzip -exit-on-error'"
    return MachineError(f"mksquashfs ended with {code}:{last_lines(lines)}", where=str(log), hint=hint)
