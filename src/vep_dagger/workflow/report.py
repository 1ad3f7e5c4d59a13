"""How a run ends: its report, and whether all that was asked for passed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vep_dagger.evidence import RunDirectory
from vep_dagger.evidence.rundir import record_place
from vep_dagger.workflow.run_directory import typed

if TYPE_CHECKING:
    from vep_dagger.report.model import Summary


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its directory, its summary, the report's files, and whether all that was asked for passed.

    A cell that is known beforehand to be impossible is no failure.
    """

    directory: Path
    summary: Summary
    report: tuple[Path, ...]
    passed: bool


def report_of(path: RunDirectory, asked: Collection[str] | None = None) -> Outcome:
    """Write the report of a run from its evidence alone. ``asked`` are the ids of the jobs that were asked for; all of
    the plan's by default."""
    from vep_dagger.report.model import RunFacts
    from vep_dagger.report.summary import summarise
    from vep_dagger.report.write import write_report

    plan, head = path.plan(), path.head()
    records = path.standing(plan).records
    facts = RunFacts(
        run=path.path.resolve().name,
        started=f"{datetime.fromisoformat(head.started):%Y-%m-%d %H:%M} UTC",
        vep_version=head.vep,
        machine=head.machine,
        matrix=head.matrix,
        directory=path.path.resolve().name,
        builder=head.builder,
        launcher=head.launcher,
        options=tuple(head.options),
        records={job: record_place(job).as_posix() for job in records},
    )
    summary = summarise(plan, records, facts)
    files = write_report(summary, path.path / "report")
    wanted = {job.id for job in plan.jobs} if asked is None else asked
    passed = all(job in records and records[job].verdict == "passed" for job in wanted)
    return Outcome(typed(path.path), summary, tuple(typed(file) for file in files), passed and bool(wanted))
