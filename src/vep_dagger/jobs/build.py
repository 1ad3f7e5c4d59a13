"""The build job: an image is built, or found, and its record written."""

from __future__ import annotations

from collections.abc import Iterable

from vep_dagger.builders.base import Builder, BuiltImage, BuiltLayer
from vep_dagger.dsl import short
from vep_dagger.errors import BuildError
from vep_dagger.evidence import BuildRecord, RunDirectory, Witness
from vep_dagger.evidence.record import FailedStep, LayerRecord
from vep_dagger.evidence.rundir import writing
from vep_dagger.jobs.clock import Stopwatch
from vep_dagger.jobs.events import Emit, Event
from vep_dagger.plan import Job

OUTPUT_LINES = 40
"""How much of a failed step's output its record keeps; the log has all of it."""


async def run_build(
    job: Job, builder: Builder, run: RunDirectory, kept: BuildRecord | None, emit: Emit
) -> BuiltImage | None:
    """Build ``job.image``; None when that fails. The record of an earlier run stays when the image is found as it was.

    MachineError is not caught: a machine that cannot build stops the run, and says nothing about the image.
    """
    log = run.path / "images" / short(job.image.key) / "build.log"
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()
    emit(Event("job-started", f"building {job.image.tag}", job.id))

    def say(text: str) -> None:
        emit(Event("job-progress", text, job.id))

    layers: dict[str, BuiltLayer] = {}

    def on_layer(layer: BuiltLayer) -> None:
        layers[layer.name] = layer
        text = f"{layer.name} {layer.state}"
        emit(Event("layer", text, job.id, None, layer.seconds, None, layer.name, layer.state))

    try:
        built = await builder.build(job.image, log, say, on_layer)
    except BuildError as error:
        reason = _reason(error, str(log))
        record = _failed(job, builder, watch, run.relative(log), reason, error, _records(layers.values()))
        run.write(record)
        emit(Event("job-finished", record.reason or "", job.id, record.verdict, record.seconds, record.log))
        return None
    if kept is None or kept.verdict != "passed" or not built.cached:
        record = _passed(job, built, watch, run.relative(log) if log.exists() else None)
        run.write(record)
        for note in built.notes:
            emit(Event("note", f"{job.image.tag}: {note}", job.id))
    emit(Event("job-finished", "cached" if built.cached else "built", job.id, "passed", watch.seconds))
    return built


def _passed(job: Job, built: BuiltImage, watch: Stopwatch, log: str | None) -> BuildRecord:
    return BuildRecord(
        job=job.id,
        key=job.key,
        verdict="passed",
        started=watch.started,
        seconds=watch.seconds,
        image=job.image.key,
        builder=built.builder,
        cached=built.cached,
        location=built.location,
        digest=built.digest,
        published=built.published,
        exported=built.exported,
        layers=_records(built.layers),
        notes=list(built.notes),
        packages=dict(built.packages),
        size_bytes=built.size_bytes,
        log=log,
    )


def _failed(
    job: Job,
    builder: Builder,
    watch: Stopwatch,
    log: str,
    reason: str,
    error: BuildError,
    layers: list[LayerRecord],
) -> BuildRecord:
    return BuildRecord(
        job=job.id,
        key=job.key,
        verdict="failed",
        reason=reason,
        witness=Witness(file=log, text=error.hint or error.what),
        started=watch.started,
        seconds=watch.seconds,
        image=job.image.key,
        builder=builder.name,
        cached=False,
        location=None,
        layers=layers,
        failed_step=_step(error),
        log=log,
    )


def _step(error: BuildError) -> FailedStep | None:
    """The step that failed, if one did: an image that cannot be lowered or pulled has none."""
    if error.layer is None and error.command is None and not error.output:
        return None
    output = [line.rstrip() for line in error.output[-OUTPUT_LINES:]]
    return FailedStep(layer=error.layer, command=error.command, code=error.code, output=output)


def _reason(error: BuildError, log: str) -> str:
    """Without the log's path and the output's end, which the record has elsewhere."""
    what = error.what.partition(":\n")[0] if error.output else error.what
    return f"{error.where}: {what}" if error.where and str(error.where) != log else what


def _records(layers: Iterable[BuiltLayer]) -> list[LayerRecord]:
    return [
        LayerRecord(
            name=layer.name,
            key=layer.key,
            state=layer.state,
            seconds=layer.seconds,
            size_bytes=layer.size_bytes,
            parts=dict(layer.parts),
        )
        for layer in layers
        if layer.state != "building"
    ]
