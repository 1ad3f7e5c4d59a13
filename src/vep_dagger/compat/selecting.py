"""From the data's rows to a selection: what to set, what must be seen, what must not, or why it cannot be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from packaging.version import Version

from vep_dagger.compat.rules import LineRule, Selection
from vep_dagger.compat.tables import Answer, BackendRow, CpuBackendRow, HazardRow, LineRow, ModeRow, SwitchRow, Table
from vep_dagger.errors import CompatError, did_you_mean

VARIABLE: Final = "VLLM_ALL2ALL_BACKEND"
FLAG: Final = "--all2all-backend"
DEVICES: Final = ("cuda", "cpu")
CPU_HAZARD: Final = "cpu-expert-parallel"
DEEP_GEMM: Final = ("VLLM_USE_DEEP_GEMM", "VLLM_MOE_USE_DEEP_GEMM")
SAMPLER: Final = ("VLLM_USE_FLASHINFER_SAMPLER",)
TOPICS: Final = frozenset({"always", "all2all", "expert_parallel", "deep_gemm", "sampler"})
ANY_MANAGER: Final = r"Using [\w-]{1,60}(?: [\w-]{1,60})? all2allv? manager\."
"""Every spelling of a manager's line, in every release and on every device."""

_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a cell wants of a release."""

    all2all: str | None
    deep_gemm: bool | None
    data_parallel: int
    expert_parallel: bool
    device: str
    tensor_parallel: int | None


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that a selection is made from."""

    mode: Table[ModeRow]
    backend: Table[BackendRow]
    cpu_backend: Table[CpuBackendRow]
    switch: Table[SwitchRow]
    line: Table[LineRow]
    hazard: Table[HazardRow]
    releases: tuple[str, ...]
    """The releases that the data knows, oldest first."""


class Impossible(Exception):  # noqa: N818  # not an error: an answer
    """The reason why a release cannot do what is asked."""


@dataclass(slots=True)
class _Parts:
    """A selection in the making."""

    env: dict[str, str]
    args: list[str]
    unset: list[str]
    demanded: list[LineRule]
    forbidden: list[LineRule]
    notes: list[str]

    def finish(self) -> Selection:
        return Selection(
            env=tuple(sorted(self.env.items())),
            args=tuple(self.args),
            unset=tuple(name for name in self.unset if name not in self.env),
            demanded=tuple(dict.fromkeys(self.demanded)),
            forbidden=tuple(dict.fromkeys(self.forbidden)),
            notes=tuple(self.notes),
        )


class Selecting:
    """Makes the selections of one release: ``version`` is the one whose data is used, ``shown`` the one asked for."""

    def __init__(self, tables: Tables, mode: ModeRow, version: Version, shown: str) -> None:
        self._tables = tables
        self._shown = shown
        self._mode = mode
        self._backends = tables.backend.at(version)
        self._cpu_backends = tables.cpu_backend.at(version)
        self._switches = tables.switch.at(version)
        self._lines = list(tables.line.at(version).values())
        self._hazards = tables.hazard.at(version)

    def select(self, asked: Asked) -> Selection:
        """Raises CompatError for a backend, a device or a size that no release has."""
        self._check(asked)
        parts = _Parts({}, [], [VARIABLE], [], [], [])
        try:
            if asked.all2all is not None:
                self._all2all(asked, asked.all2all, parts)
            if asked.expert_parallel:
                self._expert_parallel(asked, parts)
            if asked.deep_gemm is not None:
                self._deep_gemm(asked, asked.deep_gemm, parts)
        except Impossible as reason:
            return Selection(impossible=str(reason))
        self._add_lines("always", "on", asked.device, parts)
        if asked.device == "cpu" and (asked.expert_parallel or asked.data_parallel > 1) and CPU_HAZARD in self._hazards:
            parts.notes.append(self._hazards[CPU_HAZARD].text)
        return parts.finish()

    def sampler(self, on: bool) -> Selection:
        """FlashInfer's sampler, switched on or off."""
        parts = _Parts({}, [], [], [], [], [])
        self._set(SAMPLER, on, parts)
        self._add_lines("sampler", "on" if on else "off", "cuda", parts)
        return parts.finish()

    def _check(self, asked: Asked) -> None:
        if asked.device not in DEVICES:
            raise CompatError(f"unknown device {_short(asked.device)}", hint=did_you_mean(asked.device[:80], DEVICES))
        if asked.data_parallel < 1 or (asked.tensor_parallel is not None and asked.tensor_parallel < 1):
            raise CompatError("parallel sizes are 1 or more")
        if asked.all2all is None:
            return
        rows = [row for row in self._tables.backend.rows() if row.name == asked.all2all]
        choosable = {row.name for row in self._tables.backend.rows() if row.state != "internal"}
        if not rows:
            raise CompatError(
                f"no vLLM release has an all2all backend {_short(asked.all2all)}",
                hint=did_you_mean(asked.all2all[:80], choosable),
            )
        if asked.all2all not in choosable:
            raise CompatError(
                f"all2all backend {asked.all2all!r} is vLLM's own: MoE backends bind it, and nobody can choose it",
                hint=f"known: {', '.join(sorted(choosable))}",
            )

    def _all2all(self, asked: Asked, name: str, parts: _Parts) -> None:
        row = self._real(name) if asked.device == "cuda" else self._real_on_cpu(name)
        if asked.data_parallel == 1:
            raise Impossible(
                f"all2all backends need data_parallel of 2 or more: without, vLLM {self._shown} makes no all2all "
                f"manager, and nothing would run on {name!r}"
            )
        if isinstance(row, BackendRow) and row.name != name:
            parts.notes.append(
                f"{name!r} is a deprecated name of {row.name!r} in vLLM {self._shown}: the new name is used"
            )
        if isinstance(row, BackendRow) and not row.quantized and asked.deep_gemm:
            raise Impossible(f"all2all backend {name!r} runs unquantized models only, and DeepGEMM's experts are FP8")
        if self._mode.selector == "env":
            parts.env[VARIABLE] = row.name
        else:
            parts.args += [FLAG, row.name]
        assert row.line is not None
        line = literal(row.line)
        parts.demanded.append(
            LineRule(f"all2all manager of {row.name}", line, ranks=row.ranks if isinstance(row, BackendRow) else "any")
        )
        parts.forbidden.append(LineRule("another all2all manager", f"(?!{line}){ANY_MANAGER}", "fell-back"))
        self._add_lines("all2all", "on", asked.device, parts)
        self._add_lines(row.name, "on", asked.device, parts)

    def _real(self, name: str) -> BackendRow:
        """The backend that really runs when ``name`` is asked for on a GPU."""
        row = self._backends.get(name)
        if row is None:
            raise Impossible(self._absent(name))
        if row.state == "split":
            raise Impossible(
                f"vLLM {self._shown} has no all2all backend {name!r} any more: since {row.since} it is "
                f"{' or '.join(map(repr, row.into))}"
            )
        if row.state == "fallback":
            raise Impossible(
                f"vLLM {self._shown} has no all2all backend {name!r}: {self._last(name)} was the last release that had "
                f"it; since {row.since} the name is accepted and {row.instead!r} runs instead"
            )
        if row.state == "alias" and row.instead is not None:
            return self._real(row.instead)
        return row

    def _real_on_cpu(self, name: str) -> CpuBackendRow:
        row = self._cpu_backends.get(name)
        if row is None:
            there = " and ".join(repr(each) for each in self._cpu_backends) or "none"
            raise Impossible(f"vLLM {self._shown} has no all2all backend {name!r} on a CPU; there it has {there}")
        return row

    def _absent(self, name: str) -> str:
        rows = [row for row in self._tables.backend.rows() if row.name == name]
        first = min(rows, key=lambda row: Version(row.since)).since
        if Version(first) > Version(self._shown):
            return f"vLLM {self._shown} has no all2all backend {name!r} yet: {first} is the first release that has it"
        last = self._last(name)
        return f"vLLM {self._shown} has no all2all backend {name!r} any more: {last} was the last release that had it"

    def _last(self, name: str) -> str:
        """The newest known release in which the backend is real."""
        real = [
            release
            for release in self._tables.releases
            if (row := self._tables.backend.at(Version(release)).get(name)) is not None and row.state == "real"
        ]
        return real[-1] if real else "none"

    def _expert_parallel(self, asked: Asked, parts: _Parts) -> None:
        if asked.tensor_parallel is not None and asked.data_parallel * asked.tensor_parallel == 1:
            raise Impossible(
                "expert parallelism needs two ranks or more: with data_parallel = 1 and tensor_parallel = 1 "
                "vLLM leaves it off"
            )
        self._add_lines("expert_parallel", "on", asked.device, parts)

    def _deep_gemm(self, asked: Asked, on: bool, parts: _Parts) -> None:
        if on and asked.device == "cpu":
            raise Impossible("DeepGEMM's kernels run on NVIDIA GPUs, not on a CPU")
        self._set(DEEP_GEMM, on, parts)
        self._add_lines("deep_gemm", "on" if on else "off", asked.device, parts)

    def _set(self, variables: tuple[str, ...], on: bool, parts: _Parts) -> None:
        """Explicitly, since the defaults changed from release to release."""
        for variable in variables:
            if variable in self._switches:
                parts.env[variable] = "1" if on else "0"

    def _add_lines(self, about: str, answer: Answer, device: str, parts: _Parts) -> None:
        for row in self._lines:
            if row.about != about or row.device not in (None, device):
                continue
            rule = LineRule(row.name, row.pattern, row.violation, row.ranks)
            if answer in row.demanded:
                parts.demanded.append(rule)
            if answer in row.forbidden:
                parts.forbidden.append(rule)


def literal(text: str) -> str:
    """A regular expression for exactly this text; more readable than ``re.escape``'s, which escapes spaces too."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
