"""How much of everything: cores, memory, shared memory, disk."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from vep_dagger.doctor.finding import Finding, State
from vep_dagger.doctor.machine import Machine

GIB = 2**30
ENVIRONMENT_BYTES = 5 * GIB
"""One environment with vLLM for CPUs: 2.5 GB with torch's CPU build, 4.7 GB with the ordinary one."""
SERVER_BYTES = 4 * GIB
"""The CPU example's server holds 2.9 GB."""
UNLIMITED = 2**60
"""What cgroups v1 calls no limit is near 2**63."""


def probe_cores(machine: Machine) -> Iterator[Finding]:
    """Cores that this process may use, by affinity and by the control group's quota."""
    cores = float(machine.cores)
    quota = (machine.text("/sys/fs/cgroup/cpu.max") or "").split()
    if len(quota) == 2 and quota[0].isdecimal() and quota[1].isdecimal():
        cores = min(cores, int(quota[0]) / int(quota[1]))
    enables = "a server and its clients without disturbing each other; two are enough for the CPU example"
    state: State = "ok" if cores >= 2 else "limited"
    yield Finding("cores", state, f"{cores:g}", enables, None if state == "ok" else "more cores, or a higher CPU quota")


def probe_memory(machine: Machine) -> Iterator[Finding]:
    """Memory that is available, and the control group's limit where that is lower."""
    enables = f"servers: the CPU example's needs {SERVER_BYTES // GIB} GiB"
    fields = dict(line.split(":", 1) for line in (machine.text("/proc/meminfo") or "").splitlines() if ":" in line)
    try:
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        yield Finding("memory", "limited", "/proc/meminfo does not say", enables, "mount /proc")
        return
    what = f"{_gib(available)} of {_gib(total)} available"
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = machine.text(limit) or ""
        if text.isdecimal() and int(text) < min(total, UNLIMITED):
            what += f", limited to {_gib(int(text))}"
            available = min(available, int(text))
    state: State = "ok" if available >= SERVER_BYTES else "limited"
    yield Finding("memory", state, what, enables, None if state == "ok" else "end other programs, or raise the limit")


def probe_shm(machine: Machine) -> Iterator[Finding]:
    """``/dev/shm``, through which the processes of one server speak to each other."""
    enables = "servers of several processes (tensor or data parallel)"
    path = machine.path("/dev/shm")  # noqa: S108 - looked at, never written
    if not path.is_dir():
        yield Finding("shm", "missing", "no /dev/shm", enables, "mount a tmpfs at /dev/shm")
        return
    size = machine.disk(path).total
    state: State = "ok" if size >= GIB else "limited"
    hint = "containers have 64 MiB by default: docker run --ipc=host, or --shm-size=16g"
    yield Finding("shm", state, _gib(size), enables, None if state == "ok" else hint)


def probe_disks(machine: Machine) -> Iterator[Finding]:
    """Free space, and the right to write, where environments are kept and where runs are written."""
    yield _place(
        machine, "disk-cache", machine.cache, ENVIRONMENT_BYTES, "environments with vLLM in them, 2.5 to 5 GB each",
        "free space with vep cache prune, or name another place in VEP_CACHE_DIR",
    )  # fmt: skip
    yield _place(
        machine, "disk-runs", machine.work, GIB, "the evidence and the report of runs",
        "free space, or name another place with --out",
    )  # fmt: skip


def _place(machine: Machine, name: str, path: Path, wanted: int, enables: str, hint: str) -> Finding:
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    disk = machine.disk(there)
    what = f"{_gib(disk.free)} free at {path}"
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(name, "missing", f"{path} cannot be written", enables, hint)
    if disk.free < wanted:
        # Half of it holds one environment at its smallest.
        return Finding(name, "limited" if disk.free >= wanted / 2 else "missing", what, enables, hint)
    return Finding(name, "ok", what, enables)


def _gib(size: float) -> str:
    gib = size / GIB
    return (
        f"{gib:.0f} GiB"
        if gib >= 10
        else f"{math.floor(gib * 10) / 10:.1f} GiB"
        if gib >= 1
        else f"{size / 2**20:.0f} MiB"
    )
