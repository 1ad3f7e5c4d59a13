"""``run.json``: what a run directory is, and on what machine its figures were taken."""

from __future__ import annotations

import os
import platform
from typing import Literal

from pydantic import Field

from vep_dagger.evidence.record import Part


class RunFile(Part):
    """The head of a run directory."""

    format: Literal[1] = 1
    vep: str = Field(description="The version that made the run.")
    started: str = Field(description="UTC, ISO 8601.")
    matrix: str = Field(description="The matrix file as the user named it.")
    builder: str
    launcher: str
    options: list[str] = Field(
        default_factory=list, description="What else stands on the command line of whoever repeats it: --network host."
    )
    machine: dict[str, str] = Field(description="What the figures were taken on, in words.")


def describe_machine() -> dict[str, str]:
    """The machine in words: system, processor, cores, memory. No name of a host or a user."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a path of ours
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()
