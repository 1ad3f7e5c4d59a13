"""Whole processes, timed side by side: wall seconds, CPU seconds, peak memory."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VEP = str(Path(sys.executable).with_name("vep"))


@dataclass(frozen=True)
class Timing:
    """One run of a command."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    exit_code: int


def run_once(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Timing:
    """Run a command to its end; its output goes nowhere. Python may keep its bytecode, as it does for any user."""
    env = {name: value for name, value in (env or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere, cwd=cwd, env=env)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Timing(
        wall_s=time.perf_counter() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        exit_code=process.returncode,
    )


def side_by_side(
    commands: Mapping[str, Sequence[str]], runs: int, *, cwd: Path | None = None
) -> dict[str, list[Timing]]:
    """Run each command in turn, ``runs`` times round, after one round that does not count: a machine's moods meet
    all."""
    for command in commands.values():
        run_once(command, cwd=cwd)
    found: dict[str, list[Timing]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(run_once(command, cwd=cwd))
    return found


def median(timings: Sequence[Timing]) -> float:
    """The median wall seconds."""
    return statistics.median(timing.wall_s for timing in timings)


def machine() -> str:
    """The machine in a line, for the head of a result."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"Python {platform.python_version()}, {cores} cores, {memory:.0f} GiB"


def verdict(name: str, value: float, limit: float, unit: str) -> bool:
    """Print a figure against its limit; whether it holds."""
    holds = value < limit
    print(f"{'holds' if holds else 'MISSED':7} {name}: {value:.3f} {unit} (limit {limit:g} {unit})")
    return holds
