"""The program as a list of steps, each given what the one before returned: load, plan, open the run, carry it out,
report."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vep_dagger import __version__
from vep_dagger.builders.base import Builder
from vep_dagger.builders.names import publish_tags
from vep_dagger.builders.registry import find_builder
from vep_dagger.builders.settings import PLAIN_BASE, PLAIN_BASE_VARIABLE, BuildSettings
from vep_dagger.compat import Compat
from vep_dagger.engines import Engines, open_engines
from vep_dagger.engines.docker import client_programs
from vep_dagger.errors import EvidenceError, MachineError, UsageError, VepError
from vep_dagger.evidence import AnyRecord, RunDirectory, RunFile
from vep_dagger.evidence.rundir import record_place
from vep_dagger.evidence.runfile import describe_machine
from vep_dagger.jobs.events import Emit, Event
from vep_dagger.jobs.run import Run, Stage
from vep_dagger.jobs.serving import Surroundings
from vep_dagger.launchers.base import Launcher
from vep_dagger.launchers.registry import OF_BUILDER, find_launcher
from vep_dagger.locking.before import learned
from vep_dagger.locking.check import refuse_unlocked
from vep_dagger.plan import Plan, load_plan
from vep_dagger.plan.document import JobKind
from vep_dagger.plan.locking import supposed
from vep_dagger.plan.open_sources import open_sources
from vep_dagger.processes.leftovers import reap, reap_containers

if TYPE_CHECKING:
    from vep_dagger.report.model import Summary

RUNS = Path("runs")
"""Where run directories are made, below the working directory."""

STAGES: Mapping[Stage, tuple[JobKind, ...]] = {
    "build": ("build",),
    "smoke": ("build", "smoke"),
    "bench": ("build", "smoke", "bench"),
}
"""The jobs that a stage asks for."""


@dataclass(frozen=True)
class Options:
    """What a person asked for on the command line, or a pipeline in Python."""

    matrix: Path
    stage: Stage = "bench"
    only: str | None = None
    builder: str = "venv"
    launcher: str | None = None
    """Where servers run; by default where the builder's images can."""
    out: Path | None = None
    resume: bool = False
    retry_failed: bool = False
    """With ``resume``: run again what did not pass."""
    compat: Path | None = None
    """A file that overlays the compatibility data."""
    network: str | None = None
    """Docker: the network of build steps and servers."""
    keep: str | None = None
    """A directory or a registry's repository where finished layers are put aside and taken back from."""
    publish: str | None = None
    """The repository that images are pushed to."""
    published: str | None = None
    """The repository that the builder ``registry`` takes images from."""
    export: Path | None = None
    """The directory that images are exported to as OCI archives."""
    locked: bool = False
    """Refuse whatever the lock does not hold, and write no lock."""

    @property
    def place(self) -> str:
        """The launcher's name."""
        return self.launcher or OF_BUILDER.get(self.builder, "process")

    @property
    def repeated(self) -> list[str]:
        """The words of a command line that repeats a cell of the run, besides matrix, builder and launcher."""
        given = {"--network": self.network, "--from": self.published, "--compat": self.compat}
        words = [word for flag, value in given.items() if value for word in (flag, str(value))]
        return [*words, "--locked"] if self.locked else words

    def settings(self, full: Plan) -> BuildSettings:
        """What builders need to know of it. ``full`` is the plan of all cells."""
        return BuildSettings(
            plain_base=os.environ.get(PLAIN_BASE_VARIABLE) or PLAIN_BASE,
            mirrors=full.matrix.file.mirrors,
            tags=publish_tags(full.images),
            directory=self.matrix.parent,
            network=self.network,
            keep=self.keep,
            publish=self.publish,
            published=self.published,
            export=self.export,
            environ=dict(os.environ),
        )


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its directory, its summary, the report's files, and whether all that was asked for passed.

    A cell that is known beforehand to be impossible is no failure.
    """

    directory: Path
    summary: Summary
    report: tuple[Path, ...]
    passed: bool


async def run(options: Options, emit: Emit) -> Outcome:
    """Build, smoke and bench what is left, and report. The evidence is in the outcome's directory, whatever happens."""
    if options.retry_failed and not options.resume:
        raise UsageError("--retry-failed without --resume: a new run has nothing that failed", hint="add --resume")
    full = await settled_lock(load_plan(options.matrix, overlay=options.compat), options, emit)
    plan = full.choose(options.only)
    settings = options.settings(full)
    if not options.resume:
        refuse_early(plan, options)
    directory = open_run(plan, options)
    async with AsyncExitStack() as engines:
        if not options.resume:
            try:
                builder, launcher = await _open(engines, options, settings)
                for image in plan.images:
                    await builder.ready(image)
            except MachineError:
                directory.withdraw()
                raise
        with directory.locked():
            plan, kept = settle(directory, full, options, emit)
            if options.resume:
                # What is finished needs no engine to be reported again.
                left = Run.left(plan, options.stage, kept)
                builder, launcher = await _open(engines if left else None, options, settings)
            surroundings = Surroundings(plan.matrix, directory, launcher, Compat.load(options.compat), emit)
            emit(Event("run-started", str(_typed(directory.path))))
            await Run(plan, options.stage, builder, surroundings, kept).carry_out()
            outcome = report_of(directory, {job.id for job in plan.jobs if job.kind in STAGES[options.stage]})
    emit(Event("run-finished", str(outcome.report[0]), verdict="passed" if outcome.passed else "failed"))
    return outcome


async def settled_lock(full: Plan, options: Options, emit: Emit) -> Plan:
    """The plan of all cells with its lock completed, as far as the network allows, for the cells that are going to run.

    A matrix without a lock whose sources all have hashes is left as it is. With ``locked`` nobody is asked and nothing
    is written: LockError for what the lock does not hold. What cannot be built anyway is refused before anybody is
    asked.
    """
    only = options.only
    if options.resume and only is None:
        only = RunDirectory.open(options.out or newest_run(options.matrix)).plan().only
    chosen = full.choose(only)
    if options.locked:
        refuse_unlocked(chosen)
        return full
    if full.lock is None and not any(source.stops for source in open_sources(chosen)):
        return full
    if not options.resume:
        known = {image.key: supposed(image) for image in chosen.images}
        cells = tuple(cell._replace(image=known[cell.image.key]) if cell.image else cell for cell in chosen.cells)
        refuse_early(replace(chosen, cells=cells), options)
    compat = Compat.load(options.compat)
    return await learned(full, chosen, options.settings(full), compat, lambda line: emit(Event("note", line)))


async def _open(stack: AsyncExitStack | None, options: Options, settings: BuildSettings) -> tuple[Builder, Launcher]:
    """Builder and launcher, on engines that stay open as long as ``stack``; without one, on none."""
    engines = Engines()
    if stack is not None:
        names = {options.builder} if options.stage == "build" else {options.builder, options.place}
        engines = await stack.enter_async_context(open_engines(names, settings.environ))
    return find_builder(options.builder, settings, engines), find_launcher(options.place, settings, engines)


def refuse_early(plan: Plan, options: Options) -> None:
    """Raise for whatever is known to be impossible on this builder and launcher, before anything is touched."""
    if not plan.possible:
        reasons = "; ".join(sorted({cell.impossible for cell in plan.cells if cell.impossible}))
        raise VepError(f"no cell of the matrix can be run: {reasons}", where=str(options.matrix))
    settings = options.settings(plan)
    builder, launcher = find_builder(options.builder, settings), find_launcher(options.place, settings)
    if options.place != OF_BUILDER.get(options.builder, options.place):
        raise UsageError(
            f"the launcher {options.place} cannot run what the builder {options.builder} builds",
            where="--launcher",
            hint=f"leave it out: {OF_BUILDER[options.builder]} is taken then",
        )
    Run.refuse(plan, options.stage, builder, launcher)


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


def settle(directory: RunDirectory, full: Plan, options: Options, emit: Emit) -> tuple[Plan, dict[str, AnyRecord]]:
    """What of the directory's evidence belongs to the plan; the rest is set aside, said aloud, and will run again.

    Expressions of ``-k`` add up over resumed runs: the directory's plan is that of all cells that were ever chosen in
    it.
    """
    for pid in reap(directory.path):
        emit(Event("note", f"process {pid} was left by a run that was killed; it is ended"))
    for name in reap_containers(directory.path, client_programs(os.environ), os.environ):
        emit(Event("note", f"container {name} was left by a run that was killed; it is removed"))
    if not options.resume:
        return full.choose(options.only), {}
    before = directory.plan()
    whole = full.choose(_both(before.only, options.only))
    wanted = full.choose(options.only) if options.only else whole
    # Only now: cells that were never chosen in this run are not asked for, and what a killed one left holds no port.
    refuse_early(wanted, options)
    standing = directory.standing(full.document())
    again = {job for job, record in standing.records.items() if options.retry_failed and record.verdict != "passed"}
    for job in standing.invalid:
        emit(Event("note", f"{job} is no longer valid: the matrix has changed since; it is set aside"))
    aside = directory.supersede((*standing.invalid, *sorted(again)))
    if aside:
        emit(Event("note", f"what no longer counts is in {_typed(aside)}"))
    directory.write_plan(whole.document())
    kept = {job: record for job, record in standing.records.items() if job not in again}
    return wanted, kept


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
    return Outcome(_typed(path.path), summary, tuple(_typed(file) for file in files), passed and bool(wanted))


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


def _typed(path: Path) -> Path:
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
