"""Where a run is: a new directory, or one that is gone on with, and what of its evidence still counts."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from vep_dagger import __version__
from vep_dagger.engines.docker import client_programs
from vep_dagger.errors import EvidenceError
from vep_dagger.evidence import AnyRecord, RunDirectory, RunFile
from vep_dagger.evidence.runfile import describe_machine
from vep_dagger.jobs.events import Emit, Event
from vep_dagger.plan import Plan
from vep_dagger.processes.leftovers import reap, reap_containers
from vep_dagger.workflow.options import Options

RUNS = Path("runs")
"""Where run directories are made, below the working directory."""


def open_run(plan: Plan, options: Options) -> RunDirectory:
    """The run directory: a new one, or with ``resume`` the one named, or the newest of this matrix. Raises
    EvidenceError."""
    if not options.resume:
        path = options.out or _fresh(RUNS / f"{_stem(options.matrix)}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        head = RunFile(
            vep=__version__,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            matrix=str(options.matrix),
            builder=options.builder,
            launcher=options.place,
            options=options.repeated,
            machine=describe_machine(),
        )
        return RunDirectory.create(path, head, plan.document())
    directory = RunDirectory.open(options.out or newest_run(options.matrix))
    head = directory.head()
    if (head.builder, head.launcher) != (options.builder, options.place):
        raise EvidenceError(
            f"the run was made with --builder {head.builder} --launcher {head.launcher}; its records tell of no others",
            where=str(directory.path),
            hint="resume it with the same ones, or run into another --out",
        )
    return directory


def end_leftovers(directory: RunDirectory, emit: Emit) -> None:
    """End, and say aloud, what a run in this directory that was killed has left running."""
    for pid in reap(directory.path):
        emit(Event("note", f"process {pid} was left by a run that was killed; it is ended"))
    for name in reap_containers(directory.path, client_programs(os.environ), os.environ):
        emit(Event("note", f"container {name} was left by a run that was killed; it is removed"))


def whole_run(directory: RunDirectory, full: Plan, only: str | None) -> Plan:
    """The plan of all cells that were ever chosen in a run and those that are chosen now: expressions of ``-k`` add up
    over resumed runs."""
    return full.choose(_both(directory.plan().only, only))


def settle(directory: RunDirectory, full: Plan, whole: Plan, emit: Emit, *, retry_failed: bool) -> dict[str, AnyRecord]:
    """What of the directory's evidence belongs to the plan, by job; the rest is set aside, said aloud, and will run
    again. From now on the directory's plan is ``whole``."""
    standing = directory.standing(full.document())
    again = {job for job, record in standing.records.items() if retry_failed and record.verdict != "passed"}
    for job in standing.invalid:
        emit(Event("note", f"{job} is no longer valid: the matrix has changed since; it is set aside"))
    aside = directory.supersede((*standing.invalid, *sorted(again)))
    if aside:
        emit(Event("note", f"what no longer counts is in {typed(aside)}"))
    directory.write_plan(whole.document())
    return {job: record for job, record in standing.records.items() if job not in again}


def newest_run(matrix: Path) -> Path:
    """The newest run directory of a matrix file below ``runs/``; those that cannot be read are passed over. Raises
    EvidenceError: there is none, or none but such."""
    found: list[tuple[str, Path]] = []
    unreadable: list[EvidenceError] = []
    for file in sorted(RUNS.glob("*/run.json")):
        try:
            head = RunDirectory(file.parent).head()
        except EvidenceError as error:
            unreadable.append(error)
            continue
        if Path(head.matrix).resolve() == matrix.resolve():
            found.append((head.started, file.parent))
    if not found and unreadable:
        raise unreadable[-1]
    if not found:
        raise EvidenceError(
            f"there is no run of {matrix} in {RUNS}/ to resume", hint="leave out --resume, or name a run with --out"
        )
    return max(found)[1]


def typed(path: Path) -> Path:
    """A path as a person would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _fresh(path: Path) -> Path:
    """The path, or with a number where one was begun in the same second."""
    number = 2
    fresh = path
    while fresh.exists():
        fresh = path.with_name(f"{path.name}-{number}")
        number += 1
    return fresh


def _stem(matrix: Path) -> str:
    return matrix.resolve().parent.name if matrix.stem == "matrix" else matrix.stem


def _both(before: str | None, now: str | None) -> str | None:
    """The expression for the cells of a run that is resumed: those chosen before and those chosen now."""
    if before is None or now is None or before == now:
        return before
    return f"({before}) or ({now})"
