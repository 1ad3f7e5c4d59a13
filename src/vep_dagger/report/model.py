"""What a summary is made of: all that the report shows of one run, as plain frozen values.

Every format is written from it alone, so that two formats cannot disagree, and equal summaries give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel

from vep_dagger.evidence.record import Answer, FailedStep, LineSeen, PhaseSpan, Repeat, Verdict, Witness
from vep_dagger.report.metrics import Better
from vep_dagger.report.statistics import Distribution

VERDICTS: tuple[Verdict, ...] = ("passed", "failed", "fell-back", "impossible", "not-run")
"""In the order in which they are counted."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a report says of a run beyond its plan and its records."""

    run: str
    """The run's id."""
    started: str
    """When, as people read it."""
    vep_version: str
    machine: Mapping[str, str]
    """What ran it: name of each fact and its value, in the order to show."""
    matrix: str
    """The matrix file's path as its user would type it."""
    directory: str
    """The run directory's name."""
    builder: str
    launcher: str
    options: tuple[str, ...] = ()
    """What else a command that repeats a cell needs."""
    records: Mapping[str, str] = field(default_factory=dict)
    """Job id and its record's path, relative to the run directory; a job without one gets no link to its record."""


@dataclass(frozen=True, slots=True)
class Link:
    """A piece of evidence: what it is, and its path relative to the run directory."""

    label: str
    path: str


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job of a cell."""

    id: str
    kind: Literal["build", "smoke", "bench"]
    workload: str | None
    verdict: Verdict
    reason: str | None
    witness: Witness | None
    seconds: float | None
    """None when it was not run."""
    step: FailedStep | None = None
    """What of a build failed."""


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """The server that the smoke test started."""

    command: tuple[str, ...]
    log: str
    ready_seconds: float | None
    warm: bool | None
    """Whether what an earlier start compiled was there; None where nothing is kept between starts."""
    version: str | None
    peak_memory_bytes: int | None
    phases: tuple[PhaseSpan, ...]
    demanded: tuple[LineSeen, ...]
    forbidden: tuple[LineSeen, ...]
    answers: tuple[Answer, ...]


State: TypeAlias = Literal["measured", "void", "not-run"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload of one cell.

    A void measurement keeps its repeats, so that people see what was completed, and has no figures: none of them may be
    used.
    """

    workload: str
    state: State
    repeats: tuple[Repeat, ...] = ()
    figures: Mapping[str, Distribution] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One gate against the median of one workload."""

    metric: str
    limit: float
    workload: str
    value: float | None
    """The median; None where the figure was not measured, which breaks the gate."""
    held: bool
    by: float | None
    """How far beyond the limit, in the metric's unit; None when held or not measured."""


@dataclass(frozen=True, slots=True)
class CellSummary:
    """One cell."""

    slug: str
    choices: Mapping[str, str]
    verdict: Verdict
    reason: str | None
    witness: Witness | None
    warnings: tuple[str, ...]
    baseline: bool
    image: str | None
    deployment: str | None
    shared: tuple[str, ...]
    """The other cells that this cell's server stands for."""
    jobs: tuple[JobSummary, ...]
    server: ServerSummary | None
    measured: tuple[Measured, ...]
    gates: tuple[GateCheck, ...]
    command: str | None
    """What repeats the cell; None for a cell that cannot be."""
    evidence: tuple[Link, ...]

    def of(self, workload: str) -> Measured | None:
        """What was measured of a workload."""
        return next((measured for measured in self.measured if measured.workload == workload), None)

    def figure(self, workload: str | None, metric: str) -> Distribution | None:
        """A figure of a workload; None where there is no valid one."""
        measured = self.of(workload) if workload else None
        return measured.figures.get(metric) if measured else None

    @property
    def eligible(self) -> bool:
        """Whether a pick may name it: it passed and holds every gate."""
        return self.verdict == "passed" and all(check.held for check in self.gates)


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One layer or step of an image's build."""

    name: str
    key: str
    state: Literal["built", "cached", "taken", "failed"]
    seconds: float
    size_bytes: int | None
    shared: tuple[str, ...]
    """The tags of the other images whose builds had it too."""
    parts: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Bytes of the parts that it was installed in."""


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """One image and how its build went; ``seconds`` and what follows are empty when it was not built."""

    key: str
    tag: str
    recipe: str
    release: str
    device: str
    cells: int
    state: Literal["built", "cached", "failed", "not-run"]
    reason: str | None = None
    seconds: float | None = None
    location: str | None = None
    size_bytes: int | None = None
    digest: str | None = None
    published: str | None = None
    exported: str | None = None
    layers: tuple[LayerSummary, ...] = ()
    failed_step: FailedStep | None = None
    hint: str | None = None
    """What to do about a build that failed: how to get a shell where the step was, for instance."""
    notes: tuple[str, ...] = ()
    log: str | None = None

    @property
    def tally(self) -> str:
        """``16 layers: 4 built, 12 cached, 0 taken``; empty when nothing is known of layers."""
        if not self.layers:
            return ""
        states: list[str] = [layer.state for layer in self.layers]
        counted = [*("built", "cached", "taken"), *(["failed"] if "failed" in states else [])]
        parts = ", ".join(f"{states.count(state)} {state}" for state in counted)
        return f"{len(states)} layer{'' if len(states) == 1 else 's'}: {parts}"


@dataclass(frozen=True, slots=True)
class WorkloadSummary:
    """One workload as the matrix file asks for it."""

    name: str
    num_prompts: int
    repeats: int
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PickRule:
    """What makes a cell the best."""

    metric: str
    better: Better
    workload: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All that a report shows of one run."""

    facts: RunFacts
    recipe: str
    only: str | None
    axes: Mapping[str, tuple[str, ...]]
    cells: tuple[CellSummary, ...]
    images: tuple[ImageSummary, ...]
    workloads: tuple[WorkloadSummary, ...]
    gates: Mapping[str, float]
    pick: PickRule
    warnings: tuple[str, ...]
    lock: str | None = None
    """sha256 over all that the matrix's lock resolves pins to; None where it had none."""

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many cells have each verdict, all five, in the order of :data:`VERDICTS`."""
        return {verdict: sum(cell.verdict == verdict for cell in self.cells) for verdict in VERDICTS}

    def image(self, key: str | None) -> ImageSummary | None:
        """The image of that key."""
        return next((image for image in self.images if image.key == key), None)

    def canonical(self) -> str:
        """The summary as JSON: the same text for the same summary, in every process."""
        return json.dumps(self, default=_plain, ensure_ascii=True, separators=(",", ":"))


def _plain(value: object) -> object:
    """One level of a value of the summary; ``dataclasses.asdict`` would copy every record to its depth."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    assert is_dataclass(value)
    return {one.name: getattr(value, one.name) for one in fields(value)}
