"""The seam between jobs and places: what a launcher is. A new one passes
``tests/launchers/test_launcher_conformance.py``, or is not one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vep_dagger.builders.base import BuiltImage
from vep_dagger.errors import UsageError


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What to start: commands are as inside the image; ``{host}`` and ``{port}`` in an argument are filled in by the
    launcher."""

    name: str
    """For people and for process lists: the cell's slug."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    unset: tuple[str, ...]
    """Variables of the surroundings that must not reach the server."""
    directory: Path
    """Where the server may write; also its working directory."""
    log: Path
    """stdout and stderr together, as they come."""
    host: str = "127.0.0.1"
    port: int | None = None
    """None for a free one."""
    mounts: tuple[Path, ...] = ()
    """Directories of this machine that server and clients see under the same paths, and may not write: a model."""
    shared: Path | None = None
    """The directory that server and clients may write, ``directory`` in it: the run's. What they write there is here
    when they have ended, and soon after it was written."""
    gpus: bool = False
    """Whether it is to get the machine's GPUs."""
    key: str = ""
    """The deployment's: what an earlier start of it has compiled is what this one needs."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a server ended: its exit code (None if it had to be killed), whether a signal to end was enough, the seconds
    it took, and how many of its processes had to be killed one by one."""

    exit_code: int | None
    clean: bool
    seconds: float
    killed: int


class Server(Protocol):
    """A server that was started; it may be dead already."""

    @property
    def url(self) -> str:
        """Where it can be reached from here: scheme, host and port."""

    @property
    def command(self) -> tuple[str, ...]:
        """What really runs, for the record."""

    def exited(self) -> int | None:
        """The exit code (negative: the signal), or None while it lives."""

    async def wait(self) -> int:
        """Wait until it has exited, and give the exit code."""

    async def run(self, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
        """Run a client beside the server, in the same image, until it exits; its exit code. Cancelling it kills it."""

    def memory_bytes(self) -> int | None:
        """What the server's processes hold now, or None where that cannot be known."""

    @property
    def warm(self) -> bool | None:
        """Whether an earlier start of the same deployment has left what it compiled where this one finds it; None where
        nothing is kept between starts."""

    async def settled(self) -> None:
        """To be called once the server is healthy: from now on a start of the same deployment counts as warm."""

    async def stop(self, grace_s: float) -> Stopped:
        """End it: ask, and after ``grace_s`` force. Nothing of it is alive afterwards. Safe to call twice."""


def refuse_nodes(launcher: str, nodes: int, why: str = "") -> None:
    """For launchers of one node: raise UsageError for more. ``why`` the place cannot, if it cannot at all."""
    if nodes > 1:
        raise UsageError(
            f"the launcher {launcher} runs a server on one node, and it wants {nodes}",
            hint=(f"{why}; " if why else "")
            + "choose cells of one node with -k; `vep plan --json` has the command of each node",
        )


class Launcher(Protocol):
    """Runs deployments somewhere."""

    @property
    def name(self) -> str:
        """What people choose it by."""

    def refuse(self, nodes: int, host: str, port: int | None) -> None:
        """Raise UsageError or LaunchError for a server that this launcher cannot run: too many nodes, a fixed port that
        is taken. Touches nothing."""

    def start(self, image: BuiltImage, spec: ServerSpec) -> AbstractAsyncContextManager[Server]:
        """Start a server; leaving the context stops it, also when cancelled. Raises LaunchError or MachineError."""
