"""Commands that run to their end: builds and clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel

from vep_dagger.errors import LaunchError
from vep_dagger.processes.guarded import Ended, Guarded
from vep_dagger.processes.tail import Tail

__all__ = ["Ended", "Guarded", "run_logged"]

LOOK_S = 0.1
"""Between two looks at a log that somebody listens to."""


async def run_logged(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    on_line: Callable[[str], None] | None = None,
    timeout_s: float | None = None,
    label: str = "",
    grace_s: float = 5.0,
    marks: Path | None = None,
) -> int:
    """Run a command to its end and give its exit code (negative: the signal); nothing of it is alive afterwards.

    Its output is appended to ``log`` by itself, as it comes; ``on_line`` hears of the lines soon after. Cancelling it,
    and the end of ``timeout_s``, stop it: SIGTERM, and after ``grace_s`` SIGKILL. Raises LaunchError if it cannot be
    started or takes too long.
    """
    tail = Tail.end_of(log)
    async with await Guarded.start(
        argv, env=env, cwd=cwd, log=log, label=label, grace_s=grace_s, marks=marks
    ) as guarded:
        with anyio.move_on_after(timeout_s):
            while on_line and guarded.exited() is None:
                if (lines := tail.read()) is None:
                    with anyio.move_on_after(LOOK_S):
                        await guarded.wait()
                    continue
                for line in lines:
                    on_line(line)
                # A fast writer must not keep others from their turn.
                await anyio.lowlevel.checkpoint()
            await guarded.wait()
        code = guarded.exited()
        if code is None:
            raise LaunchError(
                f"{guarded.label!r} did not end within {timeout_s:g} s",
                where=str(log),
                hint="it was stopped; see its log",
            )
        await guarded.left()
    while on_line and (lines := tail.read()) is not None:
        for line in lines:
            on_line(line)
    for line in tail.rest():
        if on_line:
            on_line(line)
    return code
