"""What the kernel counts for a container: its control group's files, of version 1 or 2."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
USED = ("memory.current", "memory.usage_in_bytes")
INACTIVE = ("inactive_file", "total_inactive_file")
"""What ``docker stats`` takes off, since the kernel gives it back when asked (docker/cli,
``cli/command/container/stats_helpers.go``)."""


def memory_of(pid: int, identity: str, root: Path = ROOT, proc: Path = Path("/proc")) -> int | None:
    """The bytes that the container with this id holds, ``pid`` its main process; None where it is not a process of this
    machine, or has ended."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") or not identity or identity not in path:
            continue
        folder = root / controllers / path.lstrip("/")
        for name in USED:
            try:
                used = int((folder / name).read_text())
                counts = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):
                continue
            inactive = next((int(counts[each]) for each in reversed(INACTIVE) if each in counts), 0)
            return max(used - inactive, 0)
    return None
