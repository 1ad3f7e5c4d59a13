"""The program as a list of steps, each given what the one before returned: load, plan, open the run, carry it out,
report."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from vep_dagger.builders.base import Builder, Say
from vep_dagger.builders.registry import find_builder
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.compat import Compat
from vep_dagger.dsl import Image
from vep_dagger.engines import Engines, open_engines
from vep_dagger.errors import MachineError, UsageError, VepError
from vep_dagger.evidence import AnyRecord, RunDirectory
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
from vep_dagger.plan.meant import one_image
from vep_dagger.plan.open_sources import open_sources
from vep_dagger.workflow.options import Options
from vep_dagger.workflow.report import Outcome, report_of
from vep_dagger.workflow.run_directory import end_leftovers, newest_run, open_run, settle, typed, whole_run

__all__ = [
    "STAGES",
    "Options",
    "Outcome",
    "locked_image",
    "open_run",
    "refuse_early",
    "report_of",
    "run",
    "settled_lock",
]

STAGES: Mapping[Stage, tuple[JobKind, ...]] = {
    "build": ("build",),
    "smoke": ("build", "smoke"),
    "bench": ("build", "smoke", "bench"),
}
"""The jobs that a stage asks for."""


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
            end_leftovers(directory, emit)
            kept: dict[str, AnyRecord] = {}
            if options.resume:
                whole = whole_run(directory, full, options.only)
                plan = plan if options.only else whole
                # Only now: cells that were never chosen in this run are not asked for, and what a killed one left holds
                # no port.
                refuse_early(plan, options)
                kept = settle(directory, full, whole, emit, retry_failed=options.retry_failed)
                # What is finished needs no engine to be reported again.
                left = Run.left(plan, options.stage, kept)
                builder, launcher = await _open(engines if left else None, options, settings)
            surroundings = Surroundings(plan.matrix, directory, launcher, Compat.load(options.compat), emit)
            emit(Event("run-started", str(typed(directory.path))))
            await Run(plan, options.stage, builder, surroundings, kept).carry_out()
            outcome = report_of(directory, {job.id for job in plan.jobs if job.kind in STAGES[options.stage]})
    emit(Event("run-finished", str(outcome.report[0]), verdict="passed" if outcome.passed else "failed"))
    return outcome


async def settled_lock(full: Plan, options: Options, emit: Emit, chosen: Plan | None = None) -> Plan:
    """The plan of all cells with its lock completed, as far as the network allows, for the cells that are going to run:
    those that the options choose, or those of ``chosen``.

    A matrix without a lock whose sources all have hashes is left as it is. With ``locked`` nobody is asked and nothing
    is written: LockError for what the lock does not hold. What cannot be built anyway is refused before anybody is
    asked.
    """
    if chosen is None:
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


async def locked_image(full: Plan, cell: str, options: Options, say: Say) -> tuple[Image, BuildSettings]:
    """The one image that CELL means, ready to be built: with the lock completed for it, or held against it. What the
    builder cannot build is refused, before anybody is asked. Raises UsageError, LockError, and MachineError for a lock
    that cannot be written."""
    chosen = _of_one_image(full, cell)
    settled = await settled_lock(full, options, lambda event: say(event.text), chosen)
    chosen = _of_one_image(settled, cell)
    refuse_early(chosen, options)
    return chosen.images[0], options.settings(settled)


def _of_one_image(full: Plan, cell: str) -> Plan:
    image = one_image(full, cell)
    return replace(full, cells=tuple(planned for planned in full.cells if planned.image is image))


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
