"""From a plan and the records of a run to its summary. A pure function: it reads no file and no clock."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from vep_dagger.evidence.record import AnyRecord, BenchRecord, BuildRecord, LineSeen, SmokeRecord
from vep_dagger.report.images import images
from vep_dagger.report.metrics import metric
from vep_dagger.report.model import (
    CellSummary,
    GateCheck,
    JobSummary,
    Link,
    Measured,
    PickRule,
    RunFacts,
    ServerSummary,
    Summary,
    WorkloadSummary,
)
from vep_dagger.report.statistics import Distribution, distribution
from vep_dagger.report.text import clean
from vep_dagger.report.verdict import cleaned, job_summaries, judge, void

if TYPE_CHECKING:
    from vep_dagger.plan.document import CellDoc, JobDoc, PlanDoc

__all__ = ["RunFacts", "Summary", "summarise"]

ORDER = {"build": 0, "smoke": 1, "bench": 2}


def summarise(plan: PlanDoc, records: Mapping[str, AnyRecord], facts: RunFacts) -> Summary:
    """The summary of one run.

    ``records`` are by job id, and only those whose key is the plan's: whoever reads them leaves the others out.
    """
    builds = {job.image: job for job in plan.jobs if job.kind == "build"}
    served: dict[str, list[JobDoc]] = {}
    for job in plan.jobs:
        if job.deployment is not None:
            served.setdefault(job.deployment, []).append(job)
    shared = {deployment.key: deployment.cells for deployment in plan.deployments}

    def cell(doc: CellDoc) -> CellSummary:
        build = [builds[doc.image]] if doc.image in builds else []
        jobs = sorted([*build, *served.get(doc.deployment or "", [])], key=lambda job: ORDER[job.kind])
        mates = tuple(slug for slug in shared.get(doc.deployment or "", []) if slug != doc.slug)
        return _cell(doc, jobs, mates, plan, records, facts)

    return Summary(
        facts=replace(facts, machine={name: clean(value) for name, value in facts.machine.items()}),
        recipe=plan.recipe,
        only=plan.only,
        axes={axis: tuple(labels) for axis, labels in plan.axes.items()},
        cells=tuple(cell(doc) for doc in plan.cells),
        images=images(plan, records),
        workloads=tuple(
            WorkloadSummary(load.name, load.num_prompts, load.repeats, dict(load.options)) for load in plan.workloads
        ),
        gates=dict(plan.gates),
        pick=PickRule(
            plan.pick.metric,
            plan.pick.better,
            plan.pick.workload or (plan.workloads[0].name if plan.workloads else None),
        ),
        warnings=tuple(clean(warning) for warning in plan.warnings),
        lock=plan.lock,
    )


def _cell(
    doc: CellDoc,
    docs: list[JobDoc],
    mates: tuple[str, ...],
    plan: PlanDoc,
    records: Mapping[str, AnyRecord],
    facts: RunFacts,
) -> CellSummary:
    jobs = tuple(job_summaries(docs, records))
    judgement = judge(doc.impossible, jobs)
    mine = {job.id: records[job.id] for job in docs if job.id in records}
    smoke = next((record for record in mine.values() if isinstance(record, SmokeRecord)), None)
    measured = tuple(_measured(job, records.get(job.id)) for job in docs if job.kind == "bench")
    baseline = plan.pick.baseline
    return CellSummary(
        slug=doc.slug,
        choices=dict(doc.choices),
        verdict=judgement.verdict,
        reason=judgement.reason,
        witness=judgement.witness,
        warnings=tuple(clean(warning) for warning in doc.warnings),
        baseline=bool(baseline) and all(doc.choices.get(axis) == label for axis, label in baseline.items()),
        image=doc.image,
        deployment=doc.deployment,
        shared=mates,
        jobs=jobs,
        server=_server(smoke) if smoke else None,
        measured=measured,
        gates=tuple(_gates(plan.gates, measured)),
        command=None if doc.impossible is not None else _command(doc, plan, facts),
        evidence=tuple(_evidence(jobs, mine, facts)),
    )


def _server(smoke: SmokeRecord) -> ServerSummary:
    server = smoke.server
    return ServerSummary(
        command=tuple(server.command),
        log=server.log,
        ready_seconds=server.ready_seconds,
        warm=server.warm,
        version=server.version,
        peak_memory_bytes=server.peak_memory_bytes,
        phases=tuple(server.phases),
        demanded=tuple(_line(line) for line in smoke.demanded),
        forbidden=tuple(_line(line) for line in smoke.forbidden),
        answers=tuple(smoke.answers),
    )


def _line(line: LineSeen) -> LineSeen:
    return LineSeen(name=line.name, pattern=line.pattern, seen=cleaned(line.seen))


def _measured(job: JobDoc, record: AnyRecord | None) -> Measured:
    workload = job.workload or ""
    if not isinstance(record, BenchRecord):
        return Measured(workload, "not-run")
    repeats = tuple(record.repeats)
    if void(record):
        return Measured(workload, "void", repeats)
    figures: dict[str, Distribution] = {}
    for name in dict.fromkeys(name for repeat in repeats for name in repeat.metrics):
        found = distribution(repeat.metrics[name] for repeat in repeats if name in repeat.metrics)
        if found is not None:
            figures[name] = found
    return Measured(workload, "measured", repeats, figures)


def _gates(gates: Mapping[str, float], measured: Iterable[Measured]) -> Iterable[GateCheck]:
    """Every gate against every workload that has valid figures: a service-level limit is not one for some requests."""
    for result in measured:
        if result.state != "measured":
            continue
        for name, limit in gates.items():
            found = result.figures.get(name)
            if found is None:
                yield GateCheck(name, limit, result.workload, None, held=False, by=None)
                continue
            beyond = limit - found.median if metric(name).better == "higher" else found.median - limit
            held = beyond <= 0
            yield GateCheck(name, limit, result.workload, found.median, held, None if held else beyond)


def _command(doc: CellDoc, plan: PlanDoc, facts: RunFacts) -> str:
    verb = "build" if doc.deployment is None else "bench" if plan.workloads else "smoke"
    words = [
        "vep",
        verb,
        facts.matrix,
        "-k",
        _only(doc.slug, plan),
        "--builder",
        facts.builder,
        "--launcher",
        facts.launcher,
        *facts.options,
    ]
    return shlex.join(words)


def _only(slug: str, plan: PlanDoc) -> str:
    """The expression for ``-k`` that names one cell: its words are parts of slugs, and one slug may hold another."""
    word = slug.lower()
    longer = [cell.slug for cell in plan.cells if word in cell.slug.lower() and cell.slug != slug]
    return " and not ".join([slug, *longer])


def _evidence(jobs: tuple[JobSummary, ...], records: Mapping[str, AnyRecord], facts: RunFacts) -> Iterable[Link]:
    """What a person opens to see for themselves: logs first, then raw results, then records."""
    for record in records.values():
        if isinstance(record, BuildRecord) and record.log:
            yield Link("build log", record.log)
        if isinstance(record, SmokeRecord):
            yield Link("server log", record.server.log)
    for record in records.values():
        if isinstance(record, BenchRecord):
            for number, repeat in enumerate(record.repeats, start=1):
                yield Link(f"{record.workload} {number}, raw result", repeat.file)
    for job in jobs:
        if job.id in records and job.id in facts.records:
            yield Link(f"{job.kind}{f' {job.workload}' if job.workload else ''}, record", facts.records[job.id])
